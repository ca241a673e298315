"""Whether a step brings a reward, as a probe target."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from pvn.data.store import Dataset


class RewardTarget(NamedTuple):
    """Whether the action at a state brought a reward other than 0.

    A linear probe of it goes with the scores of agents on frozen encoders (Zhang et al. 2022,
    "Light-weight Probing of Unsupervised Representations for Reinforcement Learning").
    """

    def targets(self, dataset: Dataset, folder: Path = Path()) -> tuple[np.ndarray, np.ndarray]:
        """bool [N]; known at each row."""
        reward = dataset.rows.reward
        return reward != 0, np.ones(len(reward), bool)
