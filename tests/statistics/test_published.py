import numpy as np
import pytest

from pvn.statistics.over_games_tables import screens_note
from pvn.statistics.published import OTHER_SCREENS, PUBLISHED, comparable, published_curves
from pvn.statistics.windows import windows
from tests.statistics.rows import episode


def test_published_curves():
    curves = published_curves()
    assert len(curves) == 60
    assert all(tuple(sorted(agents)) == tuple(sorted(PUBLISHED)) for agents in curves.values())
    curve = curves["Breakout"]["dqn_adam"]
    assert (curve.mean[:2].tolist(), curve.deviation[:2].tolist()) == (
        [1.791, 6.519],
        [0.081, 0.106],
    )
    assert curves["Assault"]["dqn_adam"].mean[:2].tolist() == [294.333, 527.837]
    assert curve.num_runs == 5
    assert curve.mean.shape == curve.deviation.shape == curve.agent_step.shape == (16,)
    assert curve.agent_step[:2].tolist() == [125_000, 375_000]
    assert all(np.isfinite(c.mean).all() and (c.deviation >= 0).all()
               for agents in curves.values() for c in agents.values())  # fmt: skip


def test_a_note_names_the_games_with_other_screens():
    assert published_curves().keys() >= OTHER_SCREENS
    assert screens_note(["Breakout", "Pong"]) == ""
    assert " of Assault, Tennis: " in screens_note(["Tennis", "Breakout", "Assault", "Assault"])


def test_curves_are_drawn_as_far_as_training_goes():
    assert comparable("Pong", 124_999) == []
    assert comparable("NoGame", 1e9) == []
    drawn = comparable("Pong", 375_000)
    assert [curve.agent for curve in drawn] == list(PUBLISHED)
    assert all(curve.mean.size == curve.deviation.size == 2 for curve in drawn)
    assert comparable("Pong", 1e9)[0].mean.size == 16


def test_windows_by_hand():
    def train(value, step, seed=0, game="Breakout"):
        return episode(value, game, seed=seed, phase="train", step=step)

    played = [
        *(
            train(value, step)
            for value, step in ((1, 100), (2, 250_000), (9, 250_001), (9, 480_000))
        ),
        *(train(value, step, seed=1) for value, step in ((4, 100), (5, 240_000))),
        train(1.0, 200_000, game="Pong"),  # too short
        train(1.0, 900_000, game="NoGame"),
    ]
    (window,) = windows(played)
    # Seeds have means 1.5 and 4.5; seed 1 ends within the first window.
    assert window[:4] == ("Breakout", "pvn", "dqn", 0)
    assert (window.ours.value, window.num_seeds) == (3, 2)
    assert window.deviations("dqn_adam") == pytest.approx((3 - 1.791) / 0.081)
    assert [w.number for w in windows([row for row in played if row.seed == 0])] == [0, 1]
