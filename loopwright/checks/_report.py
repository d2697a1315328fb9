"""``CheckReport``: all verdicts, as text, JSON and a sheet of pictures. Checks nothing."""

import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .._files import replace_file
from .._sheet import picture_grid
from ._pictures import Seen
from ._verdict import OUTCOMES, Verdict

SHEET, JSON = "check.png", "check.json"


@dataclass(frozen=True)
class CheckReport:
    """What ``check`` found: a verdict for each thing that it looked at, in the order of a data's way to the loss.

    >>> report = CheckReport("a model", [Verdict("order", "passed", "a batch of 16 holds 8.1 classes")], [], 1.0)
    >>> report.ok, report["order"].outcome
    (True, 'passed')
    """

    title: str
    verdicts: list[Verdict]
    pictures: Sequence[Seen] = field(repr=False)  # as the network sees them
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return not self.failed

    @property
    def failed(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if verdict.outcome == "failed"]

    @property
    def warnings(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if verdict.outcome == "warning"]

    def __getitem__(self, name: str) -> Verdict:
        """The verdict of a name, such as ``"samples apart"``; ``KeyError`` with those that there are."""
        for verdict in self.verdicts:
            if verdict.name == name:
                return verdict
        raise KeyError(f"no verdict {name!r}; there are: {', '.join(v.name for v in self.verdicts)}")

    def text(self, width: int = 120) -> str:
        """One paragraph a verdict, what failed first."""
        counts = {outcome: sum(v.outcome == outcome for v in self.verdicts) for outcome in OUTCOMES}
        said = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
        lines = [f"check      {self.title}: {said} in {self.seconds:.0f} s", ""]
        ordered = sorted(self.verdicts, key=lambda verdict: OUTCOMES.index(verdict.outcome))
        return "\n".join([*lines, *(line for verdict in ordered for line in _lines(verdict, width))])

    def __str__(self) -> str:
        return self.text()

    def write(self, folder: str | Path) -> Path:
        """Write check.json, and check.png where there are pictures, into a folder, which is made; returns it."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        found = {
            "title": self.title, "ok": self.ok, "seconds": self.seconds,
            "verdicts": [verdict.as_json() for verdict in self.verdicts],
        }  # fmt: skip
        replace_file(folder / JSON, json.dumps(found, indent=2) + "\n")
        if self.pictures:
            captions = [seen.caption for seen in self.pictures]
            title = f"{self.title}: as the network sees them"
            picture_grid([seen.pixels for seen in self.pictures], captions, title=title, path=folder / SHEET)
        return folder


def _lines(verdict: Verdict, width: int) -> list[str]:
    mark = {"could not look": "not seen"}.get(verdict.outcome, verdict.outcome)
    head = f"{mark:<9}{verdict.name:<19}"
    lines = textwrap.wrap(head + verdict.evidence, width, subsequent_indent=" " * 28, drop_whitespace=True)
    if verdict.todo:
        lines += textwrap.wrap(f"{'':<22}do:   {verdict.todo}", width, subsequent_indent=" " * 28)
    return lines
