"""The two ways to fit a linear head while it plays: by gradients, and in closed form."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from pvn.evaluation.dqn import Head, make_dqn
from pvn.evaluation.fqi import fit_fqi
from pvn.evaluation.replay import FeatureReplay

Log = Callable[[int, Mapping[str, float]], None]  # (agent step, numbers)

_HELD_OUT_STEPS = 64  # time steps of one environment that are held out or fitted together
_LOG_EVERY = 10_000  # agent steps between rows of dqn


class DqnLearner:
    """Linear double Q-learning: a gradient update every `update_every` agent steps."""

    diverged_fits = 0

    def __init__(
        self,
        *,
        num_features: int,
        num_actions: int,
        learn_after: int,
        update_every: int,
        batch_size: int,
        learning_rate: float,
        adam_epsilon: float,
        max_gradient_norm: float,
        target_period: int,
        seed: int,
        log: Log,
    ):
        """Periods in agent steps. learn_after: agent steps before the first update."""
        self.head: Head | None = None
        self._state, self._update = make_dqn(
            num_features=num_features,
            num_actions=num_actions,
            learning_rate=learning_rate,
            adam_epsilon=adam_epsilon,
            max_gradient_norm=max_gradient_norm,
            target_period=max(1, target_period // update_every),
        )
        self._learn_after, self._update_every = learn_after, update_every
        self._batch_size, self._log = batch_size, log
        self._random = np.random.default_rng([seed, 1])
        self._done, self._logged = 0, 0

    def learn(self, replay: FeatureReplay, agent_step: int) -> None:
        """Makes the updates that are due, in one dispatch."""
        due = (agent_step - self._learn_after) // self._update_every - self._done
        if due <= 0:
            return
        flat = replay.sample(self._random, due * self._batch_size)
        batches = jax.tree.map(lambda x: x.reshape(due, self._batch_size, *x.shape[1:]), flat)
        self._state, loss = self._update(self._state, batches)
        self._done += due
        self.head = self._state.head
        if agent_step - self._logged >= _LOG_EVERY:
            self._logged = agent_step
            self._log(agent_step, {"loss": float(loss)})

    def finish(self, replay: FeatureReplay, agent_step: int) -> None:
        """Nothing: all updates are made."""


class FqiLearner:
    """Growing-batch fitted Q iteration: a fit to the whole replay every `refit_every` steps."""

    def __init__(
        self,
        *,
        num_actions: int,
        num_envs: int,
        learn_after: int,
        refit_every: int,
        num_iterations: int,
        held_out: float,
        discount: float,
        n_step: int,
        clip_rewards: bool,
        seed: int,
        log: Log,
        say: Callable[[str], object],
    ):
        """learn_after, refit_every: in agent steps. held_out: share that penalties are chosen on.

        A fit that diverges is counted in `diverged_fits`, said, and not used.
        """
        self.head: Head | None = None
        self.diverged_fits = 0
        self._num_actions, self._num_envs = num_actions, num_envs
        self._next_fit, self._refit_every = learn_after, refit_every
        self._num_iterations, self._held_out, self._seed = num_iterations, held_out, seed
        self._discount, self._n_step, self._clip = discount, n_step, clip_rewards
        self._log, self._say = log, say
        self._fitted_at = -1  # agent step of the last fit

    def learn(self, replay: FeatureReplay, agent_step: int) -> None:
        """Fits if a fit is due."""
        if agent_step >= self._next_fit:
            self._next_fit = (agent_step // self._refit_every + 1) * self._refit_every
            self._fit(replay, agent_step)

    def finish(self, replay: FeatureReplay, agent_step: int) -> None:
        """The last fit, to all there is, if it was not just made."""
        if self._fitted_at != agent_step:
            self._fit(replay, agent_step)

    def _fit(self, replay: FeatureReplay, agent_step: int) -> None:
        self._fitted_at = agent_step
        time, env = replay.starts()
        batch = replay.gather(time, env)
        # Neighbours in time are alike: whole stretches are held out, each with a chance of its
        # own, the same at every fit.
        stretch = (time // _HELD_OUT_STEPS) * self._num_envs + env
        chance = np.random.default_rng([self._seed, 2]).random(int(stretch.max()) + 1)
        held_out = chance[stretch] < self._held_out
        if held_out.all() or not held_out.any():
            held_out = np.arange(len(time)) % 5 == 0
        bound = 1 / (1 - self._discount)
        if not self._clip:
            bound = float(np.max(np.abs(batch.r_t))) / (1 - self._discount**self._n_step)
        fit = fit_fqi(
            batch,
            held_out,
            self._num_actions,
            bound=bound,
            num_iterations=self._num_iterations,
            start=None
            if self.head is None
            else (np.asarray(self.head["kernel"]), np.asarray(self.head["bias"])),
        )
        numbers = fit._asdict()
        del numbers["kernel"], numbers["bias"]
        self._log(agent_step, {name: float(value) for name, value in numbers.items()})
        if fit.diverged:
            self.diverged_fits += 1
            self._say(
                f"fitted Q iteration diverged at {agent_step:,} agent steps "
                f"({fit.bounded_share:.0%} of the targets at their bound); this fit is not used"
            )
        else:
            self.head = {"kernel": jnp.asarray(fit.kernel), "bias": jnp.asarray(fit.bias)}


Learner = DqnLearner | FqiLearner

# The settings of `make_learner` that a config holds under the same names.
SETTINGS = (
    "head",
    "num_envs",
    "discount",
    "n_step",
    "clip_rewards",
    "learn_after",
    "seed",
    "fqi_refit_every",
    "fqi_iterations",
    "fqi_held_out",
    "dqn_update_every",
    "dqn_batch_size",
    "dqn_learning_rate",
    "dqn_adam_epsilon",
    "dqn_max_gradient_norm",
    "dqn_target_period",
)


def make_learner(
    *,
    num_features: int,
    num_actions: int,
    head: str,
    num_envs: int,
    discount: float,
    n_step: int,
    clip_rewards: bool,
    learn_after: int,
    seed: int,
    fqi_refit_every: int,
    fqi_iterations: int,
    fqi_held_out: float,
    dqn_update_every: int,
    dqn_batch_size: int,
    dqn_learning_rate: float,
    dqn_adam_epsilon: float,
    dqn_max_gradient_norm: float,
    dqn_target_period: int,
    log: Log,
    say: Callable[[str], object],
) -> Learner:
    """The learner of a `head`, `dqn` or `fqi`; the other's settings are not looked at."""
    if head == "dqn":
        return DqnLearner(
            num_features=num_features,
            num_actions=num_actions,
            learn_after=learn_after,
            update_every=dqn_update_every,
            batch_size=dqn_batch_size,
            learning_rate=dqn_learning_rate,
            adam_epsilon=dqn_adam_epsilon,
            max_gradient_norm=dqn_max_gradient_norm,
            target_period=dqn_target_period,
            seed=seed,
            log=log,
        )
    return FqiLearner(
        num_actions=num_actions,
        num_envs=num_envs,
        learn_after=learn_after,
        refit_every=fqi_refit_every,
        num_iterations=fqi_iterations,
        held_out=fqi_held_out,
        discount=discount,
        n_step=n_step,
        clip_rewards=clip_rewards,
        seed=seed,
        log=log,
        say=say,
    )
