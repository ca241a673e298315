"""What someone needs who gets a features directory: its card, its check, reading without pvn."""

import pickle
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from pvn.features import load_features, save_features
from pvn.features.card import model_card
from pvn.features.check import check_features
from pvn.storage.files import sha256
from tests.features.support import edit, make_input, probe_of, replace_weights

WITHOUT = """
import runpy, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pvn", "jax", "jaxlib", "flax", "haiku"):
            raise ImportError(name)

sys.meta_path.insert(0, Refuse())
exec(sys.stdin.read())
print(sum(float(array.astype("float64").sum()) for array in weights.values()))
assert not {"pvn", "jax", "flax"} & {name.partition(".")[0] for name in sys.modules}
"""


def test_the_card_says_how_to_read_the_weights_without_pvn(saved):
    """The lines on the card run where neither JAX nor pvn can be imported."""
    card = (saved[0] / "README.md").read_text()
    (code,) = (c for c in re.findall(r"```python\n(.*?)```", card, re.DOTALL) if "load_file" in c)
    assert len(re.findall(r"^\w", code, re.MULTILINE)) == 3  # lines
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        input=code, cwd=saved[0], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shapes, total = done.stdout.splitlines()
    assert "'Dense_0.kernel': (64, 7)" in shapes
    tensors = load_file(saved[0] / "model.safetensors")
    expected = sum(array.astype(np.float64).sum() for array in tensors.values())
    assert float(total) == pytest.approx(expected, abs=1e-9)


def test_nothing_is_unpickled(copy, monkeypatch):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (copy / "exploded",))

    def refuse(*_, **__):
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    load_features(copy)
    replace_weights(copy, pickle.dumps(Bomb()))
    (fault,) = [finding.text for finding in check_features(copy) if finding.is_fault]
    assert "is not a safetensors file" in fault
    assert not (copy / "exploded").exists()


def test_a_card_says_everything_that_is_known():
    card = model_card(
        {
            "encoder": "nature", "width": 2, "num_features": 8, "dtype": "float32", "agent": "pvn",
            "seed": 3, "step": 4500, "game": "Pong", "num_actions": 6, "sha256": "abc",
            "sample_sha256": "def", "protocol": {"frameskip": 4},
            "dataset": {"path": "data/a|b", "source": {"kind": "pvn.collect"}},
            "pretraining": {
                "indicator": "random_network", "num_tasks": 9,
                "random_network": {"proportion": 0.05}, "random_hash": {"proportion": 0.07},
            },
            "command": "python -m pvn.pretrain --workdir=runs/pong", "versions": {"jax": "0.1"},
        },
        results="| pvn | 0.5 [0.4, 0.6] |",
        commands=["python -m pvn.evaluate"],
    )  # fmt: skip
    for text in (
        "# Features of Pong",
        "agent `pvn`, encoder `nature`, width 2 after 4,500 steps, seed 3.",
        "| `model.safetensors` | weights of the encoder, float32 | `abc` |",
        '| source | {"kind": "pvn.collect"} |',
        "| path | data/a\\|b |",
        "| frameskip | 4 |",
        "| random_network.proportion | 0.05 |",
        "0.5 [0.4, 0.6]",
        "python -m pvn.pretrain --workdir=runs/pong\npython -m pvn.evaluate\n",
        "| jax | 0.1 |",
    ):
        assert text in card
    assert "random_hash" not in card
    assert "successor" not in card


def test_a_card_of_features_that_were_trained_with_rewards():
    metadata = {
        "encoder": "nature", "width": 1, "num_features": 8, "dtype": "float32", "seed": 3,
        "agent": "end_to_end_features", "step": 4500, "game": "Pong", "sha256": "abc",
        "trained_by": "pvn.evaluate", "command": "python -m pvn.evaluate --features=none",
    }  # fmt: skip
    card = model_card(metadata)
    assert "## Training\n\nTrained with rewards by `pvn.evaluate` for 4,500 agent steps.\n" in card
    assert "width 1 after 4,500 agent steps with rewards, seed 3." in card
    assert "```bash\npython -m pvn.evaluate --features=none\n```" in card
    started = metadata | {"pretraining": {"indicator": "random_network"}}
    for text in (card, model_card(started)):
        assert "retraining" not in text
        assert "ithout rewards" not in text


def test_a_card_with_results_stays_while_its_features_do(copy):
    features = load_features(copy)
    (copy / "README.md").write_text("# With results\n")
    features.metadata["command"] = "python -m pvn.pretrain again"  # a finished run, run again
    save_features(copy, features)
    assert (copy / "README.md").read_text() == "# With results\n"
    features.metadata["step"] = 7
    save_features(copy, features)
    assert "after 7 steps" in (copy / "README.md").read_text()


