"""``report``: read, compare, write. The one function of this package that others call."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .._errors import MissingExtra, RunError
from .._files import json_text, make_folder, replace_file
from ._page import live_page, page
from ._picture_file import picture
from ._plot import png
from ._report import Mode, Question, Reader, Report, compare
from ._serve import ReportServer, repeat

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
HTML, SVG, PNG, JSON = "report.html", "report.svg", "report.png", "report.json"


def report(
    runs: Paths,
    out: str | os.PathLike[str] | None = None,
    *,
    metric: str | None = None,
    mode: Mode | None = None,
    pick: str = "last",
    by: Sequence[str] = (),
) -> Report:
    """Compare runs, and say what they show.

    Runs that differ in their seed only are one group. The groups are ranked by the mean of what their runs ended with, and
    compared by Welch's t, with intervals that hold for all pairs together. What did not finish is listed and not counted.

    Args:
        runs: folders of runs, or folders that hold some at any depth, such as a sweep's.
        out: a folder for report.html, report.svg, report.json and, with the extra ``plots``, report.png; without it nothing
            is written.
        metric: what to judge by, such as ``"val/top1"``; by default what the runs keep their best by, else the first
            evaluation metric whose name says whether more is better.
        mode: ``"max"`` or ``"min"``; by default as the name of the metric says.
        pick: ``"last"``, the value that a run ended with, or ``"best"``, which flatters a run that was measured often.
        by: settings to group by, such as ``["optimizer.lr"]``; by default all that differ.

    Returns:
        A ``Report``; printed, it is the headline, a table, and the runs that did not finish.

    Raises:
        RunError: a folder is not there, or there is no run below any.
        ConfigError: no run has the metric or the setting.

    >>> import json, tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for lr, seed, value in [(0.1, 1, 0.5), (0.1, 2, 0.52), (0.3, 1, 0.7), (0.3, 2, 0.71)]:
    ...     run = folder / f"lr{lr}-{seed}"
    ...     run.mkdir()
    ...     _ = (run / "run.json").write_text(json.dumps({"state": "finished", "seed": seed}))
    ...     _ = (run / "config.yaml").write_text(f"lr: {lr}\\nseed: {seed}\\n")
    ...     line = {"kind": "evaluation", "step": 9, "epoch": 0, "val/top1": value}
    ...     _ = (run / "metrics.jsonl").write_text(json.dumps(line) + "\\n")
    >>> report(folder).headline
    'Best with lr 0.3: val/top1 70.5 %, 19.5 points above lr 0.1'
    """
    question = Question(metric, mode, pick, tuple(by))
    found = _compared(Reader(), _listed(runs), question)
    return found if out is None else write(found, Path(out))


def watch(
    runs: Paths,
    out: str | os.PathLike[str] | None,
    question: Question,
    *,
    port: int = 0,
    every: float = 2.0,
    say: Any = print,
) -> None:
    """Serve the report to this machine and make it anew as the runs go on, until Ctrl-C."""
    reader, given = Reader(), _listed(runs)
    first = compare(*reader.read(given), question)  # a mistake is said before anything is served
    try:
        server = ReportServer(port)
    except (OSError, OverflowError) as error:
        raise RunError(f"cannot serve on port {port} ({error}): give --port another number") from None
    shown: Any = None

    def show(found: Report) -> None:
        nonlocal shown
        shown = reader.mark
        server.show(*live_page(found))
        if out is not None:
            write(found, Path(out))

    def make() -> bool:
        try:
            read = reader.read(given)
            if reader.mark == shown:
                return False
            found = compare(*read, question)
        except (
            RunError,
            ValueError,
            OSError,
        ) as error:  # of a folder that is being changed: the next look may find it whole
            say(f"warning    not refreshed: {error}")
            return False
        show(found)
        return True

    try:
        show(first)
        say(f"{first.headline}\nserving    {server.url}  (this machine only; Ctrl-C ends it)")
        repeat(make, every)
    except KeyboardInterrupt:
        say("")
    finally:
        server.close()


def write(found: Report, out: Path) -> Report:
    """Write the files of a report into a folder; the same report with their paths."""
    try:
        make_folder(out)
        files = {"html": out / HTML, "svg": out / SVG, "json": out / JSON}
        replace_file(files["html"], page(found), sync=False)
        replace_file(files["svg"], picture(found), sync=False)
        replace_file(files["json"], json_text(as_json(found)), sync=False)
        with contextlib.suppress(MissingExtra):
            replace_file(out / PNG, png(found), sync=False)
            files["png"] = out / PNG
    except OSError as error:
        raise RunError(
            f"cannot write the report into {out}: {error.strerror}. Give another folder with --out"
        ) from None
    return replace(found, files=files)


def as_json(found: Report) -> dict[str, Any]:
    """Plain values of what the report says, for programs."""
    return {
        "headline": found.headline,
        "kind": found.finding.kind,
        "deck": list(found.finding.deck),
        "metric": found.metric,
        "mode": found.mode,
        "pick": found.pick,
        "groups": [
            {
                "label": list(group.label),
                "runs": [one.name for one in group.runs],
                "counted": [one.name for one in group.counted],
                "values": list(group.values),
                "mean": group.interval.value if group.interval else None,
                "interval": [group.interval.low, group.interval.high] if group.interval else None,
            }
            for group in found.groups
        ],
        "comparisons": [
            {
                "leader": list(found.finding.leader.label) if found.finding.leader else None,
                "other": list(one.other.label),
                "difference": one.difference.value,
                "interval": [one.difference.low, one.difference.high],
                "clear": one.is_clear,
            }
            for one in found.finding.comparisons
        ],
        "runs": [
            {"name": one.name, "folder": str(one.folder), "state": one.state, "reason": one.reason, "seed": one.seed}
            for one in found.runs
        ],
    }


def _compared(reader: Reader, given: Sequence[str | os.PathLike[str]], question: Question) -> Report:
    runs, sweeps = reader.read(given)
    if not runs:
        raise RunError(
            f"no run is below {', '.join(map(str, given))}: a run is a folder with run.json or metrics.jsonl"
        )
    return compare(runs, sweeps, question)


def _listed(runs: Paths) -> list[str | os.PathLike[str]]:
    return [runs] if isinstance(runs, str | os.PathLike) else list(runs)
