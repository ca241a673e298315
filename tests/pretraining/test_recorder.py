from pvn.pretraining.recorder import DEAD_TASKS, DEAD_UNITS, Collapsed, Dead


def test_dead_units_are_reported_once_and_again_when_they_double() -> None:
    warn = Dead(50, DEAD_UNITS)
    dead = [0, 10, 11, 12, 5, 21, 22, 30, 43, 44, 50, 50]
    said = {step: text for step, count in enumerate(dead) if (text := warn.at(step, count))}
    # More than a fifth: 11 of 50; then 22, then 44.
    assert list(said) == [2, 6, 9]
    assert said[2] == (
        "warning: step 2: 11 of 50 units are dead (0 in all of 512 states); a lower learning rate, "
        "learning_rate_warmup, or more varied data, may help"
    )
    assert "\n" not in said[2]


def test_units_that_come_to_life_are_no_reason_to_warn() -> None:
    warn = Dead(50, DEAD_UNITS)
    assert [bool(warn.at(step, dead)) for step, dead in enumerate([20, 19, 12, 0])] == [False] * 4
    assert warn.at(4, 12)
    assert Dead(50, DEAD_UNITS).at(0, 50)  # all of them


def test_dead_tasks_are_reported_in_the_second_row() -> None:
    warn = Dead(100, DEAD_TASKS)
    assert [bool(warn.at(step, 21)) for step in range(4)] == [False, True, False, False]
    assert Dead(100, DEAD_TASKS).at(0, 100).startswith("warning: step 0: 100 of 100 tasks are dead")


def test_collapsed_features_are_reported_in_the_second_row() -> None:
    warn = Collapsed(512)
    ranks = [1, 300, 2, 1, 2, 2, 3, 2, 2]
    said = {step: text for step, rank in enumerate(ranks) if (text := warn.at(step, rank))}
    assert list(said) == [3, 8]
    assert said[3] == (
        "warning: step 3: the features have collapsed: rank 1 of 512 in 512 states; a lower "
        "learning rate, learning_rate_warmup, or more varied data, may help"
    )
    few = Collapsed(15)
    assert not any(few.at(step, 1) for step in range(5))
