"""Which modules may import which. Sources are parsed, not run, so imports in functions count."""

import ast
import functools
import graphlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import pvn.data
import pvn.formats

ROOT = Path(__file__).parents[1]

COMMANDS = (
    *("collect", "convert", "dataset", "pretrain", "evaluate", "probe", "report", "__main__"),
)

# room -> what its modules may import from pvn, besides their own room.
BASE = ("types", "errors", "machine", "fields", "plugins", "storage")
ROOMS = {
    "types": (),
    "errors": (),
    "machine": (),
    "storage": ("errors",),
    "fields": ("errors", "storage"),
    "neighbours": (),
    "plugins": ("errors", "neighbours"),
    "data": BASE,
    "formats": ("data", *BASE),
    "networks": BASE,
    "envs": BASE,
    "indicators": ("ridge", "networks", "data", *BASE),
    "features": ("indicators", "networks", "neighbours", *BASE),
    "learning": ("indicators", "networks", "data", *BASE),
    "ridge": ("errors",),
    "probes": ("ridge", "evaluation", "envs", "data", *BASE),
    "evaluation": ("ridge", "networks", "envs", "features", "data", *BASE),
    "statistics": ("evaluation", *BASE),
    "tabular": ("learning", "indicators", "networks", "data", *BASE),
    "suite": ("evaluation", "envs", "data", *BASE),
    # Shared by the commands. "": pvn itself, for its version.
    "runs": ("errors", "machine", "fields", "storage", ""),
    "pretraining": ("runs", "learning", "features", "indicators", "networks", "data", *BASE),
    "play": ("envs", "data", "errors"),
    "agent": ("evaluation", "envs", "data", *BASE),
    "phases": ("agent", "runs", "evaluation", "envs", "data", *BASE),
    "card_results": ("runs", "evaluation", "features", "statistics", *BASE),
    "": ("features",),
}

WITHOUT_JAX = ("data", "formats")
NOT_IN_DATA = {"jax", "jaxlib", "flax", "haiku", "optax"}
OF_COMMANDS = ("absl.flags", "absl.app", "ml_collections")
AMONG_COMMANDS = {*COMMANDS, "runs", "pretraining", "phases", "agent"}


def sources():
    """Source texts by module name: `pvn`, `pvn.data`, `pvn.data.store`, ..."""
    found = {}
    for file in (ROOT / "pvn").rglob("*.py"):
        parts = file.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file.read_text()
    return found


@functools.cache
def import_statements(source):
    """The import statements of a source text."""
    return [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Import | ast.ImportFrom)]


def imports(name, source, modules):
    """Dotted names that a module imports; of `from a import b`, a.b where that is a module."""
    for node in import_statements(source):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                of_pvn = node.module.partition(".")[0] == "pvn"
                yield node.module if of_pvn and full not in modules else full


def room(module):
    """The part of a name after `pvn`. All modules of a folder share it, except its command."""
    parts = module.split(".")
    return parts[-1] if parts[-1] == "__main__" else "".join(parts[1:2])


def within(module, package):
    return f"{module}.".startswith(f"{package}.")


def faults(modules):
    """A message for each import that breaks the rules."""
    found = []
    graph = {}
    for name, source in sorted(modules.items()):
        mine = room(name)
        graph[name] = set()
        if mine not in ROOMS and mine not in COMMANDS:
            found.append(f"{name} is in no room; add it to this test")
            continue
        for other in imports(name, source, modules):
            if within(other, "pvn"):
                graph[name].add(other)
                if mine in ROOMS and room(other) not in (mine, *ROOMS[mine]):
                    found.append(f"{name} imports {other}")
            if mine in WITHOUT_JAX and other.partition(".")[0] in NOT_IN_DATA:
                found.append(f"{name} imports {other}")
            if mine not in AMONG_COMMANDS and any(within(other, each) for each in OF_COMMANDS):
                found.append(f"{name} imports {other}")
        if "pmap" in source and name != "pvn.learning.parallel":
            found.append(f"{name} names pmap")
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        found.append("cycle: " + " ".join(error.args[1]))
    return found


def new_faults(modules):
    """The messages for these modules, independent of the modules that exist."""
    there = sources()
    old = faults(there)
    return [fault for fault in faults(there | modules) if fault not in old]


def test_layers():
    assert faults(sources()) == []


def test_every_room_is_there():
    found = {room(name) for name in sources()}
    assert found == {*ROOMS, *COMMANDS}


