"""The notebook of docs/ runs from a clone without data or features."""

import json
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from tests.xla import QUICK

NOTEBOOK = Path(__file__).parents[1] / "docs" / "probing.ipynb"
SMALL = """
FEATURES = DATASET = "none"
WORK, NUM_STEPS, PRETRAIN_STEPS = {work!r}, 1500, 2
"""


@pytest.fixture
def cells():
    notebook = json.loads(NOTEBOOK.read_text())
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_it_runs(cells, compilations, tmp_path, monkeypatch):
    """Its cells run in order in one namespace, on less data than a reader's."""
    monkeypatch.chdir(NOTEBOOK.parent)  # where Jupyter starts it
    monkeypatch.setenv("XLA_FLAGS", QUICK)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(compilations))
    matplotlib.use("Agg")
    from matplotlib import pyplot

    first, *others = ("".join(cell["source"]) for cell in cells)
    namespace = {}
    for number, source in enumerate([first + SMALL.format(work=str(tmp_path)), *others]):
        exec(compile(source, f"{NOTEBOOK.name}, code cell {number}", "exec"), namespace)
    assert set(namespace["scores"]) == {"pvn", "random network"}
    assert np.isfinite(list(namespace["scores"].values())).all()
    assert not set(namespace["episode"][namespace["train"]]) & set(namespace["held_out"])
    assert len(pyplot.get_fignums()) == 2
    pyplot.close("all")


def test_it_is_committed_with_its_pictures(cells):
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert NOTEBOOK.stat().st_size < 400_000
    numbers = [cell["execution_count"] for cell in cells]
    assert numbers == list(range(1, len(cells) + 1))
