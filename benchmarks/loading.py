"""From JPEG files, or packed records, to batches on two cores: images a second over the usual DataLoader, and what it costs.

    python -m benchmarks.loading [--quick] [--json FILE] [--rounds N] [--only SYSTEM|CASE|PART ...] [--folder FOLDER]

The photographs are made once, in two sizes, into a cache folder (about 7 GB with what the peers write for themselves).
Every measurement is a fresh process on two cores, every round runs all systems and cases in a new random order, and a
figure is the median over rounds. Parts beside the cases: first-batch, memory, launches, quality.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks._camera import CLOTHING, LARGE, SMALL, Album, album_ready
from benchmarks._memory import Sizes, watch_peak
from benchmarks._table import Row, arguments, median_row, print_machine, print_rows, versions, write_json
from benchmarks.feeds import (
    BASE,
    BATCH,
    COLD,
    COLD_LARGE,
    COLD_SMALL,
    COMPUTE_LIMIT,
    COPY_LIMIT,
    CROPPED,
    CUT_LIMIT,
    DECODE_LIMIT,
    FEEDS,
    FFCV_RAW,
    OURS,
    OURS_ONE_THREAD,
    OURS_PACKED,
    PACKED,
    RESIZED,
    TITLES,
    WHOLE,
    Feed,
)

FIRST, MEMORY, LAUNCHES, QUALITY = "first-batch", "memory", "launches", "quality"
PARTS = (FIRST, MEMORY, LAUNCHES, QUALITY)
FIRST_TITLE = "first batch of 64, from 500x375 JPEG files: from asking a new loader"
MEMORY_TITLE = "peak memory (PSS, all processes), from 500x375 JPEG files"
LAUNCHES_TITLE = "launches of small operations kept while one worker or thread loads flat out"
QUALITY_TITLE = "decoded at a scale against decoded in full: PSNR of random resized crops"
QUALITY_SIZES = (96, 48)  # of photographs of 400x533: mostly 1/2, and 1/4 and 1/8
QUIET = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONWARNINGS": "ignore",
    "LITDATA_DISABLE_VERSION_CHECK": "1",
}
LIMIT_SECONDS = 300.0


@dataclass(frozen=True)
class Plan:
    """What is measured and how thoroughly."""

    feeds: list[Feed]
    cases: list[str]
    parts: list[str]
    cache: Path
    rounds: int
    seconds: float
    batches: int
    compare_settings: bool
    seed: int


@dataclass
class Seen:
    """What was measured of one feed in one case."""

    runs: list[dict[str, Any]] = field(default_factory=list)
    setting: str = ""
    compared: dict[str, float] = field(default_factory=dict)  # images a second by setting


Seens = dict[tuple[Feed, str], Seen]
Failures = dict[tuple[Feed, str], str]


def main() -> None:
    options = parsed_arguments()
    plan = plan_of(options)
    print_machine("start")
    photos_ready(plan)
    failures = prepared(plan)
    warm(plan)
    seens: Seens = {}
    choose_settings(plan, seens, failures)
    measure(plan, seens, failures)
    rows = [row for case in plan.cases for row in rate_rows(case, plan, seens, failures)]
    if FIRST in plan.parts and COLD_SMALL in plan.cases:
        rows += first_rows(plan, seens)
    rows += [row for part, rows_of in PART_ROWS.items() if part in plan.parts for row in rows_of(plan, failures)]
    print_rows(rows, ratio="x base", highest_first=(*TITLES.values(), LAUNCHES_TITLE, QUALITY_TITLE))
    print(f"\nbase: {BASE.title}, two workers")
    print_targets(rows)
    print_machine("\nend")
    write_json(rows, options.json)


def parsed_arguments() -> argparse.Namespace:
    parser = arguments(__doc__ or "")
    names = [*dict.fromkeys(feed.module for feed in FEEDS), *COLD, *PACKED, *PARTS]
    parser.add_argument("--rounds", type=int, help="how often each is measured (default 7; 1 if --quick)")
    parser.add_argument("--seconds", type=float, help="of one measurement, at least (default 5; 1 if --quick)")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=names, help=f"of {' '.join(names)}")
    parser.add_argument("--folder", type=Path, default=default_cache(), help="for photographs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the order of measurements")
    return parser.parse_args()


def default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "loopwright-benchmarks"


def plan_of(options: argparse.Namespace) -> Plan:
    """`--only` names systems, cases and parts; of a kind that it does not name all are taken, but no parts for a case."""
    only = set(options.only or ())
    modules, cases = {f.module for f in FEEDS} & only, set(COLD + PACKED) & only
    chosen = [case for case in COLD + PACKED if not (cases or only & set(PARTS)) or case in cases]
    return Plan(
        feeds=[f for f in FEEDS if not modules or f.module in modules or f is BASE],
        cases=chosen,
        parts=[part for part in PARTS if part in only or not (cases or only & set(PARTS))],
        cache=options.folder,
        rounds=options.rounds or (1 if options.quick else 7),
        seconds=options.seconds or (1.0 if options.quick else 5.0),
        batches=6 if options.quick else 12,
        compare_settings=not options.quick,
        seed=options.seed,
    )


# ---- one measurement ----------------------------------------------------------------------------------------------


class MeasurementError(RuntimeError):
    """A measurement that gave no figures, and why."""


@dataclass(frozen=True)
class Ask:
    """One measurement to make."""

    feed: Feed
    case: str
    photos: Path
    setting: str = ""
    workers: int = 2
    measure: str = "rate"
    seconds: float = 1.0
    batches: int = 12


Watch = Callable[[int, Callable[[], bool]], Sizes]


def run_feed(ask: Ask, watch: Watch | None = None) -> dict[str, Any]:
    """The figures of one fresh process; `watch` is called with its id while it runs."""
    setting = ask.setting or ask.feed.usual_setting
    arguments = [ask.feed.module, ask.case, str(ask.photos), "RESULT", "--setting", setting]
    arguments += ["--workers", str(ask.workers), "--measure", ask.measure]
    arguments += ["--seconds", str(ask.seconds), "--batches", str(ask.batches)]
    return run_module("benchmarks.feeds", arguments, watch)


def run_module(module: str, arguments: Sequence[str], watch: Watch | None = None) -> dict[str, Any]:
    """Runs a module that writes JSON to the argument RESULT; its last words are the reason where it fails.

    `watch` sees it until the result is there: what an interpreter does to end may take more memory than all before.
    """
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as words:
        result = Path(folder, "result.json")
        command = [sys.executable, "-m", module, *(str(result) if a == "RESULT" else a for a in arguments)]
        process = subprocess.Popen(command, env=os.environ | QUIET, stdout=words, stderr=words, start_new_session=True)
        deadline = time.monotonic() + LIMIT_SECONDS

        def goes_on() -> bool:
            return process.poll() is None and not result.exists() and time.monotonic() < deadline

        try:
            sizes = watch(process.pid, goes_on) if watch else {}
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise MeasurementError(f"took more than {LIMIT_SECONDS:.0f} s") from None
        finally:
            end_group(process)
        if process.returncode or not result.exists():
            words.seek(0)
            raise MeasurementError(reason_in(words.read(), process.returncode))
        return json.loads(result.read_text()) | sizes


def end_group(process: subprocess.Popen[Any]) -> None:
    """Whatever a loader left running must not disturb the next measurement."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def reason_in(words: str, code: int) -> str:
    """The last line that names an error."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line.split(":")[0]]
    return f"failed: {(named or lines or [f'exit code {code}'])[-1][:200]}"


# ---- photographs, formats, settings -------------------------------------------------------------------------------


def album_of(case: str) -> Album:
    return LARGE if case == COLD_LARGE else SMALL


def photos_of(case: str, cache: Path) -> Path:
    """Packed records are visited several times an epoch: their folder has no copies."""
    return album_of(case).folder(cache, 1 if case in PACKED else None)


def photos_ready(plan: Plan) -> None:
    """The folders that the plan needs, made where they are not there yet."""
    cases = {*plan.cases, *([COLD_SMALL] if {MEMORY, LAUNCHES} & {*plan.parts} else [])}
    wanted = [(album_of(case), 1 if case in PACKED else album_of(case).copies) for case in sorted(cases)]
    if MEMORY in plan.parts:
        wanted += [(SMALL, 1), (SMALL, 4)]
    for album, copies in dict.fromkeys(wanted):
        began = time.perf_counter()
        about = album_ready(album, plan.cache, copies)
        took = time.perf_counter() - began
        made = f", made in {took:.0f} s" if took > 5 else ""
        each = f"{about.mean_bytes / 1000:.0f} KB each, quality {about.quality}"
        print(f"photographs {album.name}: {about.photos} x {copies}, {each}, of {about.source}{made}", flush=True)


def prepared(plan: Plan) -> Failures:
    """Lets each system write its own format; why one could not be measured."""
    failures: Failures = {}
    done: dict[tuple[str, Path], str] = {}
    for feed in plan.feeds:
        missing = versions(feed.packages)[1]
        for case in feed.cases:
            if missing:
                failures[feed, case] = f"not installed: {', '.join(missing)}"
            elif feed.prepares and case in plan.cases:
                photos = photos_of(case, plan.cache)
                if (feed.module, photos) not in done:
                    done[feed.module, photos] = prepare_once(Ask(feed, case, photos, measure="prepare"))
                if done[feed.module, photos]:
                    failures[feed, case] = done[feed.module, photos]
    return failures


def prepare_once(ask: Ask) -> str:
    """Why a system could not write its format; nothing if it could, or has before."""
    if ask.feed.prepared(ask.photos, ask.case).exists():
        return ""
    began = time.perf_counter()
    try:
        run_feed(ask)
    except MeasurementError as failure:
        print(f"  {ask.feed.title}: {failure}", file=sys.stderr)
        return str(failure)
    print(f"  {ask.feed.title} wrote its format in {time.perf_counter() - began:.0f} s", flush=True)
    return ""


def warm(plan: Plan) -> None:
    """Reads every file once, so that no measurement waits for the disk."""
    folders: set[Path] = set()
    for case in plan.cases:
        photos = photos_of(case, plan.cache)
        folders |= {photos, *(feed.prepared(photos, case) for feed in plan.feeds if case in feed.cases)}
    read = sum(read_through(file) for folder in folders for file in folder.rglob("*") if file.is_file())
    print(f"{read / 1e9:.1f} GB read ahead into the page cache", flush=True)


def read_through(file: Path) -> int:
    """The size of a file, of which every byte was read."""
    with open(file, "rb", buffering=0) as opened:
        return sum(len(part) for part in iter(lambda: opened.read(2**24), b""))


def choose_settings(plan: Plan, seens: Seens, failures: Failures) -> None:
    """Measures each setting once and keeps the fastest; without a comparison, the first."""
    for feed in plan.feeds:
        for case in feed.cases:
            if case not in plan.cases or (feed, case) in failures:
                continue
            seen = seens.setdefault((feed, case), Seen(setting=feed.usual_setting))
            if plan.compare_settings and len(feed.settings) > 1:
                for setting in feed.settings:
                    found = try_measure(plan, feed, case, setting, failures={})
                    seen.compared[setting] = found["images_s"] if found else 0.0
                seen.setting = max(seen.compared, key=seen.compared.__getitem__)


# ---- images a second ----------------------------------------------------------------------------------------------


def measure(plan: Plan, seens: Seens, failures: Failures) -> None:
    """Every feed in every case, `rounds` times in random order."""
    pairs = list(seens)
    for number in range(plan.rounds):
        for feed, case in random.Random(f"{plan.seed}/{number}").sample(pairs, len(pairs)):
            if (feed, case) in failures:
                continue
            began = time.perf_counter()
            found = try_measure(plan, feed, case, seens[feed, case].setting, failures)
            if found:
                seens[feed, case].runs.append(found)
                took = f"({time.perf_counter() - began:.0f} s)"
                what = f"{feed.title:40}{case:16}{found['images_s']:9.0f} images/s"
                print(f"  round {number + 1}/{plan.rounds}  {what}  {took}", flush=True)


def try_measure(plan: Plan, feed: Feed, case: str, setting: str, failures: Failures) -> dict[str, Any] | None:
    photos = photos_of(case, plan.cache)
    ask = Ask(feed, case, photos, setting, feed.workers, seconds=plan.seconds, batches=plan.batches)
    try:
        return run_feed(ask)
    except MeasurementError as failure:
        failures[feed, case] = str(failure)
        print(f"  {feed.title}, {case}: {failure}", file=sys.stderr)
        return None


def rate_rows(case: str, plan: Plan, seens: Seens, failures: Failures) -> list[Row]:
    """The rows of one case; those over packed records stand against the base's from small files, too."""
    base = seens.get((BASE, case if case in COLD else COLD_SMALL), Seen()).runs
    rows = []
    for feed in plan.feeds:
        if case not in feed.cases:
            continue
        installed, seen = versions(feed.packages)[0], seens.get((feed, case), Seen())
        if not seen.runs:
            rows.append(no_row(TITLES[case], feed, "images/s", failures.get((feed, case), "not measured")))
            continue
        rates = column(seen.runs, "images_s")
        ratio = statistics.median(rates) / statistics.median(column(base, "images_s")) if base else None
        rows.append(
            median_row(
                TITLES[case], feed.title, rates, "images/s", ratio=ratio, versions=installed, note=rate_note(feed, seen)
            )
        )
    return rows


