"""``loopwright launch``: the words arrive as they were given, a job that is preempted saves, is queued again and goes on."""

import ast
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from cluster_fakes import JOB, ROOT, asked_of, fakes_in
from hypothesis import given
from hypothesis import strategies as st

import loopwright as lw
from loopwright import cli
from loopwright._distributed import position
from loopwright._signals import AGENT, LEFT, Signals
from loopwright.launch._group import Group
from loopwright.launch._lines import lines_to_paste
from loopwright.launch._ray import place_of_context
from loopwright.launch._sbatch_options import SbatchOptions
from loopwright.launch._slurm import training_script, worker_script

CLUSTER = ROOT / "examples/cluster"
ODD = ["it's a.yaml", 'say "no"', "$HOME `id` $(id)", ";&|<>(){}*?[]~#!", "two\nlines", "\\", "-x", "", "für", "a=b c"]
WORK = str(Path(__file__).parent / "cluster_work.py")


def options(**more: object) -> SbatchOptions:
    return SbatchOptions("name", **more)  # type: ignore[arg-type]


def script_in(tmp_path: Path, nodes: int = 2, arguments: tuple[str, ...] = ("train", "a.yaml"), **more: object) -> Path:
    path = tmp_path / "job.sbatch"
    path.write_text(training_script(Group(nodes, 2, "name"), options(**more), arguments, here=tmp_path))
    return path


def started(script: Path, environment: Mapping[str, str]) -> "subprocess.Popen[str]":
    """The script as a job, when its training listens."""
    ready = script.parent / "ready"
    ready.unlink(missing_ok=True)
    job = subprocess.Popen(
        ["bash", str(script)], env={**environment, "READY": str(ready)}, cwd="/", text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    while "WORK" in environment and not ready.exists():
        assert job.poll() is None, job.communicate()
        time.sleep(0.01)
    return job


def ended(job: "subprocess.Popen[str]") -> tuple[int, str]:
    text, _ = job.communicate()
    return job.returncode, text


# ---- the words -------------------------------------------------------------------------------------------------------


@given(st.lists(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]))), st.integers(1, 3))
def test_a_line_means_the_words_that_were_given(words: list[str], nodes: int) -> None:
    group = Group(nodes, 2, "name")
    line = lines_to_paste(group, words, host="n01")[-1]
    assert shlex.split(line) == group.words("n01:29400", words)
    assert shlex.split(line)[-len(words) or len(shlex.split(line)) :] == words


def test_lines_without_a_host_mean_the_same_words(tmp_path: Path) -> None:
    environment = fakes_in(tmp_path / "bin", "torchrun")
    _, _, first, _, other = lines_to_paste(Group(2, 4, "odd name's"), ODD)
    for line in (first, other):
        subprocess.run(["bash", "-c", line], env={**environment, "FIRST": "n01"}, check=True)
    name = subprocess.run(["hostname", "-f"], capture_output=True, text=True).stdout.strip()
    found = [ast.literal_eval(text) for text in asked_of(tmp_path / "bin", "torchrun")]
    assert found == [Group(2, 4, "odd name's").words(f"{host}:29400", ODD)[3:] for host in (name, "n01")]
    refused = subprocess.run(["bash", "-c", other], env=environment, capture_output=True, text=True)
    assert refused.returncode != 0 and "FIRST: is the name of the first machine" in refused.stderr
    assert len(asked_of(tmp_path / "bin", "torchrun")) == 2


@pytest.mark.parametrize(
    ("nodes", "procs", "restarts"), [(0, 1, 0), ("3:2", 1, 0), ("two", 1, 0), (1, 0, 0), (1, 1, -1)]
)
def test_a_group_that_makes_no_sense_is_refused(nodes: int | str, procs: int, restarts: int) -> None:
    with pytest.raises(lw.ConfigError, match="should be"):
        Group(nodes, procs, "name", restarts)


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_job_gives_srun_the_words_that_were_given(tmp_path: Path, nodes: int) -> None:
    here = tmp_path / 'it\'s "here" $HOME'
    here.mkdir()
    environment = fakes_in(tmp_path / "bin") | {"WORK": WORK, "MODE": "finishes"}
    script = here / "job.sbatch"
    group = Group(nodes, 2, "odd name's")
    script.write_text(training_script(group, options(cpus=4), ODD, here=here, command="launch\n$(touch /x)\r'"))
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
    assert ended(started(script, environment)) == (0, "")
    (asked,) = (ast.literal_eval(text) for text in asked_of(tmp_path / "bin", "srun"))
    launcher = [sys.executable, "-m", "torch.distributed.run"]
    expected = group.words(f"n01:{20000 + int(JOB)}", ODD, launcher)
    assert asked[-len(expected) :] == expected
    assert f"--nodes={nodes}" in asked and "--cpus-per-task=4" in asked


