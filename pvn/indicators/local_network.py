"""Local indicators: each task sees a part of the screen, through one unit of a random network.

A task of `pvn.indicators.random_network` sees the whole screen, and mostly what is large there. A
unit of a convolution sees a part of it: of Atari 8 x 8, 20 x 20 or 36 x 36 pixels with the first,
second or third, of MinAtar 3 x 3. So some of these tasks see a small object. Zheng et al. 2021,
"Learning state representations from random deep action-conditional predictions", predict such
features, and their changes from frame to frame.
"""

from typing import Annotated, Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from pvn.errors import UserError
from pvn.fields import flag, real, whole
from pvn.indicators import threshold
from pvn.indicators.indicator import Indicator
from pvn.indicators.whole_network import convolutions, num_convolutions


def _units(images: jax.Array, layer: int, pool: int) -> jax.Array:
    """float32 [B, U] of whole numbers: the units of a convolution, before its activation.

    layer: which convolution; 0: the last. pool: side of the neighbourhoods that are summed, in
    int32, which holds a side of 11 exactly.
    """
    maps = convolutions(images, activate_last=False, number=layer)
    if pool > 1:
        window, strides = (1, pool, pool, 1), (1, 1, 1, 1)
        sums = jax.lax.reduce_window(
            maps.astype(jnp.int32), np.int32(0), jax.lax.add, window, strides, "VALID"
        )
        maps = sums.astype(jnp.float32)
    return maps.reshape(len(images), -1)


def _changes(observation: jax.Array, layer: int, pool: int) -> jax.Array:
    """float32 [B, U]: how much each unit differs between the last two frames, seen alone."""
    frames = jnp.concatenate([observation[..., -1:], observation[..., -2:-1]])
    newest, before = jnp.split(_units(frames, layer, pool), 2)
    return jnp.abs(newest - before)


class LocalNetwork(NamedTuple):
    """Settings of tasks that are on where a unit of a frozen random network is high.

    With `change`, where it changes much from the last frame to the newest; the network then sees
    one frame at a time.
    """

    proportion: Annotated[float, real(0, 1, closed="()")] = 0.2  # p
    change: Annotated[bool, flag()] = False  # whether the tasks are changes of units
    layer: Annotated[int, whole(0)] = 0  # convolution whose units are read; 0: the last
    pool: Annotated[int, whole(1, 11)] = 1  # side of the neighbourhood of units that is summed
    tasks_per_network: Annotated[int, whole(1)] = 1_000  # units read off one network, all different

    def indicator(self, num_tasks: int) -> Indicator:
        """T tasks, of observations uint8 [B, H, W, C]; with `change`, of stacks of C frames."""
        of_network = min(self.tasks_per_network, num_tasks)
        view = _changes if self.change else _units
        network: hk.Transformed = hk.without_apply_rng(
            hk.transform(lambda x: view(x, self.layer, self.pool))
        )
        networks = -(-num_tasks // self.tasks_per_network)
        draw = jax.jit(network.init)

        @jax.jit  # all networks share one compilation, as in `random_network`
        def read(part: dict[str, Any], observation: jax.Array) -> jax.Array:
            return network.apply(part["network"], observation)[:, part["unit"]]

        def init(key: jax.Array, observation: jax.Array) -> tuple[list[Any], jax.Array]:
            shape, frozen = observation.shape[1:], []
            if self.layer > num_convolutions(shape):
                raise UserError(
                    f"config.local_network.layer: {self.layer}, expected at most "
                    f"{num_convolutions(shape)} for observations {list(shape)}"
                )
            for number in range(networks):
                network_key, unit_key = jax.random.split(jax.random.fold_in(key, number))
                params = draw(network_key, observation)
                count = jax.eval_shape(network.apply, params, observation).shape[1]
                if count < of_network:
                    raise UserError(
                        f"config.local_network: a network has {count} units for observations "
                        f"{list(shape)}, expected at least {of_network}: a smaller "
                        "pool, or a smaller tasks_per_network"
                    )
                unit = jax.random.permutation(unit_key, count)[:of_network]
                frozen.append({"network": params, "unit": unit.astype(jnp.int32)})
            return frozen, jnp.zeros(num_tasks, jnp.float32)

        def response(frozen: list[Any], observation: jax.Array) -> jax.Array:
            parts = [read(part, observation) for part in frozen]
            return jnp.concatenate(parts, axis=1)[:, :num_tasks]

        def fit(responses: np.ndarray) -> np.ndarray:
            return threshold.empirical_bias(responses, self.proportion)

        stack = 2 if self.change else 1
        return Indicator(
            num_tasks, init, response, threshold.indicator, fit, stack=stack, binary=True
        )