def no_row(title: str, feed: Feed, unit: str, why: str) -> Row:
    """What stands for a system without figures: it is never left out."""
    return Row(title, feed.title, None, unit, versions=versions(feed.packages)[0], note=why)


def rate_note(feed: Feed, seen: Seen) -> str:
    """What the reader must know beside the figure: which setting it is, and what was wrong with the batches."""
    problems = sorted({problem for run in seen.runs for problem in run["problems"]})
    if seen.compared:
        others = ", ".join(f"{name} {rate:.0f}" for name, rate in seen.compared.items() if name != seen.setting)
        setting = f"{seen.setting} {seen.compared[seen.setting]:.0f}, chosen over {others}"
    else:
        setting = seen.setting if len(feed.settings) > 1 else ""
    return "; ".join(text for text in (setting, *problems) if text)


def first_rows(plan: Plan, seens: Seens) -> list[Row]:
    """Seconds from asking to the first batch, from the same runs."""
    base = column(seens.get((BASE, COLD_SMALL), Seen()).runs, "first_s")
    rows = []
    for feed in plan.feeds:
        runs = seens.get((feed, COLD_SMALL), Seen()).runs
        if not runs or feed.is_limit:
            continue
        firsts, opens = column(runs, "first_s"), statistics.median(column(runs, "open_s"))
        ratio = statistics.median(firsts) / statistics.median(base) if base else None
        note = f"after {opens:.2f} s to make it"
        rows.append(median_row(FIRST_TITLE, feed.title, firsts, "s", ratio=ratio, note=note))
    return rows


