"""The code of the documentation runs as it stands."""

import re
from pathlib import Path

import pytest
import torch

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("name", ["optimisation.md"])
def test_the_code_of_a_page_runs(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    known: dict = {}
    try:
        for block in re.findall(r"^```python\n(.*?)^```", (DOCS / name).read_text(), re.DOTALL | re.MULTILINE):
            exec(compile(block, name, "exec"), known)
    finally:
        torch.set_num_threads(threads)
