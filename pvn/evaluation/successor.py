"""Acts on the successor heads of pretraining: no learning from rewards over time.

Pretraining has predicted Q_t(s, a) for T cumulants c_t. A ridge regression of the reward on the
cumulants, r ~ b + sum_t w_t c_t(s), turns them into Q(s, a) = sum_t w_t Q_t(s, a), on which the
agent acts greedily: one step of improvement over the policy whose successor measure was learned,
without bootstrapping (Barreto et al., "Successor Features for Transfer in Reinforcement Learning",
2017). Q is linear in the features, so the policy is an ordinary linear head.

It fails where the cumulants do not express the rewards: `reward_r2` is near 0 then. Sparse rewards
and a reward that depends on the action are the usual causes.
"""

from collections.abc import Mapping
from typing import Annotated, NamedTuple

import jax.numpy as jnp
import numpy as np

from pvn.errors import UserError
from pvn.evaluation.head import Layer
from pvn.evaluation.held_out import choose_held_out
from pvn.evaluation.learner import Acted, LearnerContext
from pvn.evaluation.linear import LinearLearner
from pvn.evaluation.replay import FeatureBuffer, Replay, StateBuffer
from pvn.evaluation.state import State
from pvn.features.successor import Successor
from pvn.fields import choice, real, whole
from pvn.ridge import PENALTIES, Ridge

MIN_ROWS = 10  # of a regression


class SuccessorSettings(NamedTuple):
    """Settings of `SuccessorLearner`."""

    refit_every: Annotated[int, whole(1)] = 10_000  # agent steps
    reward_of: Annotated[str, choice("state", "next_state")] = "state"  # whose cumulants it is of
    held_out: Annotated[float, real(0, 1, closed="()")] = 0.2  # share used to choose the penalty


class RewardFit(NamedTuple):
    """A regression of the reward on the cumulants."""

    weight: np.ndarray  # float64 [T]
    reward_r2: float  # on the held-out rows; 0 if their rewards do not vary
    penalty: float  # chosen on the held-out rows


def fit_reward(cumulants: np.ndarray, reward: np.ndarray, held_out: np.ndarray) -> RewardFit:
    """Regresses the reward on the cumulants, with an intercept, which is dropped.

    The intercept adds the same to all actions, but for the end of the game: it is worth more to an
    action after which the game lasts longer. The means of raw cumulants express some of that, those
    of standardised ones nothing.

    Args:
      cumulants: float32 [M, T].
      reward: float32 [M].
      held_out: bool [M], rows that choose the penalty and are not fitted.
    """
    weights, intercepts = Ridge(cumulants[~held_out]).solve(reward[~held_out], PENALTIES)
    predicted = cumulants[held_out] @ weights.T + intercepts[None]
    error = np.mean(np.square(predicted - reward[held_out, None]), axis=0)
    best, variance = int(np.argmin(error)), float(np.var(reward[held_out]))
    r2 = 1 - float(error[best]) / variance if variance else 0.0
    return RewardFit(weights[best], r2, float(PENALTIES[best]))


class SuccessorLearner(LinearLearner):
    """Fits the reward to the cumulants of the whole replay every `refit_every` agent steps.

    Of tasks with several discounts, it uses those with the largest.
    """

    diverged_fits = 0

    def __init__(self, context: LearnerContext, settings: SuccessorSettings):
        """
        Raises:
          UserError: the features have no heads and tasks, or heads of several policies, or n_step
            is not 1.
        """
        super().__init__(context, settings.refit_every)
        if context.n_step != 1:
            raise UserError(
                f"config.n_step: {context.n_step}, expected 1 with config.head=successor"
            )
        self._settings, self.num_fits = settings, 0
        self._successor: Successor = context.features.successor
        if (policy := self._successor.task.target_policy) == "greedy":
            raise UserError(
                f"config.head: successor, expected another: the features were pretrained with "
                f"target_policy={policy}, so that each task has a policy of its own, and sums of "
                "their values are not values"
            )
        discount = self._successor.discount
        self._tasks = np.flatnonzero(discount == discount.max())

    def to_keep(self, observation: np.ndarray, acted: Acted) -> np.ndarray:
        """The replay keeps cumulants."""
        return self._successor.cumulants(observation)[:, self._tasks]

    def state_buffer(self, capacity: int, num_envs: int) -> StateBuffer:
        """A buffer of cumulants."""
        return FeatureBuffer(capacity, num_envs, len(self._tasks))

    def replay_bytes(self, rows: int) -> int:
        """The cumulants, and the copies that a fit makes of them and of the next states'."""
        return rows * (4 * len(self._tasks) * 6 + 100)

    def _fit(self, replay: Replay) -> Mapping[str, float]:
        time, env = replay.starts()
        batch = replay.gather(time, env)
        of_next, used = self._settings.reward_of == "next_state", np.arange(len(time))
        if of_next:  # the state after a game's end is not stored
            used = np.flatnonzero(batch.discount_t > 0)
        if len(used) < MIN_ROWS:
            return {}
        cumulants = (batch.s_t if of_next else batch.s_tm1)[used]
        held_out = choose_held_out(
            time[used],
            env[used],
            self._context.num_envs,
            self._context.seed,
            self._settings.held_out,
        )
        fit = fit_reward(cumulants, batch.r_t[used], held_out)
        self.num_fits += 1
        kernel = self._successor.head_kernel[:, self._tasks]
        bias = self._successor.head_bias[self._tasks]
        self.head = Layer(
            jnp.asarray(np.einsum("t,fta->fa", fit.weight, kernel), jnp.float32),
            jnp.asarray(fit.weight @ bias, jnp.float32),
        )
        return {"reward_r2": fit.reward_r2, "penalty": fit.penalty}

    def state(self) -> State:
        """The head, and when it was fitted."""
        return {
            "kernel": np.asarray(self.head.kernel),
            "bias": np.asarray(self.head.bias),
            "fits": np.array([self.num_fits, self._next_fit, self._fitted_at]),
        }

    def restore(self, state: State) -> None:
        """Puts a new learner into the state that `state` returned."""
        self.head = Layer(jnp.asarray(state["kernel"]), jnp.asarray(state["bias"]))
        self.num_fits, self._next_fit, self._fitted_at = (int(x) for x in state["fits"])