def column(runs: Iterable[dict[str, Any]], key: str) -> list[float]:
    """One figure of every run."""
    return [run[key] for run in runs]


# ---- memory -------------------------------------------------------------------------------------------------------


def memory_rows(plan: Plan, failures: Failures) -> list[Row]:
    """Peak PSS over one whole epoch: by the number of photographs, and by the number of workers."""
    rows = []
    for feed in plan.feeds:
        if COLD_SMALL not in feed.cases or feed.is_limit:
            continue
        if (feed, COLD_SMALL) in failures:
            rows.append(no_row(MEMORY_TITLE, feed, "MB", failures[feed, COLD_SMALL]))
        elif feed in (BASE, OURS):
            rows += [memory_row(plan, feed, copies, workers) for copies, workers in ((1, 1), (1, 2), (1, 4), (4, 2))]
        elif not feed.prepares or COLD_SMALL in plan.cases:
            rows.append(memory_row(plan, feed, SMALL.copies, 2))
    return rows


def memory_row(plan: Plan, feed: Feed, copies: int, workers: int) -> Row:
    photos = SMALL.folder(plan.cache, copies)
    title = memory_title(feed, copies, workers)
    try:
        found = run_feed(Ask(feed, COLD_SMALL, photos, workers=workers, measure="epoch"), watch_peak)
    except MeasurementError as failure:
        return Row(MEMORY_TITLE, title, None, "MB", note=str(failure))
    kinds = f"{found['Pss_Anon']:.0f} private, {found['Pss_Shmem']:.0f} shared, {found['Pss_File']:.0f} of files"
    note = "; ".join((kinds, *found["problems"]))
    print(f"  memory  {title:60}{found['Pss']:9.0f} MB", flush=True)
    return Row(MEMORY_TITLE, title, found["Pss"], "MB", runs=1, values=[found["Pss"]], note=note)


