"""What git knows about the code that runs: commit, branch, changes. Only reads; knows nothing about runs."""

import subprocess
from pathlib import Path
from typing import Any


def _git(folder: Path, *arguments: str) -> str | None:
    """A command's output, or None where git, the repository or the answer is missing."""
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            cwd=folder, capture_output=True, timeout=20, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace")


def describe_code(folder: Path) -> dict[str, Any]:
    """Commit, branch and uncommitted changes of the repository around a folder; says so where there is none."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "note": "not in a git repository with a commit: the code of this run is not recorded"}
    status = (_git(folder, "status", "--porcelain", "--untracked-files=normal") or "").splitlines()
    return {
        "commit": commit.strip(),
        "branch": (_git(folder, "rev-parse", "--abbrev-ref", "HEAD") or "").strip(),
        "repository": (_git(folder, "rev-parse", "--show-toplevel") or "").strip(),
        "dirty": any(not line.startswith("??") for line in status),
        "untracked": [line[3:] for line in status if line.startswith("??")][:200],
    }


def changes(folder: Path) -> str:
    """The uncommitted changes of tracked files as a patch; empty where there are none."""
    return _git(folder, "diff", "HEAD", "--binary") or ""
