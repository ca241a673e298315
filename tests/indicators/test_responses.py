"""The store of responses: what is computed, kept, shared and repaired."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pvn.data.transitions import Transitions, find_transitions
from pvn.errors import UserError
from pvn.indicators import responses
from pvn.indicators.indicator import Indicator
from pvn.indicators.responses import (
    Cache,
    Share,
    compute_responses,
    open_cache,
    stored_responses,
)
from tests.datasets import read_dataset
from tests.files import flip

T = 3


@pytest.fixture
def transitions(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> Transitions:
    """1,300 rows, so 6 pieces of 256 rows or less."""
    monkeypatch.setattr(responses, "_PIECE_ROWS", 256)
    rows = read_dataset(dataset).rows
    return find_transitions(type(rows)(*(column[:1300] for column in rows)))


def indicator() -> Indicator:
    """The responses are mean pixels of three parts of the newest frame."""
    return Indicator(
        num_tasks=T,
        init=lambda key, observation: ((), ()),
        response=lambda frozen, states: jnp.stack(
            [jnp.mean(states[:, 28 * i : 28 * (i + 1), :, -1].astype(jnp.float32), (1, 2))
             for i in range(T)], axis=1,
        ),
        cumulant=lambda fitted, response: response,
    )  # fmt: skip


def expected(transitions: Transitions) -> np.ndarray:
    return compute_responses(indicator(), (), transitions, np.arange(1300))


def store(path: Path, transitions: Transitions, **changes: Any) -> tuple[np.ndarray, list[int]]:
    """(the responses, the numbers of states reported as done)."""
    done: list[int] = []
    cache = Cache(path, {"seed": 0})._replace(**changes)
    open_cache(cache)
    return stored_responses(cache, indicator(), (), transitions, on_progress=done.append)[:], done


def count_computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of states that are computed from now on."""
    computed: list[int] = []
    real: Callable = responses.response_batches

    def counting(*arguments: Any) -> Any:
        computed.append(len(arguments[3]))
        return real(*arguments)

    monkeypatch.setattr(responses, "response_batches", counting)
    return computed


def test_only_what_is_missing_or_corrupt_or_of_another_key_is_computed(
    transitions: Transitions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = expected(transitions)
    computed = count_computed(monkeypatch)
    for change, count in (
        (lambda: None, 1300),
        (lambda: None, 0),
        (lambda: (tmp_path / "c" / "2" / "0").unlink(), 256),
        (lambda: flip(tmp_path / "c" / "5" / "0", 100), 20),
        (lambda: (tmp_path / "c" / "0" / "0").write_bytes(b""), 256),
        (lambda: (tmp_path / "zarr.json").write_bytes(b"{"), 0),
    ):
        change()
        found, done = store(tmp_path, transitions)
        np.testing.assert_array_equal(found, whole)
        assert (sum(computed), sum(done)) == (count, 1300)
        computed.clear()
    (tmp_path / "of_another_key").write_text("old")
    found, _ = store(tmp_path, transitions, key={"seed": 1})
    assert computed == [1300]
    assert {path.name for path in tmp_path.iterdir()} == {"c", "key.json", "zarr.json"}


def test_rows_are_those_of_the_array_and_corruption_is_an_error(
    transitions: Transitions, tmp_path: Path
) -> None:
    whole = expected(transitions)
    there = stored_responses(Cache(tmp_path, {}), indicator(), (), transitions)
    assert (len(there), there.shape) == (1300, (1300, T))
    rows = np.array([700, 3, 3, 1299])
    np.testing.assert_array_equal(there[rows], whole[rows], strict=True)
    np.testing.assert_array_equal(there[250:260], whole[250:260], strict=True)
    flip(tmp_path / "c" / "1" / "0", 9)
    with pytest.raises(UserError, match=f"^responses {tmp_path}: cannot be read .*Digest mismatch"):
        there[250:260]


def test_processes_share_one_computation(
    transitions: Transitions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "_POLL", 0.01)
    whole = expected(transitions)
    computed = count_computed(monkeypatch)
    barrier = threading.Barrier(3)
    found: dict[int, np.ndarray] = {}

    def work(index: int) -> None:
        share = Share(index, 3, barrier.wait)
        devices = jax.devices()[2 * index : 2 * index + 2]  # which take turns
        found[index], _ = store(tmp_path, transitions, share=share, devices=devices)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(3):
        np.testing.assert_array_equal(found[index], whole)
    assert sorted(computed) == [256 + 20, 512, 512]
