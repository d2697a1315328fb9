"""git, asked so that it changes nothing of its own accord: no hooks, no clean-up, no index refreshed. Knows no runs."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

_QUIETLY = [
    "--no-optional-locks", "--literal-pathspecs",
    "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.splitIndex=false", "-c", "gc.auto=0",
    "-c", "maintenance.auto=false", "-c", "core.logAllRefUpdates=false", "-c", "core.safecrlf=false",
    "-c", "core.looseCompression=1", "-c", "core.quotePath=false", "-c", "commit.gpgSign=false",
]  # fmt: skip
_OF_OTHERS = (  # what a hook or an alias of git that we were started by has set: it may be of another repository
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NAMESPACE", "GIT_CEILING_DIRECTORIES",
)  # fmt: skip
SECONDS = 20.0


class GitError(Exception):
    """git is missing, refused or took too long; the message is its own last line."""


def git(
    folder: Path,
    *arguments: str,
    given: bytes = b"",
    variables: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
) -> str:
    """What a command of git prints, run in a folder; odd bytes of names come as ``os.fsdecode`` has them.

    >>> git(Path("/"), "--version").startswith("git version")
    True
    """
    environment = {name: value for name, value in os.environ.items() if name not in _OF_OTHERS}
    environment |= {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", **(variables or {})}
    try:
        done = subprocess.run(
            ["git", *_QUIETLY, *arguments], cwd=folder, env=environment, input=given, capture_output=True,
            timeout=seconds, check=True,
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        said = os.fsdecode(error.stderr).strip().splitlines()
        raise GitError(said[-1] if said else f"git {arguments[0]} ended with {error.returncode}") from None
    except subprocess.TimeoutExpired:
        raise GitError(f"git {arguments[0]} took more than {seconds:g} seconds") from None
    except OSError as error:
        raise GitError(f"git cannot be started: {error.strerror}") from None
    return os.fsdecode(done.stdout)


def ask_git(folder: Path, *arguments: str) -> str | None:
    """As ``git``, of what may not be there: None; without the end of the line."""
    try:
        return git(folder, *arguments).removesuffix("\n")
    except GitError:
        return None
