"""Linear heads on features: values of T tasks and A actions. None is computed that nobody reads.

The parameters are {"kernel": float32 [A, F, T], "bias": float32 [A, T]}, the bias optional. The
learning network needs the values of one action in each state, its target those of one action, or
their mean or maximum over actions. Heads compute in float32, because their values are sums over a
horizon.
"""

import functools

import chex
import jax
import jax.numpy as jnp

Heads = dict[str, jax.Array]

_init_kernel = jax.nn.initializers.lecun_normal(in_axis=1, out_axis=2, batch_axis=0)


def init_heads(
    key: jax.Array, num_features: int, num_tasks: int, num_actions: int, *, use_bias: bool = True
) -> Heads:
    """Draws each head like a dense layer of its own (fan-in F). Biases are 0."""
    heads = {"kernel": _init_kernel(key, (num_actions, num_features, num_tasks), jnp.float32)}
    return heads | ({"bias": jnp.zeros((num_actions, num_tasks))} if use_bias else {})


def action_values(heads: Heads, features: jax.Array, action: jax.Array) -> jax.Array:
    """Values of one action in each state: float32 [B, T], of features [B, F], action int32 [B].

    Each row of features stands at its action's place in a row of A F, the others hold zeros. So all
    heads together are one matrix product, and the gradient has the layout of the kernel: with
    10,000 tasks, another layout makes Adam's update several times slower on a CPU
    (benchmarks/README.md).
    """
    chex.assert_rank([features, action], [2, 1])
    chex.assert_equal_shape_prefix([features, action], 1)
    kernel = heads["kernel"]
    chosen = jax.nn.one_hot(action, len(kernel), dtype=features.dtype)  # [B, A]
    placed = chosen[:, :, None] * features[:, None, :]
    values = placed.reshape(len(features), -1) @ kernel.reshape(-1, kernel.shape[2])
    if "bias" in heads:
        # A TPU would round the biases to bfloat16.
        values += jnp.matmul(chosen, heads["bias"], precision="highest")
    return values


def mean_over_actions(heads: Heads) -> Heads:
    """The heads of the mean over actions: kernel [F, T], bias [T]."""
    # A sum of slices, because XLA's reduction of a leading axis is ten times slower on a CPU.
    return {name: sum(array) / len(array) for name, array in heads.items()}  # type: ignore[misc]


def mean_values(mean_heads: Heads, features: jax.Array) -> jax.Array:
    """Means of the values over actions: float32 [B, T], of features [B, F].

    mean_heads: of `mean_over_actions`.
    """
    values = features @ mean_heads["kernel"]
    return values + mean_heads["bias"][None] if "bias" in mean_heads else values


def max_values(heads: Heads, features: jax.Array) -> jax.Array:
    """Largest values over actions: float32 [B, T], of features [B, F]."""
    # One action after the other: [B, A, T] would be A times the memory.
    bias = heads.get("bias", jnp.zeros((len(heads["kernel"]), 1)))
    values = (features @ kernel + b[None] for kernel, b in zip(heads["kernel"], bias, strict=True))
    return functools.reduce(jnp.maximum, values)
