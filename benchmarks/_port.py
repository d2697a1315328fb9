"""A port to meet at, which nobody else takes meanwhile."""

from __future__ import annotations

import contextlib
import random
import socket

PORTS = range(10_000, 30_000)  # below those that systems give to whoever does not care, such as the sockets of gloo


def free_port() -> int:
    """One of this machine that nobody listens on."""
    for port in random.SystemRandom().sample(PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError(f"no port from {PORTS.start} to {PORTS.stop} is free")
