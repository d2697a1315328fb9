"""What SIGKILL of one rank leaves of a training on several: the weights and the history of one that nobody disturbed.

    python -m benchmarks.rank_kills [--quick] [--json FILE] [--kills N] [--seed N]

`loopwright train --procs 2 --max-restarts K`, and the same with 4, on the embedded photographs. A random rank is killed at
a random moment, from before it has imported torch to its last steps, or up to 20 ms after a save has begun. torch's elastic
agent ends the others and starts all again, and again the next one is killed: several kills a training. Its end is compared
with that of a training that was left alone.
"""

from __future__ import annotations

import random
import statistics
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import loopwright as lw
from benchmarks._rank_life import Death, Life, live, same_history, same_weights
from benchmarks._table import Row, arguments, print_machine, print_matrix, versions, write_json

EACH = 6  # kills a training
SHARE = 0.5  # of an undisturbed training's time, in which a kill falls: the rest is the agent's, and done before
SIZES = (2, 2, 4)  # ranks of the trainings, in turns


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--kills", type=int, help="in all (default 30; 6 if --quick)")
    parser.add_argument("--seed", type=int, default=0, help="of the plan of kills; what they hit is chance")
    options = parser.parse_args()
    kills = options.kills or (6 if options.quick else 30)
    print_machine("start")
    with tempfile.TemporaryDirectory() as folder:
        rows = rows_of(kill(Path(folder), kills, options.seed))
    print_matrix(rows)
    print_machine("\nend")
    write_json(rows, options.json)


class Tally:
    """What became of the trainings."""

    def __init__(self) -> None:
        self.deaths: list[Death] = []
        self.lives: list[Life] = []
        self.weights = self.history = self.kills_behind_equal_ends = 0
        self.sizes: Counter[int] = Counter()  # kills by ranks

    def add(self, folder: Path, reference: Path, ranks: int, life: Life) -> None:
        ended = life.code == 0
        weights, history = ended and same_weights(reference, folder), ended and same_history(reference, folder)
        self.lives.append(life)
        self.deaths += life.deaths
        self.sizes[ranks] += len(life.deaths)
        self.weights, self.history = self.weights + weights, self.history + history
        self.kills_behind_equal_ends += len(life.deaths) * (weights and history)
        if not (weights and history):
            print(f"  {folder.name}: exit code {life.code}, weights {weights}, history {history}\n{life.text[-3000:]}")


def kill(folder: Path, kills: int, seed: int, sizes: Sequence[int] = SIZES) -> Tally:
    """Trainings until there were so many kills, each compared with one of its size that was left alone."""
    rng, tally, references = random.Random(seed), Tally(), {}
    while len(tally.deaths) < kills:
        ranks = sizes[len(tally.lives) % len(sizes)]
        if ranks not in references:
            alone = folder / f"alone-{ranks}"
            references[ranks] = (alone, live(alone, ranks, 0, rng, 0.0, lw.demo_photos()))
            if references[ranks][1].code:
                raise RuntimeError(f"the training that nobody disturbed failed:\n{references[ranks][1].text[-3000:]}")
        reference, whole = references[ranks]
        run, asked = folder / f"killed-{len(tally.lives)}", min(EACH, kills - len(tally.deaths))
        life = live(run, ranks, asked, rng, SHARE * whole.seconds, lw.demo_photos())
        tally.add(run, reference, ranks, life)
        print(
            f"  {ranks} ranks: {len(life.deaths)} kills at steps {[death.step for death in life.deaths]}, "
            f"{life.seconds:.0f} s ({whole.seconds:.0f} s undisturbed); same end after "
            f"{tally.kills_behind_equal_ends} of {len(tally.deaths)} kills",
            flush=True,
        )
    return tally


def rows_of(tally: Tally) -> list[Row]:
    """The tally as rows; a ratio is the share of what the unit says."""
    kills, runs, system = len(tally.deaths), len(tally.lives), "loopwright"
    aims = ", ".join(f"{count} by {aim}" for aim, count in sorted(Counter(d.aim for d in tally.deaths).items()))
    hit = ", ".join(f"{count} of rank {rank}" for rank, count in sorted(Counter(d.rank for d in tally.deaths).items()))
    sizes = ", ".join(f"{count} of {ranks} ranks" for ranks, count in sorted(tally.sizes.items()))
    early = sum(death.step == 0 for death in tally.deaths)
    after = statistics.median(death.after_s for death in tally.deaths)
    note = f"{sizes}; {hit}; {aims}; {early} before the first checkpoint, {after:.1f} s after the start in the median"

    def row(case: str, value: float, of: int, note: str = "") -> Row:
        return Row(case, system, value, f"of {of}", value / of, runs, versions=versions(["torch"])[0], note=note)

    return [
        row("kills of a rank, followed by the same end", tally.kills_behind_equal_ends, kills, note),
        row("trainings: same final weights, average, optimizer", tally.weights, runs),
        row("trainings: same metrics.jsonl, byte for byte", tally.history, runs),
        row("trainings that ended with exit code 0", sum(life.code == 0 for life in tally.lives), runs),
    ]


if __name__ == "__main__":
    main()
