"""Q-learning by stochastic gradients: of a head on frozen features, or of the encoder too.

With frozen features and a linear head it is the published evaluation. With an encoder that learns
too it is fine-tuning, or DQN if the encoder was not trained before (Mnih et al. 2015).
"""

import functools
from collections.abc import Callable, Mapping
from math import inf
from typing import Annotated, Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from pvn.errors import UserError
from pvn.evaluation.acting import Actor
from pvn.evaluation.head import Head, init_head, is_finite, outputs
from pvn.evaluation.learner import Acted, LearnerContext, Policy
from pvn.evaluation.replay import FeatureBuffer, FrameBuffer, Replay, StateBuffer
from pvn.evaluation.sampling import Draw, Priorities, draw_uniform
from pvn.evaluation.state import State, generator_state, restore_generator
from pvn.evaluation.values import ActionValue, Values
from pvn.features import Features
from pvn.fields import flag, real, whole, wholes
from pvn.networks.network import Network
from pvn.types import Interaction

_LOG_EVERY = 10_000  # agent steps


class DqnSettings(NamedTuple):
    """Settings of `DqnLearner`. Periods are in agent steps."""

    update_every: Annotated[int, whole(1)] = 4
    batch_size: Annotated[int, whole(1)] = 32
    learning_rate: Annotated[float, real(0, inf, closed="()")] = 6.25e-5
    encoder_learning_rate: Annotated[float, real(0, inf, closed="[)")] = 0.0  # 0: frozen
    adam_epsilon: Annotated[float, real(0, inf, closed="()")] = 1.5e-4
    max_gradient_norm: Annotated[float, real(0, inf, closed="()")] = 10.0
    target_period: Annotated[int, whole(1)] = 2_000
    double: Annotated[bool, flag()] = True
    hidden_units: Annotated[tuple[int, ...], wholes(1)] = ()
    priority_exponent: Annotated[float, real(0, 1, closed="[]")] = 0.0  # 0: uniform replay
    importance_exponent: Annotated[float, real(0, 1, closed="[]")] = 0.5


class QParams(NamedTuple):
    """What an update trains."""

    head: Head
    encoder: Any  # parameters of the encoder; None if it is frozen


class DqnState(NamedTuple):
    """The values that an update changes."""

    params: QParams
    target: QParams
    opt_state: optax.OptState
    num_updates: jax.Array  # int32
    loss_sum: jax.Array  # float32, of the mean losses since the last log
    diverged_at: jax.Array  # int32, the first update that diverged; or -1


Encode = Callable[[Any, jax.Array], jax.Array]
"""(parameters of the encoder, states of the replay [B, ...]) -> features float32 [B, F]."""


def frozen(_: Any, state: jax.Array) -> jax.Array:
    """The `Encode` of a frozen encoder: the replay holds features."""
    return state


@functools.cache
def encode_frames(features: Features) -> Encode:
    """The `Encode` of an encoder in training: the replay holds stacks uint8 [B, 4, 84, 84]."""
    return lambda params, stack: features.apply(params, jnp.moveaxis(stack, 1, -1))


def q_losses(
    params: QParams,
    target: QParams,
    batch: Interaction,
    num_actions: int,
    encode: Encode = frozen,
    kind: Values = ActionValue(),  # noqa: B008, it is immutable
    double: bool = True,
) -> jax.Array:
    """The loss of each interaction, float32 [B].

    The target is r + discount * the target network's value of the best next action. With `double`
    the trained network says which action is best (van Hasselt et al., "Deep Reinforcement Learning
    with Double Q-learning", 2016), else the target network does.
    """
    chex.assert_rank(batch.a_tm1, 1)
    chex.assert_equal_shape([batch.s_tm1, batch.s_t])
    chex.assert_equal_shape([batch.a_tm1, batch.r_t, batch.discount_t])
    chex.assert_equal_shape_prefix([batch.s_tm1, batch.a_tm1], 1)
    chex.assert_trees_all_equal_shapes(params, target)

    def values(params: QParams, state: jax.Array) -> jax.Array:
        return outputs(params.head, encode(params.encoder, state), num_actions)

    def of_action(outputs: jax.Array, action: jax.Array) -> jax.Array:
        return jnp.take_along_axis(outputs, action[:, None, None], axis=1)[:, 0]

    outputs_t = values(target, batch.s_t)
    chooser = values(params, batch.s_t) if double else outputs_t
    best = jnp.argmax(kind.values(chooser), axis=-1)
    chosen_t = jax.lax.stop_gradient(of_action(outputs_t, best))
    chosen_tm1 = of_action(values(params, batch.s_tm1), batch.a_tm1)
    return kind.losses(chosen_tm1, chosen_t, batch.r_t, batch.discount_t)


