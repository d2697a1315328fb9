"""How many processor cores this process may use. Knows nothing of what for."""

import os


def cores() -> int:
    """Those it is allowed to run on, where the system says so; else those of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
