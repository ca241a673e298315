"""Responses of one bit a task: the same tasks, and what is stored, kept, shared and repaired."""

import threading
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pvn.data.transitions import Transitions, find_transitions
from pvn.errors import UserError
from pvn.indicators import responses
from pvn.indicators.hashing import RandomHash
from pvn.indicators.indicator import Indicator
from pvn.indicators.packed import pack_rows, packed
from pvn.indicators.random_network import RandomNetwork
from pvn.indicators.responses import ALONE, Cache, Share, open_cache
from pvn.indicators.standardised import standardised
from pvn.indicators.tasks import Tasks, tasks_of_dataset, tasks_of_states
from pvn.indicators.threshold import empirical_bias, indicator
from tests.datasets import read_dataset
from tests.files import flip

KEY = jax.random.key(0)


def brightness(num_tasks: int) -> Indicator:
    """A task is on where a row of the newest frame is bright: in a fifth of the states. Sums of
    whole numbers are exact in any batch."""
    return Indicator(
        num_tasks,
        init=lambda key, observation: ((), jnp.zeros(num_tasks)),
        response=lambda _, states: states[:, 20 : 20 + num_tasks, :, -1].sum(2, jnp.float32),
        cumulant=indicator,
        fit=lambda found: empirical_bias(found, 0.2),
        binary=True,
    )


