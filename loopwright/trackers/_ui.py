"""``ui``: look at runs with what is installed. What it starts listens on this machine only, and ends with it."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from .._errors import ConfigError, MissingExtra, RunError
from .._record import RUN
from ._position import MIRRORS, read_position
from ._tracker import is_installed

HOST = "127.0.0.1"
TOOLS = ("tensorboard", "mlflow")
_STARTING = 120.0  # seconds: MLflow takes many
_ENDING = 5.0
_WITH_PARENT = (  # the child asks the system to be ended with its parent, then becomes the tool
    "import ctypes, os, signal, sys; parent = int(sys.argv[1]); "
    "ctypes.CDLL(None).prctl(1, signal.SIGTERM) if sys.platform == 'linux' else None; "
    "os.getppid() == parent or os._exit(1); "
    "os.execv(sys.executable, [sys.executable, '-m', *sys.argv[2:]])"
)


def choose_tool(runs: Sequence[str], asked: str | None = None) -> str | None:
    """The tool that shows these runs: the one that was asked for, else the first one installed that has something of them.

    Raises:
        MissingExtra: the one that was asked for is not installed.
    """
    if asked is not None:
        if asked not in TOOLS:
            raise ConfigError(f"--with is one of {', '.join(TOOLS)} and report. Found: {asked!r}")
        if not is_installed(asked):
            raise MissingExtra(asked, f"loopwright ui --with {asked}", asked)
        return asked
    mirrored = {path.stem.partition("-")[0] for run in runs_in(runs) for path in (run / MIRRORS).glob("*.json")}
    return next((tool for tool in TOOLS if tool in mirrored and is_installed(tool)), None)


def show(runs: Sequence[str], tool: str, *, port: int = 0, say: Callable[[str], Any] = print) -> int:
    """Start a tool over runs, say where it is, and wait for it, or for Ctrl-C; its exit code."""
    port = port or _free_port()
    command = _command(tool, runs, port)
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
    process = subprocess.Popen(
        [sys.executable, "-c", _WITH_PARENT, str(os.getpid()), *command],
        stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True,
    )  # fmt: skip
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        _await(process, errors, port, tool)
        say(f"{tool:<12}http://{HOST}:{port}/  (Ctrl-C ends it)")
        return process.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _end(process)
        errors.close()
        signal.signal(signal.SIGTERM, before)


def runs_in(places: Sequence[str]) -> Iterator[Path]:
    """The runs in some folders: they themselves, and those in them."""
    for place in map(Path, places):
        yield from [place] if (place / RUN).is_file() else sorted(path.parent for path in place.glob(f"**/{RUN}"))


def _command(tool: str, runs: Sequence[str], port: int) -> list[str]:
    address = ["--host", HOST, "--port", str(port)]
    if tool == "mlflow":
        return ["mlflow", "server", "--backend-store-uri", _database(runs), "--workers", "1", *address]
    if len(runs) == 1:
        return ["tensorboard.main", "--logdir", str(runs[0]), *address]
    named = ",".join(f"{Path(run).name}:{run}" for run in runs)
    return ["tensorboard.main", "--logdir_spec", named, *address]


def _database(runs: Sequence[str]) -> str:
    """The store that these runs were handed over to: of several the one of most of them."""
    found: list[str] = []
    for run in runs_in(runs):
        for path in (run / MIRRORS).glob("mlflow*.json"):
            uri = read_position(path).settings.get("uri")
            found.append(str(uri) if uri else f"sqlite:///{run.resolve().parent / 'mlflow.db'}")
    if not found:
        raise RunError(f"no run in {', '.join(runs)} was handed over to MLflow: loopwright sync RUN --to mlflow")
    uri = max(set(found), key=found.count)
    if not uri.startswith("sqlite:///"):
        raise RunError(f"these runs are not in a file of MLflow's but at {uri}: look there")
    return uri


def _await(process: "subprocess.Popen[bytes]", errors: IO[bytes], port: int, tool: str) -> None:
    given_up = time.monotonic() + _STARTING
    while time.monotonic() < given_up:
        if process.poll() is not None:
            errors.seek(0)
            last = errors.read().decode("utf-8", "replace").strip().splitlines()[-3:]
            raise RunError(f"{tool} did not start: {' '.join(last)}")
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.1)
    raise RunError(f"{tool} did not answer within {_STARTING:g} s")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """The tool and all that it started: they are a group of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            break
        try:
            process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            continue


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]
