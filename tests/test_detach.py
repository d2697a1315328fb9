"""Starting in the background: mistakes are told at once, nothing printed is lost, one at a time; and stopping."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from background_runs import SCRIPT, end, ended, followed, nothing_goes_on, pid_of, start  # noqa: F401

import loopwright as lw
from loopwright import _start_file
from loopwright._errors import RunError
from loopwright._follow import print_log
from loopwright._record import LOG, START
from loopwright._run_state import look_at
from loopwright._start_file import StartFile, is_starting
from loopwright._stop import stop_run, stop_runs
from loopwright.cli import main


@pytest.mark.parametrize("mistake", ["optimizer.lr=-1", "modell=resnet18", "epochs=many"])
def test_a_mistake_in_the_settings_is_told_and_nothing_starts(mistake: str, capsys) -> None:
    assert main(["train", "data=data", "run=r", mistake, "--detach"]) == 2
    assert capsys.readouterr().err.startswith("error: ") and not Path("r").exists()


@pytest.mark.parametrize("options", [["--dry-run"], ["--commit", "HEAD"]])
def test_what_cannot_be_done_in_the_background_says_so(options: list[str], capsys) -> None:
    assert main(["train", "data=data", "--detach", *options]) == 2
    assert "--detach" in capsys.readouterr().err


def test_it_comes_back_when_it_trains_and_all_that_is_printed_is_in_the_log() -> None:
    code, told = start("runs/a")
    assert code == 0 and look_at(Path("runs/a"))["state"] == "running"
    assert f"training   runs/a: process {pid_of('runs/a')};" in told
    assert not Path("runs/a", START).exists()
    log = Path("runs/a", LOG).read_text()
    assert log.startswith("before the run\nfrom below Python\nrun opened\n")
    end("runs/a", "finished")
    assert followed("runs/a")[0] == 0
    lines = Path("runs/a", LOG).read_text().splitlines()
    assert len(lines) == len(set(lines)), "nothing stands twice"
    assert lines[-1].startswith("behind the run")


def test_hang_ups_end_nothing() -> None:
    start("a")
    os.kill(pid_of("a"), signal.SIGHUP)
    time.sleep(0.1)
    assert pid_of("a")


def test_the_second_into_a_folder_is_refused_at_once() -> None:
    start("a")
    log = Path("a", LOG).read_text()
    with pytest.raises(RunError, match=f"is being trained already, by process {pid_of('a')} on"):
        start("a")
    assert Path("a", LOG).read_text().startswith(log) and not Path("a", START).exists()


def test_of_two_that_start_at_once_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_start_file, "_PATIENCE", 0.1)
    first = StartFile(Path("a"))
    assert is_starting(Path("a")) and look_at(Path("a"))["state"] == "starting"
    with pytest.raises(RunError, match="is being started by another process"):
        StartFile(Path("a"))
    first.close()
    assert not is_starting(Path("a"))
    second = StartFile(Path("a"))
    second.remove()
    second.close()
    assert not Path("a", START).exists()


def test_a_start_that_is_refused_by_the_lock_leaves_the_other_run_alone() -> None:
    start("a")
    done = subprocess.run([sys.executable, SCRIPT, "a"], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "in use by another process" in done.stderr
    assert pid_of("a")


def test_a_mistake_that_shows_later_is_told_whole_and_leaves_nothing() -> None:
    code, told = start("runs/new/a", "refused")
    assert code == 2 and "error: nowhere: no such folder\nnot started: exit code 2" in told
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [("crash", 1, "ImportError: no such thing\n.*exit code 1"), ("killed at start", 137, "before the run\n.*SIGKILL")],
)
def test_a_crash_before_the_run_is_open_is_kept_and_told(how: str, code: int, words: str) -> None:
    found, told = start("a", how)
    assert found == code and re.search(words, told, re.DOTALL) and "a/start.txt" in told
    assert Path("a", START).read_text().startswith("before the run\nfrom below Python\n")
    assert look_at(Path("a"))["state"] == "failed"
    code, _, remarks = followed("a")
    assert code == 1 and remarks[0] == "failed     a start of a, which printed:"
    assert lw.free_folder("a") == Path("a")  # it holds no run
    assert start("a")[0] == 0  # the next one takes its place
    assert not Path("a", START).exists() and "no such thing" not in Path("a", LOG).read_text()


def test_a_crash_in_the_run_is_marked_failed_with_its_traceback_once() -> None:
    start("a")
    end("a", "failed")
    code, text, remarks = followed("a")
    assert code == 1 and text.count("Traceback") == 1 and "ValueError: this went wrong" in text
    assert re.fullmatch(r"failed     a after step \d+: ValueError: this went wrong", remarks[-1])
    assert lw.read_run("a")["state"] == "failed"


def test_what_ends_before_anybody_looks_is_told() -> None:
    code, told = start("a", "finished")
    assert code == 0 and ("finished   a already" in told or "training   a" in told)
    ended("a")
    code, told = start("b", "failed")
    assert (code, "failed     b: exit code 1; all that it printed is in b/log.txt" in told) == (1, True) or code == 0


def test_a_run_that_replaces_another_has_a_log_of_its_own() -> None:
    start("a", "finished")
    ended("a")
    size = Path("a", LOG).stat().st_size
    start("a", "finished", "--overwrite")
    ended("a")
    assert Path("a", LOG).stat().st_size == size and Path("a", LOG).read_text().startswith("before the run")


def test_a_failure_while_training_in_the_foreground_is_marked_with_its_traceback(photos: Path, monkeypatch) -> None:
    Path("broken.py").write_text(
        "import torch\n"
        "class Broken(torch.nn.Linear):\n"
        "    def forward(self, x): raise ZeroDivisionError('in the model')\n"
        "def build(num_classes): return Broken(3, num_classes)\n"
    )
    settings = [f"data={photos}", "run=r", "model=broken:build", "image_size=16", "workers=0", "device=cpu"]
    monkeypatch.delitem(sys.modules, "broken", raising=False)
    with pytest.raises(ZeroDivisionError):  # Python's own end of it: exit code 1
        main(["train", *settings])
    assert lw.read_run("r")["state"] == "failed" and "ZeroDivisionError" in lw.read_run("r")["reason"]
    assert Path("r", LOG).read_text().count("Traceback") == 1
    assert followed("r")[0] == 1


# ---- stopping ------------------------------------------------------------------------------------------------------


def test_several_are_stopped_at_once_and_what_does_not_run_is_told(capsys) -> None:
    for name in ("a", "b"):
        start(name)
    assert main(["stop", "a", "nowhere", "b"]) == 2
    caught = capsys.readouterr()
    assert re.fullmatch(r"(. stopped after step \d+; run it again to go on\n){2}", caught.out)
    assert caught.err.startswith("error: nowhere is no run")
    assert [followed(name)[0] for name in ("a", "b")] == [3, 3]
    assert main(["stop", "a"]) == 2 and "is not running: its record says 'stopped'" in capsys.readouterr().err


def test_one_that_is_starting_is_waited_for() -> None:
    command = [sys.executable, SCRIPT, "a"]
    file = StartFile(Path("a"))
    process = subprocess.Popen(command, stdout=file, stderr=file)  # who started it holds the file no longer
    file.close()
    assert "a stopped after step" in stop_run("a")
    assert process.wait() == 143
    assert not stop_runs([], tell=print)


def test_the_log_of_a_start_that_goes_on_is_shown(capsys) -> None:
    file = StartFile(Path("a"))
    Path("a", START).write_text("importing\n")
    told: list[str] = []
    assert print_log(Path("a"), lines=None, write=told.append, tell=told.append) == 0
    assert told == ["starting   a", "importing\n"]
    file.close()
