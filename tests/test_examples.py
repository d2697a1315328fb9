"""Every example runs as it stands, only shorter."""

import importlib.util
from pathlib import Path

import pytest

import loopwright as lw
from loopwright.recipes._settings import TrainSettings

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_runs(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location(name.removesuffix(".py"), EXAMPLES / name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(["--epochs", "1", "--size", "16"])
    (folder,) = (tmp_path / "runs").iterdir()
    assert lw.read_run(folder)["state"] == "finished"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_an_example_configuration_is_sound(path: Path) -> None:
    if "sweep" in lw.load_config(path):
        assert lw.sweep(path, dry_run=True, progress=False).trials
    else:
        assert lw.load_config(path, schema=TrainSettings)
