"""``Outbox`` and ``Inbox``: the two ends of a pipe that carries objects, of which the reading one never waits.

Who reads is not held up by a sender that is killed, stopped or hung in the middle of a message: what has come of it
stays in the inbox, and is thrown away with it. Objects go as they are: nothing in a message needs its sender any more.
"""

import contextlib
import io
import os
import pickle
import struct
from typing import Any

import torch

_LENGTH = struct.Struct("<Q")
_AT_ONCE = 65536  # bytes: what a pipe holds


def message_pipe() -> "tuple[Inbox, Outbox]":
    """Both ends of a new pipe.

    >>> inbox, outbox = message_pipe()
    >>> outbox.send("one"); outbox.send((2, "two"))
    >>> inbox.read(), inbox.read(), inbox.ended
    (['one', (2, 'two')], [], False)
    >>> outbox.close(); inbox.read(), inbox.ended
    ([], True)
    >>> inbox.close()
    """
    reading, writing = os.pipe()
    return Inbox(reading), Outbox(writing)


class Outbox:
    """The end that messages are sent from."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def send(self, message: Any) -> None:
        """Send an object; waits while the pipe is full. An object that cannot be pickled sends nothing."""
        data = io.BytesIO()
        data.write(bytes(_LENGTH.size))
        _Pickler(data, pickle.HIGHEST_PROTOCOL).dump(message)
        left = data.getbuffer()
        _LENGTH.pack_into(left, 0, len(left) - _LENGTH.size)
        while left:
            left = left[os.write(self._descriptor, left) :]

    def close(self) -> None:
        os.close(self._descriptor)


class _Pickler(pickle.Pickler):
    """Sends a tensor as an array: 30 microseconds both ways, where torch's own way takes 600."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is torch.Tensor:
            with contextlib.suppress(TypeError, RuntimeError):  # what NumPy does not know goes torch's way
                return torch.from_numpy, (value.numpy(),)
        return NotImplemented


class Inbox:
    """The end that messages come to."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._come = bytearray()  # of messages that are not whole yet
        self.ended = False  # whether nobody can send any more

    def fileno(self) -> int:
        return self._descriptor

    def read(self) -> list[Any]:
        """All messages that have come wholly; does not wait."""
        self._take_in()
        messages, start, head = [], 0, _LENGTH.size
        while len(self._come) >= start + head:
            stop = start + head + _LENGTH.unpack_from(self._come, start)[0]
            if len(self._come) < stop:
                break
            messages.append(pickle.loads(memoryview(self._come)[start + head : stop]))
            start = stop
        del self._come[:start]
        return messages

    def _take_in(self) -> None:
        while not self.ended:
            try:
                data = os.read(self._descriptor, _AT_ONCE)
            except BlockingIOError:
                return
            self.ended = not data
            self._come += data
            if len(data) < _AT_ONCE:  # the pipe was emptied
                return

    def close(self) -> None:
        os.close(self._descriptor)
