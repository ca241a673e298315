"""The cheapest honest look at features: linear regression to the behaviour policy's values."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pvn.data.returns import discounted_returns, known_returns
from pvn.data.stack import episode_bounds, gather_stacks, has_stack
from pvn.data.store import Rows
from pvn.errors import UserError
from pvn.evaluation.ridge import PENALTIES, Ridge


class ProbeResult(NamedTuple):
    """How well a linear function of the features predicts values on episodes not seen."""

    r2: float
    r2_low: float  # 95 % bootstrap interval over test episodes
    r2_high: float
    penalty: float
    num_train_rows: int
    num_test_rows: int
    num_test_episodes: int


def monte_carlo_values(rows: Rows, discount: float, clip: bool) -> tuple[np.ndarray, np.ndarray]:
    """(float32 [N] discounted returns of the rewards, bool [N] where they are known).

    clip: clip rewards to [-1, 1], as the agent that learns from them would.
    """
    reward = np.clip(rows.reward, -1, 1) if clip else rows.reward
    returns = discounted_returns(np.asarray(reward, np.float64), rows.episode, discount)
    return returns.astype(np.float32), known_returns(rows, discount)


def r_squared_interval(
    episode: np.ndarray,
    target: np.ndarray,
    prediction: np.ndarray,
    *,
    num_resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """(R^2, low, high): 95 % percentile bootstrap that resamples whole episodes.

    Rows of an episode are alike; resampling rows would make the interval far too narrow.
    episode: int [M], target, prediction: float [M].
    """
    _, group = np.unique(episode, return_inverse=True)
    target, prediction = target.astype(np.float64), prediction.astype(np.float64)
    sums = np.stack(
        [
            np.bincount(group, weights)
            for weights in (np.ones(len(group)), target, target**2, np.square(target - prediction))
        ]
    )
    random = np.random.default_rng(seed)
    num_episodes = sums.shape[1]
    weights = random.multinomial(
        num_episodes, np.full(num_episodes, 1 / num_episodes), num_resamples
    )

    def spread(totals: np.ndarray) -> np.ndarray:
        count, total, square, _ = totals
        return square - total**2 / count

    whole, resamples = sums.sum(axis=1), sums @ weights.T
    # Where no episode drawn has a reward there is no variance to explain, and no R^2.
    resamples = resamples[:, spread(resamples) > 1e-9 * spread(whole)]
    low, high = np.quantile(1 - resamples[3] / spread(resamples), [0.025, 0.975])
    return float(1 - whole[3] / spread(whole)), float(low), float(high)


def probe_values(
    features: Callable[[np.ndarray], np.ndarray],
    rows: Rows,
    *,
    discount: float,
    clip_rewards: bool = True,
    max_rows: int = 50_000,
    seed: int = 0,
    report: Callable[[int], object] = lambda count: None,
) -> ProbeResult:
    """Ridge from frozen features to Monte Carlo values, fitted and scored on other episodes.

    Episodes are split 60 : 20 : 20. The penalty is the one that predicts the second part best;
    the score is on the third, which nothing was chosen on.

    Args:
      features: uint8 [N, 84, 84, 4] -> float [N, F], any callable.
      rows: of a dataset, in memory or with the frames on disk.
      discount: of the values; in [0, 1).
      clip_rewards: to [-1, 1].
      max_rows: at most so many rows are looked at, drawn without replacement.
      seed: of the split and the draw.
      report: called with the number of rows each time some more have features.

    Raises:
      UserError: fewer than ten episodes with known returns, or values that do not vary.
    """
    values, known = monte_carlo_values(rows, discount, clip_rewards)
    random = np.random.default_rng(seed)
    candidates = np.flatnonzero(known & has_stack(rows))
    episodes = random.permutation(np.unique(rows.episode[candidates]))
    if len(episodes) < 10:
        raise UserError(
            f"probe: {len(episodes)} episodes with known returns, expected 10 or more; "
            "collect more steps"
        )
    fifth = len(episodes) // 5
    part_of = np.zeros(int(rows.episode.max()) + 1, np.int8)
    part_of[episodes[:fifth]], part_of[episodes[fifth : 2 * fifth]] = 2, 1
    index = candidates
    if len(index) > max_rows:
        index = np.sort(random.choice(index, max_rows, replace=False))
    part = part_of[rows.episode[index]]
    if any(np.ptp(values[index[part == p]]) == 0 for p in range(3) if np.any(part == p)) or any(
        not np.any(part == p) for p in range(3)
    ):
        raise UserError("probe: the values do not vary (no rewards?); collect more steps")

    bounds = episode_bounds(rows.episode)
    parts = []
    for start in range(0, len(index), 1024):
        parts.append(features(gather_stacks(rows, bounds, index[start : start + 1024])))
        report(len(parts[-1]))
    x, y = np.concatenate(parts), values[index]
    weights, intercepts = Ridge(x[part == 0]).solve(y[part == 0], PENALTIES)
    predictions = x @ weights.T.astype(x.dtype) + intercepts[None].astype(x.dtype)
    error = np.mean(np.square(predictions[part == 1] - y[part == 1, None]), axis=0)
    best = int(np.argmin(error))
    test = part == 2
    r2, low, high = r_squared_interval(
        rows.episode[index[test]], y[test], predictions[test, best], seed=seed
    )
    return ProbeResult(
        r2=r2,
        r2_low=low,
        r2_high=high,
        penalty=float(PENALTIES[best]),
        num_train_rows=int(np.sum(part == 0)),
        num_test_rows=int(np.sum(test)),
        num_test_episodes=len(np.unique(rows.episode[index[test]])),
    )
