"""The target `advantage`: held against slow steps of a fresh emulator, and closed forms."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pvn.data.store import Dataset, open_dataset
from pvn.envs.emulator import Emulator
from pvn.envs.streams import stream_seeds, stream_starts
from pvn.errors import UserError
from pvn.probes.advantage import AdvantageTarget, estimate
from pvn.probes.rollouts import branch_dataset

TINY = {"num_states": 10, "rollouts": 2, "steps": 12, "discount": 0.9}


def slow_returns(dataset: Dataset, row: int, settings: AdvantageTarget) -> np.ndarray:
    """Returns [A, rollouts] of a row, without saving any state: each rollout begins with a boot."""
    rows, starts = dataset.rows, stream_starts(dataset.rows.episode)
    stream = int(np.searchsorted(starts, row, side="right")) - 1
    random = np.random.default_rng([settings.seed, row])
    actions = random.integers(4, size=(settings.rollouts, settings.steps))
    draws = random.random((settings.rollouts, settings.steps, 4))
    returns = np.zeros((4, settings.rollouts))
    emulator = Emulator("Breakout")
    for first, k in np.ndindex(4, settings.rollouts):
        emulator.boot(stream_seeds(0, stream)[0])
        for action in rows.action[starts[stream] : row].tolist():
            if emulator.step(action).terminal:
                emulator.restart()
        np.testing.assert_array_equal(emulator.ram(), rows.ram[np.array([row])][0])
        for t in range(settings.steps):
            outcome = emulator.step(first if t == 0 else int(actions[k, t]), draws[k, t].tolist())
            returns[first, k] += settings.discount**t * np.clip(outcome.reward, -1, 1)
            if outcome.terminal:
                break
    return returns


class Bar:
    """Collects the updates of a progress bar."""

    def __init__(self, seen: list):
        self.update = seen.append


def test_equals_slow_steps_and_is_kept(dataset: Path, tmp_path: Path, monkeypatch) -> None:
    found, target = open_dataset(dataset), AdvantageTarget(**TINY)
    values, known = target.targets(found, tmp_path)
    assert values.shape == known.shape == (3000, 4)
    rows = np.flatnonzero(known.all(axis=1))
    assert len(rows) == 10 == known[:, 0].sum()
    assert not values[~known].any()
    with np.load(next(tmp_path.iterdir())) as stored:
        np.testing.assert_array_equal(stored["row"], rows)
        returns = stored["returns"]
    starts = stream_starts(found.rows.episode)
    early = np.argsort(np.min(np.where(rows >= starts[:, None], rows - starts[:, None], 9999), 0))
    for at in early[:2]:
        np.testing.assert_array_equal(returns[at], slow_returns(found, int(rows[at]), target))
    np.testing.assert_array_equal(values[rows], estimate(returns)[0].astype(np.float32))
    assert target.noise == estimate(returns)[1].mean()

    # The file is found again; another setting does not find it; a part of it is completed.
    (file,) = tmp_path.iterdir()
    returns[rows < starts[1]] = np.nan
    np.savez(file, row=rows, returns=returns)
    called = []

    def counted(dataset, row, *more):
        called.append(row.tolist())
        return branch_dataset(dataset, row, *more)

    monkeypatch.setattr("pvn.probes.advantage.branch_dataset", counted)
    again, shown = AdvantageTarget(**TINY), []
    again.progress = lambda *what: contextlib.nullcontext(Bar(shown.append(what) or shown))
    np.testing.assert_array_equal(again.targets(found, tmp_path)[0], values)
    assert (again.noise, len(called)) == (target.noise, 1)
    assert called[0] == rows[rows < starts[1]].tolist()
    assert shown == [(len(called[0]), "states", "rollouts"), len(called[0])]
    again.targets(found, tmp_path)
    assert len(called) == 1
    (file,) = tmp_path.glob("*.npz")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=rf"^{file}: is damaged; delete it, and its rollouts are"):
        again.targets(found, tmp_path)


def test_two_at_once_compute_the_rollouts_once(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, called = open_dataset(dataset), []

    def counted(dataset, row, *more):
        called.append(len(row))
        return branch_dataset(dataset, row, *more)

    monkeypatch.setattr("pvn.probes.advantage.branch_dataset", counted)
    shared, said = tmp_path / "shared", []
    shared.mkdir()
    targets = [AdvantageTarget(**TINY) for _ in range(2)]
    for target in targets:
        target.rollouts_dir, target.say = shared, said.append
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda target: target.targets(found, tmp_path)[0], targets)
    np.testing.assert_array_equal(first, second)
    assert called == [10, 0]
    assert [line.partition(" of ")[0] for line in said] == ["advantage: waits for the rollouts"]
    assert [file.name for file in tmp_path.iterdir()] == ["shared"]
    assert [file.suffix for file in shared.iterdir()] == [".npz"]


def test_refusals(dataset: Path, tmp_path: Path) -> None:
    found, target = open_dataset(dataset), AdvantageTarget(**TINY)
    converted = found._replace(attributes=found.attributes | {"source": {"kind": "dopamine"}})
    with pytest.raises(UserError, match=r"was not made by pvn\.collect, so the emulator cannot"):
        target.targets(converted, tmp_path)
    wrong = found.rows.reward.copy()
    wrong[stream_starts(found.rows.episode) + 5] = 7  # in each stream: a good one would be kept
    with pytest.raises(
        UserError, match=r"stream \d: the emulator does not repeat the game: after 6 "
    ):
        target.targets(found._replace(rows=found.rows._replace(reward=wrong)), tmp_path)
    two = found._replace(paths=(str(dataset), "other"))
    with pytest.raises(UserError, match=r",other: 2 datasets, expected one: the emulator plays "):
        target.targets(two, tmp_path)
    still = np.zeros((3000, 128), np.uint8)
    with pytest.raises(UserError, match="does not show the stored frame of row "):
        target.targets(found._replace(rows=found.rows._replace(ram=still)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_estimate_by_hand() -> None:
    # Two actions, three rollouts: the differences are 2, 4, 0, so A = +-(1, 2, 0).
    returns = np.array([[[3.0, 5, 1], [1.0, 1, 1]]])
    advantages, noise = estimate(returns)
    np.testing.assert_allclose(advantages, [[1, -1]])
    np.testing.assert_allclose(noise, [[1 / 3, 1 / 3]])  # variance of 1, 2, 0 is 1; / 3


def test_the_noise_is_corrected() -> None:
    """True advantages of variance 1 and noise of variance 2 (1 - 1 / 4) / 8 are known here."""
    random = np.random.default_rng(0)
    true = random.normal(size=(20_000, 4))
    true -= true.mean(axis=1, keepdims=True)
    returns = true[:, :, None] + 5 + np.sqrt(2) * random.normal(size=(20_000, 4, 8))
    values, noise = estimate(returns)
    assert noise.mean() == pytest.approx(2 * 0.75 / 8, rel=0.01)
    target = AdvantageTarget()
    target.noise = float(noise.mean())
    assert target.scores(values, true)["r2_corrected"] == pytest.approx(1, abs=0.01)
    # Half of the true values leaves a quarter of their variance.
    half = target.scores(values, true / 2)
    assert half["r2_corrected"] == pytest.approx(0.75, abs=0.01)
    assert target.details(values)["noise_share"] == pytest.approx(
        0.1875 / (0.75 + 0.1875), rel=0.03
    )
    assert target.scores(values, 0 * true)["r2_corrected"] == pytest.approx(0, abs=0.01)
    # Two halves of the rollouts are another way to measure the noise: E[(x - y)^2] = 4 N.
    x, y = (estimate(returns[:, :, part])[0] for part in (slice(0, 4), slice(4, 8)))
    assert np.mean(np.square(x - y)) / 4 == pytest.approx(target.noise, rel=0.02)


def test_best_actions_by_hand() -> None:
    values = np.array([[2.0, -1, -1], [1, 1, -2], [0, 0, 0], [-1, -1, 2]])
    predictions = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]])
    target = AdvantageTarget()
    target.noise = 0.1
    scores = target.scores(values, predictions)
    assert scores["best_action"] == pytest.approx(2 / 3)  # of rows 0, 1 and 3
    assert scores.keys() == {"r2_corrected", "best_action", "chosen_advantage"}
    assert target.details(values)["best_action_chance"] == pytest.approx(
        (1 / 3 + 2 / 3 + 1 / 3) / 3
    )
    assert scores["chosen_advantage"] == pytest.approx((2 + 1 + 0 - 1) / 4)
    # Nothing but noise.
    target.noise = 10
    assert np.isnan(target.scores(values, predictions)["r2_corrected"])