def largest_loss(discount: float, clip_rewards: bool) -> float:
    """The loss of `ActionValue` above which a head has diverged.

    With rewards in [-1, 1], no value exceeds 1 / (1 - discount). At this loss, the root mean square
    of the TD errors is 14 times as large. Rewards cannot cause such errors. The loss is infinite
    without clipping, because then values have no bound.

    Args:
      discount: gamma of one agent step.
      clip_rewards: whether rewards are clipped to [-1, 1].
    """
    return 100 / (1 - discount) ** 2 if clip_rewards else inf


def make_optimizer(settings: DqnSettings) -> optax.GradientTransformation:
    """Adam, with a learning rate for the head and one for the encoder, after clipping."""
    rates = {"head": settings.learning_rate, "encoder": settings.encoder_learning_rate}
    adams = {name: optax.adam(rate, eps=settings.adam_epsilon) for name, rate in rates.items()}
    labels: Any = QParams(head="head", encoder="encoder")  # type: ignore[arg-type]
    return optax.chain(
        optax.clip_by_global_norm(settings.max_gradient_norm), optax.partition(adams, labels)
    )


def init_state(params: QParams, settings: DqnSettings) -> DqnState:
    """The state before the first update."""
    opt_state = make_optimizer(settings).init(params)
    return DqnState(params, params, opt_state, jnp.int32(0), jnp.float32(0), jnp.int32(-1))


@functools.partial(
    jax.jit, static_argnames=("settings", "num_actions", "encode", "kind", "max_loss")
)
def update(
    state: DqnState,
    batch: Interaction,
    weight: jax.Array,
    *,
    settings: DqnSettings,
    num_actions: int,
    encode: Encode = frozen,
    kind: Values = ActionValue(),  # noqa: B008
    max_loss: float = inf,
) -> tuple[DqnState, jax.Array]:
    """Makes one update. Returns the new state and the losses of the interactions, float32 [B].

    It does not change `state.target`.

    Args:
      state: not changed.
      batch: B interactions.
      weight: float32 [B], of the losses.
      settings: of the learner.
      num_actions: A.
      encode: maps the states of the replay to features.
      kind: what the outputs of the head mean.
      max_loss: the mean loss above which the head has diverged; see `largest_loss`.
    """

    def mean_loss(params: QParams) -> tuple[jax.Array, jax.Array]:
        losses = q_losses(
            params, state.target, batch, num_actions, encode, kind, double=settings.double
        )
        return jnp.mean(weight * losses), losses

    (loss, losses), gradient = jax.value_and_grad(mean_loss, has_aux=True)(state.params)
    steps, opt_state = make_optimizer(settings).update(gradient, state.opt_state)
    params = optax.apply_updates(state.params, steps)
    num_updates = state.num_updates + 1
    # Clipping turns an infinite gradient into zero: the head stays finite but never learns.
    sound = jnp.isfinite(loss) & jnp.isfinite(optax.tree.norm(gradient)) & (loss <= max_loss)
    diverged_at = jnp.where((state.diverged_at < 0) & ~sound, num_updates, state.diverged_at)
    loss_sum = state.loss_sum + jnp.mean(losses)
    return DqnState(params, state.target, opt_state, num_updates, loss_sum, diverged_at), losses


def with_params(features: Features, params: Any) -> Features:
    """The same encoder with other parameters, a nested dictionary of NumPy arrays."""
    metadata = {key: value for key, value in features.metadata.items() if key != "sha256"}
    network = Network(lambda *_: params, features.apply)
    return Features(network, params, metadata, features.folder)