def test_a_sound_directory(copy):
    found = list(check_features(copy))
    assert not any(finding.is_fault for finding in found)
    assert [finding.text.partition(":")[0] for finding in found] == [
        "format", "weights", "sample", "heads", "card"
    ]  # fmt: skip


def weights_not_finite(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["Dense_1.bias"] = np.full(5, np.nan, np.float32)
    replace_weights(folder, save(tensors))


def scaled_weights(folder):
    tensors = load_file(folder / "model.safetensors")
    replace_weights(folder, save({name: 1.1 * tensor for name, tensor in tensors.items()}))


def damaged_sample(folder):
    file = folder / "sample.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")


def replace_sample(folder, without):
    file = folder / "sample.safetensors"
    file.write_bytes(save({k: v for k, v in load_file(file).items() if k != without}))
    edit(folder, sample_sha256=sha256(file))


@pytest.mark.parametrize(
    ("damage", "faults"),
    [
        (weights_not_finite, ["Dense_1.bias is not finite", "off by nan%", "other weights"]),
        (scaled_weights, ["the encoder gives other features here, off by ", "other weights"]),
        (damaged_sample, ["sample.safetensors: is corrupt: its SHA-256"]),
        (lambda f: (f / "sample.safetensors").unlink(), ["sample.safetensors: No such file"]),
        (lambda f: (f / "README.md").write_text(" \n"), ["README.md: there is no model card"]),
        (lambda f: (f / "README.md").write_text("# Others\n"), ["README.md: is the card of other"]),
        (lambda f: edit(f, sample_sha256=None), ["features.json lacks its SHA-256"]),
        (lambda f: edit(f, sample_sha256=3), ["field 'sample_sha256' is 3, expected text"]),
        (
            partial(replace_sample, without="features"),
            ["tensor features is none, expected float32"],
        ),
        (partial(replace_sample, without="observation"), ["tensor observation is none, expected"]),
        (lambda f: edit(f, width="2"), ["field 'width' is \"2\", expected a whole number"]),
        (lambda f: edit(f, width=0), ["width: 0, expected a whole number, from 1 to 65536"]),
        (
            lambda f: edit(f, observation_shape=[10, 10]),
            ["observation_shape: (10, 10), expected three numbers: height, width, channels"],
        ),
        (lambda f: edit(f, encoder=["nature"]), ["field 'encoder' is [\"nature\"], expected text"]),
        (lambda f: edit(f, successor=[]), ["field 'successor' is [], expected an object"]),
        (
            lambda f: (f / "successor.safetensors").write_bytes(b""),
            ["features.json lacks its entry"],
        ),
        (lambda f: edit(f, successor={}), ["successor.safetensors: No such file"]),
        (lambda f: edit(f, sha256="0"), ["model.safetensors: is corrupt"]),
        (lambda f: edit(f, version=9), ["format version 9 is newer"]),
        (lambda f: edit(f, width=2), ["parameter Dense_0.bias has shape (7,)"]),
    ],
)
def test_each_fault_is_a_line(copy, damage, faults):
    damage(copy)
    found = [finding.text for finding in check_features(copy) if finding.is_fault]
    assert len(found) == len(faults)
    for text, part in zip(found, faults, strict=True):
        assert part in text
        assert "\n" not in text


def test_features_of_an_older_pvn(copy):
    edit(copy, sample_sha256=None)
    (copy / "sample.safetensors").unlink()
    assert not any(finding.is_fault for finding in check_features(copy))


def test_the_commands(copy, run, tmp_path):
    edit(copy, agent="pvn", command="python -m pvn.pretrain --workdir=runs/pong")
    inputs = make_input(tmp_path / "probe", probe_of(load_features(copy).metadata["sha256"]))
    done = run("pvn.features", "card", str(copy), f"--inputs={inputs}")
    assert (done.returncode, done.stdout) == (0, f"{copy}/README.md\n"), done.stderr
    card = (copy / "README.md").read_text()
    assert "| PVN features | Pong | 0 | value | discount 0.95 | r2 | 0.500 [0.400, 0.600] |" in card
    assert "--workdir=runs/pong\npython -m pvn.probe --features=runs/pong\n" in card

    (copy / "README.md").unlink()
    done = run("pvn.features", "check", str(copy))
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 4
    assert done.stderr == (
        f"error: features {copy}/README.md: there is no model card; "
        "python -m pvn.features card DIR\n"
    )
    shutil.rmtree(copy)
