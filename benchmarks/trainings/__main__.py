"""One system's trial in a process of its own, which imports it once and forks every life; or one life of it.

python -m benchmarks.trainings MODULE KILLS SEED FOLDER RESULT.json
python -m benchmarks.trainings --live MODULE FOLDER LIFE WORKERS OPERATION
"""

import importlib
import json
import sys
from pathlib import Path

from benchmarks.trainings import TRAININGS


def main() -> None:
    from benchmarks._trial import Trial, live

    if sys.argv[1] == "--live":
        module, folder, life, workers, deadly = sys.argv[2:]
        system = importlib.import_module(f"benchmarks.trainings.{module}")
        live(system, Path(folder), int(life), int(workers), int(deadly) or None)
        return
    module, kills, seed, folder, result = sys.argv[1:]
    training = next(t for t in TRAININGS if t.module == module)
    found = Trial(training, Path(folder), int(seed)).run(int(kills))
    Path(result).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
