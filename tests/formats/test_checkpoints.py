import pytest

from pvn.errors import UserError
from pvn.formats.checkpoints import choose_checkpoints, spans


@pytest.mark.parametrize(
    ("there", "split", "expected"),
    [
        (range(50), "full", list(range(50))),
        (range(49), "full", list(range(49))),
        (range(50), "mixed", [0, 9, 19, 29, 39, 49]),
        (range(49), "mixed", [0, 9, 19, 29, 39, 48]),
        (range(51), "mixed_small", [0, 24, 50]),
        (range(49), "mixed_small", [0, 24, 48]),
        (range(50), "weak", [0]),
    ],
)
def test_published_splits(there, split, expected):
    assert choose_checkpoints("x", there, split, []) == (expected, [])


def test_chosen_checkpoints():
    choose = "choose with --checkpoints"
    assert choose_checkpoints("x", [1, 0, 2], None, []) == ([0, 1, 2], [])
    assert choose_checkpoints("x", [3, 1, 7], None, [7, 1]) == ([1, 7], [])
    assert choose_checkpoints("x", [5, 3, 1, 4], None, [1, 2]) == (
        [1], [f"x: has no checkpoint 2, only 1,3-5; {choose}"]
    )  # fmt: skip
    assert choose_checkpoints("x", range(3), "mixed", []) == (
        [0, 2],
        [f"x: has no checkpoint {n}, only 0-2; {choose}" for n in (9, 19, 29, 39)],
    )
    with pytest.raises(UserError, match=r"^x: holds no checkpoints$"):
        choose_checkpoints("x", [], "full", [])


def test_a_gap_is_a_checkpoint_that_is_missing():
    assert choose_checkpoints("x", [3, 1, 7], None, []) == (
        [1, 3, 7],
        [
            "x: has no checkpoint 0, only 1,3,7; choose with --checkpoints",
            "x: has no checkpoint 2, only 1,3,7; choose with --checkpoints",
            "x: has no checkpoint 4-6, only 1,3,7; choose with --checkpoints",
        ],
    )


def test_spans():
    assert spans([]) == ""
    assert spans({7, 2, 0, 1, 3}) == "0-3,7"
    assert spans([5]) == "5"
