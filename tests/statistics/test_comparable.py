from pvn.statistics.comparable import mixed_probes
from pvn.statistics.summary import summarise
from pvn.statistics.tables import notes, probe_columns, results_table
from tests.statistics.rows import probed


def lines(probes):
    return mixed_probes(probes, probe_columns(summarise([], probes)))


def test_probes_of_other_data_are_named():
    data = {"path": "data/one", "fingerprint": "a" * 64}
    ours = probed("pvn", 0, 0.99, 0.5, 0.25, 0.75, dataset=data)
    other = ours._replace(agent="own")
    assert lines([ours, other]) == []
    # Another seed, game or kind is not compared.
    elsewhere = data | {"fingerprint": "b" * 64}
    for change in ({"seed": 1}, {"game": "Alien"}, {"metric": "f1"}):
        assert lines([ours, other._replace(dataset=elsewhere, **change)]) == []
    moved = other._replace(dataset=data | {"path": "moved"})
    assert lines([ours, moved]) == []
    more = ours.settings | {"max_rows": 100}
    note, line = lines([ours, other._replace(dataset=elsewhere, settings=more)])
    assert note.startswith("do not compare the probes below.")
    assert line == (
        "Value-probe R² (discount 0.99), Pong, seed 0: dataset data/one aaaaaaaa (PVN features), "
        "dataset data/one bbbbbbbb (own); max_rows 50000 (PVN features), max_rows 100 (own)"
    )
    assert lines([ours, other._replace(dataset={})])[1].endswith(
        "aaaaaaaa (PVN features), dataset without a fingerprint (own)"
    )


def test_diagnostics_are_no_probes():
    base = probed("pvn", 0, 0, 12.0, 12.0, 12.0, target="features", metric="dead_units")
    base = base._replace(settings={"states": 4096})
    pair = {"other": "random_features", "states": 4096}
    rows = [
        base,
        base._replace(metric="cka", value=0.25, low=0.25, high=0.25, settings=pair),
        probed("pvn", 0, 0.99, 0.5, 0.25, 0.75),
    ]
    results = summarise([], rows)
    columns = probe_columns(results)
    assert [column.title for column in columns] == [
        *("Value-probe R² (discount 0.99)", "CKA with random_features", "dead units")
    ]
    assert [column.name for column in columns] == [
        *("value_r2_0.99", "features_CKA_with_random_features", "features_dead_units")
    ]
    key = (results[0].agent, results[0].head, results[0].game)
    (cells,) = results_table(results, {key: "x"}).rows
    assert [cell.text for cell in cells[3:6]] == ["0.500 [0.250, 0.750]", "0.25", "12"]
    texts = dict(notes(results))
    assert texts["dead units"].startswith("The number of features that are 0 in every state.")
    assert "a probe" not in texts["dead units"]
    # With several seeds: the mean, the least and the greatest.
    second = base._replace(seed=1, value=16.0, low=16.0, high=16.0)
    ((estimate,),) = [each.probes.values() for each in summarise([], [base, second])]
    assert estimate == (14.0, (12.0, 16.0))
