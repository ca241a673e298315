"""The configs of agents that the repository offers."""

import importlib
from pathlib import Path

import pytest

from configs import evaluate, evaluate_published
from pvn.agent import FIELDS, check_encoder, check_memory, check_together, new_learner
from pvn.errors import UserError
from pvn.evaluation.subject import Subject
from pvn.features import random_features
from pvn.runs.config import check_config
from pvn.suite.cells import expand
from pvn.suite.plan import read_plan

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("evaluate*.py"))


def test_the_published_evaluation_updates_as_published() -> None:
    """Farebrother et al.'s code: Acme's DQN counts updates between copies to the target network."""
    c = evaluate_published.get_config()
    assert (c.dqn.target_period / c.dqn.update_every, c.dqn.update_every) == (2_000, 4)
    assert (c.value.huber_delta, c.dqn.max_gradient_norm, c.n_step) == (1, 10, 5)


@pytest.mark.parametrize(
    ("change", "labels", "field", "rows", "size"),
    [
        ({"replay_capacity": 50}, False, "replay_capacity", 50, 4 * 8),
        ({"trained": 1e-4}, False, "replay_capacity", 60_000, 84 * 84),
        ({}, True, "num_labels", 100_000, 4 * 8),
    ],
)
def test_a_replay_fits_into_memory(
    monkeypatch: pytest.MonkeyPatch, change: dict, labels: bool, field: str, rows: int, size: int
) -> None:
    config = evaluate.get_config()
    config.head = "dqn"
    config.dqn.encoder_learning_rate = change.pop("trained", 0.0)
    config.update(change)
    c = check_config(config, FIELDS)
    learner = new_learner(c, Subject(random_features(num_features=8), "Pong", "a"), 6, 32)
    monkeypatch.setattr("pvn.agent.usable_memory", lambda: rows * size)
    check_memory(c, learner, labels)
    monkeypatch.setattr("pvn.agent.usable_memory", lambda: rows * size - 1)
    said = rf"^config\.{field}: to learn from a replay of {rows:,} interactions takes"
    with pytest.raises(UserError, match=said):
        check_memory(c, learner, labels)


@pytest.mark.parametrize("path", CONFIGS, ids=[path.stem for path in CONFIGS])
def test_a_config_is_valid_and_a_suite_knows_whether_it_trains_the_encoder(path: Path) -> None:
    c = check_config(importlib.import_module(f"configs.{path.stem}").get_config(), FIELDS)
    check_encoder(c)
    check_together(c)
    plan = read_plan(
        {
            "games": ("Pong",),
            "seeds": (0,),
            "datasets": {"random": {}},
            "pretrainings": {},
            "agents": {"a": {"features": "random", "config": f"configs/{path.name}"}},
            "probes": {"p": {"agents": "a", "dataset": "random"}},
        }
    )
    if c.dqn.encoder_learning_rate:
        with pytest.raises(UserError, match="trains its encoder"):
            expand(plan, "w")
    else:
        assert expand(plan, "w")
