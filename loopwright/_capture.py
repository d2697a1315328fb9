"""``capture_code``: the code of a folder as it is now, also what is not committed, kept where git does not lose it.

The snapshot is a commit of its own, made beside the user's branch, index and files, which stay as they are, and kept by a
hidden reference. It is a pure function of the code: two runs of the same code have the same snapshot. Knows no run.
"""

import contextlib
import os
import re
import shutil
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ._git import GitError, ask_git, git

REFERENCES = "refs/loopwright"
SWITCH = "LOOPWRIGHT_SNAPSHOT"  # "off": nothing is written into the repository
MOST_BYTES, MOST_ONE, MOST_FILES = 64 << 20, 8 << 20, 2000  # of what is not committed, in a snapshot
MOST_PATCH = 16 << 20
MOST_NAMED = 200
_LISTING_SECONDS = 2.0  # for the new files of folders that are new altogether
_SIGNS_OF_A_RUN = {"run.json", "metrics.jsonl"}
_AUTHOR = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "loopwright"), ("EMAIL", "loopwright@localhost"))
}


@dataclass(frozen=True)
class Captured:
    """What is known of the code."""

    facts: dict[str, Any]  # plain values, for environment.json
    patch: str = ""  # from the commit to the snapshot


@dataclass(frozen=True)
class _Status:
    """What ``git status`` says."""

    commit: str | None
    branch: str | None
    changed: list[str]  # tracked files
    submodules: list[str]  # that are not as committed
    new: list[str]  # files, and folders (with a slash) in which all is new


@dataclass
class _Choice:
    """What goes into the snapshot, and what does not."""

    taken: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)  # file or folder: why


def capture_code(folder: Path, name: str | None, *, own: Path | None = None) -> Captured:
    """Commit, branch and changes of the repository around a folder, and a snapshot of it all.

    Args:
        folder: where the program runs.
        name: of the snapshot's reference; without one ("") git will lose it again, None makes no snapshot.
        own: a folder whose content is no code: the run's.
    """
    try:
        root = Path(git(folder, "rev-parse", "--show-toplevel").removesuffix("\n"))
        status = _status(root)
    except GitError as error:
        return Captured({"commit": None, "note": f"the code of this run is not recorded: {error}"})
    facts: dict[str, Any] = {
        "commit": status.commit,
        "branch": status.branch,
        "repository": str(root),
        "folder": os.path.relpath(os.path.realpath(folder), os.path.realpath(root)),
        "remote": _without_password(ask_git(root, "config", "--get", "remote.origin.url")),
        "import_paths": _import_paths(root),
    }
    choice = _choose(root, status, own)
    new = set(choice.taken) - set(status.changed)
    facts |= {
        "dirty": bool(status.changed or status.submodules),
        "changed": [*status.changed, *status.submodules][:MOST_NAMED],
        "untracked": sorted(new)[:MOST_NAMED],
        "left_out": dict(sorted(choice.left_out.items())[:MOST_NAMED]),
    }
    if name is None or os.environ.get(SWITCH, "").lower() in ("off", "0", "no"):
        return Captured(facts | {"snapshot": None}, _patch(root, status))
    return _snapshot(root, status, choice, name, facts)


