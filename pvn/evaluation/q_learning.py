"""One update of Q-learning by stochastic gradients, as pure functions.

What is trained is a head on frozen features, or a head and the encoder.
"""

import functools
from collections.abc import Callable
from math import inf
from typing import Annotated, Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from pvn.evaluation.head import Head, outputs
from pvn.evaluation.values import ActionValue, Values
from pvn.features import Features
from pvn.fields import flag, real, whole, wholes
from pvn.types import Interaction, ObservationSpec


class DqnSettings(NamedTuple):
    """Settings of `DqnLearner`. Periods are in agent steps."""

    update_every: Annotated[int, whole(1)] = 4
    batch_size: Annotated[int, whole(1)] = 32
    learning_rate: Annotated[float, real(0, inf, closed="()")] = 6.25e-5
    encoder_learning_rate: Annotated[float, real(0, inf, closed="[)")] = 0.0  # 0: frozen
    adam_epsilon: Annotated[float, real(0, inf, closed="()")] = 1.5e-4
    max_gradient_norm: Annotated[float, real(0, inf, closed="[)")] = 10.0  # 0: no clipping
    target_period: Annotated[int, whole(1)] = 2_000
    double: Annotated[bool, flag()] = True
    hidden_units: Annotated[tuple[int, ...], wholes(1)] = ()
    random_output: Annotated[bool, flag()] = False
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
def encode_frames(features: Features, observation: ObservationSpec) -> Encode:
    """The `Encode` of an encoder in training: the replay holds frames uint8 [B, S, *frame]."""
    return lambda params, frames: features.apply(params, observation.join(frames))


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


def largest_loss(kind: Values, discount: float, clip_rewards: bool) -> float:
    """The mean loss above which a head has diverged.

    With rewards in [-1, 1], no action value exceeds 1 / (1 - discount). This is the loss of a TD
    error about 14 times as large, which rewards cannot cause. It is infinite without clipping,
    because then values have no bound, and for distributions, whose loss does not measure the error.

    Args:
      kind: what the outputs of the head mean.
      discount: gamma of one agent step.
      clip_rewards: whether rewards are clipped to [-1, 1].
    """
    if not (clip_rewards and isinstance(kind, ActionValue)):
        return inf
    return float(kind.loss(jnp.float32(200**0.5 / (1 - discount))))


def make_optimizer(settings: DqnSettings) -> optax.GradientTransformation:
    """Adam, with a learning rate for the head and one for the encoder, after clipping."""
    rates = {"head": settings.learning_rate, "encoder": settings.encoder_learning_rate}
    adams = {name: optax.adam(rate, eps=settings.adam_epsilon) for name, rate in rates.items()}
    labels: Any = QParams(head="head", encoder="encoder")  # type: ignore[arg-type]
    limit = settings.max_gradient_norm
    clip = optax.clip_by_global_norm(limit) if limit else optax.identity()
    return optax.chain(clip, optax.partition(adams, labels))


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
