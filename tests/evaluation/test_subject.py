import pytest

from pvn.evaluation.subject import features_identity, resolve_subject


@pytest.mark.parametrize(
    ("name", "trained", "agent"),
    [
        ("random", False, "random_features"),
        ("random", True, "end_to_end"),
        ("none", False, "random_policy"),
        ("none", True, "random_policy"),
    ],
)
def test_features_without_a_file_are_identified_by_their_kind(name, trained, agent):
    subject = resolve_subject(name, like=None, game="Pong", agent=None, seed=3, trained=trained)
    assert subject[1:] == ("Pong", agent)
    identity = features_identity(subject.features)
    assert identity.pop("features_sha256") == name
    encoder = identity.pop("architecture", {"encoder": None})["encoder"]
    assert encoder == {"end_to_end": "nature_xavier", "random_features": "nature"}.get(agent)
    assert not identity
    named = resolve_subject(name, like=None, game="Pong", agent="mine", seed=3, trained=trained)
    assert named.agent == "mine"
