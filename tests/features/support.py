"""What the tests of features share: a small encoder of a user, observations, edits of files."""

import hashlib
import json

import jax
import numpy as np
import pytest

from pvn.errors import UserError
from pvn.evaluation.records import EpisodeRow, ProbeRow, to_json
from pvn.features import Features, load_features, random_features
from pvn.networks.encoders import make_encoder

OWN = """
import flax.linen as nn
import haiku as hk
import jax.numpy as jnp

TRACED = []  # one entry each time that JAX runs the Python of the encoder

def pixels(x):
    TRACED.append(x.shape)
    return x[:, ::21, ::21].reshape(x.shape[0], -1).astype(jnp.float32) / 255

class FlaxOwn(nn.Module):
    num_features: int
    width: int
    dtype: object

    @nn.compact
    def __call__(self, observation):
        uniform = nn.initializers.uniform(0.3)  # draws faster than the default
        x = nn.Dense(7 * self.width, kernel_init=uniform)(pixels(observation))
        return nn.Dense(self.num_features, kernel_init=uniform)(x)

def HaikuOwn(num_features, width, dtype):
    return hk.transform(lambda x: hk.nets.MLP([7 * width, num_features])(pixels(x)))

class Scaled(FlaxOwn):
    @nn.compact
    def __call__(self, observation):
        temperature = self.param("temperature", nn.initializers.ones, ())
        return nn.Dense(self.num_features)(pixels(observation)) * temperature
"""


def observations(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 84, 84, 4), dtype=np.uint8)


def make_features(encoder, num_features, **metadata):
    """Features with weights from NumPy, which are faster to draw than with JAX."""
    network = make_encoder(encoder, width=1, num_features=num_features)
    shape = jax.ShapeDtypeStruct((1, 84, 84, 4), np.uint8)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: (0.05 * rng.normal(size=leaf.shape)).astype(np.float32),
        jax.eval_shape(network.init, jax.random.key(0), shape),
    )
    metadata |= {"encoder": encoder, "width": 1, "num_features": num_features, "dtype": "float32"}
    return Features(network, params, metadata)


def assert_same_tree(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, strict=True), one, other)


def edit(folder, **fields):
    file = folder / "features.json"
    metadata = json.loads(file.read_text()) | fields
    file.write_text(json.dumps({k: v for k, v in metadata.items() if v is not None}))


def assert_error(folder, text):
    for function in (load_features, lambda path: random_features(like=path)):
        with pytest.raises(UserError) as caught:
            function(folder)
        assert str(caught.value) == text


def replace_weights(folder, raw):
    (folder / "model.safetensors").write_bytes(raw)
    edit(folder, sha256=hashlib.sha256(raw).hexdigest())


def probe_of(weights, **fields):
    row = ProbeRow(
        "Pong", "pvn", 0, "value", {"discount": 0.95}, {"sha256": weights}, {}, "r2", 0.5, 0.4, 0.6,
        {"command": "python -m pvn.probe --features=runs/pong"},
    )  # fmt: skip
    return row._replace(**fields)


def make_input(folder, *rows, **described):
    """A folder with these rows, and JSON files: config={...} writes config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, name in ((EpisodeRow, "scores.jsonl"), (ProbeRow, "probes.jsonl")):
        if lines := [to_json(row) + "\n" for row in rows if isinstance(row, kind)]:
            (folder / name).write_text("".join(lines))
    for name, content in described.items():
        file = folder / f"{name}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content))
    return str(folder)
