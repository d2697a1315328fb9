"""``CodeCopy``: the code of a commit in a temporary folder, as a worktree of its repository. Starts nothing.

Each is a folder of its own, so several may be there at once. What git does not keep (data, outputs) is linked from the
user's folder where that is asked for.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ._errors import RunError
from ._git import GitError, ask_git, git

_NOT_LINKED = {".git", "__pycache__", ".pytest_cache", ".ruff_cache"}


class CodeCopy:
    """A commit, checked out beside the repository until the end of the ``with``.

    Args:
        root: of the repository.
        commit: a commit, branch, tag or snapshot.
        patch: applied on top of it.
        link: also what the repository does not keep: its ignored files and folders, and those named here.
        keep: leave the folder there.

    Raises:
        RunError: there is no such commit, or no place for its files.
    """

    def __init__(
        self,
        root: Path,
        commit: str,
        *,
        patch: Path | None = None,
        link: Iterable[str] | None = None,
        keep: bool = False,
    ) -> None:
        self.root, self.keep = root, keep
        self.commit = _resolved(root, commit)
        self._patch, self._link = patch, link
        self.folder = Path()  # the copy's root, inside the ``with``
        self._trees: list[tuple[Path, Path]] = []  # repository, worktree: the outer ones first
        self._links: list[Path] = []

    def __enter__(self) -> "CodeCopy":
        self._above = Path(tempfile.mkdtemp(prefix="loopwright-"))
        self.folder = self._above / (self.root.name or "root")  # programs may look at its name
        try:
            self._check_out(self.root, self.commit, self.folder)
            if self._patch is not None:
                git(self.folder, "apply", "--binary", "--whitespace=nowarn", str(self._patch.absolute()))
            if self._link is not None:
                self._link_rest(self.root, self.folder, self._link)
        except GitError as error:
            self._remove()
            raise RunError(f"{self.root}: the code of {self.commit[:12]} cannot be checked out: {error}") from None
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self.keep:
            self._remove()

    def _check_out(self, root: Path, commit: str, folder: Path) -> None:
        git(root, "worktree", "add", "--detach", "--force", str(folder), commit, seconds=600.0)
        self._trees.append((root, folder))
        for path, inner in _submodules(folder).items():
            if (root / path / ".git").exists():
                self._check_out(root / path, inner, folder / path)

    def _link_rest(self, root: Path, folder: Path, more: Iterable[str]) -> None:
        listing = git(root, "ls-files", "--others", "--ignored", "--exclude-standard", "--directory", "-z")
        for name in dict.fromkeys(name.rstrip("/") for name in [*listing.split("\0"), *more]):
            old, new = root / name, folder / name
            is_fit = name and not _NOT_LINKED & set(Path(name).parts) and not name.endswith(".pyc")
            if is_fit and old.exists() and not os.path.lexists(new):
                new.parent.mkdir(parents=True, exist_ok=True)
                new.symlink_to(old)
                self._links.append(new)
        for inner_root, inner in [(r, f) for r, f in self._trees if f != folder and f.is_relative_to(folder)]:
            if folder == self.folder:
                self._link_rest(inner_root, inner, ())

    def _remove(self) -> None:
        """What is linked is never followed."""
        for link in self._links:
            with contextlib.suppress(OSError):
                link.unlink()
        for root, folder in reversed(self._trees):
            ask_git(root, "worktree", "remove", "--force", "--force", str(folder))
        shutil.rmtree(self._above, ignore_errors=True)


def repository_of(folder: Path) -> Path:
    """The root of the repository around a folder.

    Raises:
        RunError: there is none.
    """
    try:
        return Path(git(folder, "rev-parse", "--show-toplevel").removesuffix("\n"))
    except GitError as error:
        raise RunError(f"{folder} is in no git repository that can be used: {error}") from None


def environment_for(
    copy: CodeCopy, folder: Path, import_paths: Iterable[str], old: Mapping[str, str]
) -> dict[str, str]:
    """Variables with which Python takes the repository's modules from the copy.

    Args:
        folder: in the copy; where the program would find its own modules.
        import_paths: further ones, from the repository's root.
    """
    root = os.path.realpath(copy.root)
    places = [str(folder), *(os.path.normpath(copy.folder / path) for path in import_paths)]
    for entry in filter(None, old.get("PYTHONPATH", "").split(os.pathsep)):
        real = os.path.realpath(entry)
        inside = real == root or real.startswith(root + os.sep)
        places.append(os.path.normpath(copy.folder / os.path.relpath(real, root)) if inside else entry)
    return {"PYTHONPATH": os.pathsep.join(dict.fromkeys(places))}


def snapshot_of(environment: Mapping[str, Any]) -> str | None:
    """The snapshot of the code that an environment.json names; its commit where there is none."""
    code = environment.get("code")
    found = (code.get("snapshot") or code.get("commit")) if isinstance(code, dict) else None
    return found if isinstance(found, str) else None


def _resolved(root: Path, commit: str) -> str:
    found = ask_git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
    if found is None:
        shallow = ask_git(root, "rev-parse", "--is-shallow-repository") == "true"
        hint = " (it is a shallow clone: git fetch --unshallow brings the rest)" if shallow else ""
        raise RunError(f"{root} has no commit {commit!r}{hint}: give a commit, branch, tag, or the folder of a run")
    return found


def _submodules(folder: Path) -> dict[str, str]:
    """The commit of each submodule that the checked-out commit names, by its path."""
    if not (folder / ".gitmodules").exists():
        return {}
    entries = (line.partition("\t") for line in git(folder, "ls-files", "--stage", "-z").split("\0"))
    return {path: facts.split(" ")[1] for facts, _, path in entries if facts.startswith("160000")}
