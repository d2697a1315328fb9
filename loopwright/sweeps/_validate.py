"""Checks the configurations of trials before one of them runs, in a process of its own: the names of models and optimizers
are torch's to know, and the sweep itself does without torch.

Run as ``python -m loopwright.sweeps._validate`` it reads what to check as JSON and writes what is wrong.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from .._config import Mistake
from .._errors import RunError
from .._yaml import Source, Tree

_MOST = 50  # configurations with mistakes that are looked at: the others have the same


class Verdict(NamedTuple):
    """What is wrong with the trials, and the whole configuration as it stands, defaults filled in; None if it is unsound."""

    mistakes: list[Mistake]
    base: dict[str, Any] | None


def validate(base: Tree, trials: Sequence[Tree], main_file: str) -> Verdict:
    """Check every trial's configuration as ``loopwright train`` would."""
    asked = {"main_file": main_file, "base": _packed(base), "trials": [_packed(tree) for tree in trials]}
    command = [sys.executable, "-m", "loopwright.sweeps._validate"]
    done = subprocess.run(command, input=json.dumps(asked, default=str), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RunError(f"the trials' settings could not be checked:\n{done.stderr.strip()}")
    answer = json.loads(done.stdout.splitlines()[-1])
    return Verdict([Mistake(Source(file, line), text) for file, line, text in answer["mistakes"]], answer["base"])


def _packed(tree: Tree) -> dict[str, Any]:
    places = [[list(keys), source.file, source.line] for keys, source in tree.sources.items()]
    return {"values": tree.values, "sources": places}


def _unpacked(packed: dict[str, Any]) -> Tree:
    return Tree(packed["values"], {tuple(keys): Source(file, line) for keys, file, line in packed["sources"]})


def _main() -> None:
    from .._config import checked, plain
    from ..recipes._tasks import settings_of

    asked = json.load(sys.stdin)
    schema = settings_of(asked["base"]["values"])
    base, _ = checked(_unpacked(asked["base"]), schema)
    mistakes: dict[Mistake, None] = {}
    unsound = 0
    for packed in asked["trials"]:
        wrong = checked(_unpacked(packed), schema, asked["main_file"])[1]
        mistakes |= dict.fromkeys(wrong)
        unsound += bool(wrong)
        if unsound >= _MOST:
            break
    found = [[one.source.file, one.source.line, one.text] for one in mistakes]
    resolved = None if base is None else plain(base)
    print("\n" + json.dumps({"mistakes": found, "base": resolved}, default=str))


if __name__ == "__main__":
    _main()
