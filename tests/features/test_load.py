"""Formats and damaged files."""

from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save

from pvn.errors import UserError
from pvn.features import load_features
from tests.features.support import assert_error, edit, replace_weights

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("dtype", "name"),
    [("bfloat16", "BF16"), ("float16", "F16"), ("float64", "F64"), ("int32", "I32")],
)
def test_weights_of_another_type(copy, dtype, name):
    file = copy / "model.safetensors"
    tensors = load_file(file)
    tensors["Dense_1.bias"] = np.asarray(jax.numpy.zeros(5, "bfloat16")).astype(dtype)
    replace_weights(copy, save(tensors))
    with pytest.raises(UserError) as caught:
        load_features(copy)
    assert str(caught.value) == f"features {file}: parameter Dense_1.bias is {name}, expected F32"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", "header too small"),
        (b"\xff" * 40, "header too large"),
        (b"\x0a" + bytes(7) + b"not JSON  ", "invalid JSON in header: "),
        (b"\x02" + bytes(7) + b"{}" + bytes(4), "incomplete metadata, file not fully covered"),
    ],
)
def test_a_bad_header(copy, raw, text):
    replace_weights(copy, raw)
    with pytest.raises(UserError) as caught:
        load_features(copy)
    (line,) = str(caught.value).splitlines()
    place = f"features {copy}/model.safetensors: is not a safetensors file ("
    assert line.startswith(place + text)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.data())
def test_a_flipped_bit_in_the_weights(saved, data):
    file = saved[0] / "model.safetensors"
    raw = file.read_bytes()
    damaged = bytearray(raw)
    damaged[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(damaged)
    try:
        with pytest.raises(UserError) as caught:
            load_features(saved[0])
        assert str(caught.value) == (
            f"features {file}: is corrupt: its SHA-256 is not that in features.json"
        )
    finally:
        file.write_bytes(raw)


def test_weights_cut_short(copy):
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match="is corrupt: its SHA-256 is not that in"):
        load_features(copy)


def test_no_weights(copy):
    (copy / "model.safetensors").unlink()
    with pytest.raises(UserError) as caught:
        load_features(copy)
    assert str(caught.value) == f"features {copy}/model.safetensors: No such file or directory"


def test_newer_version(copy):
    edit(copy, version=3)
    assert_error(
        copy,
        f"features {copy}/features.json: format version 3 is newer than 2, the newest this pvn "
        "reads; upgrade pvn",
    )


def test_foreign_format(copy):
    edit(copy, format="other")
    assert_error(copy, f"features {copy}/features.json: format 'other', expected pvn-features")


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b"\xff", b"3"])
def test_foreign_description(copy, raw):
    (copy / "features.json").write_bytes(raw)
    assert_error(copy, f"features {copy}/features.json: is not a pvn-features description")


def test_nothing_there(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for name in ("gone", "file", "empty"):
        assert_error(
            tmp_path / name,
            f"features {tmp_path / name}: no features.json there or in its features/; "
            "python -m pvn.pretrain writes one",
        )


def test_own_encoder_is_gone(copy):
    (copy / "encoder.py").unlink()
    assert_error(copy, f"encoder encoder.py:FlaxOwn: there is no file {copy}/encoder.py")


@pytest.mark.parametrize("change", [{"num_features": 6}, {"width": 2}, {"encoder": "nature"}])
def test_weights_that_do_not_fit(copy, change):
    edit(copy, **change)
    with pytest.raises(UserError):
        load_features(copy)


@pytest.mark.parametrize("field", ["version", "sha256", "encoder", "num_features"])
def test_description_lacks_a_field(copy, field):
    edit(copy, **{field: None})
    with pytest.raises(UserError):
        load_features(copy)