class DqnLearner:
    """One gradient update every `update_every` agent steps."""

    gradual = True
    diverged_fits = 0  # a run ends at once when its head diverges

    def __init__(self, context: LearnerContext, settings: DqnSettings, kind: Values | None = None):
        """kind: what the outputs of the head mean; None: they are action values."""
        self._context, self._settings = context, settings
        self._kind = kind or ActionValue()
        self._trains_encoder = settings.encoder_learning_rate > 0
        features = context.features
        head = init_head(
            context.num_features,
            context.num_actions * self._kind.num_outputs,
            settings.hidden_units,
            context.seed,
        )
        encoder = features.device_params if self._trains_encoder else None
        self.train_state = init_state(QParams(head, encoder), settings)
        self.update = functools.partial(
            update,
            settings=settings,
            num_actions=context.num_actions,
            encode=encode_frames(features) if self._trains_encoder else frozen,
            kind=self._kind,
            max_loss=(
                largest_loss(context.discount, context.clip_rewards)
                if isinstance(self._kind, ActionValue)
                else inf
            ),
        )
        self._actor = Actor(features, self._kind, context.num_actions)
        self._random = np.random.default_rng([context.seed, 1])
        self._priorities: Priorities | None = None
        self._saved_priorities: State | None = None
        self._logged_at = self._logged_fits = 0  # agent step and updates at the last log
        self.num_fits = 0

    def act(self, observation: np.ndarray) -> Acted:
        """Features and greedy actions, after the updates so far."""
        head, encoder = self.train_state.params
        return self._actor(head, observation, encoder)

    def to_keep(self, observation: np.ndarray, acted: Acted) -> np.ndarray:
        """The replay keeps the newest frames if the encoder is trained, else features."""
        return observation[..., -1] if self._trains_encoder else acted.features

    def state_buffer(self, capacity: int, num_envs: int) -> StateBuffer:
        """Frames if the encoder is trained, else features."""
        if self._trains_encoder:
            return FrameBuffer(capacity, num_envs)
        return FeatureBuffer(capacity, num_envs, self._context.num_features)

    def learn(self, replay: Replay, agent_step: int) -> Mapping[str, float]:
        """Dispatches the updates that are due; they run while the emulators step.

        Raises:
          UserError: the head diverged: a loss or gradient was not finite, or a loss exceeded
            `largest_loss`. The check runs only when the loss is logged.
        """
        due = self._num_due(agent_step) - self.num_fits
        if due <= 0:
            return {}
        self._make_updates(replay, due)
        if agent_step - self._logged_at < _LOG_EVERY:
            return {}
        return self._log(agent_step)

    def finish(self, replay: Replay, agent_step: int) -> Mapping[str, float]:
        """Makes the updates that are left, and checks the head.

        Raises:
          UserError: the head diverged: a loss, a gradient or a weight was not finite, or a loss
            exceeded `largest_loss`.
        """
        due = self._num_due(agent_step) - self.num_fits
        if due > 0:
            self._make_updates(replay, due)
        return self._log(agent_step)

    def _make_updates(self, replay: Replay, count: int) -> None:
        """Draws `count` batches, and makes an update with each."""
        size = self._settings.batch_size
        draw = self._draw(replay, count * size)
        period = max(1, self._settings.target_period // self._settings.update_every)  # updates
        losses = []
        for number in range(count):
            rows = slice(number * size, (number + 1) * size)
            batch = replay.gather(draw.time[rows], draw.env[rows])
            self.train_state, loss = self.update(self.train_state, batch, draw.weight[rows])
            losses.append(loss)
            self.num_fits += 1
            if self.num_fits % period == 0:
                self.train_state = self.train_state._replace(target=self.train_state.params)
        if self._priorities:
            self._priorities.update(replay, draw, np.concatenate(losses))

    def _draw(self, replay: Replay, count: int) -> Draw:
        settings = self._settings
        if not settings.priority_exponent:
            return draw_uniform(replay, self._random, count)
        if self._priorities is None:
            self._priorities = Priorities(
                replay, settings.priority_exponent, settings.importance_exponent
            )
            if self._saved_priorities is not None:
                self._priorities.restore(self._saved_priorities)
        return self._priorities.draw(replay, self._random, count, settings.batch_size)

    def policy(self) -> Policy:
        """The features, trained or frozen, and the head after the last update."""
        head, encoder = self.train_state.params
        features = self._context.features
        if encoder is not None:
            features = with_params(features, jax.device_get(encoder))
        return Policy(features, head, self._kind, self._context.num_actions)

    def state(self) -> State:
        """The state of the updates by path, and that of the draws from the replay."""
        leaves = jax.tree_util.tree_leaves_with_path(self.train_state)
        priorities = self._priorities.state() if self._priorities else {}
        return {
            **{jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves},
            **{f"priorities/{name}": value for name, value in priorities.items()},
            "random": generator_state(self._random),
            "logged": np.array([self._logged_at, self._logged_fits]),
            "num_fits": np.array(self.num_fits),
        }

    def restore(self, state: State) -> None:
        """Puts a new learner into the state that `state` returned."""
        self.train_state = jax.tree_util.tree_map_with_path(
            lambda path, _: jnp.asarray(state[jax.tree_util.keystr(path)]), self.train_state
        )
        prefix = "priorities/"
        saved = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        self._saved_priorities = saved or None
        restore_generator(self._random, state["random"])
        self._logged_at, self._logged_fits = (int(x) for x in state["logged"])
        self.num_fits = int(state["num_fits"])

    def _num_due(self, agent_step: int) -> int:
        """Number of updates that must be complete at this agent step."""
        return (agent_step - self._context.learn_after) // self._settings.update_every

    def _log(self, agent_step: int) -> Mapping[str, float]:
        self._check_finite(agent_step)
        count, loss = self.num_fits - self._logged_fits, float(self.train_state.loss_sum)
        self._logged_at, self._logged_fits = agent_step, self.num_fits
        self.train_state = self.train_state._replace(loss_sum=jnp.float32(0))
        return {"loss": loss / count} if count else {}

    def _check_finite(self, agent_step: int) -> None:
        number = int(self.train_state.diverged_at)
        if number >= 0:
            agent_step = self._context.learn_after + number * self._settings.update_every
        elif is_finite(self.train_state.params.head):
            return
        raise UserError(
            "dqn: the head diverged: its loss, gradient or weights are not finite, or its loss is "
            f"far above what rewards allow, at agent step {agent_step:,}; lower "
            f"config.dqn.learning_rate ({self._settings.learning_rate:g})"
        )
