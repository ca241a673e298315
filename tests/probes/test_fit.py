"""Classifiers and several outputs, held against scikit-learn on the same rows."""

import numpy as np
import pytest
import sklearn.linear_model
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, r2_score

from pvn.errors import UserError
from pvn.evaluation.records import to_json
from pvn.probes.fit import fit_binary, fit_classes, fit_regression
from pvn.probes.linear import ask, probe
from pvn.probes.results import Origin, probe_rows
from pvn.probes.split import Split
from pvn.probes.table import FeatureTable
from pvn.probes.target import NamedTarget
from pvn.ridge import PENALTIES
from tests.datasets import looked_up, make_rows

NUM_ROWS = 300


def some_rows(seed=0):
    rows = make_rows([15] * 20, np.zeros(NUM_ROWS))
    random = np.random.default_rng(seed)
    return rows, random.normal(size=(NUM_ROWS, 6)), random


def by_hand(x, y, split, penalties=PENALTIES):
    """scikit-learn's predictions of all rows by penalty, [P, M, K]."""
    mean, scale = x[split.train].mean(axis=0), x[split.train].std(axis=0)
    z = (x - mean) / scale
    model = sklearn.linear_model.Ridge
    fits = [model(alpha=p * split.train.sum()).fit(z[split.train], y[split.train])
            for p in penalties]  # fmt: skip
    return np.stack([fit.predict(z).reshape(len(x), -1) for fit in fits])


def make_split(seed=0):
    part = np.random.default_rng(seed).choice(3, NUM_ROWS, p=[0.6, 0.2, 0.2])
    return Split(np.arange(NUM_ROWS), *(part == each for each in range(3)))


@pytest.mark.parametrize("columns", [6, 250])
def test_regression_is_scikit_learns(columns):
    """250 columns are more than the train rows: the dual form."""
    random, split = np.random.default_rng(0), make_split()
    x = random.normal(size=(NUM_ROWS, columns))
    y = x[:, :2] @ random.normal(size=(2, 3)) + random.normal(size=(NUM_ROWS, 3)) * [0, 1, 9]
    found = fit_regression(FeatureTable(split.row, x), split, y)
    expected = by_hand(x, y, split)
    validation = split.validation
    error = np.mean(np.square(expected[:, validation] - y[validation][None]), axis=1)
    best = error.argmin(axis=0)
    np.testing.assert_array_equal(found.penalty, PENALTIES[best])
    assert len(set(found.penalty)) > 1  # each output has its own
    for k in range(3):
        np.testing.assert_allclose(
            found.prediction[:, k], expected[best[k], split.test, k], atol=1e-6
        )


def test_groups_have_regressions_of_their_own():
    random, split = np.random.default_rng(0), make_split()
    x, group = random.normal(size=(NUM_ROWS, 4)), random.integers(0, 3, NUM_ROWS)
    maps = random.normal(size=(3, 4, 2))
    y = np.einsum("mf,mfk->mk", x, maps[group]) + group[:, None]
    table = FeatureTable(split.row, x)
    groups = [group == each for each in range(3)]
    apart = fit_regression(table, split, y, groups=groups).prediction
    np.testing.assert_allclose(apart, y[split.test], atol=1e-4)
    together = fit_regression(table, split, y).prediction
    assert r2_score(y[split.test], together) < 0.9
    # A group without a train row is predicted as the mean.
    moved = split._replace(train=split.train & (group != 1))
    mean = fit_regression(table, moved, y, groups=groups).prediction[group[split.test] == 1]
    np.testing.assert_allclose(mean, np.repeat(y[moved.train].mean(axis=0)[None], len(mean), 0))


def test_a_binary_classifier_is_scikit_learns():
    random, split = np.random.default_rng(0), make_split()
    x = random.normal(size=(NUM_ROWS, 40))
    y = x[:, 0] + random.normal(size=NUM_ROWS) > 1
    known = random.random(NUM_ROWS) < 0.9
    found = fit_binary(FeatureTable(split.row, x), split, y, known)
    used = Split(split.row, *(part & known for part in split[1:]))
    expected = by_hand(x, y.astype(float), used)[..., 0]
    validation = used.validation
    quality = [average_precision_score(y[validation], each[validation]) for each in expected]
    best = int(np.argmax(quality))
    assert found.penalty == PENALTIES[best]
    np.testing.assert_allclose(
        found.score[known[split.test], 0], expected[best, used.test], rtol=1e-4, atol=1e-5
    )
    # The threshold is between two scores of validation rows, and no other cut does better there.
    cuts = [f1_score(y[validation], expected[best, validation] >= c) for c in
            expected[best, validation]]  # fmt: skip
    labels = found.prediction[known[split.test], 0]
    low, high = (function(expected[best, used.test][labels == side]) for function, side in
                 ((np.max, False), (np.min, True)))  # fmt: skip
    at = f1_score(y[validation], expected[best, validation] >= (low + high) / 2)
    assert at > max(cuts) - 0.05


