"""The probes and scores on a model card are those of its weights."""

import pytest

from pvn.card_results import write_card
from pvn.errors import UserError
from pvn.evaluation.records import EpisodeRow
from pvn.features import load_features
from tests.features.support import make_input, probe_of

EPISODES = [EpisodeRow("Pong", "pvn", "fqi", 0, "eval", 100, value, 10) for value in (-20.0, -18.0)]


def test_rows_count_by_their_weights_and_not_by_their_names(copy, tmp_path, capfd):
    digest = load_features(copy).metadata["sha256"]
    baseline = probe_of("1" * 64, agent="random_features", value=0.1)
    renamed = probe_of(digest, agent="mine", details={})
    probed = make_input(tmp_path / "probe", probe_of(digest), baseline, renamed)
    trained = {"policy/policy": {"features_sha256": digest}}
    run = {"kind": "evaluate", "command": ["evaluate.py", "--a=b c"]}
    config = {"features_sha256": "none"}
    played = make_input(tmp_path / "eval", *EPISODES, config=config, run=run, **trained)
    card = write_card(str(copy), [probed, played]).read_text()
    assert "| PVN features | Pong | 0 | value |" in card
    assert "| mine | Pong | 0 | value |" in card
    assert "random-network" not in card
    assert "| PVN features | Pong | fqi | -19.0 [-20.0, -18.0] | 0.048 | 2 of 1 seed |" in card
    lines = "python -m pvn.probe --features=runs/pong\npython -m pvn.evaluate '--a=b c'\n"
    assert f"```bash\n{lines}```" in card
    assert capfd.readouterr().err == (
        f"--inputs={probed}: 1 of 3 rows are not of these weights; the card leaves them out\n"
    )


@pytest.mark.parametrize(
    ("rows", "config"),
    [
        ([probe_of("1" * 64)], None),
        ([probe_of("1" * 64)._replace(features={})], None),  # of an older pvn
        (EPISODES, {"features_sha256": "1" * 64, "agent": "other"}),
        (EPISODES, None),
    ],
)
def test_a_folder_without_a_row_of_these_weights(copy, tmp_path, rows, config):
    digest = load_features(copy).metadata["sha256"]
    sound = make_input(tmp_path / "sound", probe_of(digest, agent="mine"))
    other = make_input(tmp_path / "other", *rows, **({"config": config} if config else {}))
    card = (copy / "README.md").read_text()
    with pytest.raises(UserError) as caught:
        write_card(str(copy), [sound, other])
    assert str(caught.value) == (
        f"--inputs={other}: no row in it is of these weights, with SHA-256 {digest}; evaluate and "
        "probe these features"
    )
    assert (copy / "README.md").read_text() == card


def test_a_row_in_two_folders_counts_once(copy, tmp_path):
    row = probe_of(load_features(copy).metadata["sha256"])
    folders = [make_input(tmp_path / name, row) for name in "ab"]
    texts = [write_card(str(copy), inputs).read_text() for inputs in (folders, folders[:1])]
    assert texts[0] == texts[1]
    other = make_input(tmp_path / "c", row._replace(value=row.value / 2))
    with pytest.raises(UserError, match="with another value"):
        write_card(str(copy), [folders[0], other])


def test_a_damaged_config_is_one_line(copy, tmp_path):
    folder = make_input(tmp_path / "eval", *EPISODES)
    (tmp_path / "eval" / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json: is not JSON \("):
        write_card(str(copy), [folder])
