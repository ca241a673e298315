import pytest

from pvn.evaluation.subject import Subject, features_identity, resolve_subject, upgrade_config

OLD = {
    "game": "", "like": "", "method": "", "seed": 3, "num_envs": 32, "head": "dqn",
    "fqi_refit_every": 10, "fqi_held_out": 0.2, "dqn_update_every": 4, "dqn_learning_rate": 0.1,
    "features": "runs/pong", "features_sha256": "abc",
}  # fmt: skip


def test_a_flat_config_is_upgraded():
    subject = Subject(None, "Pong", "pvn")
    expected = {
        "game": "Pong", "like": "", "agent": "pvn", "seed": 3, "num_envs": 32, "head": "dqn",
        "fqi": {"refit_every": 10, "held_out": 0.2},
        "dqn": {"update_every": 4, "learning_rate": 0.1},
        "features": "runs/pong", "features_sha256": "abc",
    }  # fmt: skip
    assert upgrade_config(OLD, subject) == expected
    assert upgrade_config(expected, subject) == expected
    named = upgrade_config(OLD | {"game": "Breakout", "method": "mine"}, subject)
    assert named == expected | {"game": "Breakout", "agent": "mine"}


@pytest.mark.parametrize("name", ["random", "none"])
def test_features_without_a_file_are_identified_by_their_kind(name):
    subject = resolve_subject(name, like=None, game="Pong", agent=None, seed=3)
    assert subject[1:] == ("Pong", {"random": "random_features", "none": "random_policy"}[name])
    assert features_identity(subject.features) == {"features_sha256": name}
    empty = OLD | {"features": name, "features_sha256": ""}
    assert upgrade_config(empty, subject)["features_sha256"] == name
    without = {k: v for k, v in OLD.items() if k != "features_sha256"} | {"features": name}
    assert upgrade_config(without, subject)["features_sha256"] == name
