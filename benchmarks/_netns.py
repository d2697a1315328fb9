"""Two machines on one: network namespaces joined by a cable (veth). Each sees its own interface and the other's address.

Needs root and `ip` (Debian: iproute2); what runs inside needs neither.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """A namespace: its name, its network interface and its address."""

    name: str
    interface: str
    address: str

    def command(self, command: Sequence[str]) -> list[str]:
        """The command that runs another one inside."""
        return ["ip", "netns", "exec", self.name, *command]

    def processes(self) -> list[int]:
        """Those that run inside."""
        return [int(pid) for pid in _ip("netns", "pids", self.name).stdout.split()]


def why_not() -> str | None:
    """Why there can be no such machines here; None where they can be made."""
    if shutil.which("ip") is None:
        return "there is no 'ip': apt-get install iproute2"
    probe = f"lw-probe-{os.getpid()}"
    made = _ip("netns", "add", probe)
    if made.returncode:
        return f"network namespaces cannot be made, which needs root: {made.stderr.strip()}"
    cable = _ip("-n", probe, "link", "add", "lwp0", "type", "veth", "peer", "name", "lwp1")
    _ip("netns", "delete", probe)
    return f"no cable between namespaces: {cable.stderr.strip()}" if cable.returncode else None


@contextlib.contextmanager
def two_machines() -> Iterator[list[Machine]]:
    """Two namespaces with a cable between them, which are gone afterwards."""
    tag = os.getpid()
    machines = [Machine(f"lw-{tag}-{n}", f"lw{n}", f"10.77.0.{n + 1}") for n in range(2)]
    one, other = machines
    try:
        for machine in machines:
            _must("netns", "add", machine.name)
        _must(
            "-n", one.name, "link", "add", one.interface, "type", "veth",
            "peer", "name", other.interface, "netns", other.name,
        )  # fmt: skip
        for machine in machines:
            _must("-n", machine.name, "address", "add", f"{machine.address}/24", "dev", machine.interface)
            for interface in ("lo", machine.interface):
                _must("-n", machine.name, "link", "set", interface, "up")
        yield machines
    finally:
        for machine in machines:
            _ip("netns", "delete", machine.name)


def _ip(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *words], text=True, capture_output=True, check=False)


def _must(*words: str) -> None:
    done = _ip(*words)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
