"""The configs of agents that the repository offers."""

import importlib
from pathlib import Path

import pytest

from configs import evaluate_published
from pvn.agent import FIELDS, check_encoder, check_together
from pvn.errors import UserError
from pvn.runs.config import check_config
from pvn.suite.cells import expand
from pvn.suite.plan import read_plan

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("evaluate*.py"))


def test_the_published_evaluation_updates_as_published() -> None:
    """Farebrother et al.'s code: Acme's DQN counts updates between copies to the target network."""
    c = evaluate_published.get_config()
    assert (c.dqn.target_period / c.dqn.update_every, c.dqn.update_every) == (2_000, 4)
    assert (c.value.huber_delta, c.dqn.max_gradient_norm, c.n_step) == (1, 10, 5)


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
