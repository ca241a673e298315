import pytest

from pvn.statistics.references import human_normalised, reference_scores


def test_reference_scores():
    reference = reference_scores()
    assert len(reference) == 57
    assert reference["Pong"] == (-20.7, 14.6)
    assert reference["MsPacman"] == (307.3, 6951.6)
    assert "AirRaid" not in reference
    assert all(random < human for random, human in reference.values())


def test_human_normalised_by_hand():
    assert human_normalised(0, "Pong") == pytest.approx((0 - -20.7) / (14.6 + 20.7))
    assert human_normalised(-20.7, "Pong") == 0
    assert human_normalised(14.6, "Pong") == 1
    assert human_normalised(30.5, "Breakout") == 1
    assert human_normalised(100, "AirRaid") is None
