"""The loader of plugins. tests/networks tests what is special to encoders."""

import hashlib
import sys

import pytest

from pvn.errors import UserError
from pvn.plugins import (
    guarded,
    is_plugin,
    load_plugin,
    plugin_errors,
    plugin_file,
    plugin_identity,
    plugin_sources,
)


def write(folder, **files):
    """write(folder, mine="...", nets__INIT="") writes mine.py and nets/__init__.py."""
    for name, text in files.items():
        file = folder / (name.replace("__", "/").replace("INIT", "__init__") + ".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def digests(folder, *names):
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder on Python's path. Its modules are removed from sys.modules after the test."""
    folder = tmp_path / "path"
    folder.mkdir()
    before = set(sys.modules)
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in set(sys.modules) - before:
        del sys.modules[name]


# Names.


def test_names():
    assert [is_plugin(name) for name in ("nature", "a/b.py:C", "a.b:C")] == [False, True, True]
    assert plugin_file("nature") is None
    assert plugin_file("package.module:Name") is None
    assert str(plugin_file("a/b.py:Name")) == "a/b.py"


@pytest.mark.parametrize("file", ["my-policy.py", "v1.2.py", "policy (copy).py", "numpy.py"])
def test_any_file_name(tmp_path, file):
    (tmp_path / file).write_text("import numpy as np\nvalue = np.ones(2).sum()")
    assert load_plugin("policy", f"{file}:value", folder=tmp_path) == 2


# Neighbours.


def test_neighbours_are_found(tmp_path):
    write(
        tmp_path,
        mine=(
            "import nets.blocks, layers as l\n"
            "from nets import blocks as b, depth\n"
            "from . import layers\n"
            "import numpy as np\n"
            "value = [nets.blocks.two, l.one, b.two, depth.three, layers is l, np.int64(4)]\n"
        ),
        layers="one = 1\n",
        nets__blocks="from layers import one\nfrom .depth import three\ntwo = three - one\n",
        nets__depth="three = 3\n",
        unused="raise ValueError\n",
    )
    path = list(sys.path)
    assert load_plugin("encoder", f"{tmp_path}/mine.py:value") == [2, 1, 2, 3, True, 4]
    assert sys.path == path
    assert "layers" not in sys.modules
    assert not list(tmp_path.rglob("__pycache__"))
    assert plugin_identity("mine.py:value", tmp_path) == digests(
        tmp_path, "layers.py", "mine.py", "nets/blocks.py", "nets/depth.py"
    )


def test_neighbours_of_the_same_name_in_two_folders_never_meet(tmp_path):
    # `layers` is imported immediately, `later` when the functions run, in either order.
    mine = "import layers\ndef name():\n    import later\n    return layers.name + later.name\n"
    for folder in ("a", "b"):
        text = f"name = {folder!r}\n"
        write(tmp_path / folder, mine=mine, layers=text, later=text)
    a, b = (load_plugin("policy", "mine.py:name", folder=tmp_path / folder) for folder in "ab")
    assert (b(), a(), b()) == ("bb", "aa", "bb")


def test_a_file_is_run_once(tmp_path):
    write(
        tmp_path,
        mine="import other\nclass One: pass\ndef two(): import mine; return mine.One\n",
        other="import pathlib\nwith open(pathlib.Path(__file__).parent / 'runs', 'a') as f:"
        " f.write('x')\n",
    )
    one, two = (
        load_plugin("encoder", f"mine.py:{name}", folder=tmp_path) for name in ("One", "two")
    )
    assert two() is one
    assert load_plugin("encoder", f"{tmp_path}/../{tmp_path.name}/mine.py:One") is one
    assert (tmp_path / "runs").read_text() == "x"


@pytest.mark.parametrize("changed", ["mine", "layers"])
def test_a_file_that_changed_is_loaded_again(tmp_path, changed):
    # The new text has the same length and the same second: Python's cache would miss the change.
    write(tmp_path, mine="from layers import x\nvalue = (x, 1)", layers="x = 1")
    assert load_plugin("target", "mine.py:value", folder=tmp_path) == (1, 1)
    before = plugin_identity("mine.py:value", tmp_path)
    file = tmp_path / f"{changed}.py"
    file.write_text(file.read_text().replace("1", "2"))
    expected = {"mine": (1, 2), "layers": (2, 1)}[changed]
    assert load_plugin("target", "mine.py:value", folder=tmp_path) == expected
    after = plugin_identity("mine.py:value", tmp_path)
    assert [name for name in before if before[name] != after[name]] == [f"{changed}.py"]


def test_what_is_installed_is_not_hidden_by_a_neighbour(tmp_path):
    # The standard library, pvn, the packages that pvn uses, and a folder that is not a package.
    write(tmp_path, mine="import json, jax, pvn, pytest\nvalue = [json, jax, pvn, pytest]")
    write(tmp_path, json="", jax="", pvn__x="", pytest__x="")
    import json

    import jax

    import pvn

    assert load_plugin("encoder", "mine.py:value", folder=tmp_path) == [json, jax, pvn, pytest]


def test_a_neighbour_hides_another_package(tmp_path):
    write(tmp_path, mine="import tqdm\nvalue = tqdm.mine", tqdm="mine = 7")
    assert load_plugin("encoder", "mine.py:value", folder=tmp_path) == 7
    assert plugin_sources("mine.py:value", tmp_path).packages == []


# Identity.


def test_imports_within_functions_are_part_of_the_identity(tmp_path):
    write(tmp_path, mine="def value():\n    from later import x\n", later="import last", last="(")
    files = plugin_sources("mine.py:value", tmp_path).beside
    assert set(files) == {"mine.py", "later.py", "last.py"}
    assert files["last.py"] == tmp_path / "last.py"


def test_own_modules_elsewhere_are_part_of_the_identity(tmp_path, package):
    write(tmp_path, mine="import people.nets.blocks, tqdm, people_tools, gone_or_not")
    write(package, people__INIT="", people__other="", people_tools="")
    write(package, people__nets__blocks="from ..more import x", people__more="x = 1")
    sources = plugin_sources("mine.py:value", tmp_path)
    assert set(sources.beside) == {"mine.py"}
    assert set(sources.elsewhere) == {"people", "people.nets.blocks", "people.more", "people_tools"}
    assert sources.packages == ["people", "people_tools", "tqdm"]
    assert set(plugin_identity("mine.py:value", tmp_path)) == {"mine.py", *sources.elsewhere}


def test_identity_of_a_module_in_a_package(package):
    write(package, people__INIT="", people__nets="from people import more", people__more="")
    assert load_plugin("encoder", "people.nets:more").__name__ == "people.more"
    names = {"people": "__init__.py", "people.nets": "nets.py", "people.more": "more.py"}
    expected = digests(package / "people", *names.values())
    assert plugin_identity("people.nets:more") == {k: expected[v] for k, v in names.items()}


@pytest.mark.parametrize("name", ["nature", "os.path:join", "flax.linen:Dense", "tqdm:tqdm"])
def test_what_is_installed_has_no_identity(name):
    assert plugin_identity(name) == {}


# Errors of the user's code.


@pytest.mark.parametrize(
    ("files", "text"),
    [
        (
            {"mine": "\n\nimport layers\n"},
            "mine.py, line 3: ModuleNotFoundError: No module named 'layers'",
        ),
        (
            {"mine": "import nets.gone", "nets__x": ""},
            "mine.py, line 1: ModuleNotFoundError: No module named 'nets.gone'",
        ),
        ({"mine": "x = 1\ny = (\n"}, "mine.py, line 2: SyntaxError: '(' was never closed"),
        (
            {"mine": "import nets.x", "nets__x": "\nx ="},
            "nets/x.py, line 2: SyntaxError: invalid syntax",
        ),
        ({"mine": "\n1 / 0"}, "mine.py, line 2: ZeroDivisionError: division by zero"),
        ({"mine": "import x", "x": "\n[][1]"}, "x.py, line 2: IndexError: list index out of range"),
        ({"mine": "\nraise ValueError('one\\ntwo')"}, "mine.py, line 2: ValueError: one"),
        ({"mine": "assert False"}, "mine.py, line 1: AssertionError"),
        ({"mine": "import sys; sys.exit('no')"}, "mine.py, line 1: SystemExit: no"),
        # The message names the last line of the user's code, not a line of a library.
        (
            {"mine": "import json\njson.loads('')"},
            "mine.py, line 2: JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
        ),
    ],
)
def test_what_a_file_raises_is_one_line(tmp_path, files, text):
    write(tmp_path, **files)
    with pytest.raises(UserError) as caught:
        load_plugin("encoder", "mine.py:Own", folder=tmp_path)
    assert str(caught.value) == f"encoder mine.py:Own: {text}"


def test_what_a_module_of_a_package_raises_is_one_line(package, monkeypatch):
    write(package, people__nets="import people.gone", people__more="\n1 / 0")
    monkeypatch.chdir(package)
    for name, text in {
        "people.nets": "people/nets.py, line 1: ModuleNotFoundError: No module named 'people.gone'",
        "people.more": "people/more.py, line 2: ZeroDivisionError: division by zero",
        "people.none": "No module named 'people.none'",
        "nobody.none": "No module named 'nobody'",
    }.items():
        with pytest.raises(UserError) as caught:
            load_plugin("target", f"{name}:Own")
        assert str(caught.value) == f"target {name}:Own: {text}"


def test_errors_while_a_plugin_is_called(tmp_path):
    write(tmp_path, mine="def policy(x):\n    return x['a']\n")
    policy = load_plugin("policy", "mine.py:policy", folder=tmp_path)
    with (
        pytest.raises(
            UserError, match=r"^policy mine\.py:policy: mine\.py, line 2: KeyError: 'a'$"
        ),
        plugin_errors("policy", "mine.py:policy", tmp_path),
    ):
        policy({})
    with pytest.raises(KeyError), plugin_errors("policy", "random"):  # a policy of pvn
        policy({})


def test_a_guarded_function(tmp_path):
    write(tmp_path, mine="def policy(x, y=1):\n    return x / y\n")
    policy = load_plugin("policy", "mine.py:policy", folder=tmp_path)
    safe = guarded("policy", "mine.py:policy", policy, tmp_path)
    assert safe(4, y=2) == 2
    with pytest.raises(UserError) as caught:
        safe(4, 0)
    assert str(caught.value) == (
        "policy mine.py:policy: mine.py, line 2: ZeroDivisionError: division by zero"
    )
    assert guarded("policy", "random", policy) is policy


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("best", "policy 'best': expected one of random, `path/to/file.py:Name` or "
         "`package.module:Name`"),
        ("gone.py:Own", "policy gone.py:Own: there is no file {folder}/gone.py"),
        ("mine.py:Own", "policy mine.py:Own: mine.py defines no 'Own'"),
        ("os.path:Own", "policy os.path:Own: os.path defines no 'Own'"),
    ],
)  # fmt: skip
def test_what_is_not_there(tmp_path, name, text):
    write(tmp_path, mine="")
    with pytest.raises(UserError) as caught:
        load_plugin("policy", name, ["random"], tmp_path)
    assert str(caught.value) == text.format(folder=tmp_path)
