"""What a power cut, a kill or a failing disk leaves of a run's folder, at every single file operation of its saves.

    python -m benchmarks.crash [--quick] [--json FILE] [--seed N] [--rebuild STATE FOLDER]

Saves are recorded as the operations that a file system sees. Then every state is built that a disk may hold after a
crash at any of them, and opened as a new process would: the last complete checkpoint must be loaded bit for bit, none
older than the last that was said to be saved, and another save must work. The same for operations that fail.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks._crash_disk import Disk, Op
from benchmarks._crash_faults import Trouble, judge_trouble, operations, trouble_then_cut, troubles
from benchmarks._crash_laws import Expected, expected_at, judge
from benchmarks._crash_life import MODULES, Mark, live
from benchmarks._crash_states import State, Tree, build, cut_states, digest, killed_states, tree_of
from benchmarks._table import Row, arguments, print_machine, write_json


@dataclass(frozen=True)
class Effort:
    """How much is tried. Every operation is a crash point but where ``stride`` says every n-th."""

    saves: int  # of the story's first process; its second one makes two more
    randoms: int  # random subsets at each point of a power cut
    late_randoms: int
    late_states: frozenset[str] | None  # behind a fault: these states only
    late_kinds: frozenset[str] | None  # behind a fault at these operations only
    keep_last: tuple[int, ...]
    stride: int = 1


COARSE = frozenset({"all", "none", "names only", "names and lengths", "bytes only"})
FULL = Effort(5, 20, 0, COARSE, None, (1, 2))
QUICK = Effort(3, 2, 0, frozenset({"all", "none", "names only"}), frozenset({"sync", "rename"}), (1, 2))
LEAST = Effort(1, 1, 0, frozenset({"all", "none"}), frozenset({"rename"}), (1,), stride=9)  # for the tests


@dataclass
class Tally:
    """What became of one part."""

    part: str
    points: int = 0  # operations at which a crash or a fault was tried
    states: int = 0
    opened: int = 0  # states that no other one equals
    failures: list[str] = field(default_factory=list)
    seconds: float = 0


@dataclass(frozen=True)
class Crash:
    """One state of a disk, and what must be found in it."""

    label: str
    point: int
    tree: Tree
    expected: Expected
    ops: Sequence[Op] = field(repr=False)  # the whole story


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--seed", type=int, default=0, help="of the random subsets")
    parser.add_argument(
        "--rebuild", nargs=2, metavar=("STATE", "FOLDER"), help="write a state that was printed to FOLDER"
    )
    options = parser.parse_args()
    effort = QUICK if options.quick else FULL
    with workplace() as place:
        if options.rebuild:
            return rebuild(place, options.rebuild[0], Path(options.rebuild[1]), effort, options.seed)
        print_machine("start")
        tallies = []
        for part in parts(effort, options.seed):
            tallies.append(part(place))
            print(f"done: {line_of(tallies[-1])}", flush=True)
    print_tallies(tallies)
    print_machine("\nend")
    write_json([row for tally in tallies for row in rows_of(tally)], options.json)
    return None


def workplace() -> tempfile.TemporaryDirectory[str]:
    """A folder in memory, where there is one."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)


def parts(effort: Effort, seed: int) -> list[Callable[[str], Tally]]:
    """Each part, to be called with a folder to work in."""
    return [
        lambda place: try_crashes("power cut", place, power_cuts(place, effort, seed)),
        lambda place: try_crashes("process killed", place, kills(place, effort)),
        lambda place: try_faults(place, effort),
        lambda place: try_crashes("fault, then power cut", place, late_cuts(place, effort, seed)),
    ]


# ---- crashes -------------------------------------------------------------------------------------------------------


def recorded(place: str, effort: Effort) -> tuple[Disk, list[Mark]]:
    """The operations of a whole story."""
    disk = Disk(fresh(place), MODULES)
    return disk, live(disk.root, disk, saves=effort.saves)


def power_cuts(place: str, effort: Effort, seed: int) -> Iterator[Crash]:
    disk, marks = recorded(place, effort)
    for point in range(0, len(disk.ops) + 1, effort.stride):
        yield from crashes("power cut", disk, marks, cut_states(disk.ops, point, seed, effort.randoms))


def kills(place: str, effort: Effort) -> Iterator[Crash]:
    disk, marks = recorded(place, effort)
    for point in range(0, len(disk.ops) + 1, effort.stride):
        yield from crashes("process killed", disk, marks, killed_states(disk.ops, point))


def late_cuts(place: str, effort: Effort, seed: int) -> Iterator[Crash]:
    """A save that an operation fails in, a good one, and a power cut in any of them."""
    for keep_last in effort.keep_last:
        kinds = operations(fresh(place), False, keep_last)
        for at in range(len(kinds)):
            if effort.late_kinds is not None and kinds[at] not in effort.late_kinds:
                continue
            trouble = Trouble(at, "EIO", keep_last=keep_last)
            disk, life, begun = trouble_then_cut(fresh(place), trouble)
            for point in range(begun, len(disk.ops) + 1, effort.stride):
                states = cut_states(disk.ops, point, seed, effort.late_randoms)
                plain = (s for s in states if effort.late_states is None or s.label in effort.late_states)
                yield from crashes(f"{trouble}", disk, life.marks, plain, all_sound=False)


