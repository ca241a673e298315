import numpy as np
import pytest

from pvn.statistics import curves
from pvn.statistics.curves import (
    label_efficiency,
    label_efficiency_over_games,
    learning_curves,
    sample_efficiency,
)
from tests.statistics.rows import episode


def train(episode_return, step, **fields):
    return episode(episode_return, phase="train", step=step, **fields)


def test_learning_curve_by_hand(monkeypatch):
    # Ten episodes give two bins of 500 steps. The last step is in the last bin.
    played = [train(float(i), 100 * (i + 1)) for i in range(10)]
    (curve,) = learning_curves(played)
    # The bins hold steps 100..400 and 500..1000.
    np.testing.assert_allclose(curve.x, [250, 750])
    np.testing.assert_allclose(curve.value, [1.5, 6.5])
    assert np.all((curve.low < curve.value) & (curve.value < curve.high))
    monkeypatch.setattr(curves, "_NUM_BINS", 1)
    assert learning_curves(played)[0].value == [4.5]


def test_learning_curve_of_few_episodes():
    (curve,) = learning_curves([train(2.0, 0)])
    assert (curve.x, curve.value) == ([0], [2])
    assert np.isnan([curve.low, curve.high]).all()
    assert learning_curves([episode(1.0)]) == []


def test_label_efficiency_by_hand():
    played = [
        *(episode(value, step=300) for value in (4.0, 8.0)),
        *(episode(1.0, step=100, seed=seed) for seed in (0, 1)),
        episode(9.0, agent="once", step=100),
        train(9.0, 200),
    ]
    (curve,) = label_efficiency(played)
    assert curve[:3] == ("Pong", "pvn", "dqn")
    assert (curve.x.tolist(), curve.value.tolist()) == ([100, 300], [1, 6])
    assert (curve.low.tolist(), curve.high.tolist()) == ([1, 4], [1, 8])


def normalised(game, scores):
    """Returns with these human-normalised scores; {game: (random, human)} as in the references."""
    random, human = {"Pong": (-20.7, 14.6), "Breakout": (1.7, 30.5)}[game]
    return [random + score * (human - random) for score in scores]


def test_sample_efficiency_by_hand(monkeypatch):
    monkeypatch.setattr(curves, "_NUM_BINS", 4)
    played = []
    for game, scores in (("Pong", (0, 1, 2)), ("Breakout", (1, 3, 5))):
        for step, value in zip((50, 100, 200), normalised(game, scores), strict=True):
            played.append(train(value, step, game=game))
    played.append(train(9.0, 100, agent="one_game"))
    played.append(train(9.0, 100, game="AirRaid"))  # has no reference
    (curve,) = sample_efficiency(played)
    # Bins end at 50, 100, 150, 200. None ends in the third: it has the value of the second.
    assert curve.x.tolist() == [50, 100, 150, 200]
    assert curve.value.tolist() == pytest.approx([0.5, 2, 2, 3.5])
    assert np.isnan(curve.low).all()  # a single run of each game
    assert (curve.game, curve.num_games) == ("", 2)


def test_sample_efficiency_begins_and_ends_where_all_runs_have_episodes(monkeypatch):
    monkeypatch.setattr(curves, "_NUM_BINS", 4)
    pong, breakout = normalised("Pong", [1])[0], normalised("Breakout", [1])[0]
    played = [train(pong, step, seed=seed) for seed in (0, 1) for step in (50, 100, 400)]
    played += [train(breakout, step, game="Breakout", seed=seed)
               for seed in (0, 1) for step in (90, 200)]  # fmt: skip
    (curve,) = sample_efficiency(played)
    # The shortest run ends at 200. In the first bin, up to 50, Breakout has no episode.
    assert curve.x.tolist() == [100, 150, 200]
    for values in (curve.value, curve.low, curve.high):
        assert values.tolist() == pytest.approx([1, 1, 1])


def test_label_efficiency_over_games_by_hand():
    played = []
    for step, score in ((100, 0.5), (300, 1.0), (500, 2.0)):
        for seed in (0, 1):
            for game in ("Pong", "Breakout"):
                if (step, seed, game) != (500, 1, "Pong"):  # that run has not come so far
                    value = normalised(game, [score])[0]
                    played.append(episode(value, game, seed=seed, step=step))
    (curve,) = label_efficiency_over_games(played)
    assert curve.x.tolist() == [100, 300]
    assert curve.value.tolist() == pytest.approx([0.5, 1])
    assert curve.high.tolist() == pytest.approx([0.5, 1])
