"""A config with a mistake is refused in one line that names the place."""

from typing import Any

import pytest

from pvn.errors import UserError
from pvn.suite.cells import expand
from pvn.suite.plan import read_plan

CONFIG: dict[str, Any] = {
    "games": "Pong",
    "seeds": 3,
    "datasets": {"random": {}},
    "pretrainings": {"pvn": {"dataset": "random"}},
    "agents": {"pvn": {"features": "pvn"}, "random_policy": {"features": "none"}},
    "probes": {"value": {"agents": "pvn", "dataset": "random"}},
}
PROBE_OF_A = {"p": {"agents": "a", "dataset": "random"}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gams": ()}, "config.gams: there is no such field; expected games, seeds, datasets, "),
        ({"games": "Pongg"}, "unknown game 'Pongg'; did you mean Pong"),
        ({"games": ()}, "config.games: (), expected one or more, each once"),
        ({"seeds": (1, 1)}, "config.seeds: (1, 1), expected one or more, each once"),
        ({"seeds": -1}, "config.seeds: -1, expected a whole number, from 0 to 2147483647"),
        ({"agents": {"a": {}}}, "config.agents.a.features: is missing"),
        ({"agents": {"a-b": {}}}, "config.agents.a-b: expected a name of letters, digits and _"),
        (
            {"agents": {"a": {"feature": "x"}}},
            "config.agents.a.feature: there is no such field; expected command, con",
        ),
        (
            {"agents": {"a": {"features": "x"}}, "probes": {}},
            "config: agent a, features: there is no pretraining 'x'; the config has pvn",
        ),
        (
            {"agents": {"a": {"features": "agent:a"}}, "probes": {}},
            "config: agent a depends on itself",
        ),
        (
            {"probes": {"p": {"agents": "random_policy", "dataset": "random"}}},
            "config: probe p, agents: agent random_policy has no features",
        ),
        (
            {"datasets": {"random": {"vary": {"x": 3}}}},
            "config.datasets.random.vary.x: 3, expected a tuple of values",
        ),
        (
            {"datasets": {"random": {"vary": {"x": ("a", "{game}")}}}},
            "config.datasets.random.vary.x: {game}, expected no placeholders",
        ),
        (
            {"datasets": {"random": {"vary": {"x": ("a b", "a/b")}}}},
            "config: two cells are called Pong/3/data/random-x=a_b, expected different names; they "
            "differ in --x=a b --x=a/b",
        ),
        (
            {"datasets": {"random": {"flags": {"path": "data/{gmae}"}}}},
            "config: dataset random, data/{gmae}: there is no {gmae}; expected {game}, {seed}, ",
        ),
        (
            {"pretrainings": {"pvn": {"dataset": "{agent:dqnn}/data"}}},
            "config: pretraining pvn, {agent:dqnn}/data: there is no agent 'dqnn'; the config has ",
        ),
        (
            {"pretrainings": {"pvn": {"dataset": "{agents:dqn}/data"}}},
            "config: pretraining pvn, {agents:dqn}/data: there is no {agents:dqn}; expected ",
        ),
        (
            {"pretrainings": {"pvn": {"dataset": "{agent:pvn}/data"}}},
            "config: pretraining pvn depends on itself",
        ),
        (
            {"agents": {"a": {"features": "agent:dqn/policy"}}, "probes": {}},
            "config: agent a, features: agent:dqn/policy, expected agent:NAME, or "
            "{agent:dqn}/policy for a path",
        ),
        (
            {"agents": {"a": {"features": "none"}, "b": {"features": "agent:a"}}, "probes": {}},
            "config: agent b, features: agent a has no features",
        ),
        (
            {
                "datasets": {"random": {}, "other": {}},
                "probes": {
                    name: {"agents": "pvn", "dataset": name} for name in ("random", "other")
                },
            },
            "config: the probes Pong/3/probe/random-pvn and Pong/3/probe/other-pvn differ in their "
            "dataset only, expected different names of what they probe",
        ),
        *(
            (
                {"agents": {"a": {"features": "pvn"} | trained}, "probes": PROBE_OF_A},
                "config: probe p, agents: a trains its encoder, and a names its starting weights; "
                "expected agent:a",
            )
            for trained in (
                {"overrides": {"dqn": {"encoder_learning_rate": 1e-5}}},
                {"vary": {"dqn.encoder_learning_rate": (0.0, "1e-5")}},
                {"config": "configs/evaluate_finetuned.py"},
                {"config": "evaluate_end_to_end.py"},
            )
        ),
    ],
)
def test_errors_are_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        expand(read_plan(CONFIG | changes), "w")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