def crashes(
    name: str, disk: Disk, marks: list[Mark], states: Iterable[State], *, all_sound: bool = True
) -> Iterator[Crash]:
    for state in states:
        expected = expected_at(marks, state.point, all_sound=all_sound)
        yield Crash(f"{name}/{state}", state.point, tree_of(disk.ops, state), expected, disk.ops)


def try_crashes(part: str, place: str, every: Iterable[Crash]) -> Tally:
    tally, began, points, seen = Tally(part), time.perf_counter(), set[tuple[str, int]](), set[tuple[bytes, Expected]]()
    for crash in every:
        tally.states += 1
        points.add((crash.label.split("/")[0], crash.point))
        key = (digest(crash.tree), crash.expected)
        if key in seen:
            continue
        seen.add(key)
        root = fresh(place)
        build(crash.tree, root)
        wrong = judge(root, crash.expected)
        shutil.rmtree(root)
        if wrong:
            tally.failures.append(f"{crash.label}: {wrong}")
            if len(tally.failures) == 1:
                print_crash(crash, wrong)
    tally.points, tally.opened, tally.seconds = len(points), len(seen), time.perf_counter() - began
    return tally


def print_crash(crash: Crash, wrong: str) -> None:
    """All that is needed to build the state again and to understand it."""
    print(f"\nFAILED {crash.label}\n  {wrong}\n  the last operations before the crash:")
    for number in range(max(crash.point - 40, 0), crash.point):
        print(f"  {number:4} {crash.ops[number]}")
    print("  what the disk holds:")
    for path, content in crash.tree.items():
        print(f"    {path}{'/' if content is None else f'  {len(content)} bytes'}")
    print(f"  again: python -m benchmarks.crash --rebuild '{crash.label}' FOLDER (with the same --quick and --seed)")


def rebuild(place: str, label: str, folder: Path, effort: Effort, seed: int) -> None:
    """Write one state, as it was printed, into a folder of the user's."""
    for every in (power_cuts(place, effort, seed), kills(place, effort), late_cuts(place, effort, seed)):
        for crash in every:
            if crash.label == label:
                folder.mkdir(parents=True)
                build(crash.tree, folder)
                print(f"{label} is in {folder}; expected: {crash.expected}")
                return
    raise SystemExit(f"no state is called {label!r}")


# ---- faults --------------------------------------------------------------------------------------------------------


def try_faults(place: str, effort: Effort) -> Tally:
    tally, began = Tally("fault, no crash"), time.perf_counter()
    for background in (False, True):
        for keep_last in effort.keep_last:
            kinds = operations(fresh(place), background, keep_last)
            tally.points += len(kinds)
            for trouble in troubles(kinds, background, keep_last):
                root = fresh(place)
                tally.states += 1
                wrong = judge_trouble(root, trouble)
                shutil.rmtree(root)
                if wrong and not tally.failures:
                    print(f"\nFAILED {trouble!r}\n  {wrong}\n  operations: {', '.join(kinds)}")
                tally.failures += [f"{trouble}: {wrong}"] if wrong else []
    tally.opened, tally.seconds = tally.states, time.perf_counter() - began
    return tally


# ---- what is shown -------------------------------------------------------------------------------------------------


def fresh(place: str) -> Path:
    return Path(tempfile.mkdtemp(dir=place))


def line_of(t: Tally) -> str:
    return f"{t.part:24}{t.points:14,}{t.states:14,}{t.opened:11,}{len(t.failures):10,}{t.seconds:9.1f}"


def print_tallies(tallies: list[Tally]) -> None:
    print(f"\n{'part':24}{'crash points':>14}{'states tried':>14}{'different':>11}{'failures':>10}{'seconds':>9}")
    for t in tallies:
        print(line_of(t))
    total = [sum(getattr(t, name) for t in tallies) for name in ("points", "states", "opened")]
    print(f"{'all':24}{total[0]:14,}{total[1]:14,}{total[2]:11,}{sum(len(t.failures) for t in tallies):10,}")
    for tally in tallies:
        for failure in tally.failures[:5]:
            print(f"  {failure}")


def rows_of(tally: Tally) -> list[Row]:
    def row(value: float, unit: str, note: str = "") -> Row:
        return Row(tally.part, "loopwright", value, unit, runs=tally.states, note=note)

    failed = len(tally.failures)
    return [
        row(tally.points, "crash points"),
        row(tally.states, "states tried", f"{tally.opened} of them different; {tally.seconds:.0f} s"),
        row(failed, "failures", tally.failures[0] if failed else ""),
    ]


if __name__ == "__main__":
    main()
