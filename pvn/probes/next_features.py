"""The features of the next state, predicted from the features and the action.

Each action has a linear regression of its own (with one penalty for all). A linear function of the
features and a one-hot action side by side could only add the same vector to every next state, as if
an action did the same wherever it is taken.
"""

from typing import Any, NamedTuple

import numpy as np

from pvn.data.layout import Rows
from pvn.data.transitions import has_stack
from pvn.errors import UserError
from pvn.probes.fit import fit_regression
from pvn.probes.linear import ProbeResult
from pvn.probes.score import Groups, bootstrap, r_squared
from pvn.probes.split import Split, split_episodes, varying
from pvn.probes.table import FeatureTable


class NextFeatures(NamedTuple):
    """Multi-output R^2: its mean over the features that vary.

    If one action's next features are a linear function of the features, and so is the reward, then
    values are too; the errors of both bound the error of a linear value function (Parr et al. 2008,
    "An Analysis of Linear Models, Linear Value-Function Approximation, and Feature Selection for
    Reinforcement Learning").
    """

    def ask(self, rows: Rows, *, max_rows: int, seed: int) -> "NextQuestion":
        """Splits and draws the rows that a next row of the same episode follows.

        Raises:
          UserError: as `pvn.probes.linear.ask`.
        """
        whole = has_stack(rows)
        followed = np.append(rows.episode[1:] == rows.episode[:-1], False)
        candidates = np.flatnonzero(whole & followed & np.append(whole[1:], False))
        split = split_episodes(rows.episode, candidates, max_rows=max_rows, seed=seed)
        episodes, group = np.unique(rows.episode[split.row[split.test]], return_inverse=True)
        return NextQuestion(split, rows.action[split.row], Groups(group, len(episodes)), seed)


class NextQuestion(NamedTuple):
    """What is asked of features: those that follow M rows."""

    split: Split
    action: np.ndarray  # int [M]
    episode: Groups  # of the test rows
    seed: int

    @property
    def rows(self) -> np.ndarray:
        """Numbers of the rows whose features `answer` needs, ascending."""
        return np.union1d(self.split.row, self.split.row + 1)

    def answer(self, table: FeatureTable, own: Any = None) -> ProbeResult:
        """Fits the regressions and scores them.

        Raises:
          UserError: no feature varies, or features are too large.
        """
        split = self.split
        values = table.at(split.row + 1)
        known = np.ones_like(values, bool)
        varies = varying(split, values, known)
        if not varies.any():
            raise UserError("probe: no feature of the next states varies; are all units dead?")
        values = values[:, varies]
        groups = [self.action == each for each in np.unique(self.action)]
        fit = fit_regression(table, split, values, groups=groups)
        statistic = r_squared(
            self.episode, values[split.test], fit.prediction, known[split.test][:, varies]
        )
        score, _ = bootstrap(statistic, self.episode.num_episodes, seed=self.seed)
        return ProbeResult(
            scores={"r2": score},
            outputs={},
            penalty=float(np.median(fit.penalty)),
            num_train_rows=int(split.train.sum()),
            num_test_rows=int(split.test.sum()),
            num_test_episodes=self.episode.num_episodes,
        )
