import numpy as np
import pytest

from pvn.statistics.summary import aggregate, learning_curves, probe_kind, summarise
from tests.statistics.rows import episode, probed


def test_seeds_weigh_the_same():
    played = [episode(0.0), episode(0.0), episode(0.0), episode(10.0, seed=1)]
    (result,) = summarise(played, [])
    # The mean of the seeds' means 0 and 10, not of four episodes. Resamples give 0, 5, 5 or 10.
    assert result.episode_return == (5.0, (0.0, 10.0))
    assert (result.num_episodes, result.num_seeds) == (4, 2)


def test_one_episode_has_no_interval():
    (result,) = summarise([episode(3.0)], [])
    assert result.episode_return == (3.0, None)


def test_training_episodes_are_no_scores():
    (result,) = summarise([episode(3.0, phase="train")], [])
    assert (result.episode_return, result.num_episodes, result.normalised) == (None, 0, None)


def test_probes_join_every_head_of_their_features():
    probes = [
        probed("pvn", 0, 0.99, 0.5, 0.25, 0.75),
        probed("pvn", 1, 0.99, 0.75, 0.5, 0.875),
        probed("pvn", 0, 0.9, 0.125, 0.0, 0.25),
        probed("other", 0, 0.9, 0.5, 0.5, 0.5),
    ]
    results = summarise([episode(1.0, head=head) for head in ("fqi", "dqn")], probes)
    low, high = (probe_kind(probes[i]) for i in (2, 0))
    assert low.settings == (("clip_rewards", "true"), ("discount", "0.9"))
    expected = {low: (0.125, (0.0, 0.25)), high: (0.625, (0.25, 0.875))}
    assert [(r.agent, r.head, r.probes) for r in results] == [
        ("pvn", "dqn", expected),
        ("pvn", "fqi", expected),
        ("other", "none", {low: (0.5, (0.5, 0.5))}),
    ]


def test_results_are_ordered_by_game_then_ours_then_baselines():
    agents = ["zeta", "random_policy", "alpha", "random_features", "pvn"]
    played = [episode(1.0, game, agent) for agent in agents for game in ("Pong", "Alien")]
    order = ["pvn", "random_features", "random_policy", "alpha", "zeta"]
    assert [(r.game, r.agent) for r in summarise(played, [])] == [
        (game, agent) for game in ("Alien", "Pong") for agent in order
    ]


def test_aggregate_by_hand():
    # Human-normalised scores: Pong 0 and 1, Breakout 1 and 2. The two middle runs have mean 1.
    played = [
        episode(-20.7),
        episode(14.6, seed=1),
        episode(1.7, "Breakout"),
        episode(59.3, "Breakout"),
        episode(59.3, "Breakout", seed=1),
        episode(7.0, "AirRaid"),  # a game without a reference
        episode(14.6, agent="random_policy", head="none"),  # an agent with one game only
    ]
    (result,) = aggregate(played)
    assert (result.agent, result.head, result.games) == ("pvn", "dqn", ("Breakout", "Pong"))
    assert result.num_runs == 4
    assert result.iqm.value == pytest.approx(1.0)
    # Resamples: Pong {00, 01, 10, 11}, Breakout likewise. Only the middle two of four runs count.
    assert result.iqm.interval == pytest.approx((0.5, 1.5))


def test_aggregate_of_single_runs_has_no_interval():
    (result,) = aggregate([episode(14.6), episode(30.5, "Breakout")])
    assert result.iqm == (1.0, None)


def test_learning_curve_by_hand():
    # Ten episodes give two bins of 500 steps. The last step is in the last bin.
    played = [episode(float(i), phase="train", step=100 * (i + 1)) for i in range(10)]
    (curve,) = learning_curves(played)
    # The bins hold steps 100..400 and 500..1000.
    np.testing.assert_allclose(curve.agent_step, [250, 750])
    np.testing.assert_allclose(curve.episode_return, [1.5, 6.5])
    assert np.all((curve.low < curve.episode_return) & (curve.episode_return < curve.high))
    assert learning_curves(played, max_bins=1)[0].episode_return == [4.5]


def test_learning_curve_of_few_episodes():
    (curve,) = learning_curves([episode(2.0, phase="train", step=0)])
    assert (curve.agent_step, curve.episode_return) == ([0], [2])
    assert np.isnan([curve.low, curve.high]).all()
    assert learning_curves([episode(1.0)]) == []
