import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, f1_score

from pvn.probes.classification import (
    accuracy,
    average_precision,
    best_threshold,
    f1,
    macro_f1,
)
from pvn.probes.score import Groups, bootstrap

EPISODES = Groups(np.repeat([2, 0, 1, 3], [7, 12, 1, 20]), 4)


def both(statistic, oracle, target, prediction):
    """Compares a statistic with an oracle on resamples of whole episodes."""
    counts = np.random.default_rng(1).multinomial(4, [0.25] * 4, 30)
    counts = np.concatenate([np.ones((1, 4), int), counts])
    found = statistic(EPISODES, target, prediction)(counts)
    assert found.shape == (31, 1)
    compared = 0
    for value, count in zip(found[:, 0], counts, strict=True):
        rows = np.repeat(np.arange(40), count[EPISODES.of_row])
        if np.isnan(value):  # scikit-learn says 0, with a warning
            assert not target[rows].any()
            continue
        assert value == pytest.approx(oracle(target[rows], prediction[rows]), abs=1e-12)
        compared += 1
    assert compared > 15


@pytest.mark.parametrize("seed", range(3))
def test_scikit_learn(seed):
    random = np.random.default_rng(seed)
    target = random.random(40) < 0.3
    score = np.round(random.normal(size=40) + target, 1)  # with equal scores
    assert len(np.unique(score)) < 40
    both(average_precision, average_precision_score, target, score)
    both(f1, lambda t, p: f1_score(t, p, zero_division=0), target, score > 0.5)
    classes = random.choice([0, 1, 2, 7], 40, p=[0.7, 0.2, 0.05, 0.05])
    predicted = np.where(random.random(40) < 0.5, classes, random.choice([0, 1, 5], 40))
    both(accuracy, accuracy_score, classes, predicted)
    both(macro_f1, lambda t, p: f1_score(t, p, average="macro", zero_division=0), classes,
         predicted)  # fmt: skip


def test_an_interval_by_hand():
    # Episodes with accuracies 1 (three rows) and 0 (one row): resamples give 1, 3/4 or 0.
    episode = Groups(np.array([0, 0, 0, 1]), 2)
    right = np.array([1, 1, 1, 0])
    score, _ = bootstrap(accuracy(episode, np.ones(4, int), right), 2)
    assert score == (0.75, 0, 1)
    # The second episode alone has no positives: a resample of it alone does not count.
    target = right.astype(bool)
    score, _ = bootstrap(average_precision(episode, target, np.array([3.0, 1, 0, 2])), 2)
    mixed = average_precision_score(target, [3, 1, 0, 2])
    assert mixed < 1
    np.testing.assert_allclose(score, (mixed, score.low, 1), rtol=1e-12)
    assert score.low <= mixed


@pytest.mark.parametrize("seed", range(4))
def test_the_threshold_of_the_highest_f1(seed):
    random = np.random.default_rng(seed)
    target = random.random(30) < 0.4
    score = np.round(random.normal(size=30) + target, 1)
    found = f1_score(target, score >= best_threshold(target, score))
    grid = [f1_score(target, score >= cut) for cut in score]
    assert found == max(grid)
    assert best_threshold(np.ones(3, bool), np.array([2.0, 1, 3])) == 1
    assert best_threshold(np.array([True, False]), np.array([3.0, 1])) == 2