def memory_title(feed: Feed, copies: int, workers: int) -> str:
    return f"{feed.title}, {SMALL.photos * copies} photographs, {workers} worker{'s' if workers > 1 else ''}"


# ---- launches -----------------------------------------------------------------------------------------------------


def launch_rows(plan: Plan, failures: Failures) -> list[Row]:
    """The share of launches that is left, the median over rounds in random order."""
    feeds = [f for f in plan.feeds if f.launches and (not f.cases or COLD_SMALL in f.cases)]
    runs: dict[Feed, list[dict[str, Any]]] = {feed: [] for feed in feeds}
    whys: dict[Feed, str] = {f: failures[f, COLD_SMALL] for f in feeds if (f, COLD_SMALL) in failures}
    photos = photos_of(COLD_SMALL, plan.cache)
    for number in range(plan.rounds):
        for feed in random.Random(f"{plan.seed}/{number}").sample(feeds, len(feeds)):
            if feed not in whys:
                try:
                    ask = Ask(feed, COLD_SMALL, photos, workers=1, measure="launches", seconds=plan.seconds)
                    runs[feed].append(run_feed(ask))
                except MeasurementError as failure:
                    whys[feed] = str(failure)
    return [launch_row(feed, runs[feed], whys.get(feed, "")) for feed in feeds]