@pytest.mark.parametrize(
    ("name", "source", "fault"),
    [
        ("pvn.data.new", "import jax", "pvn.data.new imports jax"),
        ("pvn.data.new", "def f():\n from flax import linen", "pvn.data.new imports flax.linen"),
        ("pvn.data.new", "import pvn.features", "pvn.data.new imports pvn.features"),
        ("pvn.data.new", "from pvn import features", "pvn.data.new imports pvn.features"),
        ("pvn.data.new", "from pvn import Features", "pvn.data.new imports pvn"),
        ("pvn.data.new", "import pvn.formats.rlds", "pvn.data.new imports pvn.formats.rlds"),
        ("pvn.formats.new", "import jax.numpy", "pvn.formats.new imports jax.numpy"),
        (
            "pvn.learning.new",
            "import pvn.formats.rlds",
            "pvn.learning.new imports pvn.formats.rlds",
        ),
        ("pvn.networks.new", "import pvn.data.store", "pvn.networks.new imports pvn.data.store"),
        ("pvn.envs.new", "import pvn.networks", "pvn.envs.new imports pvn.networks"),
        ("pvn.indicators.new", "import pvn.features", "pvn.indicators.new imports pvn.features"),
        (
            "pvn.learning.new",
            "from pvn.ridge import Ridge",
            "pvn.learning.new imports pvn.ridge",
        ),
        (
            "pvn.evaluation.new",
            "from pvn.learning import losses",
            "pvn.evaluation.new imports pvn.learning.losses",
        ),
        (
            "pvn.evaluation.new",
            "import pvn.runs.console",
            "pvn.evaluation.new imports pvn.runs.console",
        ),
        ("pvn.evaluation.new", "import pvn.report", "pvn.evaluation.new imports pvn.report"),
        (
            "pvn.evaluation.new",
            "import ml_collections",
            "pvn.evaluation.new imports ml_collections",
        ),
        ("pvn.learning.new", "from absl import flags", "pvn.learning.new imports absl.flags"),
        (
            "pvn.evaluation.new",
            "import pvn.statistics.intervals",
            "pvn.evaluation.new imports pvn.statistics.intervals",
        ),
        (
            "pvn.evaluation.new",
            "from pvn.probes import linear",
            "pvn.evaluation.new imports pvn.probes.linear",
        ),
        ("pvn.types", "import pvn.errors", "pvn.types imports pvn.errors"),
        ("pvn.runs.config", "import pvn.data", "pvn.runs.config imports pvn.data"),
        ("pvn.learning.new", "jax.pmap(f)", "pvn.learning.new names pmap"),
        (
            "pvn.tabular.new",
            "from pvn import ridge",
            "pvn.tabular.new imports pvn.ridge",
        ),
        ("pvn.learning.new", "import pvn.tabular", "pvn.learning.new imports pvn.tabular"),
        ("pvn.tabular.new", "import absl.flags", "pvn.tabular.new imports absl.flags"),
        ("pvn.new", "", "pvn.new is in no room; add it to this test"),
        ("pvn.data.new.deep", "import pvn.envs", "pvn.data.new.deep imports pvn.envs"),
    ],
)
def test_faults_are_found(name, source, fault):
    assert new_faults({name: source}) == [fault]


def test_cycles_are_found():
    cycle = {"pvn.data.a": "import pvn.data.b", "pvn.data.b": "from pvn.data import a"}
    (fault,) = new_faults(cycle)
    assert fault.startswith("cycle: ")
    assert {"pvn.data.a", "pvn.data.b"} <= set(fault.split())


def test_what_is_allowed_is_no_fault():
    allowed = {
        "pvn.data.new": "import numpy\nfrom pvn.data import store\nfrom pvn.types import Array",
        "pvn.evaluation.new": "import jax\nfrom pvn import features\nfrom absl import logging",
        "pvn.collect": "import ml_collections, pvn.learning.losses, pvn.ridge",
    }
    assert new_faults(allowed) == []


@pytest.mark.parametrize("package", [pvn.data, pvn.formats])
def test_runs_without_jax(package):
    modules = pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    names = [module.name for module in modules]
    assert len(names) >= 4
    assert loaded(*names) & NOT_IN_DATA == set()


def test_conversion_starts_no_emulator():
    assert "pvn.envs.games" in loaded("pvn.convert")
    assert loaded("pvn.convert") & {"ale_py", "gymnasium", "jax"} == set()


def loaded(*names):
    """All modules that are loaded when these are imported."""
    code = f"import sys, {', '.join(names)}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())
