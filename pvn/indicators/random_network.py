"""Random-network indicators: sets of states defined by frozen random convolutional networks.

Farebrother et al. 2023, section 4. The networks are Haiku transforms, pure functions of a key.
Each has the convolutions of `pvn.indicators.whole_network` and one dense layer, with one output for
each task, that sees the whole screen.
"""

from typing import Annotated, Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from pvn.fields import choice, flag, real, whole
from pvn.indicators import threshold
from pvn.indicators.indicator import Indicator
from pvn.indicators.standardised import moments
from pvn.indicators.whole_network import convolutions, whole_weights

_LAST_WEIGHT = 256  # 7,744 * 1,023 * 256 is below 2^31
_SCALE = 2.0**-23  # to the scale of real weights of variance 1 / fan-in and pixels in [0, 1]


def _response_networks(num_tasks: int, tasks_per_network: int, final_relu: bool) -> tuple[Any, Any]:
    """(init, response) of the networks for T tasks; the last one may have unused outputs."""

    def transform(num_outputs: int) -> hk.Transformed:
        def forward(observation: jax.Array) -> jax.Array:
            x = convolutions(observation, activate_last=True)
            last = hk.Linear(num_outputs, with_bias=False, w_init=whole_weights(_LAST_WEIGHT))
            x = last(x.reshape(x.shape[0], -1).astype(jnp.int32)) * _SCALE
            return jax.nn.relu(x) if final_relu else x

        return hk.without_apply_rng(hk.transform(forward))

    networks = -(-num_tasks // tasks_per_network)
    network = transform(tasks_per_network)
    # All networks share one compilation. Inside a jitted step they are unrolled, because a `vmap`
    # over their parameters makes grouped convolutions, which are five times slower on a CPU.
    apply, draw = jax.jit(network.apply), jax.jit(network.init)

    def init(key: jax.Array, observation: jax.Array) -> list[Any]:
        return [draw(jax.random.fold_in(key, number), observation) for number in range(networks)]

    def response(frozen: list[Any], observation: jax.Array) -> jax.Array:
        parts = [apply(params, observation) for params in frozen]
        return jnp.concatenate(parts, axis=1)[:, :num_tasks]

    return init, response


class RandomNetwork(NamedTuple):
    """Settings of the indicators 1[f(s) + b > 0]. f is a frozen random network.

    The bias b is chosen so that each indicator is on for a share p of the states.
    """

    proportion: Annotated[float, real(0, 1, closed="()")] = 0.05  # p
    # How b is found: the quantile of the dataset's responses, or quantile regression.
    threshold_from: Annotated[str, choice("dataset", "quantile_regression")] = "dataset"
    tasks_per_network: Annotated[int, whole(1)] = 50  # outputs of one network; published: 10
    # Whether f ends in a ReLU (published: True); then about half of the tasks are dead.
    final_relu: Annotated[bool, flag()] = False

    def indicator(self, num_tasks: int) -> Indicator:
        """T indicators, of observations uint8 [B, H, W, C]."""
        init_networks, response = _response_networks(
            num_tasks, self.tasks_per_network, self.final_relu
        )
        regress = self.threshold_from == "quantile_regression"

        def init(key: jax.Array, observation: jax.Array) -> tuple[Any, jax.Array]:
            return init_networks(key, observation), jnp.zeros(num_tasks, jnp.float32)

        def fit(responses: np.ndarray) -> np.ndarray:
            return threshold.empirical_bias(responses, self.proportion)

        def loss(bias: jax.Array, responses: jax.Array) -> jax.Array:
            return threshold.quantile_loss(bias, responses, self.proportion)

        return Indicator(
            num_tasks,
            init,
            response,
            threshold.indicator,
            None if regress else fit,
            loss if regress else None,
            binary=not regress,
        )


class RandomCumulant(NamedTuple):
    """Settings of real-valued cumulants: responses of random networks, standardised.

    Each task has mean 0 and variance 1 over the dataset; a task that does not vary is 0.
    """

    tasks_per_network: Annotated[int, whole(1)] = 50  # outputs of one network
    final_relu: Annotated[bool, flag()] = False  # whether a network ends in a ReLU

    def indicator(self, num_tasks: int) -> Indicator:
        """T tasks, of observations uint8 [B, H, W, C]."""
        init_networks, response = _response_networks(
            num_tasks, self.tasks_per_network, self.final_relu
        )

        def init(key: jax.Array, observation: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
            mean, scale = jnp.zeros(num_tasks, jnp.float32), jnp.ones(num_tasks, jnp.float32)
            return init_networks(key, observation), {"mean": mean, "scale": scale}

        def fit(responses: np.ndarray) -> dict[str, np.ndarray]:
            return moments(responses)

        def cumulant(fitted: dict[str, jax.Array], responses: jax.Array) -> jax.Array:
            return (responses - fitted["mean"][None]) * fitted["scale"][None]

        return Indicator(num_tasks, init, response, cumulant, fit)
