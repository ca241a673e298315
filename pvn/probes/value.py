"""The value of the behaviour policy, as a probe target."""

from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np

from pvn.data.returns import discounted_returns, known_returns
from pvn.data.store import Dataset
from pvn.fields import flag, real


class ValueTarget(NamedTuple):
    """Monte Carlo returns: the discounted sum of the rewards that follow a state."""

    discount: Annotated[float, real(0, 1, closed="[)")] = 0.99
    clip_rewards: Annotated[bool, flag()] = True  # to [-1, 1], as in training

    def targets(self, dataset: Dataset, folder: Path = Path()) -> tuple[np.ndarray, np.ndarray]:
        """The return that follows each row, float32 [N], and whether it is known, bool [N]."""
        rows = dataset.rows
        reward = np.clip(rows.reward, -1, 1) if self.clip_rewards else rows.reward
        reward = np.asarray(reward, np.float64)
        returns = discounted_returns(reward, rows.episode, self.discount)
        return returns.astype(np.float32), known_returns(rows, self.discount)
