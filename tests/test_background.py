"""Trainings in the background as a person has them in a terminal: none of its ends reaches them, theirs are told truly."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from background_runs import end, followed, nothing_goes_on, pid_of, start  # noqa: F401
from terminals import Terminal, loopwright
from test_faces import small_copy

import loopwright as lw
from loopwright import _lock
from loopwright._follow import ending
from loopwright._record import LOG, START
from loopwright._runs import list_runs
from loopwright.cli import main

SETTINGS = ["data=data", "run=r", "image_size=16", "workers=0", "model=small_resnet", "model.width=4", "device=cpu"]


def test_a_training_outlives_its_terminal_and_its_readers_and_its_death_is_told(photos: Path, tmp_path: Path) -> None:
    """Started in a terminal that closes, followed in others, one with Ctrl-C; killed."""
    small_copy(photos, tmp_path / "data", 3, 2)
    train = ["train", *SETTINGS, "epochs=100000", "--detach"]

    shell = Terminal(["sh", "-c", '"$@"; echo "code $?"; read forever', "sh", *loopwright(*train)])
    shown = shell.wait_for(r"code \d+")
    assert "code 0" in shown
    pid = int(re.findall(r"training   r: process (\d+); it goes on when this terminal closes", shown)[0])
    assert "loopwright logs r -f" in shown and "loopwright stop r" in shown
    assert pid_of("r") == pid and os.getsid(pid) == pid  # a session of its own
    assert shell.close() == -signal.SIGHUP, "the terminal was truly closed"

    assert main(train) == 2  # while it goes on: refused, and nothing was touched
    log = Terminal(loopwright("logs", "r", "-f", "-n", "2"))
    for number in (2, 3):  # it goes on
        log.wait_for(rf"(?s)(epoch .*){{{number}}}")
    log.type("\x03")
    assert log.end() == 130 and "the run goes on" in log.shown
    assert pid_of("r") == pid

    log = Terminal(loopwright("logs", "r", "-f", "-n", "0"))
    log.wait_for("epoch")
    os.kill(pid, signal.SIGKILL)
    assert log.end() == 1
    assert re.search(rf"killed     r: process {pid} .* is gone without a word; its last checkpoint is step-", log.shown)
    (run,) = list_runs(".")
    assert run["state"] == "killed"

    assert Path("r", LOG).read_text().count("seed 42") == 1 and not Path("r", START).exists()
    assert lw.read_run("r")["command"][1:] == ["-m", "loopwright", *train[:-1]]


def test_a_terminal_closes_also_where_the_tests_ignore_hang_ups() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        shell = Terminal(["sh", "-c", "echo ready; read forever"])
        shell.wait_for("ready")
        assert shell.close() == -signal.SIGHUP
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("more", [[], pytest.param(["--procs", "2"], marks=pytest.mark.slow)])
def test_a_training_that_ignores_hang_ups_outlives_its_terminal(photos: Path, tmp_path: Path, more: list[str]) -> None:
    small_copy(photos, tmp_path / "data", 3, 2)
    train = loopwright("train", *SETTINGS, "epochs=100000", *more)
    shell = Terminal(["sh", "-c", 'nohup "$@" >out 2>&1; read forever', "sh", *train])
    saved_after(0)
    assert shell.close() == -signal.SIGHUP, "the terminal was truly closed"
    saved_after(lw.read_run("r")["step"] + 10)
    assert main(["stop", "r"]) == 0 and lw.read_run("r")["state"] == "stopped"


def test_a_training_that_prints_into_a_terminal_goes_on_without_it(photos: Path, tmp_path: Path) -> None:
    small_copy(photos, tmp_path / "data", 3, 2)
    train = loopwright("train", *SETTINGS, "epochs=60")
    ignoring = 'trap "" HUP; { "$@"; echo "code $?" >code; } & trap - HUP; read forever'
    shell = Terminal(["sh", "-c", ignoring, "sh", *train])
    shell.wait_for("epoch +2/60")
    assert shell.close() == -signal.SIGHUP, "the terminal was truly closed"
    code, text, remarks = followed("r")
    assert code == 0 and "epoch 60/60" in text and remarks[-1].startswith("finished   r after step 60"), text
    while not Path("code").exists():
        time.sleep(0.05)
    assert Path("code").read_text() == "code 0\n"


@pytest.mark.slow
def test_the_same_command_goes_on_and_comes_to_its_end(photos: Path, tmp_path: Path) -> None:
    small_copy(photos, tmp_path / "data", 3, 2)
    train = ["train", *SETTINGS, "epochs=100", "--detach"]
    assert main(train) == 0
    while not Path("r/checkpoints/index.json").exists():
        time.sleep(0.05)
    os.kill(pid_of("r"), signal.SIGKILL)
    assert followed("r")[0] == 1
    assert main(train) == 0
    assert main(["stop", "r"]) == 0
    assert followed("r", 1)[0] == 3 and lw.read_run("r")["state"] == "stopped"
    assert main(train) == 0
    code, text, remarks = followed("r")
    assert code == 0 and remarks[-1].startswith("finished   r after step 100, best val/top1")
    assert "accuracy" in text.splitlines()[-3] and text.count("seed 42") == 3  # what comes behind the run is there
    assert [life["state"] for life in lw.read_run("r")["lives"]] == ["killed", "stopped"]


@pytest.mark.slow
def test_the_example_runs(photos: Path, tmp_path: Path) -> None:
    small_copy(photos, tmp_path / "data", 3, 2)
    Path("bin").mkdir()
    Path("bin/loopwright").write_text(f'#!/bin/sh\nexec {sys.executable} -m loopwright "$@"\n')
    Path("bin/loopwright").chmod(0o755)
    example = Path(lw.__file__).parents[1] / "examples" / "background.sh"
    settings = [setting for setting in SETTINGS if not setting.startswith("run=")]
    done = subprocess.run(
        ["sh", str(example), "runs/a", *settings, "epochs=40"], capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "runs/a stopped after step" in done.stdout and "finished   runs/a after step 40" in done.stderr


def saved_after(step: int, seconds: float = 60.0) -> None:
    """Wait until the run has saved more steps than so many."""
    given_up = time.monotonic() + seconds
    while not Path("r/run.json").exists() or lw.read_run("r").get("step", 0) <= step:
        assert time.monotonic() < given_up, f"no step after {step}:\n{Path('out').read_text()}"
        time.sleep(0.05)


# ---- following -----------------------------------------------------------------------------------------------------


def test_a_log_of_a_run_that_has_not_begun_is_waited_for() -> None:
    log = Terminal(loopwright("logs", "a", "-f"))
    log.wait_for("waiting    a: there is no run yet")
    start("a")
    log.wait_for("step 3")
    end("a", "finished")
    assert log.end() == 0 and "before the run" in log.shown
    assert log.shown.index("behind the run") < log.shown.index("finished   a after step")


def test_half_a_line_is_shown_at_the_end() -> None:
    start("a")
    end("a", "killed")
    code, text, remarks = followed("a")
    assert code == 1 and text.endswith("half a line\n") and "killed     a: process" in remarks[-1]


def test_a_run_on_another_machine_is_followed_by_its_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lock, "BEAT_SECONDS", 0.1)
    Path("a").mkdir()
    Path("a", "run.json").write_text('{"state": "running", "host": "elsewhere", "pid": 7}')
    Path("a", ".lock").write_text('{"host": "elsewhere", "pid": 7}')
    Path("a", LOG).write_text("one\n")
    began = time.monotonic()
    code, text, remarks = followed("a")
    assert (code, text) == (1, "one\n") and time.monotonic() - began > 0.2
    assert "process 7 on elsewhere is gone without a word; it has no checkpoint" in remarks[-1]


def test_a_reader_that_has_enough_ends_it_quietly() -> None:
    Path("a").mkdir()
    Path("a", "run.json").write_text('{"state": "finished"}')
    Path("a", LOG).write_text("line\n" * 100_000)
    command = f"{sys.executable} -m loopwright logs a -f | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("line\n", "")


def test_a_name_that_nobody_has_is_an_error_that_says_which(capsys) -> None:
    Path("woof").mkdir()
    assert main(["logs", "wooff"]) == 2
    assert "wooff is no run: did you mean 'woof'?" in capsys.readouterr().err


def test_a_log_that_is_a_link_is_not_followed(capsys) -> None:
    Path("a").mkdir()
    Path("a", "run.json").write_text('{"state": "finished"}')
    Path("a", LOG).symlink_to("/etc/hostname")
    assert main(["logs", "a"]) == 2 and main(["logs", "a", "-f"]) == 2
    assert "it is a link" in capsys.readouterr().err


def test_without_f_it_prints_what_is_there_and_ends(capsys) -> None:
    start("a")
    assert main(["logs", "a", "-n", "1"]) == 0
    assert re.fullmatch(r"(step \d+|run opened)\n", capsys.readouterr().out)
    with pytest.raises(SystemExit):
        main(["logs", "a", "-n", "-1"])


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"state": "finished", "step": 3, "best": {"a": 0.5, "b": "x"}}, "finished   r after step 3, best a 0.5"),
        ({"state": "stopped", "step": 3}, "stopped    r after step 3; the same command again goes on"),
        ({"state": "failed", "reason": "a\n b"}, "failed     r: a b"),
        ({"state": "\x1b[2Jx", "step": 10**30, "best": []}, "x"),
    ],
)
def test_how_it_ended_is_one_harmless_line(info: dict, words: str) -> None:
    line = ending(Path("r"), info)
    assert words in line and line.isprintable()
