"""Runs the examples of docs/probing.md."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from pvn.probes.target import TARGETS

PAGE = (Path(__file__).parents[2] / "docs" / "probing.md").read_text()
LIBRARIES = {"NumPy": "numpy", "Flax": "flax", "Haiku": "haiku", "PyTorch": "torch"}
EXAMPLES = dict(re.findall(r"^### (\w+)\n.*?^```python\n(.*?)^```", PAGE, re.M | re.S))


def test_the_page_has_all_examples_and_targets() -> None:
    assert list(EXAMPLES) == list(LIBRARIES)
    listed = re.findall(r"^\| `(\w+)` \|", PAGE.partition("## How a score")[0], re.M)
    assert listed == list(TARGETS)


@pytest.mark.parametrize("name", LIBRARIES)
def test_an_example(name: str, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if importlib.util.find_spec(LIBRARIES[name]) is None:
        pytest.skip(f"{name} is not installed")
    (use,) = re.findall(r"^```python\n(from pvn.*?)^```", PAGE, re.M | re.S)
    scope: dict = {}
    exec(EXAMPLES[name], scope)
    sample = np.random.default_rng(0).integers(0, 256, (3, 84, 84, 4), np.uint8)
    assert np.asarray(scope["features"](sample)).shape == (3, 64)
    exec(use.replace("data/breakout", str(dataset)), scope)
    value, low, high = scope["result"].scores["average_precision"]
    assert 0 < low <= value <= high <= 1
    assert capsys.readouterr().out.startswith("Score(value=0.")
