"""One race in a process of its own: prints JSON, the seconds and the accuracy after each epoch.

python -m benchmarks.races MODULE DATA SEED EPOCHS
"""

import importlib
import json
import sys
from pathlib import Path


def main() -> None:
    module, data, seed, epochs = sys.argv[1:]
    race = importlib.import_module(f"benchmarks.races.{module}").race
    print("RACE " + json.dumps(race(Path(data), int(seed), int(epochs))), flush=True)


if __name__ == "__main__":
    main()
