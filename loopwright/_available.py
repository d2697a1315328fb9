"""How much memory this machine, or the container that this process is in, would still give. Knows nothing of devices."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_V2 = ("memory.max", "memory.current", "inactive_file")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def available_memory(root: str | Path = "/") -> int | None:
    """Bytes that can be taken before the system kills a process for it; None where the system does not say (not Linux).

    The least of what the machine has and what each control group above this process (a container, a cluster's job) is
    allowed. Files in the page cache count as free: the system drops them first.

    Args:
        root: where the system's ``proc`` and ``sys`` are.
    """
    rooms = [*_machine(Path(root)), *_groups(Path(root))]
    return max(0, min(rooms)) if rooms else None


def _machine(root: Path) -> Iterator[int]:
    for name, value in _fields(root / "proc/meminfo"):
        if name == "MemAvailable:":
            yield value * 1024


def _groups(root: Path) -> Iterator[int]:
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            yield from _above(root / "sys/fs/cgroup", path, _V2)
        elif "memory" in controllers.split(","):
            yield from _above(root / "sys/fs/cgroup/memory", path, _V1)


def _above(base: Path, path: str, names: tuple[str, str, str]) -> Iterator[int]:
    """The room in a group and in all above it; in a container the path may lead outside, and only the base is there."""
    inside = PurePosixPath(path.lstrip("/"))
    for group in {base / inside, *(base / parent for parent in inside.parents), base}:
        limit, used = _text(group / names[0]).strip(), _text(group / names[1]).strip()
        if limit.isdecimal() and used.isdecimal():
            files = dict(_fields(group / "memory.stat")).get(names[2], 0)
            yield int(limit) - int(used) + files


def _fields(path: Path) -> Iterator[tuple[str, int]]:
    for line in _text(path).splitlines():
        words = line.split()
        if len(words) >= 2 and words[1].isdecimal():
            yield words[0], int(words[1])


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