def launch_row(feed: Feed, runs: list[dict[str, Any]], why: str) -> Row:
    if not runs:
        return no_row(LAUNCHES_TITLE, feed, "%", why)
    shares = [100 * run["beside"] / run["alone"] for run in runs]
    alone, beside = (statistics.median(column(runs, key)) for key in ("alone", "beside"))
    loading = [statistics.median(column(runs, key)) for key in ("images_s_alone", "images_s_beside")]
    note = f"{alone:.0f} launches/s alone, {beside:.0f} beside; {loading[0]:.0f} images/s, {loading[1]:.0f} beside"
    return median_row(LAUNCHES_TITLE, feed.title, shares, "%", note=note)


# ---- quality ------------------------------------------------------------------------------------------------------


def quality_rows(plan: Plan, failures: Failures) -> list[Row]:
    """PSNR over the shared photographs; the embedded ones are too small to be decoded at a scale at these sizes."""
    photos = CLOTHING / "train"
    if not photos.is_dir():
        why = f"{photos} is not there (LOOPWRIGHT_CLOTHING names another place)"
        return [Row(QUALITY_TITLE, f"loopwright, {size} px", None, "dB", note=why) for size in QUALITY_SIZES]
    try:
        found = run_module("benchmarks._quality", [str(photos), "RESULT", *map(str, QUALITY_SIZES)])
    except MeasurementError as failure:
        return [Row(QUALITY_TITLE, f"loopwright, {size} px", None, "dB", note=str(failure)) for size in QUALITY_SIZES]
    return [quality_row(size, found[str(size)]) for size in QUALITY_SIZES]


def quality_row(size: int, found: dict[str, Any]) -> Row:
    title = f"loopwright, {size} px"
    share = f"{found['differing']} of {found['count']} photographs decoded at a scale"
    if not found["differing"]:
        return Row(QUALITY_TITLE, title, None, "dB", note=share)
    worst = f"worst {found['worst']:.1f} dB, one in a hundred below {found['one_in_a_hundred']:.1f}"
    return Row(QUALITY_TITLE, title, found["median"], "dB", runs=1, values=[found["median"]], note=f"{worst}; {share}")


PART_ROWS = {MEMORY: memory_rows, LAUNCHES: launch_rows, QUALITY: quality_rows}


# ---- targets ------------------------------------------------------------------------------------------------------