def test_a_classifier_of_several_classes_is_scikit_learns():
    random, split = np.random.default_rng(0), make_split()
    x = random.normal(size=(NUM_ROWS, 5))
    y = np.array([1, 2, 6])[np.argmax(x[:, :3] + random.normal(size=(NUM_ROWS, 3)) / 2, axis=1)]
    known = np.ones(NUM_ROWS, bool)
    found = fit_classes(FeatureTable(split.row, x), split, y, known)
    expected = by_hand(x, (y[:, None] == [1, 2, 6]).astype(float), split).argmax(axis=2)
    labels = np.array([1, 2, 6])[expected]
    validation = split.validation
    quality = [f1_score(y[validation], each[validation], average="macro") for each in labels]
    assert found.penalty == PENALTIES[int(np.argmax(quality))]
    np.testing.assert_array_equal(found.prediction[:, 0], labels[np.argmax(quality), split.test])
    # RidgeClassifier is the same least-squares classifier on labels -1 and 1.
    mean, scale = x[split.train].mean(axis=0), x[split.train].std(axis=0)
    alpha = float(found.penalty[0]) * split.train.sum()
    model = sklearn.linear_model.RidgeClassifier(alpha=alpha)
    model.fit((x[split.train] - mean) / scale, y[split.train])
    np.testing.assert_array_equal(
        found.prediction[:, 0], model.predict((x[split.test] - mean) / scale)
    )
    assert accuracy_score(y[split.test], found.prediction[:, 0]) > 0.7


def test_kinds_of_targets():
    rows, table, random = some_rows()
    features, known = looked_up(table), np.ones(NUM_ROWS, bool)
    binary = probe(features, rows, table[:, 0] > 0, known)
    assert binary.scores.keys() == {"f1", "average_precision"}
    assert all(score.value > 0.8 for score in binary.scores.values())
    classes = probe(features, rows, np.argmax(table[:, :3], axis=1), known)
    assert classes.scores.keys() == {"macro_f1", "accuracy"}
    assert all(0.8 < low <= value <= high for value, low, high in classes.scores.values())
    noise = probe(features, rows, random.integers(0, 3, NUM_ROWS), known)
    assert all(score.value < 0.5 for score in noise.scores.values())


def test_several_outputs_of_one_target():
    rows, table, _ = some_rows()
    values = np.column_stack([table[:, 0], np.full(NUM_ROWS, 3.0), table[:, 1] ** 2])
    known = np.ones((NUM_ROWS, 3), bool)
    known[::2, 0] = False
    values[::2, 0] = np.nan
    question = ask(rows, values, known, names=("a", "still", "square"))
    result = question.answer(FeatureTable(question.rows, table[question.rows]))
    each = result.outputs["r2"]
    assert each.keys() == {"a", "square"}  # what does not vary has no score
    assert each["a"].value > 0.999
    assert each["square"].value < 0.3
    mean = (each["a"].value + each["square"].value) / 2
    assert result.scores["r2"].value == pytest.approx(mean)
    assert len(result.penalty) == 2
    # Alone, with the same rows, an output has the same score.
    alone = ask(rows, np.nan_to_num(values[:, 2]), known[:, 2])
    again = alone.answer(FeatureTable(alone.rows, table[alone.rows]))
    assert again.scores["r2"] == pytest.approx(each["square"])
    with pytest.raises(UserError, match=r"^probe: the targets do not vary"):
        ask(rows, values[:, 1], known[:, 1])


def test_own_scores_have_intervals():
    rows, table, random = some_rows()
    values = np.column_stack([table[:, 0] + random.normal(size=NUM_ROWS), np.zeros(NUM_ROWS)])
    question = ask(rows, values, np.ones(NUM_ROWS, bool), names=("a", "b"))
    computed = FeatureTable(question.rows, table[question.rows])

    def own(target, prediction):
        assert target.shape == prediction.shape == (len(target), 2)
        assert (prediction[:, 1] == 0).all()
        again = r2_score(target[:, 0], prediction[:, 0])
        return {"again": again, "rows": len(target), "undefined": float("nan")}

    result = question.answer(computed, own)
    assert result.scores.keys() == {"r2", "again", "rows", "undefined"}
    assert np.isnan(result.scores["undefined"]).all()
    origin = Origin("Pong", "a", 0, {}, {}, {})
    written = probe_rows(origin, NamedTarget("Own", None, {}, "own.py:Own"), result, 100)
    assert [row.metric for row in written] == ["r2", "again", "rows"]  # JSON holds no NaN
    assert all(to_json(row) for row in written)
    assert written[0].details["outputs"]["a"] == list(result.outputs["r2"]["a"])
    assert result.scores["again"].value == pytest.approx(result.scores["r2"].value)
    assert result.scores["again"].low < result.scores["again"].value
    assert result.scores["rows"] == (60, 60, 60)  # four episodes of 15
    with pytest.raises(UserError, match=r"^target: its score 'x' is missing or not a number"):
        question.answer(computed, lambda target, prediction: {"x": "much"})


def test_equal_train_rows_share_a_factorisation(monkeypatch):
    rows, table, _ = some_rows()
    known = np.ones(NUM_ROWS, bool)
    questions = [ask(rows, table[:, 0], known), ask(rows, table[:, 1] > 1, known)]
    computed = FeatureTable(questions[0].rows, table[questions[0].rows])
    made = []
    monkeypatch.setattr("pvn.probes.table.Ridge", lambda x: made.append(x) or Ridge(x))
    from pvn.ridge import Ridge

    for question in questions:
        question.answer(computed)
    assert len(made) == 1
