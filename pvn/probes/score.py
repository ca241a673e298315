"""The share of a target's variance that a prediction explains (R^2), with an interval."""

import numpy as np


def r_squared_interval(
    episode: np.ndarray,
    target: np.ndarray,
    prediction: np.ndarray,
    *,
    num_resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Returns (R^2, low, high) with a 95 % percentile bootstrap interval over whole episodes.

    Rows of one episode are correlated. Resampling rows would make the interval far too narrow.

    Args:
      episode: int [M], the episode of each row.
      target, prediction: float [M].
      num_resamples: number of bootstrap resamples.
      seed: seed of the bootstrap.
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
    # A resample whose targets do not vary has no R^2.
    resamples = resamples[:, spread(resamples) > 1e-9 * spread(whole)]
    low, high = np.quantile(1 - resamples[3] / spread(resamples), [0.025, 0.975])
    return float(1 - whole[3] / spread(whole)), float(low), float(high)