@pytest.fixture
def transitions(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> Transitions:
    """1,300 rows, so 6 pieces of 256 rows or less."""
    monkeypatch.setattr(responses, "_PIECE_ROWS", 256)
    monkeypatch.setattr(responses, "_POLL", 0.01)
    rows = read_dataset(dataset).rows
    return find_transitions(type(rows)(*(column[:1300] for column in rows)))


@pytest.mark.parametrize("num_tasks", [1, 7, 8, 13])
def test_cumulants_of_bits_are_those_of_responses(num_tasks: int) -> None:
    states = np.random.default_rng(0).integers(0, 256, (5000, 40, 3, 1), dtype=np.uint8)
    for plain in (brightness(num_tasks), RandomHash(proportion=0.3).indicator(num_tasks)):
        for tasks in (plain, standardised(plain)):
            real = tasks_of_states(tasks, KEY, states)
            bits = packed(tasks, real.fitted)
            frozen, _ = tasks.init(KEY, jnp.asarray(states[:1]))
            found = np.asarray(bits.response(frozen, jnp.asarray(states)))
            assert (found.shape, found.dtype) == ((5000, -(-num_tasks // 8)), np.uint8)
            assert (bits.packed, bits.binary, bits.fit) == (True, False, None)
            of_bits = Tasks(bits, (), real.fitted, found, found)
            whole = np.asarray(real.responses)
            np.testing.assert_array_equal(pack_rows(tasks, real.fitted, whole), found, strict=True)
            np.testing.assert_allclose(of_bits.cumulants(found), real.cumulants(whole), rtol=1e-6)
            activations = of_bits.activations(real.fitted)
            np.testing.assert_array_equal(activations, real.activations(real.fitted), strict=True)
            assert set(np.unique(activations)) == {0, 1}


def prepared(
    path: Path, transitions: Transitions, tasks: Indicator, share: Share = ALONE
) -> tuple[Tasks, int]:
    """(the tasks, the number of states reported as done)."""
    done: list[int] = []
    cache = Cache(path, {"seed": 0}, share)
    open_cache(cache)
    return tasks_of_dataset(
        tasks, KEY, transitions, seed=0, cache=cache, on_progress=done.append
    ), sum(done)


def test_only_what_is_missing_or_corrupt_is_computed(
    transitions: Transitions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, computed = standardised(brightness(13)), [0]
    everything = np.asarray(tasks.response((), transitions.observations(np.arange(1300))))
    fitted = tasks.fit(everything[transitions.start])  # type: ignore[misc]
    whole = pack_rows(tasks, fitted, everything)
    real = responses.response_batches

    def counting(*arguments: Any) -> Any:
        computed[0] += len(arguments[3])
        return real(*arguments)

    monkeypatch.setattr(responses, "response_batches", counting)
    kept = {"fitted.npz", "key.json", "zarr.json"}  # and c/, but no longer fit/zarr.json

    def kill_before_fitted() -> None:
        (tmp_path / "fitted.npz").unlink()

    def rename(name: str, old: bytes, new: bytes) -> None:
        raw = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(raw.replace(old, new))

    num_fit = len(transitions.start)
    assert num_fit < 1300
    for change, count in (
        (lambda: None, 1300),
        (lambda: None, 0),
        (lambda: (tmp_path / "c" / "2" / "0").unlink(), 256),
        (lambda: flip(tmp_path / "c" / "5" / "0"), 20),
        (kill_before_fitted, num_fit),
        (lambda: flip(tmp_path / "fitted.npz"), num_fit),
        (lambda: rename("fitted.npz", b"arr_0", b"arr_2"), num_fit),
    ):
        change()
        found, done = prepared(tmp_path, transitions, tasks)
        assert found.responses is not None
        np.testing.assert_array_equal(found.responses[:], whole)
        np.testing.assert_array_equal(found.sample, whole[transitions.start])
        for a, b in zip(jax.tree.leaves(found.fitted), jax.tree.leaves(fitted), strict=True):
            np.testing.assert_array_equal(a, b)
        files = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*.*")}
        assert (computed, files) == ([count], kept)
        assert done == 1300
        computed[0] = 0


def test_a_fit_that_was_killed_goes_on(
    transitions: Transitions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, written = brightness(5), [0]
    expected, _ = prepared(tmp_path / "whole", transitions, tasks)
    assert expected.responses is not None
    real = responses.response_batches
    for last in (300, 900, 1270):  # in the responses to fit, also in the bits

        def killed(*arguments: Any, last: int = last) -> Any:
            for batch in real(*arguments):
                if written[0] > last:
                    raise KeyboardInterrupt
                written[0] += len(batch)
                yield batch

        monkeypatch.setattr(responses, "response_batches", killed)
        with pytest.raises(KeyboardInterrupt):
            prepared(tmp_path / "killed", transitions, tasks)
    monkeypatch.setattr(responses, "response_batches", real)
    found, _ = prepared(tmp_path / "killed", transitions, tasks)
    assert found.responses is not None
    np.testing.assert_array_equal(found.responses[:], expected.responses[:])
    assert not list((tmp_path / "killed" / "fit").rglob("*.*"))


def test_what_a_killed_write_has_left_does_not_harm(
    transitions: Transitions, tmp_path: Path
) -> None:
    """A write goes into the file that a killed one left, and would keep its end."""
    tasks = brightness(5)
    expected, _ = prepared(tmp_path / "whole", transitions, tasks)
    for folder in ("c/0", "fit/c/0"):
        left = tmp_path / "killed" / folder / "0.__lock"
        left.parent.mkdir(parents=True)
        left.write_bytes(bytes(9999))
    (tmp_path / "killed" / "key.json").write_bytes((tmp_path / "whole" / "key.json").read_bytes())
    for _ in range(2):
        found, _ = prepared(tmp_path / "killed", transitions, tasks)
        assert found.responses is not None
        assert expected.responses is not None
        np.testing.assert_array_equal(found.responses[:], expected.responses[:])


def test_processes_share_one_computation(transitions: Transitions, tmp_path: Path) -> None:
    tasks = brightness(5)
    expected, _ = prepared(tmp_path / "alone", transitions, tasks)
    barrier, found = threading.Barrier(3), {}

    def work(index: int) -> None:
        share = Share(index, 3, barrier.wait)
        found[index], _ = prepared(tmp_path / "shared", transitions, tasks, share)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for tasks_of in found.values():
        assert expected.responses is not None
        np.testing.assert_array_equal(tasks_of.responses[:], expected.responses[:])
        np.testing.assert_array_equal(tasks_of.fitted, expected.fitted)


def test_what_is_not_binary(transitions: Transitions, tmp_path: Path) -> None:
    tasks = brightness(5)._replace(fit=lambda found: (empirical_bias(found, 0.2),))
    tasks = tasks._replace(cumulant=lambda fitted, found: indicator(fitted[0], found))
    with pytest.raises(UserError, match=r"`fit` returns other parameters than `init`"):
        prepared(tmp_path, transitions, tasks)
    tasks = brightness(5)._replace(fit=lambda found: empirical_bias(found, 0.2)[:3], binary=False)
    with pytest.raises(UserError, match=r"`fit` returns other parameters than `init`"):
        prepared(tmp_path, transitions, tasks)
    tasks = brightness(5)._replace(loss=lambda fitted, found: found.sum())
    with pytest.raises(UserError, match="is binary, and has a loss"):
        prepared(tmp_path, transitions, tasks)
    for cumulant in (
        lambda fitted, found: found,
        lambda fitted, found: jnp.where(found == found.max(), 2, indicator(fitted, found)),
    ):
        tasks = brightness(5)._replace(cumulant=cumulant)
        with pytest.raises(UserError, match="is binary, and has cumulants other than 0 and 1"):
            prepared(tmp_path, transitions, tasks)


def test_which_families_are_binary() -> None:
    assert RandomNetwork().indicator(3).binary
    assert not RandomNetwork(threshold_from="quantile_regression").indicator(3).binary
