"""Random-network indicators: sets of states defined by frozen random convolutional networks.

Farebrother et al. 2023, section 4. The networks are Haiku transforms, pure functions of a key.
Each has the convolutions of the Nature network and one dense layer, with one output for each task.
For small observations, such as MinAtar's, it has one convolution of 3x3.

An indicator compares a response with a threshold, so a difference in the last bit of the response
can change it. Therefore the networks compute in whole numbers, small enough for float32 to hold
every sum exactly. Then the order of summation does not matter: a response is the same in a batch of
any size and on any device. Weights are rounded; activations (10 bits) are rounded down. The
correlation with the same network in real numbers is above 0.997 on frames of seven games.
"""

from typing import Annotated, Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from pvn.fields import choice, flag, real, whole
from pvn.indicators import threshold
from pvn.indicators.indicator import Indicator

_LARGE = ((32, 8, 4, 128, 9), (64, 4, 2, 32, 8), (64, 3, 1, 28, 8))
"""(channels, kernel, stride, largest weight, right shift), chosen so that no sum exceeds 2^24."""
_SMALL = ((16, 3, 1, 512, 1),)
"""The same for observations below `_SIDE` pixels, of zeros and ones."""
_SIDE = 36
_MAX_ACTIVATION = 1023  # of a hidden layer; the input has pixels up to 255
_LAST_WEIGHT = 256  # 7,744 * 1,023 * 256 is below 2^31
_SCALE = 2.0**-23  # to the scale of real weights of variance 1 / fan-in and pixels in [0, 1]


def _whole_weights(most: int) -> hk.initializers.Initializer:
    """Rounded normal weights, truncated at two standard deviations, which are `most`."""
    normal = hk.initializers.TruncatedNormal(most / 2)
    return lambda shape, dtype: jnp.round(normal(shape, jnp.float32)).astype(dtype)


def _response_networks(num_tasks: int, tasks_per_network: int, final_relu: bool) -> tuple[Any, Any]:
    """(init, response) of the networks for T tasks; the last one may have unused outputs."""

    def transform(num_outputs: int) -> hk.Transformed:
        def forward(observation: jax.Array) -> jax.Array:
            x = observation.astype(jnp.float32)
            small = min(observation.shape[1:3]) < _SIDE
            for channels, size, stride, most, bits in _SMALL if small else _LARGE:
                layer = hk.Conv2D(
                    channels, size, stride, with_bias=False, w_init=_whole_weights(most)
                )
                # With + 0.5, `floor` tolerates the rounding errors of fast convolution algorithms.
                whole = layer(x, precision=jax.lax.Precision.HIGHEST) + 0.5
                x = jnp.clip(jnp.floor(whole * 2.0**-bits), 0, _MAX_ACTIVATION)
            last = hk.Linear(num_outputs, with_bias=False, w_init=_whole_weights(_LAST_WEIGHT))
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
            mean = responses.mean(axis=0, dtype=np.float64)
            std = responses.std(axis=0, dtype=np.float64)
            scale = np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)
            return {"mean": mean.astype(np.float32), "scale": scale.astype(np.float32)}

        def cumulant(fitted: dict[str, jax.Array], responses: jax.Array) -> jax.Array:
            return (responses - fitted["mean"][None]) * fitted["scale"][None]

        return Indicator(num_tasks, init, response, cumulant, fit)
