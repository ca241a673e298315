"""The action of a policy, as a probe target."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, NamedTuple

import numpy as np

from pvn.data.store import Dataset
from pvn.data.transitions import find_transitions, has_stack
from pvn.envs.policies import Policy, load_own_policy
from pvn.fields import Field, whole
from pvn.plugins import is_plugin
from pvn.probes.split import draw_rows

_BATCH = 256  # observations that a policy gets together


class ActionSettings(NamedTuple):
    """Settings of `ActionTarget`."""

    policy: Annotated[str, Field(str, lambda x: True, "a policy, or empty")] = ""
    """The workdir of a `pvn.evaluate` run, `path/to/file.py:Name` or `package.module:Name`; empty:
    the stored actions."""
    max_states: Annotated[int, whole(1)] = 50_000  # at which a policy is asked


class ActionTarget(ActionSettings):
    """The action that a policy takes at a state: classes from 0 to A - 1.

    The policy is the one that made the data, with the actions as they are stored, its exploration
    included; or another one, which is asked: the most probable action it gives.
    """

    described: Mapping[str, str] = MappingProxyType({})
    """The policy of the last call of `targets`: `policy`, its name, which policies of several seeds
    share, and `policy_sha256`, of the weights or of the user's files. Empty for stored actions."""

    def targets(self, dataset: Dataset, folder: Path = Path()) -> tuple[np.ndarray, np.ndarray]:
        """int64 [N]; known at each row, or where the policy was asked.

        Raises:
          UserError: the policy does not load, or it is of another game.
        """
        rows = dataset.rows
        if not self.policy:
            return rows.action.astype(np.int64), np.ones(len(rows.action), bool)
        asked = draw_rows(has_stack(rows), self.max_states, seed=0)
        transitions, actions = find_transitions(rows), np.zeros(len(rows.action), np.int64)
        policy = self._load(dataset)
        for start in range(0, len(asked), _BATCH):
            batch = asked[start : start + _BATCH]
            padded = np.pad(batch, (0, _BATCH - len(batch)), mode="edge")  # compiled once
            choice = np.asarray(policy(transitions.observations(padded)))[: len(batch)]
            actions[batch] = choice if choice.ndim == 1 else np.argmax(choice, axis=1)
        known = np.zeros(len(actions), bool)
        known[asked] = True
        return actions, known

    def _load(self, dataset: Dataset) -> Policy:
        num_actions = int(dataset.attributes["num_actions"])
        if is_plugin(self.policy) and not self.policy.startswith("gs://"):
            own, identity = load_own_policy(
                self.policy, num_actions, (_BATCH, *dataset.rows.observation.shape)
            )
            files = json.dumps(identity["policy_files"], sort_keys=True)
            self.described = {
                "policy": str(identity["policy"]),
                "policy_sha256": hashlib.sha256(files.encode()).hexdigest(),
            }
            return own
        from pvn.evaluation.policy import load_policy  # imported here because it imports JAX

        policy = load_policy(self.policy)
        policy.check_game(dataset.attributes["game"], num_actions)
        facts = policy.metadata
        self.described = {
            "policy": f"{facts.get('agent', 'features')} {facts.get('head', 'head')}",
            "policy_sha256": facts["head_sha256"],
        }
        return policy
