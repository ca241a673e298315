import numpy as np
import pytest

from pvn.statistics import over_games
from pvn.statistics.over_games import (
    aggregate,
    improvements,
    probe_correlations,
    profiles,
    run_scores,
)
from pvn.statistics.summary import summarise
from tests.statistics.rows import episode, probed

# Human-normalised scores: Pong 0 and 1, Breakout 1 and 2. The two middle runs have mean 1.
PLAYED = [
    episode(-20.7),
    episode(14.6, seed=1),
    episode(1.7, "Breakout"),
    episode(59.3, "Breakout"),
    episode(59.3, "Breakout", seed=1),
    episode(7.0, "AirRaid"),  # a game without a reference
    episode(14.6, agent="random_policy", head="none"),  # an agent with one game only
]


def test_aggregate_by_hand():
    (result,) = aggregate(run_scores(PLAYED))
    assert (result.agent, result.head, result.games) == ("pvn", "dqn", ("Breakout", "Pong"))
    assert result.num_runs == 4
    values = {name: estimate.value for name, estimate in result.estimates.items()}
    # Gaps: 1 and 0 in Pong, 0 and 0 in Breakout.
    assert values == pytest.approx({"IQM": 1, "Median": 1, "Mean": 1, "Optimality gap": 0.25})
    # Resamples: Pong {00, 01, 10, 11}, Breakout likewise. Only the middle two of four runs count.
    assert result.estimates["IQM"].interval == pytest.approx((0.5, 1.5))
    assert result.estimates["Optimality gap"].interval == pytest.approx((0, 0.5))


def test_single_runs_have_no_interval():
    played = [episode(14.6), episode(30.5, "Breakout")]
    (result,) = aggregate(run_scores(played))
    assert result.estimates["IQM"] == (1.0, None)
    (curve,) = profiles(run_scores(played))
    assert np.isnan(curve.low).all()


def test_a_score_is_that_of_the_last_evaluation():
    played = [episode(-20.7, step=10), episode(14.6, step=20), episode(30.5, "Breakout")]
    assert run_scores(played) == {("pvn", "dqn"): {"Breakout": [1], "Pong": [1]}}


def test_profile_by_hand(monkeypatch):
    monkeypatch.setattr(over_games, "_NUM_POINTS", 5)
    (curve,) = profiles(run_scores(PLAYED))
    assert curve.x.tolist() == pytest.approx([0, 0.5, 1, 1.5, 2])
    # A score of 1 is not above 1, nor is 0 above 0. Rounding may decide, so those are left out.
    assert curve.value[[1, 3, 4]].tolist() == [0.75, 0.25, 0]
    assert (curve.low[3], curve.high[3]) == (0, 0.5)
    assert profiles({}) == []


def test_improvement_by_hand():
    other = [row._replace(agent="b", episode_return=row.episode_return + 1) for row in PLAYED[:6]]
    (result,) = improvements([*PLAYED, *other])
    assert (result.ours, result.theirs) == (("pvn", "dqn"), ("b", "dqn"))
    assert result.games == ("AirRaid", "Breakout", "Pong")  # needs no reference
    # Each game's worse run loses to both; the better one beats one. AirRaid has one, that loses.
    assert result.probability == (pytest.approx((0 + 1 / 4 + 1 / 4) / 3), None)
    (result,) = improvements([row for row in [*PLAYED, *other] if row.game != "AirRaid"])
    assert result.probability.value == 0.25
    low, high = result.probability.interval
    assert 0 <= low < 0.25 < high <= 1


def test_probes_beside_scores_by_hand():
    played, probes = [], []
    for game, human in (("Pong", 14.6), ("Breakout", 30.5)):
        for i, agent in enumerate("abc"):
            played.append(episode(human + i, game, agent))
            value = 0.25 * i if game == "Pong" else 1 + 0.25 * i
            probes.append(probed(agent, 0, 0.9, value, value, value, game=game))
    played.append(episode(1.0, "Pong", "d"))  # without a probe
    probes.append(probed("e", 0, 0.9, 0.5, 0.5, 0.5))  # without a score
    (result,) = probe_correlations(summarise(played, probes))
    assert (result.head, result.num_games, result.num_agents) == ("dqn", 2, 3)
    assert result.overall.num_pairs == 6
    # Scores of Breakout rise by 1 / 28.8, of Pong by 1 / 35.3, from 1; its probes are larger. Ranks
    # of the probes: Pong 1, 2, 3, Breakout 4, 5, 6. Of the scores: 1.5, 3, 5 and 1.5, 4, 6.
    assert result.overall.rho == pytest.approx(11 / np.sqrt(17.5 * 17))
    assert result.within.rho == pytest.approx(1)
    assert result.within.num_groups == 2
