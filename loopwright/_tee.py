"""Everything that Python prints, stdout and stderr, also into a file. Knows nothing about runs."""

import contextlib
import faulthandler
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from ._hung_up import without_terminal


class _Stream:
    """A text stream that also writes into the log, unless it leads there; everything else is the original stream's."""

    def __init__(self, original: TextIO | None, log: TextIO, before: Callable[[str], None]) -> None:
        self._is_log = _leads_to(original, log)
        self._original, self._log, self._before = original, log, before

    def write(self, text: str) -> int:
        self._before(text)
        if not self._log.closed and not self._is_log:
            with contextlib.suppress(OSError):  # a full disk is no reason to stop training
                self._log.write(text)
        if self._original is not None:
            with without_terminal(self._original):
                return self._original.write(text)
        return len(text)

    def flush(self) -> None:
        if self._original is not None:
            with without_terminal(self._original):
                self._original.flush()

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


def _leads_to(stream: TextIO | None, log: TextIO) -> bool:
    try:
        return stream is not None and os.path.samestat(os.fstat(stream.fileno()), os.fstat(log.fileno()))
    except (AttributeError, OSError, ValueError):  # no file of the system's
        return False


class Tee:
    """Copies ``sys.stdout`` and ``sys.stderr`` into a log file, line by line, until closed.

    Of a stream that is that very file already, as in the background, nothing is written twice.

    Args:
        path: the log; it is appended to.
        before: told of each text before it is printed, so that live lines can make room. They are drawn on the original
            stream and so stay out of the log.
        quiet: what goes to ``sys.stdout`` is not shown.
    """

    def __init__(self, path: Path, before: Callable[[str], None], *, quiet: bool = False) -> None:
        self._log = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 - closed by close()
        self._stdout, self._stderr = sys.stdout, sys.stderr
        self.has_errors = _leads_to(self._stderr, self._log)  # whether what Python says at its end gets there, too
        self._nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - closed by close()
        sys.stdout = _Stream(self._nowhere if quiet else self._stdout, self._log, before)  # type: ignore[assignment]
        sys.stderr = _Stream(self._stderr, self._log, before)  # type: ignore[assignment]
        self._faults = not faulthandler.is_enabled()
        if self._faults:  # a crash below Python leaves its traceback in the log
            faulthandler.enable(self._log)

    def note(self, text: str) -> None:
        """Write into the log only."""
        with contextlib.suppress(OSError):
            self._log.write(text if text.endswith("\n") else text + "\n")

    def close(self) -> None:
        if isinstance(sys.stdout, _Stream) and sys.stdout._log is self._log:
            sys.stdout = self._stdout
        if isinstance(sys.stderr, _Stream) and sys.stderr._log is self._log:
            sys.stderr = self._stderr
        if self._faults:
            faulthandler.disable()
        self._nowhere.close()
        with contextlib.suppress(OSError):
            self._log.close()
