"""The optional second file of features: heads Q_t(s, a) of T tasks, and the tasks themselves.

    successor = pvn.load_features("runs/pong").successor
    c = successor.cumulants(observations)  # float32 [N, T]
    q = np.einsum("nf,fta->nta", features(observations), successor.head_kernel)
    q += successor.head_bias[None]  # [N, T, A]

Rewards that the cumulants express, r ~ sum_t w_t c_t(s), have the values sum_t w_t Q_t(s, a)
(Dayan 1993; Barreto et al. 2017): a policy without learning from rewards over time. This holds if
all Q_t are of one policy, so not with the target policy `greedy`.

successor.safetensors holds `heads.kernel`, `heads.bias`, and the parameters of the indicator under
`frozen.` and `fitted.`; the entry `successor` of features.json holds its family and settings.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pvn.errors import UserError
from pvn.features.description import SUCCESSOR_FILE, check_types, read_description
from pvn.features.observation import check_observation, shape_of
from pvn.features.tensors import flatten, load_arrays, read_verified
from pvn.fields import check_field, choice, discounts, fields_of, whole
from pvn.indicators.discounts import discounts_of_tasks
from pvn.indicators.indicator import Indicator, shapes_of
from pvn.indicators.registry import INDICATORS_VERSION, find_family, make_indicator
from pvn.indicators.standardised import CUMULANTS
from pvn.networks.mapping import map_states
from pvn.plugins import is_plugin
from pvn.storage import remote

_BATCH = 256
_ENTRY: dict[str, type] = {
    **{"indicators_version": int, "num_tasks": int, "num_actions": int},
    **{"indicator": str, "settings": dict, "discount": list, "loss": str, "target_policy": str},
    "cumulants": str,
    "candidates_per_task": int,
}
_LOCAL = ("features.json", SUCCESSOR_FILE, "indicator.py", "indicator")
_READ = (*_LOCAL, *(f"features/{name}" for name in _LOCAL))


class Task(NamedTuple):
    """How the T tasks and their heads were made. The fields are JSON values."""

    indicator: str  # name of the family
    settings: dict[str, Any]  # of the family
    discount: list[float]  # gamma; of several, task t has the one at t modulo their number
    loss: str  # td, monte_carlo
    target_policy: str  # of which policy Q_t(s, a) is the value from the next state on
    cumulants: str = "raw"  # raw, standardised
    candidates_per_task: int = 1  # tasks drawn for each that was kept


class Successor:
    """Q_t(s, a) = features(s) @ head_kernel[:, t, a] + head_bias[t, a], and the cumulants c_t(s).

    Q_t(s, a) estimates the discounted sum of c_t over the states from s on, s included. So
    (Q_t(s, a) - c_t(s)) / discount[t] is the sum from the next state on. It orders the actions
    alike.
    """

    def __init__(
        self,
        head_kernel: np.ndarray,
        head_bias: np.ndarray,
        indicator: Indicator,
        frozen: Any,
        fitted: Any,
        task: Task,
        observation_shape: Sequence[int],
        folder: str | Path = ".",
    ):
        """
        Args:
          head_kernel: float32 [F, T, A]. head_bias: float32 [T, A].
          indicator: of the T tasks.
          frozen, fitted: its parameters.
          task: how they were made.
          observation_shape: (H, W, C).
          folder: the folder that a relative file name in `task.indicator` starts from.
        """
        self.head_kernel, self.head_bias = np.asarray(head_kernel), np.asarray(head_bias)
        self.frozen, self.fitted = frozen, fitted
        self.task, self.folder = task, Path(folder)
        self._indicator, self._shape = indicator, observation_shape
        self._cumulant = jax.jit(indicator.cumulant)

    @property
    def discount(self) -> np.ndarray:
        """float32 [T]: gamma of each task."""
        return discounts_of_tasks(self.task.discount, self._indicator.num_tasks)

    def cumulants(self, observation: np.ndarray) -> np.ndarray:
        """The cumulants float32 [N, T] of observations uint8 [N, H, W, C].

        Those of indicators are the same as in pretraining, in a batch of any size: 0 or 1 if they
        are raw, two values a task if they are standardised.

        Raises:
          UserError: `observation` is not uint8 [N, H, W, C].
        """
        check_observation(observation, self._shape)
        states = np.asarray(observation)
        response = functools.partial(self._indicator.response, self._device_frozen)
        batch = min(_BATCH, 1 << max(len(states) - 1, 0).bit_length())  # few sizes to compile
        parts = [
            np.asarray(self._cumulant(self.fitted, part), np.float32)
            for part in map_states(response, states.__getitem__, np.arange(len(states)), batch)
        ]
        return np.concatenate([np.empty((0, self._indicator.num_tasks), np.float32), *parts])

    @functools.cached_property
    def _device_frozen(self) -> Any:
        return jax.device_put(self.frozen)

    def tensors(self) -> dict[str, np.ndarray]:
        """The content of successor.safetensors.

        Raises:
          UserError: a parameter of a user's own indicator is not an array of numbers.
        """
        check_numbers(self.task.indicator, self.frozen, self.fitted)
        found = {"heads.kernel": self.head_kernel, "heads.bias": self.head_bias}
        found |= flatten(self.frozen, "frozen") | flatten(self.fitted, "fitted")
        return {name: np.asarray(leaf, order="C") for name, leaf in found.items()}

    def description(self) -> dict[str, Any]:
        """The entry `successor` of features.json."""
        _, num_tasks, num_actions = self.head_kernel.shape
        shape = {"num_tasks": num_tasks, "num_actions": num_actions}
        return shape | self.task._asdict() | {"indicators_version": INDICATORS_VERSION}


def check_numbers(indicator: str, frozen: Any, fitted: Any) -> None:
    """Checks that the parameters of an indicator can be written.

    Args:
      indicator: name of the family, for the message.
      frozen, fitted: its parameters, or their shapes and dtypes.

    Raises:
      UserError: one is not an array of numbers.
    """
    for name, leaf in (flatten(frozen, "frozen") | flatten(fitted, "fitted")).items():
        dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
        if jnp.issubdtype(dtype, jax.dtypes.prng_key) or dtype.kind not in "biuf":
            raise UserError(
                f"features: parameter {name} of indicator {indicator} is {dtype}, expected "
                "NumPy's numbers; --config.export_successor=False leaves the heads out"
            )


def load_successor(path: str | Path, sha256: str | None = None) -> Successor:
    """Loads the heads and the tasks of a run directory or of a features directory.

    Args:
      path: a directory, local or `gs://bucket/path`. The code in it (`indicator.py` or
        `indicator/`) is executed.
      sha256: of the encoder's weights, to be sure that the heads belong to them; None: any.

    Raises:
      UserError: there are no heads, they are corrupt or belong to other weights, or the indicator
        is not one that this pvn computes.
    """
    with remote.reading(path, *_READ) as local:
        folder, metadata = read_description(local)
        entry = metadata.get("successor")
        if entry is None:
            raise UserError(
                f"features {folder}: have no {SUCCESSOR_FILE} with heads and tasks; "
                "python -m pvn.pretrain --config.export_successor=True writes it"
            )
        if sha256 not in (None, metadata["sha256"]):
            raise UserError(f"features {folder}: have changed since they were loaded; load again")
        return _read(folder, metadata, {"candidates_per_task": 1} | entry)  # older ones have none


def _read(folder: Path, metadata: Mapping[str, Any], entry: Mapping[str, Any]) -> Successor:
    file = folder / SUCCESSOR_FILE
    raw = read_verified(file, entry.get("sha256"))
    described = file.with_name("features.json")
    check_types(described, entry, _ENTRY)
    check_field(f"features {described}: discount", tuple(entry["discount"]), discounts())
    check_field(f"features {described}: cumulants", entry["cumulants"], choice(*CUMULANTS))
    if entry["indicators_version"] != INDICATORS_VERSION:
        raise UserError(
            f"features {file}: its indicators are of version {entry['indicators_version']}, this "
            f"pvn computes those of version {INDICATORS_VERSION}"
        )
    tensors = load_arrays(file, raw)
    task, num_tasks = Task(**{name: entry[name] for name in Task._fields}), entry["num_tasks"]
    for name in ("num_tasks", "num_actions", "candidates_per_task"):
        check_field(f"features {described}: {name}", entry[name], whole(1))
    indicator = make_indicator(
        task.indicator,
        _family(described, task),
        num_tasks,
        task.cumulants,
        task.candidates_per_task,
    )
    shape = (metadata["num_features"], num_tasks, entry["num_actions"])
    heads = {
        "heads.kernel": jax.ShapeDtypeStruct(shape, np.float32),
        "heads.bias": jax.ShapeDtypeStruct(shape[1:], np.float32),
    }
    example = jnp.zeros((1, *shape_of(metadata)), jnp.uint8)
    frozen, fitted = shapes_of(indicator, example, own=is_plugin(task.indicator))
    expected = heads | flatten(frozen, "frozen") | flatten(fitted, "fitted")
    for name in sorted(tensors.keys() | expected.keys()):
        kinds = [
            f"{tree[name].dtype} {list(tree[name].shape)}" if name in tree else "none"
            for tree in (tensors, expected)
        ]
        if kinds[0] != kinds[1]:
            raise UserError(f"features {file}: parameter {name} is {kinds[0]}, expected {kinds[1]}")

    def filled(kind: str, tree: Any) -> Any:
        return jax.tree.unflatten(
            jax.tree.structure(tree), [tensors[n] for n in flatten(tree, kind)]
        )

    return Successor(
        tensors["heads.kernel"],
        tensors["heads.bias"],
        indicator,
        filled("frozen", frozen),
        filled("fitted", fitted),
        task,
        shape_of(metadata),
        folder,
    )


def _family(described: Path, task: Task) -> Any:
    """The family of a task, with the settings that features.json holds.

    Raises:
      UserError: there is no such family, or it has no such setting.
    """
    _, family = find_family(task.indicator, described.parent)
    known = fields_of(family)
    settings = {}
    for name, stored in task.settings.items():
        place = f"features {described}: setting {name} of indicator {task.indicator}"
        if name not in known:
            raise UserError(f"{place}: there is no such setting; expected {', '.join(known)}")
        value = tuple(stored) if isinstance(stored, list) else stored  # JSON has no tuples
        check_field(place, value, known[name])
        settings[name] = value
    return family(**settings)
