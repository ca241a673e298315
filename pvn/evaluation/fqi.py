"""The learner of fitted Q iteration: a fit to the whole replay every `refit_every` agent steps."""

from collections.abc import Mapping
from typing import Annotated, NamedTuple

import jax.numpy as jnp
import numpy as np

from pvn.evaluation.fqi_fit import HELD_OUT, FitRows, FqiFit, Heads, Plan, fit_fqi
from pvn.evaluation.gram import ReplayMoments
from pvn.evaluation.head import Layer
from pvn.evaluation.held_out import deal, draw_groups, groups_of
from pvn.evaluation.learner import LearnerContext
from pvn.evaluation.linear import LinearLearner
from pvn.evaluation.replay import Replay
from pvn.evaluation.returns import compute_returns
from pvn.evaluation.state import State
from pvn.fields import choice, flag, real, whole


class FqiSettings(NamedTuple):
    """Settings of `FqiLearner`; `pvn.evaluation.fqi_fit` explains them."""

    refit_every: Annotated[int, whole(1)] = 10_000  # agent steps
    start: Annotated[str, choice("monte_carlo", "previous")] = "monte_carlo"  # before the sweeps
    sweeps: Annotated[int, whole(0)] = 1  # bootstrapped regressions of one fit
    prior: Annotated[str, choice("zero", "previous")] = "zero"  # what the penalty draws weights to
    max_residual: Annotated[float, real(0, np.inf, closed="[)")] = 0.0  # of a sweep; 0: no limit
    double: Annotated[bool, flag()] = False  # double estimation, from two halves of the replay
    average: Annotated[int, whole(1)] = 1  # the agent plays with the mean of as many last fits
    held_out: Annotated[float, real(0, 1, closed="()")] = 0.2  # share used to choose the penalty


class FqiLearner(LinearLearner):
    """Growing-batch fitted Q iteration.

    A fit that diverges is counted in `diverged_fits` and is not used.
    """

    def __init__(self, context: LearnerContext, settings: FqiSettings):
        super().__init__(context, settings.refit_every)
        self._settings = settings
        self.num_fits, self.diverged_fits = 0, 0
        self._halves = 2 if settings.double else 1
        shape = (0, self._halves, context.num_features, context.num_actions)
        self._fits = Heads(np.zeros(shape), np.zeros((*shape[:2], shape[3])))  # oldest first
        self._moments = self._no_moments()

    def replay_bytes(self, rows: int) -> int:
        """The features and a fit's copy of them; and three copies of its moments while they are
        factorised, or two with the held-out features and the columns, whichever is more."""
        c, groups = self._context, self._halves * self._context.num_actions
        square = 8 * c.num_features**2
        factorising = (3 * groups + 4) * square  # with the work space of one group
        later = rows * (4 * c.num_features * self._settings.held_out + 8 * groups + 100)
        fitting = 2 * groups * square + int(later)
        return super().replay_bytes(rows) + max(factorising, fitting)

    def state(self) -> State:
        """The last fits, and when they were made. There is no random number generator.

        The moments are not stored: the replay has them, bit for bit.
        """
        return {
            "kernels": self._fits.kernel.copy(),
            "biases": self._fits.bias.copy(),
            "num_fits": np.array(self.num_fits),
            "diverged_fits": np.array(self.diverged_fits),
            "next_fit": np.array(self._next_fit),
            "fitted_at": np.array(self._fitted_at),
        }

    def restore(self, state: State) -> None:
        """Puts a new learner into the state that `state` returned."""
        self._use(Heads(state["kernels"], state["biases"]))
        self.num_fits, self.diverged_fits = int(state["num_fits"]), int(state["diverged_fits"])
        self._next_fit, self._fitted_at = int(state["next_fit"]), int(state["fitted_at"])

    def _use(self, fits: Heads) -> None:
        """Plays with the mean of the last fits [D, H, F, A] from now on."""
        self._fits = fits
        if len(fits.kernel):
            self.head = Layer(
                jnp.asarray(fits.kernel.mean(axis=(0, 1)), jnp.float32),
                jnp.asarray(fits.bias.mean(axis=(0, 1)), jnp.float32),
            )

    def _fit(self, replay: Replay) -> Mapping[str, float]:
        rows = replay.rows(replay.oldest)
        plan = self._plan(rows)
        half, moments = self._split(replay.oldest, rows["truncated"])
        groups = FitRows(rows, half, self._context.num_actions, moments, replay.oldest)
        kernels, biases = self._fits
        previous = Heads(kernels[-1], biases[-1]) if len(kernels) else None
        fit = fit_fqi(groups, plan, previous)
        if fit.diverged:
            self.diverged_fits += 1
        else:
            self.num_fits += 1
            self._keep(fit)
        return {name: float(x) for name, x in fit._asdict().items() if name != "heads"}

    def _keep(self, fit: FqiFit) -> None:
        last = self._settings.average
        self._use(
            Heads(
                *(
                    np.concatenate([old, new[None]])[-last:]
                    for old, new in zip(self._fits, fit.heads, strict=True)
                )
            )
        )

    def _plan(self, rows: State) -> Plan:
        context, settings = self._context, self._settings
        return Plan(
            sweeps=settings.sweeps,
            start=settings.start if settings.sweeps else "monte_carlo",
            prior=settings.prior,
            max_residual=settings.max_residual,
            discount=context.discount,
            n_step=context.n_step,
            bound=self._bound(rows),
        )

    def _no_moments(self) -> ReplayMoments:
        c = self._context
        return ReplayMoments(self._halves * c.num_actions, c.num_features, c.num_envs)

    def _split(self, oldest: int, truncated: np.ndarray) -> tuple[np.ndarray, ReplayMoments]:
        """Which half each row belongs to, int [T, E], and the moments that go with it.

        Consecutive timesteps are correlated, so a group of them is held out as a whole. The seed
        alone decides which groups: they are the same at every fit, so moments can be kept.
        """
        length, num_envs = truncated.shape
        time = oldest + np.arange(length)[:, None]
        group = groups_of(time, np.arange(num_envs)[None], num_envs)
        number = int(group.max()) + 1
        seed, share = self._context.seed, self._settings.held_out
        half = np.zeros(number, np.int64)
        if self._halves == 2:
            half = np.random.default_rng([seed, 3]).integers(2, size=number)
        half = np.where(draw_groups(number, seed, share), HELD_OUT, half)[group]
        if set(np.unique(half[:-1])) >= set(range(HELD_OUT, self._halves)):
            return half, self._moments
        # So few groups that a half is empty. Later fits will split otherwise.
        turn = deal(group)
        return np.where(turn == 0, HELD_OUT, (turn - 1) % self._halves), self._no_moments()

    def _bound(self, rows: State) -> float:
        """An upper bound on |Q|. With unclipped rewards it uses the largest n-step return seen."""
        context = self._context
        if context.clip_rewards:
            return 1 / (1 - context.discount)
        returns = compute_returns(rows, context.discount, context.n_step)
        return float(np.max(np.abs(returns.reward))) / (1 - context.discount**context.n_step)
