"""The container's files say what they promise: pinned, nobody is root, its doors open to this machine only."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONTAINER = ROOT / "container"
UIS = {"tensorboard": 6006, "mlflow": 5000, "report": 8000}


def instructions() -> list[tuple[str, str]]:
    """Of the Dockerfile: the word and the rest, continued lines joined, comments left out."""
    lines = [line for line in (CONTAINER / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())]


def every(word: str) -> list[str]:
    return [rest for found, rest in instructions() if found == word]


@pytest.fixture
def services() -> dict[str, Any]:
    return yaml.safe_load((CONTAINER / "compose.yaml").read_text())["services"]


def test_nobody_is_root_where_it_runs(services: dict[str, Any]) -> None:
    words = [word for word, _ in instructions()]
    last_run = max(index for index, word in enumerate(words) if word == "RUN")
    assert every("USER") == ["${UID}:${GID}"] and words.index("USER") > last_run
    assert {"UID=1000", "GID=1000"} <= set(every("ARG"))
    for service in services.values():
        assert service["user"] == "${HOST_UID:-1000}:${HOST_GID:-1000}"
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]


def test_what_it_is_made_of_is_pinned() -> None:
    assert every("FROM") == ["${BASE}"]
    (base,) = (default for default in every("ARG") if default.startswith("BASE="))
    assert re.fullmatch(r"BASE=[a-z./]+:\d+\.\d+[a-z.-]*(@sha256:[0-9a-f]{64})?", base)
    installs = [part for run in every("RUN") for part in re.split(r"&&|;", run) if "pip install" in part]
    assert installs and all("--no-cache-dir" in part for part in installs)
    assert all("constraints.txt" in part or re.search(r" pip==\d", part) for part in installs)
    lines = (CONTAINER / "constraints.txt").read_text().splitlines()[1:]
    pinned = dict(line.split("==") for line in lines)
    assert len(pinned) == len(lines) and all(re.fullmatch(r"[\w.]+", version) for version in pinned.values())
    asked = [line for line in (CONTAINER / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert set(asked) <= set(pinned)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[><=\[;]", requirement)[0] for requirement in project["dependencies"]}
    assert names <= set(asked), "a dependency of loopwright is missing in the image, which installs it with --no-deps"


def test_layers_stay_small_and_are_made_of_what_there_is() -> None:
    for run in every("RUN"):
        assert "apt-get" not in run or ("--no-install-recommends" in run and "rm -rf /var/lib/apt/lists" in run)
    sources = [word for copy in every("COPY") for word in copy.split()[:-1]]
    assert all((ROOT / source).exists() for source in sources)
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored and {line[1:] for line in ignored if line.startswith("!")} == set(sources)
    order = [index for index, (word, rest) in enumerate(instructions()) if word == "COPY"]
    assert "container/" in instructions()[order[0]][1], "what changes seldom comes first"


def test_the_doors_are_those_of_the_uis_and_for_this_machine_only(services: dict[str, Any]) -> None:
    assert every("EXPOSE") == [" ".join(str(port) for port in UIS.values())]
    opened = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert opened == {name: [f"127.0.0.1:{port}:{port}"] for name, port in UIS.items()}
    for name, port in UIS.items():
        assert str(port) in " ".join(services[name]["entrypoint"])


def test_there_is_a_shell_and_data_stay_as_they_are(services: dict[str, Any]) -> None:
    assert services["shell"]["entrypoint"] == ["bash"] and services["shell"]["tty"]
    for service in services.values():
        workspace, data = service["volumes"]
        assert workspace.endswith(":/workspace") and data.endswith(":/data:ro")
        assert service["init"] and service["stop_grace_period"] == "5m"
        build = service["build"]
        assert (CONTAINER / build["context"] / build["dockerfile"]).resolve() == CONTAINER / "Dockerfile"
        assert {f"{name}" for name in build["args"]} <= {arg.partition("=")[0] for arg in every("ARG")}


def test_gpus_are_an_addition(services: dict[str, Any]) -> None:
    more = yaml.safe_load((CONTAINER / "compose.gpu.yaml").read_text())["services"]
    assert set(more) <= set(services)
    for service in more.values():
        assert service["build"]["args"] == {"DEVICE": "gpu"}
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"]
