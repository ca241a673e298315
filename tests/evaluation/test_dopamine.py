"""The updates of DQN from pixels against Dopamine's, written from its paper and its settings.

Castro et al. 2018, "Dopamine: a research framework for deep reinforcement learning". The oracle is
a network and a loss of one state at a time, with plain optax.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from configs import evaluate_end_to_end
from pvn.agent import FIELDS, new_learner
from pvn.evaluation.subject import resolve_subject
from pvn.runs import config as cfg
from pvn.types import Interaction

ACTIONS, BATCH = 4, 8


class Oracle(nn.Module):
    """Values [A] of one state [84, 84, 4]."""

    @nn.compact
    def __call__(self, state: jax.Array) -> jax.Array:
        x = state.astype(jnp.float32) / 255
        for channels, size, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
            x = nn.relu(nn.Conv(channels, (size, size), (stride, stride))(x))
        x = nn.relu(nn.Dense(512)(x.reshape(-1)))
        return nn.Dense(ACTIONS)(x)


def test_updates_are_those_of_dopamine() -> None:
    config = cfg.check_config(evaluate_end_to_end.get_config(), FIELDS)
    subject = resolve_subject(
        "random", like=None, game="Breakout", agent=None, seed=0, trained=True
    )
    learner: Any = new_learner(config, subject, ACTIONS, config.num_envs)
    state = learner.train_state
    head = state.params.head[0]
    first: Any = {**state.params.encoder, "Dense_1": {"kernel": head.kernel, "bias": head.bias}}
    optimizer = optax.adam(6.25e-5, eps=1.5e-4)

    def values(params: Any, states: np.ndarray) -> jax.Array:
        return jax.vmap(lambda x: Oracle().apply({"params": params}, x))(states)  # type: ignore

    @jax.jit
    def train(params: Any, opt_state: Any, batch: Any) -> tuple[Any, Any]:
        states, actions, rewards, ends, after = batch
        target = rewards + 0.99 * values(first, after).max(axis=1) * (1 - ends)

        def loss(params: Any) -> jax.Array:
            chosen = values(params, states)[jnp.arange(BATCH), actions]
            return jnp.mean(jnp.square(target - chosen))

        updates, opt_state = optimizer.update(jax.grad(loss)(params), opt_state)
        return optax.apply_updates(params, updates), opt_state

    params, opt_state = first, optimizer.init(first)
    random = np.random.default_rng(0)
    for _ in range(5):
        frames = random.integers(0, 256, (BATCH, 5, 84, 84), dtype=np.uint8)
        actions = random.integers(ACTIONS, size=BATCH).astype(np.int32)
        rewards = (random.random(BATCH) < 0.3).astype(np.float32)
        ends = (random.random(BATCH) < 0.2).astype(np.float32)
        before, after = (np.moveaxis(frames[:, i : i + 4], 1, -1) for i in (0, 1))
        params, opt_state = train(params, opt_state, (before, actions, rewards, ends, after))
        batch = Interaction(
            frames[:, :4], actions, rewards, np.float32(0.99) * (1 - ends), frames[:, 1:]
        )
        state, _ = learner.update(state, batch, np.ones(BATCH, np.float32))
    for name, leaf in state.params.encoder.items():
        for part, value in leaf.items():
            np.testing.assert_allclose(value, params[name][part], atol=1e-7)
            assert np.abs(value - first[name][part]).max() > 1e-4
    np.testing.assert_allclose(state.params.head[0].kernel, params["Dense_1"]["kernel"], atol=1e-7)
