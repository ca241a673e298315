import importlib
import math
from pathlib import Path
from typing import Annotated, NamedTuple

import ml_collections
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pvn.errors import UserError
from pvn.fields import choice, fields_of, flag, real, text, whole, wholes
from pvn.runs.config import check_config

FIELDS = {
    "steps": whole(1, 10),
    "seed": whole(0),
    "rate": real(0, math.inf, closed="()"),
    "discount": real(0, 1, closed="[)"),
    "encoder": choice("nature", "impala"),
    "dataset": text(),
    "dueling": flag(),
    "counts": wholes(1),
}
GOOD = {
    "steps": 3, "seed": 0, "rate": 0.5, "discount": 0.99,
    "encoder": "impala", "dataset": "data/pong", "dueling": False, "counts": (),
}  # fmt: skip


def check(**changes):
    return check_config(ml_collections.ConfigDict(GOOD | changes), FIELDS)


def accepts(field, value):
    """Whether a config with only this field is accepted."""
    config = ml_collections.ConfigDict()
    config.x = value
    try:
        check_config(config, {"x": field})
    except UserError as error:
        assert str(error) == f"config.x: {value!r}, expected {field.expected}"
        return False
    return True


def test_a_good_config_comes_back_frozen():
    config = ml_collections.ConfigDict(GOOD)
    checked = check_config(config, FIELDS)
    assert checked.to_dict() == config.to_dict() == GOOD
    with pytest.raises(AttributeError, match="immutable"):
        checked.steps = 4


def test_a_whole_number_stands_for_a_float():
    value = check(rate=1).rate
    assert (value, type(value)) == (1.0, float)
    assert type(check(steps=2).steps) is int
    assert check(dueling=True).dueling is True


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"steps": 0}, "config.steps: 0, expected a whole number, from 1 to 10"),
        ({"steps": 11}, "config.steps: 11, expected a whole number, from 1 to 10"),
        ({"steps": 3.0}, "config.steps: 3.0, expected a whole number, from 1 to 10"),
        ({"steps": True}, "config.steps: True, expected a whole number, from 1 to 10"),
        ({"steps": "3"}, "config.steps: '3', expected a whole number, from 1 to 10"),
        ({"steps": None}, "config.steps: None, expected a whole number, from 1 to 10"),
        ({"seed": -1}, "config.seed: -1, expected a whole number, 0 or more"),
        ({"rate": 0}, "config.rate: 0, expected a number in (0, inf)"),
        ({"rate": True}, "config.rate: True, expected a number in (0, inf)"),
        ({"rate": "1"}, "config.rate: '1', expected a number in (0, inf)"),
        ({"rate": math.inf}, "config.rate: inf, expected a number in (0, inf)"),
        ({"rate": math.nan}, "config.rate: nan, expected a number in (0, inf)"),
        ({"discount": 1.0}, "config.discount: 1.0, expected a number in [0, 1)"),
        ({"discount": 1}, "config.discount: 1, expected a number in [0, 1)"),
        ({"encoder": "resnet"}, "config.encoder: 'resnet', expected one of nature, impala"),
        ({"encoder": 1}, "config.encoder: 1, expected one of nature, impala"),
        ({"dataset": ""}, "config.dataset: '', expected a string that is not empty"),
        ({"dataset": None}, "config.dataset: None, expected a string that is not empty"),
        ({"dueling": 1}, "config.dueling: 1, expected True or False"),
        ({"dueling": "True"}, "config.dueling: 'True', expected True or False"),
        ({"counts": (3, 0)}, "config.counts: (3, 0), expected a tuple of whole numbers, 1 or more"),
        (
            {"counts": (3, 1.0)},
            "config.counts: (3, 1.0), expected a tuple of whole numbers, 1 or more",
        ),
        ({"counts": 3}, "config.counts: 3, expected a tuple of whole numbers, 1 or more"),
        ({"rates": 0.5}, "config.rates: there is no such field; did you mean rate?"),
    ],
)
def test_what_is_wrong(changes, line):
    with pytest.raises(UserError) as caught:
        check(**changes)
    assert str(caught.value) == line