class Figures:
    """The values of rows, by case and system."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = {(row.case, row.system): row for row in rows if row.value is not None}

    def value(self, case: str, system: str) -> float | None:
        row = self._rows.get((case, system))
        return row.value if row else None

    def best(self, case: str, system: str) -> float | None:
        """The highest of all rounds."""
        row = self._rows.get((case, system))
        return max(row.values) if row else None

    def highest_peer(self, case: str) -> tuple[str, float] | None:
        """The fastest system that is neither ours nor a limit."""
        left_out = {feed.title for feed in FEEDS if feed.is_limit or feed.module == OURS.module}
        found = {s: float(r.value or 0) for (c, s), r in self._rows.items() if c == case and s not in left_out}
        return max(found.items(), key=lambda item: item[1]) if found else None


@dataclass(frozen=True)
class Target:
    """One promise: a figure that is at least (or at most) a limit; no figure where something was not measured."""

    what: str
    value: float | None
    limit: float
    unit: str = "x"
    at_most: bool = False

    def verdict(self) -> str:
        if self.value is None:
            return f"  {self.what}: not measured"
        met = self.value <= self.limit if self.at_most else self.value >= self.limit
        bound = f"at {'most' if self.at_most else 'least'} {self.limit:g} {self.unit}"
        return f"  {self.what}: {self.value:.3g} {self.unit}, {bound}: {'met' if met else 'MISSED'}"


def print_targets(rows: Iterable[Row]) -> None:
    """Whether loopwright is what it promises."""
    print("\ntargets of loopwright")
    for target in targets(Figures(rows)):
        print(target.verdict())


def targets(figures: Figures) -> list[Target]:
    small, large, resized = TITLES[COLD_SMALL], TITLES[COLD_LARGE], TITLES[RESIZED]
    ours, packed = figures.value(small, OURS.title), figures.value(resized, OURS_PACKED.title)
    base = figures.value(small, BASE.title)
    decoding = figures.value(small, DECODE_LIMIT.title)
    ours_large, base_large = figures.value(large, OURS.title), figures.value(large, BASE.title)
    return [
        Target(f"500x375, over {BASE.title}", over(ours, base), 2.1),
        peer_target("500x375", figures.highest_peer(small), ours),
        Target("500x375, of the full-decode-only limit", percent(over(ours, decoding)), 75, "%"),
        Target(f"2000x1500, over {BASE.title}", over(ours_large, base_large), 4.2),
        peer_target("2000x1500", figures.highest_peer(large), ours_large),
        Target(f"packed, RandomResizedCrop, over {BASE.title}", over(packed, base), 15),
        Target(
            "packed, RandomResizedCrop, over FFCV raw's best", over(packed, figures.best(resized, FFCV_RAW.title)), 1.4
        ),
        *(copy_target(figures, case, what) for case, what in ((CROPPED, "crop + flip"), (WHOLE, "whole records"))),
        Target(
            "packed, crop + flip, one thread, of NumPy's copies and torch's flips",
            percent(
                over(
                    figures.value(TITLES[CROPPED], OURS_ONE_THREAD.title),
                    figures.value(TITLES[CROPPED], CUT_LIMIT.title),
                )
            ),
            80,
            "%",
        ),
        Target("launches kept while it loads", figures.value(LAUNCHES_TITLE, OURS.title), 95, "%"),
        Target(
            "launches kept while it loads, of those kept beside a process that only computes",
            percent(
                over(figures.value(LAUNCHES_TITLE, OURS.title), figures.value(LAUNCHES_TITLE, COMPUTE_LIMIT.title))
            ),
            95,
            "%",
        ),
        Target(f"first batch of {BATCH}", figures.value(FIRST_TITLE, OURS.title), 0.2, "s", at_most=True),
        memory_target(figures, "of four times the photographs", (1, 2), (4, 2)),
        memory_target(figures, "of four workers instead of one", (1, 1), (1, 4)),
        *(
            Target(
                f"PSNR of scaled decoding, {size} px", figures.value(QUALITY_TITLE, f"loopwright, {size} px"), 48, "dB"
            )
            for size in QUALITY_SIZES
        ),
    ]


def peer_target(what: str, peer: tuple[str, float] | None, ours: float | None) -> Target:
    name, rate = peer or ("every peer", None)
    return Target(f"{what}, over the fastest peer ({name})", over(ours, rate), 1.0)


def copy_target(figures: Figures, case: str, what: str) -> Target:
    """One thread against one core; two threads may well be above that limit."""
    share = over(figures.value(TITLES[case], OURS_ONE_THREAD.title), figures.value(TITLES[case], COPY_LIMIT.title))
    return Target(f"packed, {what}, one thread, of the memcpy limit", percent(share), 80, "%")


MORE_MEMORY = 1.15  # what "independent, and nearly so of workers" is taken to mean


def memory_target(figures: Figures, what: str, before: tuple[int, int], after: tuple[int, int]) -> Target:
    first, second = (figures.value(MEMORY_TITLE, memory_title(OURS, *which)) for which in (before, after))
    return Target(f"peak memory {what}", over(second, first), MORE_MEMORY, at_most=True)


def over(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None


def percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


if __name__ == "__main__":
    main()
