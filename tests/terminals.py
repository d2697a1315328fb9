"""A command in a pseudo-terminal of its own, for tests: what is typed there reaches it, and the terminal can go away."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence

# opened by the leader of a new session, a terminal becomes that session's: Ctrl-C and hang-ups are the kernel's
_IN_TERMINAL = 'exec 0<>"$1" 1>&0 2>&0; shift; exec "$@"'


class Terminal:
    """A command that runs in a terminal of 100 columns."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, columns: int = 100
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        with _signals_heard():
            self.process = subprocess.Popen(
                ["sh", "-c", _IN_TERMINAL, "sh", os.ttyname(slave), *command],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "TERM": "xterm-256color", **(environment or {})},
                start_new_session=True,
            )
        os.close(slave)
        self.shown = ""

    def wait_for(self, pattern: str, seconds: float = 60.0) -> str:
        """Read until the pattern was shown; all that was."""
        given_up = time.monotonic() + seconds
        while not re.search(pattern, self.shown):
            assert time.monotonic() < given_up, f"{pattern!r} was not shown:\n{self.shown}"
            if not self._read(0.1) and self.process.poll() is not None and not self._read(0):
                assert re.search(pattern, self.shown), f"it ended without showing {pattern!r}:\n{self.shown}"
        return self.shown

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def end(self, seconds: float = 60.0) -> int:
        """Read to the end of the command; its exit code."""
        given_up = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < given_up, f"it did not end:\n{self.shown}"
            self._read(0.05)
        while self._read(0):
            pass
        os.close(self._master)
        return self.process.returncode

    def close(self) -> int:
        """The terminal goes away, as when its window is closed; how the command took that."""
        os.close(self._master)
        return self.process.wait(30)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # nobody has it open any more
            time.sleep(seconds)
            return False
        self.shown += data.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(data)


@contextlib.contextmanager
def _signals_heard() -> Iterator[None]:
    """What is started in it does not inherit that hang-ups are ignored, as under nohup, or Ctrl-C, as in the background: a
    handler does not outlive an exec."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGHUP, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def loopwright(*arguments: str) -> list[str]:
    """The command line of this checkout."""
    return [sys.executable, "-m", "loopwright", *arguments]
