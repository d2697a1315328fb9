"""``TrialProcess``: one trial as a process of its own: what it is called with, how it is told to leave, how it ended."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .._errors import RunError
from .._record import RUN, read_run
from . import _launch
from ._text import flat, setting_text

_STOPPED = (130, 138, 143)  # Ctrl-C, SIGUSR1, SIGTERM: the run saved and left
_END = 4096  # bytes of the output in which the last line is looked for


class TrialProcess:
    """A started command; its output is added to a file.

    It is in a process group of its own, so that Ctrl-C in a terminal reaches the sweep alone, which tells it once.
    """

    def __init__(self, command: Sequence[str], output: Path, environment: Mapping[str, str]) -> None:
        launch = [sys.executable, "-I", "-S", str(_launch.__file__), str(os.getpid())]
        with open(output, "ab") as file:
            self._began_at = file.tell()
            self._process = subprocess.Popen(
                [*launch, *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=dict(environment),
                process_group=0,
            )
        self._output = output
        self.asked = False  # to leave

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._process.poll()

    def ask_to_leave(self) -> None:
        """Have it save and leave; once, for the second time would not wait for the save."""
        if not self.asked:
            self.asked = True
            self._signal(signal.SIGTERM)

    def end(self, seconds: float = 10.0) -> None:
        """Have it leave at once; what it did after its last checkpoint is lost."""
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def stopped(self) -> bool:
        """Whether it left because it was told to, by us or somebody else."""
        code = self._process.returncode
        return code in _STOPPED or code in (-signal.SIGTERM, -signal.SIGINT)

    def reason(self, folder: Path) -> str:
        """Why it failed: as its run says, else the last line that it printed, else the signal that ended it."""
        code = self._process.returncode
        if code < 0:
            memory = ": the system may have been out of memory" if code == -signal.SIGKILL else ""
            return f"killed by {signal.Signals(-code).name}{memory}"
        with contextlib.suppress(RunError):
            info = read_run(folder) if (folder / RUN).exists() else {}
            if info.get("state") == "failed" and info.get("reason"):
                return " ".join(str(info["reason"]).split())
        return self._last_line() or f"exit code {code}"

    def _last_line(self) -> str:
        with open(self._output, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._began_at, size - _END))
            lines = file.read().decode("utf-8", "replace").split("\n")
        errors = [line for line in lines if line.startswith("error: ")]
        printed = errors or [line.strip() for line in lines if line.strip()]
        return printed[-1].removeprefix("error: ") if printed else ""

    def _signal(self, number: int) -> None:
        if self._process.poll() is None:
            self._process.send_signal(number)


def trial_command(
    command: Sequence[str] | None, folder: Path, config_file: Path, config: Mapping[str, Any]
) -> list[str]:
    """What a trial is started with.

    Without a command of the user's it is ``loopwright train``. His gets ``run=FOLDER`` and every setting as ``key=value``,
    or, where its words have places such as ``{optimizer.lr}``, ``{run}`` and ``{config}`` (a YAML file), those filled in.
    ``python`` is the one that runs the sweep.
    """
    if command is None:
        return [sys.executable, "-m", "loopwright", "train", str(config_file), f"run={folder}"]
    words = [sys.executable if index == 0 and word == "python" else word for index, word in enumerate(command)]
    texts = {key: setting_text(key, value) for key, value in flat(config)}
    places = {key: text.partition("=")[2] for key, text in texts.items()} | {
        "run": str(folder),
        "config": str(config_file),
    }
    filled = [_filled(word, places) for word in words]
    return filled if filled != words else [*words, f"run={folder}", *texts.values()]


def _filled(word: str, places: Mapping[str, str]) -> str:
    for key, text in places.items():
        word = word.replace(f"{{{key}}}", text)
    return word
