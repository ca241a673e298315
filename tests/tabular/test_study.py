"""The curve of random sets, where a draw has no unique subspace."""

import json

import numpy as np

from pvn.indicators.tasks import Tasks
from pvn.tabular import pictures
from pvn.tabular.exact import closed_forms, uniform_policy_transition
from pvn.tabular.mdp import four_rooms
from pvn.tabular.study import NUM_DRAWS, Study, sets_curve
from pvn.tabular.table import table_encoder
from pvn.tabular.tasks import RandomSets, TaskMaker


def test_sets_without_a_unique_subspace() -> None:
    """One set that has hardly any state. If it is empty, the subspace is not unique."""
    mdp = four_rooms(2)
    transition = uniform_policy_transition(mdp.transition)
    states = np.eye(mdp.num_states, dtype=np.float32)
    families = {"random_sets": RandomSets(proportion=0.001)}
    study = Study(
        mdp=mdp,
        discount=0.9,
        exact=closed_forms(transition, 0.9, 0, 12, 0),
        transition=transition[None],
        encoder=table_encoder(12),
        num_features=12,
        observation=states,
        tasks_of=TaskMaker(states, lambda: states, families, 0),
    )

    def learned(tasks: Tasks, name: str, loss: str) -> np.ndarray:
        return states[:, :12]

    curve = sets_curve(study, (1,), learned)
    assert json.loads(json.dumps(curve)) == curve
    for draws in curve["closed_form_cosines"].values():
        assert len(draws[0]) == NUM_DRAWS
        assert None in draws[0]
        assert set(draws[0]) <= {None, 0.0}
    drawn = pictures.task_counts((1,), curve["learned_cosine"], curve["closed_form_cosines"])
    assert drawn.startswith(b"\x89PNG")