def changed_lines(root: Path, old: str, new: str) -> list[str]:
    """Which files differ between two commits, each with the first line that does.

    Raises ``GitError`` where a commit is not there.
    """
    text = git(root, "diff", "--no-color", "--no-ext-diff", "--no-renames", "--unified=0", old, new)
    found: list[str] = []
    for part in re.split(r"^diff --git ", text, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        names = [line[6:] for line in lines if line.startswith(("--- a/", "+++ b/"))]
        file = names[-1].rstrip("\t") if names else lines[0].partition(" b/")[2]
        begin = next((number for number, line in enumerate(lines) if line.startswith("@@")), len(lines))
        was, now = (next((line[1:].strip() for line in lines[begin:] if line.startswith(sign)), "") for sign in "-+")
        place = re.match(r"@@ -\S+ \+(\d+)", lines[begin]) if begin < len(lines) else None
        if "new file mode" in part or "deleted file mode" in part:
            found.append(f"{file}: {'is new' if 'new file mode' in part else 'is gone'}")
        else:
            found.append(f"{file}, line {place[1]}: {_apart(was, now)}" if place else f"{file}: other bytes")
    return found


def _apart(was: str, now: str, most: int = 50) -> str:
    """Two lines, cut to where they begin to differ.

    >>> _apart("lr = 0.1", "lr = 0.2")
    "'lr = 0.1' -> 'lr = 0.2'"
    """
    pairs = enumerate(zip(was, now, strict=False))
    same = next((place for place, (a, b) in pairs if a != b), min(len(was), len(now)))
    begin = max(0, same - most // 2) if max(len(was), len(now)) > most else 0
    shown = (f"{'...' * (begin > 0)}{t[begin : begin + most]}{'...' * (len(t) > begin + most)}" for t in (was, now))
    return " -> ".join(map(repr, shown))


# ---- what there is -----------------------------------------------------------------------------------------------------


def _status(root: Path) -> _Status:
    text = git(
        root, "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=normal", "--ignore-submodules=none",
        "--no-renames",
    )  # fmt: skip
    found = _Status(None, None, [], [], [])
    heads = {}
    for entry in text.split("\0"):
        kind, _, rest = entry.partition(" ")
        if kind == "#":
            key, _, value = rest.partition(" ")
            heads[key] = None if value.startswith("(") else value
        elif kind == "?":
            found.new.append(rest)
        elif kind in ("1", "u"):
            fields = rest.split(" ", 7 if kind == "1" else 9)
            (found.submodules if fields[1].startswith("S") else found.changed).append(fields[-1])
    return _Status(heads.get("branch.oid"), heads.get("branch.head"), found.changed, found.submodules, found.new)


def _import_paths(root: Path) -> list[str]:
    """Where Python looks for this repository's modules, from its root."""
    installed = {os.path.realpath(sysconfig.get_path(kind)) for kind in ("purelib", "platlib", "stdlib", "platstdlib")}
    top, found = os.path.realpath(root), []
    for path in dict.fromkeys(os.path.realpath(entry or os.getcwd()) for entry in sys.path):
        within = path == top or path.startswith(top + os.sep)
        if within and path not in installed and "site-packages" not in path and os.path.isdir(path):
            found.append(os.path.relpath(path, top))
    return found


def _without_password(url: str | None) -> str | None:
    return None if url is None else re.sub(r"//[^/@]*@", "//", url)


# ---- what is taken -----------------------------------------------------------------------------------------------------


def _choose(root: Path, status: _Status, own: Path | None) -> _Choice:
    """Small folders and files first, up to the bounds; runs are no code, nor are other repositories that lie in this one."""
    choice = _Choice()
    candidates = [*status.changed, *_without_runs(_new_files(root, status.new, choice), root, own, choice)]
    folders = Counter(os.path.dirname(name) for name in candidates)
    room, sized = MOST_FILES, []
    crowded = set()
    for folder, count in sorted(folders.items(), key=lambda item: (item[1], item[0])):
        room -= count
        if room < 0:
            crowded.add(folder)
            choice.left_out[f"{folder or '.'}/"] = f"{count} files, where {MOST_FILES} in all are taken"
    for name in candidates:
        if os.path.dirname(name) not in crowded:
            size = _size(root / name)
            if size is None:
                choice.left_out[name] = "cannot be read"
            else:
                sized.append((size, name))
    total = 0
    for size, name in sorted(sized):
        total += size
        if size > MOST_ONE or total > MOST_BYTES:
            choice.left_out[name] = f"{size:,} bytes"
        else:
            choice.taken.append(name)
    return choice


def _new_files(root: Path, new: list[str], choice: _Choice) -> list[str]:
    files = [name for name in new if not name.endswith("/")]
    folders = [name for name in new if name.endswith("/")]
    if not folders:
        return files
    try:
        listing = git(
            root, "ls-files", "--others", "--exclude-standard", "-z", "--", *folders, seconds=_LISTING_SECONDS
        )
    except GitError as error:
        choice.left_out.update(dict.fromkeys(folders, f"not listed: {error}"))
        return files
    for name in filter(None, listing.split("\0")):
        if name.endswith("/"):
            choice.left_out[name] = "a repository of its own"
        else:
            files.append(name)
    return files


def _without_runs(files: list[str], root: Path, own: Path | None, choice: _Choice) -> Iterator[str]:
    """What is not in a run's folder."""
    names: dict[str, set[str]] = {}
    for file in files:
        folder, _, name = file.rpartition("/")
        if name in _SIGNS_OF_A_RUN:
            names.setdefault(folder, set()).add(name)
    runs = {folder for folder, found in names.items() if folder and found == _SIGNS_OF_A_RUN}
    if own is not None:
        inside = os.path.relpath(os.path.realpath(own), os.path.realpath(root))
        runs |= set() if inside.startswith("..") or inside == "." else {inside}
    for file in files:
        run = next((above for above in _above(file) if above in runs), None)
        if run is None:
            yield file
        else:
            choice.left_out[f"{run}/"] = "a run"


def _above(file: str) -> Iterator[str]:
    place = file.find("/")
    while place >= 0:
        yield file[:place]
        place = file.find("/", place + 1)


def _size(path: Path) -> int | None:
    """Of a file or link; 0 of one that is gone, which the snapshot shall know; None where it cannot be read."""
    try:
        size = os.lstat(path).st_size
    except FileNotFoundError:
        return 0
    except OSError:
        return None
    return size if path.is_symlink() or os.access(path, os.R_OK) else None


# ---- the snapshot ------------------------------------------------------------------------------------------------------


def _snapshot(root: Path, status: _Status, choice: _Choice, name: str, facts: dict[str, Any]) -> Captured:
    reference = f"{REFERENCES}/{name}"
    with tempfile.TemporaryDirectory(prefix="loopwright-") as aside:
        index = {"GIT_INDEX_FILE": os.path.join(aside, "index")}
        try:
            modules = _capture_submodules(root, status.submodules, name)
            tree = _tree(root, status, choice.taken, modules, index)
            snapshot = _commit(root, status.commit, tree)
            made = {"snapshot": snapshot, "reference": reference if name else None}
            if name:
                git(root, "update-ref", reference, snapshot)
        except GitError as error:
            return _patch_alone(root, status, choice, facts, Path(aside), error)
        patch = "" if snapshot == status.commit else _patch(root, status, snapshot)
    made |= {"submodules": {path: captured.facts for path, captured in modules.items()}} if modules else {}
    return Captured(facts | made, patch)


def _capture_submodules(root: Path, paths: Iterable[str], name: str) -> dict[str, Captured]:
    """Each with a snapshot of its own, where its files are there."""
    there = [path for path in paths if (root / path / ".git").exists()]
    return {path: capture_code(root / path, name) for path in there}


def _tree(
    root: Path, status: _Status, files: list[str], modules: Mapping[str, Captured], variables: dict[str, str]
) -> str:
    """The tree of the folder as it is: made in an index of its own, which begins as a copy of the user's."""
    place = Path(git(root, "rev-parse", "--absolute-git-dir").removesuffix("\n"), "index")
    with contextlib.suppress(FileNotFoundError):
        shutil.copy2(place, variables["GIT_INDEX_FILE"])  # with its time: files younger than that are read again
    if files:
        given = b"".join(os.fsencode(file) + b"\0" for file in files)
        git(root, "update-index", "-z", "--add", "--remove", "--replace", "--stdin", given=given, variables=variables)
    for path, captured in modules.items():
        commit = captured.facts.get("snapshot")
        if commit is not None:
            git(root, "update-index", "--add", "--cacheinfo", f"160000,{commit},{path}", variables=variables)
    return git(root, "write-tree", variables=variables).strip()


def _commit(root: Path, parent: str | None, tree: str) -> str:
    """The commit itself where nothing is changed; else one behind it, with its date."""
    date = "0 +0000"
    if parent is not None:
        same, date = git(root, "show", "-s", "--no-show-signature", "--format=%T%n%ct +0000", parent).split("\n")[:2]
        if same == tree:
            return parent
    dates = {"GIT_AUTHOR_DATE": f"@{date}", "GIT_COMMITTER_DATE": f"@{date}"}
    parents = [] if parent is None else ["-p", parent]
    message = "What a run of loopwright found in the folder"
    return git(root, "commit-tree", tree, *parents, "-m", message, variables=_AUTHOR | dates).strip()


def _patch_alone(
    root: Path, status: _Status, choice: _Choice, facts: dict[str, Any], aside: Path, error: GitError
) -> Captured:
    """Where the repository takes nothing: its changes as a patch, worked out beside it."""
    facts = facts | {"snapshot": None}
    try:
        common = Path(root, git(root, "rev-parse", "--git-common-dir").removesuffix("\n"))
        objects = aside / "objects"
        objects.mkdir()
        variables = {
            "GIT_INDEX_FILE": str(aside / "index-2"),
            "GIT_OBJECT_DIRECTORY": str(objects),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(common / "objects"),
        }
        tree = _tree(root, status, choice.taken, {}, variables)
        patch = _patch(root, status, tree, variables=variables)
    except (GitError, OSError) as second:
        return Captured(
            facts | {"note": f"the repository takes no snapshot ({error}), and there is no patch: {second}"}
        )
    return Captured(
        facts | {"note": f"the repository takes no snapshot ({error}): code.patch holds the changes"}, patch
    )


def _patch(root: Path, status: _Status, *tree: str, variables: Mapping[str, str] | None = None) -> str:
    """From the commit to a tree, or to the files; nothing where that is too much."""
    try:
        begin = status.commit or git(root, "hash-object", "-t", "tree", "--stdin").strip()  # that of nothing
        text = git(
            root, "diff", "--binary", "--no-color", "--no-ext-diff", "--no-textconv", "--full-index", begin, *tree,
            variables=variables,
        )  # fmt: skip
    except GitError:
        return ""
    return text if len(text) <= MOST_PATCH else ""
