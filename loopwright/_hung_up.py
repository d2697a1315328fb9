"""``without_terminal``: writing goes on where the terminal is gone, to nowhere. Knows nothing of what is written."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def without_terminal(stream: Any) -> Iterator[None]:
    """Where the stream's terminal was closed, and this process ignored that, all that it writes is dropped from now on."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO or not _is_device(stream):
            raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # what the stream still holds goes there, too
        os.close(nowhere)


def _is_device(stream: Any) -> bool:
    """A terminal that is gone is still a device, and nobody's terminal."""
    try:
        return stat.S_ISCHR(os.fstat(stream.fileno()).st_mode)
    except (AttributeError, OSError, ValueError):  # no file of the system's
        return False
