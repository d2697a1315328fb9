"""Capture: the code of a run is kept whole, and nothing of the user's is touched for it."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from repositories import bytes_below, git, repository, write

import loopwright as lw
from loopwright import _capture
from loopwright._capture import capture_code, changed_lines
from loopwright._code_copy import CodeCopy
from loopwright._errors import RunError
from loopwright.data._inventory import inventory, what_changed

FILES = {"train.py": "lr = 0.1\n", "models/net.py": "width = 8\n", ".gitignore": "data/\n*.log\n"}


@pytest.fixture(autouse=True)
def _snapshots_are_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOOPWRIGHT_SNAPSHOT", raising=False)


def _dirty(folder: Path) -> Path:
    """A change, a staged change, a deletion, new files, ignored ones, and a stash."""
    write(folder, {"stashed.py": "old = 1\n", "gone.py": "1\n", "staged.py": "1\n"})
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "second")
    write(folder, {"stashed.py": "old = 2\n"})
    git(folder, "stash")
    write(folder, {"staged.py": "staged\n"})
    git(folder, "add", "staged.py")
    (folder / "gone.py").unlink()
    write(folder, {"train.py": "lr = 0.2\n", "new file.py": "a\n", "new folder/ü.py": "b\n", "data/x.png": "pixels"})
    return folder


def _everything(folder: Path) -> dict[str, object]:
    """What must not change. The index is read before git is asked anything, which might refresh it."""
    index = (folder / ".git/index").read_bytes() if (folder / ".git").is_dir() else b""
    asked = (["status", "--porcelain"], ["stash", "list"], ["branch", "-a"], ["diff"], ["diff", "--cached"], ["reflog"])
    return {
        "index": index,
        "files": bytes_below(folder),
        **{" ".join(a): git(folder, "--no-optional-locks", *a) for a in asked},
    }


def _content(folder: Path) -> dict[str, str]:
    return {name: data.decode() for name, (data, _) in bytes_below(folder).items()}


def test_nothing_of_the_users_changes(tmp_path: Path) -> None:
    folder = _dirty(repository(tmp_path / "code", FILES))
    write(folder, {".git/hooks/reference-transaction": "#!/bin/sh\nexit 1\n", ".git/hooks/post-checkout": "exit 1\n"})
    for hook in ("reference-transaction", "post-checkout"):
        (folder / ".git/hooks" / hook).chmod(0o755)
    before = _everything(folder)
    facts = capture_code(folder, "abc").facts
    with CodeCopy(folder, facts["snapshot"], link=()):
        pass
    after = _everything(folder)
    assert after == before
    assert git(folder, "for-each-ref", "--format=%(refname)", "refs/loopwright") == "refs/loopwright/abc\n"
    assert git(folder, "worktree", "list").count("\n") == 1


def test_the_snapshot_holds_changes_and_new_files(tmp_path: Path) -> None:
    folder = _dirty(repository(tmp_path / "code", FILES))
    captured = capture_code(folder, "abc")
    facts = captured.facts
    assert facts["branch"] == "main" and facts["commit"] == git(folder, "rev-parse", "HEAD").strip()
    assert facts["dirty"] and facts["untracked"] == ["new file.py", "new folder/ü.py"]
    assert set(facts["changed"]) == {"train.py", "staged.py", "gone.py"} and facts["left_out"] == {}
    expected = {name: text for name, text in _content(folder).items() if not name.startswith("data/")}
    with CodeCopy(folder, facts["snapshot"]) as copy:
        assert _content(copy.folder) == expected
    assert not copy.folder.exists()
    with CodeCopy(folder, facts["commit"]) as copy:  # the patch alone tells as much
        (tmp_path / "patch").write_text(captured.patch)
        git(copy.folder, "apply", str(tmp_path / "patch"))
        assert _content(copy.folder) == expected
    git(folder, "gc", "--prune=now", "--quiet")
    assert git(folder, "cat-file", "-t", facts["snapshot"]) == "commit\n"


def test_the_same_code_has_the_same_snapshot(tmp_path: Path) -> None:
    folder = repository(tmp_path / "code", FILES)
    assert capture_code(folder, "clean").facts["snapshot"] == git(folder, "rev-parse", "HEAD").strip()
    write(folder, {"train.py": "lr = 0.2\n"})
    one, other = (
        capture_code(folder, "one").facts["snapshot"],
        capture_code(folder / "models", "other").facts["snapshot"],
    )
    assert one == other
    write(folder, {"train.py": "lr = 0.1\nlr = 0.3\n", "more.py": "1\n"})
    now = capture_code(folder, "now").facts["snapshot"]
    assert changed_lines(folder, one, now) == ["more.py: is new", "train.py, line 1: 'lr = 0.2' -> 'lr = 0.1'"]


def _spaces(base: Path) -> Path:
    return repository(base / "my code" / "with  spaces", FILES)


def _dot_git(base: Path) -> Path:
    return repository(base / "digit.git", FILES)


def _shallow(base: Path) -> Path:
    origin = _dirty(repository(base / "origin", FILES))
    git(base, "clone", "--quiet", "--depth", "1", origin.as_uri(), str(base / "shallow"))
    return base / "shallow"


def _submodule(base: Path) -> Path:
    inner, outer = repository(base / "inner", FILES), repository(base / "outer", {"a.py": "1\n"})
    git(outer, "submodule", "--quiet", "add", str(inner), "libs/digit.git")
    git(outer, "commit", "--quiet", "-m", "with a submodule")
    return outer / "libs/digit.git"


def _detached(base: Path) -> Path:
    folder = repository(base / "detached", FILES)
    git(folder, "checkout", "--quiet", "--detach")
    return folder


def _worktree(base: Path) -> Path:
    folder = repository(base / "main", FILES)
    git(folder, "worktree", "add", "--quiet", "-b", "side", str(base / "side tree"))
    return base / "side tree"


def _linked(base: Path) -> Path:
    (base / "link").symlink_to(repository(base / "real", FILES))
    return base / "link"


KINDS = [_spaces, _dot_git, _shallow, _submodule, _detached, _worktree, _linked]


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__[1:])
def test_any_kind_of_repository_is_kept_whole(make: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = make(tmp_path)
    write(folder, {"train.py": "lr = 0.5\n", "new file.py": "a\n"})
    before = _everything(folder)
    facts = capture_code(folder / "models", "abc").facts
    assert facts["folder"] == "models" and (facts["branch"] is None) == (make is _detached)
    assert os.path.realpath(facts["repository"]) == os.path.realpath(folder)
    expected = _content(folder)
    with CodeCopy(Path(facts["repository"]), facts["snapshot"], link=()) as copy:
        with CodeCopy(Path(facts["repository"]), facts["snapshot"]) as second:  # several at once
            assert _content(second.folder) == expected
        assert _content(copy.folder) == expected
        assert copy.folder.name == Path(facts["repository"]).name
    assert _everything(folder) == before


def test_changes_inside_a_submodule_are_in_the_snapshot_of_the_outer_one(tmp_path: Path) -> None:
    inner = _submodule(tmp_path)
    outer = tmp_path / "outer"
    write(inner, {"train.py": "lr = 0.5\n", "new.py": "a\n"})
    before = _everything(outer), _everything(inner)
    facts = capture_code(outer, "abc").facts
    assert facts["submodules"]["libs/digit.git"]["untracked"] == ["new.py"]
    with CodeCopy(outer, facts["snapshot"], link=()) as copy:
        assert _content(copy.folder / "libs/digit.git") == _content(inner)
    assert (_everything(outer), _everything(inner)) == before
    assert "loopwright-" not in git(inner, "worktree", "list") + git(outer, "worktree", "list")


def test_without_a_commit_or_a_repository(tmp_path: Path) -> None:
    assert "not a git repository" in capture_code(tmp_path, "abc").facts["note"]
    (tmp_path / "fresh").mkdir()
    git(tmp_path / "fresh", "init", "--quiet", "-b", "main")
    write(tmp_path / "fresh", FILES)
    captured = capture_code(tmp_path / "fresh", "abc")
    assert captured.facts["commit"] is None and "lr = 0.1" in captured.patch
    with CodeCopy(tmp_path / "fresh", captured.facts["snapshot"]) as copy:
        assert _content(copy.folder) == FILES


def test_what_is_too_large_or_no_code_is_left_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = repository(tmp_path / "code", FILES)
    write(folder, {"huge.bin": "x" * 3000, "small.py": "1\n", "runs/a/run.json": "{}", "runs/a/metrics.jsonl": ""})
    write(
        folder, {f"many/{number}.txt": "1" for number in range(40)} | {"runs/own/log.txt": "1", "runs/plot.py": "1\n"}
    )
    git(folder, "init", "--quiet", "other")
    monkeypatch.setattr(_capture, "MOST_ONE", 2000)
    monkeypatch.setattr(_capture, "MOST_FILES", 30)
    facts = capture_code(folder, "abc", own=folder / "runs/own").facts
    assert facts["untracked"] == ["runs/plot.py", "small.py"]
    assert set(facts["left_out"]) == {"huge.bin", "many/", "runs/a/", "runs/own/", "other/"}
    assert facts["left_out"]["huge.bin"] == "3,000 bytes" and facts["left_out"]["runs/a/"] == "a run"
    with CodeCopy(folder, facts["snapshot"], link=facts["left_out"]) as copy:  # linked, so that a program finds them
        assert (copy.folder / "huge.bin").read_text() == "x" * 3000 and (copy.folder / "many").is_symlink()
    assert (folder / "many/0.txt").exists()


def test_where_references_cannot_be_written_there_is_a_patch(tmp_path: Path) -> None:
    folder = _dirty(repository(tmp_path / "code", FILES))
    (folder / ".git/refs/loopwright").write_text("in the way")
    captured = capture_code(folder, "abc")
    assert captured.facts["snapshot"] is None and "code.patch holds the changes" in captured.facts["note"]
    (tmp_path / "patch").write_text(captured.patch)
    with CodeCopy(folder, captured.facts["commit"], patch=tmp_path / "patch") as copy:
        assert _content(copy.folder) == {n: t for n, t in _content(folder).items() if not n.startswith("data/")}


def test_a_commit_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="has no commit 'nonsense'"), CodeCopy(_dot_git(tmp_path), "nonsense"):
        pass
    shallow = _shallow(tmp_path)
    with pytest.raises(RunError, match="shallow clone"), CodeCopy(shallow, "HEAD~1"):
        pass


def test_variables_of_a_hook_do_not_mislead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, other = repository(tmp_path / "code", FILES), repository(tmp_path / "other", {"a": "1"})
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    facts = capture_code(folder, "abc").facts
    monkeypatch.undo()
    assert facts["commit"] == git(folder, "rev-parse", "HEAD").strip()


def test_a_run_records_its_code_and_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _dirty(repository(tmp_path / "digit.git", FILES))
    monkeypatch.chdir(folder)
    before = _everything(folder)
    train, val = (lw.ImageFolder(lw.demo_photos(), split) for split in ("train", "val"))
    with lw.Run("../run", seed=3, device="cpu", progress=False) as run:
        for _ in run.epochs("2 steps"):
            for _ in run.batches(lw.Loader(train, 4, transform=lw.CenterCrop(8), workers=0)):
                pass
            with run.evaluate():
                next(iter(run.batches(lw.Loader(val, 4, transform=lw.CenterCrop(8), workers=0))))
    assert _everything(folder) == before
    info, environment = (json.loads(Path("../run", name).read_text()) for name in ("run.json", "environment.json"))
    code = environment["code"]
    assert code["reference"] == f"refs/loopwright/{info['id']}" and info["snapshot"] == code["snapshot"]
    assert "lr = 0.2" in Path("../run/code.patch").read_text()
    assert environment["data"]["train"]["files"] == len(train) and environment["data"]["val"]["samples"] == len(val)
    lines = [json.loads(line) for line in Path("../run/data.jsonl").read_text().splitlines()]
    assert len(lines) == len(train) + len(val) and all(line["bytes"] > 0 and line["hash"] for line in lines)


def test_a_run_outside_git_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with lw.Run("run", device="cpu", progress=False) as run:
        for _ in run.epochs(1):
            for _ in run.batches([1, 2]):
                pass
    environment = json.loads(Path("run/environment.json").read_text())
    assert "is not recorded" in environment["code"]["note"]
    assert "names no files" in environment["data"]["train"]["note"]


def test_the_inventory_names_what_changed(tmp_path: Path) -> None:
    write(
        tmp_path, {f"{split}/{c}/{n}.png": f"{split}{c}{n}" for split in ("train", "val") for c in "ab" for n in "123"}
    )
    dataset = lw.ImageFolder(tmp_path / "train")
    old = list(inventory(dataset).lines())
    assert what_changed(old, inventory(dataset).lines()) == []
    write(tmp_path, {"train/a/1.png": "trainax", "train/b/2.png": "other"})
    (tmp_path / "train/a/3.png").unlink()
    changed = what_changed(old, inventory(lw.Part(lw.ImageFolder(tmp_path / "train"), range(5))).lines())
    assert [line.partition(":")[0] for line in changed] == ["a/1.png", "a/3.png", "b/2.png"]
    assert changed[0].endswith("other bytes of the same number") and changed[1].endswith("is gone")


def test_of_many_files_the_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from loopwright.data import _inventory

    write(tmp_path, {f"{c}/{n}.png": "x" * n for c in "ab" for n in range(1, 30)})
    monkeypatch.setattr(_inventory, "MOST_LISTED", 20)
    monkeypatch.setattr(_inventory, "MOST_READ", 5)
    old = list(inventory(lw.ImageFolder(tmp_path)).lines())
    assert len(old) == 2 + 5
    write(tmp_path, {"b/100.png": "new"})
    changed = what_changed(old, inventory(lw.ImageFolder(tmp_path)).lines())
    assert "b/: 29 files became 30" in changed and not any(line.startswith("a/:") for line in changed)


def test_a_dataset_that_fails_to_be_listed_harms_nothing(tmp_path: Path) -> None:
    class Odd(list):
        @property
        def paths(self) -> None:
            raise ValueError("no")

    with lw.Run(tmp_path / "run", device="cpu", progress=False) as run:
        for _ in run.epochs(1):
            for _ in run.batches(lw.Loader(Odd([1, 2]), 1, workers=0)):
                pass
    noted = json.loads((tmp_path / "run/environment.json").read_text())["data"]["train"]["note"]
    assert noted == "could not be listed: ValueError: no"


def test_git_that_is_missing_or_slow_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = repository(tmp_path / "code", FILES)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "git cannot be started" in capture_code(folder, "abc").facts["note"]
    monkeypatch.undo()

    def slow(*arguments: object, **named: object) -> None:
        raise subprocess.TimeoutExpired("git", 1)

    monkeypatch.setattr(subprocess, "run", slow)
    assert "took more than" in capture_code(folder, "abc").facts["note"]
