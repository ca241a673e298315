"""What the K outputs of an action mean: an action value, or a distribution over values.

Each kind is a NamedTuple of its settings, with the same three members: `num_outputs` (K), `values`,
which turns outputs [..., K] into action values [...], and `losses`.
"""

from typing import Annotated, Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax

from pvn.fields import real, whole


class Values(Protocol):
    """The kind of a head. Its objects are hashable."""

    @property
    def num_outputs(self) -> int:
        """K, the number of outputs of an action."""
        ...

    def values(self, outputs: jax.Array) -> jax.Array:
        """Action values float32 [...] of outputs float32 [..., K]."""
        ...

    def losses(
        self, outputs_tm1: jax.Array, outputs_t: jax.Array, r_t: jax.Array, discount_t: jax.Array
    ) -> jax.Array:
        """The loss of each interaction, float32 [B].

        Args:
          outputs_tm1: [B, K], of the action taken; they are what is trained.
          outputs_t: [B, K], of the target network for the best next action.
          r_t, discount_t: [B]; the target is r_t + discount_t * the next value.
        """
        ...


class ActionValue(NamedTuple):
    """The output is the action value. The loss is 1/2 (target - value)^2, or Huber's."""

    huber_delta: Annotated[float, real(0, 1e6, closed="[)")] = 0.0  # 0: squared loss everywhere

    @property
    def num_outputs(self) -> int:
        return 1

    def values(self, outputs: jax.Array) -> jax.Array:
        return outputs[..., 0]

    def losses(
        self, outputs_tm1: jax.Array, outputs_t: jax.Array, r_t: jax.Array, discount_t: jax.Array
    ) -> jax.Array:
        target = r_t + discount_t * self.values(outputs_t)
        return self.loss(jax.lax.stop_gradient(target) - self.values(outputs_tm1))

    def loss(self, error: jax.Array) -> jax.Array:
        """The loss of TD errors float32 [...]; linear beyond `huber_delta`."""
        if self.huber_delta:
            return optax.losses.huber_loss(error, delta=self.huber_delta)
        return 0.5 * jnp.square(error)


class C51(NamedTuple):
    """A categorical distribution of the return over evenly spaced values (atoms).

    The loss is the cross-entropy with the target distribution, projected onto the atoms. Bellemare
    et al., "A Distributional Perspective on Reinforcement Learning" (2017).
    """

    num_atoms: Annotated[int, whole(2)] = 51
    max_value: Annotated[float, real(0, 1e6, closed="()")] = 10.0  # atoms from -max to max

    @property
    def num_outputs(self) -> int:
        return self.num_atoms

    def values(self, outputs: jax.Array) -> jax.Array:
        return jax.nn.softmax(outputs) @ self._atoms()

    def losses(
        self, outputs_tm1: jax.Array, outputs_t: jax.Array, r_t: jax.Array, discount_t: jax.Array
    ) -> jax.Array:
        moved = r_t[:, None] + discount_t[:, None] * self._atoms()[None]
        target = project(moved, jax.nn.softmax(outputs_t), self._atoms())
        return _cross_entropy(target, outputs_tm1)

    def _atoms(self) -> jax.Array:
        return jnp.linspace(-self.max_value, self.max_value, self.num_atoms)


class HlGauss(NamedTuple):
    """A histogram of the value over K bins; the target is a Gaussian around the scalar target.

    The loss is the cross-entropy with the Gaussian's mass in each bin. Farebrother et al., "Stop
    Regressing: Training Value Functions via Classification for Scalable Deep RL" (2024). A target
    outside the bins is moved to the nearest limit.
    """

    num_bins: Annotated[int, whole(2)] = 51
    max_value: Annotated[float, real(0, 1e6, closed="()")] = 10.0  # bins from -max to max
    width: Annotated[float, real(0, 100, closed="()")] = 0.75  # sigma / width of a bin

    @property
    def num_outputs(self) -> int:
        return self.num_bins

    def values(self, outputs: jax.Array) -> jax.Array:
        edges = self._edges()
        return jax.nn.softmax(outputs) @ ((edges[:-1] + edges[1:]) / 2)

    def losses(
        self, outputs_tm1: jax.Array, outputs_t: jax.Array, r_t: jax.Array, discount_t: jax.Array
    ) -> jax.Array:
        target = r_t + discount_t * self.values(outputs_t)
        return _cross_entropy(self.histogram(target), outputs_tm1)

    def histogram(self, value: jax.Array) -> jax.Array:
        """The Gaussian's mass in each bin, float32 [B, K], around values [B]; rows sum to 1."""
        edges = self._edges()
        value = jnp.clip(value, -self.max_value, self.max_value)
        sigma = self.width * 2 * self.max_value / self.num_bins
        mass = jax.scipy.stats.norm.cdf(edges[None], value[:, None], sigma)
        return jnp.diff(mass, axis=1) / (mass[:, -1:] - mass[:, :1])

    def _edges(self) -> jax.Array:
        return jnp.linspace(-self.max_value, self.max_value, self.num_bins + 1)


def project(values: jax.Array, probabilities: jax.Array, atoms: jax.Array) -> jax.Array:
    """Moves the mass of a distribution to fixed atoms, in proportion to the distance.

    Args:
      values: float32 [B, N], where the mass is; it is clipped to the atoms' range.
      probabilities: float32 [B, N].
      atoms: float32 [K], ascending with equal distances.

    Returns:
      float32 [B, K].
    """
    values = jnp.clip(values, atoms[0], atoms[-1])
    distance = jnp.abs(values[:, None, :] - atoms[None, :, None]) / (atoms[1] - atoms[0])
    return jnp.sum(jnp.maximum(1 - distance, 0) * probabilities[:, None, :], axis=-1)


def _cross_entropy(target: jax.Array, outputs: jax.Array) -> jax.Array:
    target = jax.lax.stop_gradient(target)
    return -jnp.sum(target * jax.nn.log_softmax(outputs), axis=-1)


VALUES: dict[str, type[Any]] = {"value": ActionValue, "c51": C51, "hl_gauss": HlGauss}
"""All kinds, by the names of their sections in a config."""
