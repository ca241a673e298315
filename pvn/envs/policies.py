"""A user's own policies, checks of a policy's output, and how an action is drawn from it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pvn.errors import UserError
from pvn.plugins import (
    guarded,
    load_plugin,
    plugin_errors,
    plugin_file,
    plugin_identity,
)

Policy = Callable[[np.ndarray], np.ndarray]
"""Maps observations uint8 [E, H, W, C] to actions int [E] or probabilities float [E, A]."""


def load_own_policy(
    name: str, num_actions: int, shape: tuple[int, ...]
) -> tuple[Policy, dict[str, object]]:
    """Loads a user's own policy. Returns the policy and its identity.

    `Name` is a `Policy`, or a class whose instances are; the class is called without arguments. The
    output must depend only on the observations, so that the data depend only on the seed. The
    policy is called once with blank observations, to check its output before anything is written.

    Args:
      name: `path/to/file.py:Name` or `package.module:Name`.
      num_actions: A.
      shape: of the observations, (E, H, W, C).

    Raises:
      UserError: there is no such object, its code raises, it is not callable, or its output is
        invalid. The returned policy raises it too.
    """
    found = load_plugin("policy", name, ("random", "the workdir of a pvn.evaluate run"))
    with plugin_errors("policy", name):
        own = found() if isinstance(found, type) else found
    if not callable(own):
        raise UserError(f"policy {name}: is a {type(own).__name__}, expected a callable or a class")

    choose = guarded("policy", name, own)

    def policy(observation: np.ndarray) -> np.ndarray:
        return check_choice(name, choose(observation), len(observation), num_actions)

    policy(np.zeros(shape, np.uint8))
    file = plugin_file(name)
    # The folder is not part of the identity: a file that moved is the same policy.
    short = f"{Path(file).name}:{name.rpartition(':')[2]}" if file else name
    return policy, {"policy": short, "policy_files": plugin_identity(name)}


def check_choice(name: str, choice: object, num_envs: int, num_actions: int) -> np.ndarray:
    """Checks the output of a policy: actions int [E], or probabilities, returned as float64 [E, A].

    Args:
      name: the policy, for messages.
      choice: the output.
      num_envs: E.
      num_actions: A.

    Raises:
      UserError: the output has another shape or type, or an action or probability is invalid.
    """
    found = np.asarray(choice)
    problem = ""
    if found.dtype.kind in "iu" and found.shape == (num_envs,):
        wrong = (found < 0) | (found >= num_actions)
        if wrong.any():
            problem = f"chose action {found[wrong][0]}, expected 0 to {num_actions - 1}"
    elif found.dtype.kind == "f" and found.shape == (num_envs, num_actions):
        found = found.astype(np.float64)
        sums = found.sum(axis=1)
        far = ~(np.abs(sums - 1) <= 1e-3)
        if not np.isfinite(found).all():
            problem = "gave a probability that is not finite"
        elif (found < 0).any():
            problem = f"gave the probability {found.min():g}, expected 0 or more"
        elif far.any():
            problem = f"gave probabilities that sum to {sums[far][0]:g}, expected 1"
    else:
        problem = (
            f"gave {found.dtype} {list(found.shape)}, expected whole actions [{num_envs}], or "
            f"float probabilities [{num_envs}, {num_actions}]"
        )
    if problem:
        raise UserError(f"policy {name}: {problem}")
    return found


def sample_action(
    choice: np.ndarray | None, epsilon: float, num_actions: int, random: np.random.Generator
) -> int:
    """Draws the action of one environment.

    Args:
      choice: an action int [], probabilities float64 [A], or None for a uniform action.
      epsilon: probability of a uniform action instead of the policy's.
      num_actions: A.
      random: the generator; one or two numbers are drawn from it.
    """
    if choice is None or random.random() < epsilon:
        return int(random.integers(num_actions))
    if np.ndim(choice) == 0:
        return int(choice)
    cumulative = np.cumsum(choice)
    return int(np.searchsorted(cumulative / cumulative[-1], random.random(), side="right"))