@pytest.mark.parametrize("name", FIELDS)
def test_a_missing_field(name):
    config = ml_collections.ConfigDict({k: v for k, v in GOOD.items() if k != name})
    with pytest.raises(UserError) as caught:
        check_config(config, FIELDS)
    assert str(caught.value) == f"config.{name}: is missing, expected {FIELDS[name].expected}"


class Learner(NamedTuple):
    """The settings class of a section."""

    rate: Annotated[float, real(0, math.inf, closed="()")] = 0.25
    period: Annotated[int, whole(1)] = 4


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"rate": 0.25, "period": 4}),
        ({"learner": {}}, {"rate": 0.25, "period": 4}),
        ({"learner": {"period": 7}}, {"rate": 0.25, "period": 7}),
        ({"learner": {"rate": 1, "period": 7}}, {"rate": 1.0, "period": 7}),
    ],
)
def test_a_section_takes_what_it_lacks_from_its_owner(given, expected):
    checked = check_config(ml_collections.ConfigDict(GOOD | given), FIELDS | {"learner": Learner})
    assert checked.learner.to_dict() == expected
    assert Learner(**checked.learner) == Learner(**expected)


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ({"rate": 0.0}, "config.learner.rate: 0.0, expected a number in (0, inf)"),
        ({"period": "x"}, "config.learner.period: 'x', expected a whole number, 1 or more"),
        ({"perid": 1}, "config.learner.perid: there is no such field; did you mean period?"),
        (3, "config.learner: 3, expected the fields rate, period"),
    ],
)
def test_what_is_wrong_in_a_section(section, line):
    config = ml_collections.ConfigDict(GOOD | {"learner": section})
    with pytest.raises(UserError) as caught:
        check_config(config, FIELDS | {"learner": Learner})
    assert str(caught.value) == line


def test_a_setting_without_a_field_is_a_mistake_of_its_owner():
    class Settings(NamedTuple):
        rate: float = 1.0

    with pytest.raises(TypeError, match=r"^Settings\.rate: expected Annotated"):
        fields_of(Settings)


def test_a_field_that_refers_to_another():
    config = ml_collections.ConfigDict(GOOD)
    config.steps = config.get_ref("seed") + 4
    assert check_config(config, FIELDS).steps == 4
    config.seed = 7
    with pytest.raises(UserError, match=r"^config\.steps: 11, expected"):
        check_config(config, FIELDS)


@pytest.mark.parametrize("file", sorted(Path("configs").glob("*.py")), ids=lambda file: file.stem)
def test_no_field_is_hidden_by_a_method_of_the_config(file):
    # config.values would be a bound method, which equals no value.
    config = importlib.import_module(f"configs.{file.stem}").get_config()
    assert not set(config.keys()) & set(dir(ml_collections.FrozenConfigDict()))


CHECK = settings(deadline=None, derandomize=True, max_examples=200)


@CHECK
@given(st.integers(-5, 5), st.integers(-5, 5), st.integers(-8, 8))
def test_bounds_of_whole_numbers(low, high, value):
    assert accepts(whole(low, high), value) == (value in range(low, high + 1))
    assert accepts(whole(low), value) == (value in range(low, 9))


@CHECK
@given(
    st.sampled_from(["[]", "[)", "(]", "()"]),
    st.integers(-2, 2),
    st.integers(-2, 2),
    st.sampled_from([x / 4 for x in range(-12, 13)] + [*range(-3, 4), math.inf, -math.inf]),
)
def test_bounds_of_numbers(closed, low, high, value):
    inside = low < value < high
    if value in (low, high) and low <= high:  # in an empty interval, both brackets matter
        inside = all(
            bracket in "[]"
            for bracket, end in zip(closed, (low, high), strict=True)
            if end == value
        )
    assert accepts(real(low, high, closed=closed), value) == inside


@CHECK
@given(st.lists(st.text(max_size=3), min_size=1, max_size=4), st.text(max_size=3))
def test_choices(names, value):
    assert accepts(choice(*names), value) == (value in names)
    assert all(accepts(choice(*names), name) for name in names)