@pytest.mark.parametrize(
    "more",
    [{"more": {"qos": "low\n#SBATCH --uid=0"}}, {"more": {"Bad Key": "x"}}, {"time": "1'"}, {"partition": "a\\"},
     {"gpus": 0}, {"cpus": 0}, {"notice": 10}],
    ids=str,
)  # fmt: skip
def test_an_option_that_leaves_its_line_is_refused(more: dict) -> None:
    with pytest.raises(lw.ConfigError):
        options(**more)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say(tmp_path: Path) -> None:
    worker = tmp_path / "worker.sbatch"
    worker.write_text(worker_script(options(), ["sweep", *ODD], workers=3, here=tmp_path))
    for path in (script_in(tmp_path, 1), script_in(tmp_path, 2, tuple(ODD), cpus=8, gpus=2, time="1:00"), worker):
        done = subprocess.run(["shellcheck", "--shell=bash", str(path)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


# ---- a job that is told to leave -------------------------------------------------------------------------------------


def test_a_job_that_is_told_saves_and_is_queued_again(tmp_path: Path) -> None:
    environment = fakes_in(tmp_path / "bin") | {"WORK": WORK, "MODE": "slow"}
    job = started(script_in(tmp_path), environment)
    for _ in range(3):  # once is enough, more does no harm
        job.send_signal(signal.SIGUSR1)
        time.sleep(0.05)
    code, text = ended(job)
    assert code == -signal.SIGTERM, text
    assert asked_of(tmp_path / "bin", "scontrol") == [f"requeue {JOB}"], text


@pytest.mark.parametrize(("mode", "code"), [("finishes", 0), ("fails", 1)])
def test_a_job_that_ends_by_itself_is_not_queued_again(tmp_path: Path, mode: str, code: int) -> None:
    environment = fakes_in(tmp_path / "bin") | {"WORK": WORK, "MODE": mode}
    assert ended(started(script_in(tmp_path), environment))[0] == code
    assert asked_of(tmp_path / "bin", "scontrol") == []


def test_a_run_that_somebody_else_stopped_is_not_queued_again(tmp_path: Path) -> None:
    import psutil

    job = started(script_in(tmp_path), fakes_in(tmp_path / "bin") | {"WORK": WORK})
    psutil.Process(job.pid).children(recursive=True)[-1].send_signal(signal.SIGTERM)
    code, text = ended(job)
    assert code == 128 + signal.SIGTERM, text
    assert asked_of(tmp_path / "bin", "scontrol") == []


def test_a_training_that_does_not_leave_is_queued_again_all_the_same(tmp_path: Path) -> None:
    script = script_in(tmp_path)
    script.write_text(script.read_text().replace("notice=300", "notice=31"))
    job = started(script, fakes_in(tmp_path / "bin") | {"WORK": WORK, "MODE": "deaf"})
    job.send_signal(signal.SIGUSR1)
    while not asked_of(tmp_path / "bin", "scontrol"):
        assert job.poll() is None
        time.sleep(0.02)
    _end(job)
    assert asked_of(tmp_path / "bin", "scontrol") == [f"requeue {JOB}"]


def _end(job: "subprocess.Popen[str]") -> None:
    """As SLURM ends a job that is queued again: all of it."""
    import psutil

    script = psutil.Process(job.pid)
    for process in [script, *script.children(recursive=True)]:
        process.kill()
    ended(job)


# ---- what a process says to who started it ---------------------------------------------------------------------------


def test_a_process_of_an_agent_that_was_told_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / "left"
    left.touch()
    monkeypatch.setenv(LEFT, str(left))
    signals = Signals()
    signals.received = signal.SIGUSR1
    with pytest.raises(SystemExit) as alone:
        signals.leave()
    assert (alone.value.code, left.read_text()) == (138, "")
    monkeypatch.setenv(AGENT, "1")
    with pytest.raises(SystemExit) as told:
        signals.leave()
    assert (told.value.code, repr(told.value), left.read_text()) == (0, "SystemExit(138)", "10")
    left.unlink()
    with pytest.raises(SystemExit):
        signals.leave()
    assert not left.exists()  # of another machine


def test_an_echo_of_the_agent_is_no_second_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(*numbers: signal.Signals) -> bool:
        """Whether the second had it leave at once."""
        signals = Signals()
        try:
            for number in numbers:
                signals._note(number, None)
        except SystemExit:
            return True
        return False

    assert twice(signal.SIGTERM, signal.SIGTERM)
    monkeypatch.setenv(AGENT, "1")
    assert not twice(signal.SIGTERM, signal.SIGTERM)
    assert twice(signal.SIGTERM, signal.SIGUSR1)  # loopwright stop --now


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("a b.yaml").write_text(f"data: {photos}\nmodel: small_resnet\nimage_size: 16\nepochs: 3\n")
    return tmp_path


def test_print_names_the_folder_that_all_share(here: Path, capsys) -> None:
    assert cli.main(["launch", "print", "a b.yaml", "--procs", "2"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert shlex.split(line)[-4:] == ["loopwright", "train", "a b.yaml", "run=runs/photos-small_resnet"]
    assert cli.main(["launch", "print", "a b.yaml", "run=x y", "--nodes", "2:4", "--host", "n01"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    words = [
        "env",
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1",
        "torchrun",
        "--nnodes=2:4",
        "--nproc-per-node=1",
        "--max-restarts=3",
        "--rdzv-backend=c10d",
    ]
    words += ["--rdzv-endpoint=n01:29400", "--rdzv-id=x y", "-m", "loopwright", "train", "a b.yaml", "run=x y"]
    assert shlex.split(line) == words


@pytest.mark.parametrize(
    "arguments",
    ["print epochs=many", "slurm epochs=many", "slurm --nodes 2:4", "slurm --sbatch =x", "slurm --notice 5",
     "print --nodes 0", "slurm --gpus 0", "ray --procs 0"],
)  # fmt: skip
def test_a_mistake_is_said_before_anything_is_written(here: Path, capsys, arguments: str) -> None:
    engine, *more = arguments.split()
    assert cli.main(["launch", engine, "a b.yaml", *more]) == 2
    assert capsys.readouterr().err.startswith("error: ") and not list(here.glob("*.sbatch"))


def test_slurm_writes_a_script_and_submits_it(here: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["launch", "slurm", "a b.yaml", "run=the run", "--gpus", "4", "--sbatch", "qos=low"]
    assert cli.main(command) == 0
    assert "submit     sbatch 'the run.sbatch'" in capsys.readouterr().out
    text = Path("the run.sbatch").read_text()
    assert "#SBATCH --job-name='the run'\n" in text and "#SBATCH --qos=low\n" in text
    assert "--nproc-per-node=4" in text
    monkeypatch.setenv("PATH", str(here))
    assert cli.main([*command, "--submit"]) == 2
    error = capsys.readouterr().err
    assert "no 'sbatch'" in error and "the run.sbatch" in error
    fakes_in(here / "bin", "sbatch")
    monkeypatch.setenv("PATH", f"{here / 'bin'}:{os.environ['PATH']}")
    assert cli.main([*command, "--submit"]) == 0
    assert "submitted  Submitted batch job 4711" in capsys.readouterr().out


def test_ray_is_an_extra(here: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert cli.main(["launch", "ray", "a b.yaml"]) == 2
    assert "pip install 'loopwright[ray]'" in capsys.readouterr().err


def test_the_place_that_ray_gives_is_a_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    class Context:
        get_world_rank, get_world_size = (lambda self: 5), (lambda self: 8)
        get_local_rank, get_local_world_size = (lambda self: 1), (lambda self: 4)

    for name, value in place_of_context(Context()).items():
        monkeypatch.setenv(name, value)
    assert position() == (5, 8, 1, 4)


def test_a_file_of_somebody_elses_is_left_alone(here: Path, capsys) -> None:
    Path("mine").write_text("#!/bin/bash\n")
    assert cli.main(["launch", "slurm", "a b.yaml", "--out", "mine"]) == 2
    assert "--out" in capsys.readouterr().err and Path("mine").read_text() == "#!/bin/bash\n"


SWEEP = "study: {{method: grid, folder: s, metric: val/loss, command: [{python}, {script}]}}\nsweep: {{lr: [1, 2]}}\n"


def test_a_sweep_becomes_an_array_of_workers(here: Path, capsys) -> None:
    Path("s.yaml").write_text(SWEEP.format(python=sys.executable, script="none.py"))
    assert cli.main(["sweep", "s.yaml", "lr=3", "--launch", "slurm", "--jobs", "4"]) == 0
    text = Path("s.sbatch").read_text()
    assert "#SBATCH --array=0-3\n" in text and "sweep s.yaml lr=3 --workers=1 &\n" in text
    capsys.readouterr()
    assert cli.main(["sweep", "s.yaml", "--launch", "print"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "loopwright sweep s.yaml --workers=1"
    assert cli.main(["sweep", "s.yaml", "--launch", "ray"]) == 2
    assert "ray job submit" in capsys.readouterr().err
    assert not Path("s").exists()  # nothing was begun


def test_a_worker_that_is_told_leaves_its_trials_to_the_next(here: Path) -> None:
    script = Path(__file__).parent / "tiny_trial.py"
    study = f"{{method: grid, folder: s, metric: val/loss, command: [{sys.executable}, {script}]}}"
    Path("s.yaml").write_text(f"study: {study}\nepochs: 20\nwait: 0.05\nsweep: {{lr: [0.1, 0.2]}}\n")
    assert cli.main(["sweep", "s.yaml", "--launch", "slurm"]) == 0
    environment = fakes_in(here / "bin")
    job = started(here / "s.sbatch", environment)
    while not Path("done.txt").exists():
        assert job.poll() is None, job.communicate()
        time.sleep(0.01)
    job.send_signal(signal.SIGUSR1)
    code, text = ended(job)
    assert code == -signal.SIGTERM and asked_of(here / "bin", "scontrol") == [f"requeue {JOB}"], text
    done = len(Path("done.txt").read_text().splitlines())
    assert done < 40
    code, text = ended(started(here / "s.sbatch", environment))
    assert code == 0 and len(asked_of(here / "bin", "scontrol")) == 1, text
    assert len(Path("done.txt").read_text().splitlines()) == 40, "an epoch was done twice, or never"


def test_what_a_job_asks_for_is_not_for_a_sweep_that_runs_here(here: Path, capsys) -> None:
    Path("s.yaml").write_text(SWEEP.format(python=sys.executable, script="none.py"))
    assert cli.main(["sweep", "s.yaml", "--submit"]) == 2
    assert "--launch slurm" in capsys.readouterr().err


# ---- the examples of other clusters ----------------------------------------------------------------------------------


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys):
    """What ``launch print`` says of the example, as its last line."""

    def line(*arguments: str) -> str:
        monkeypatch.chdir(CLUSTER)
        assert cli.main(["launch", "print", "photos.yaml", "--nodes", "2", "--procs", "8", *arguments]) == 0
        return capsys.readouterr().out.splitlines()[-1]

    return line


def test_the_example_for_kubernetes_runs_the_printed_line(printed) -> None:
    service, job = yaml.safe_load_all((CLUSTER / "kubernetes.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == shlex.split(printed("--host", "photos-0.photos"))
    assert job["spec"]["completionMode"] == "Indexed" and job["spec"]["completions"] == job["spec"]["parallelism"] == 2
    assert pod["subdomain"] == service["metadata"]["name"] and service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 8


def test_the_example_for_skypilot_runs_the_printed_line(printed) -> None:
    task = yaml.safe_load((CLUSTER / "skypilot.yaml").read_text())
    assert task["run"].splitlines()[-1] == printed() and task["num_nodes"] == 2
    assert subprocess.run(["bash", "-n", "-c", task["run"]]).returncode == 0
    assert "/shared" in task["volumes"] and lw.load_config(CLUSTER / "photos.yaml")["run"].startswith("/shared/")
