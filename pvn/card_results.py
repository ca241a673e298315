"""Writes a model card with the probes and scores of its weights."""

import contextlib
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pvn.errors import UserError
from pvn.evaluation.records import PROBES, SCORES, EpisodeRow, ProbeRow
from pvn.features.card import model_card, table
from pvn.features.description import read_description
from pvn.runs import console
from pvn.statistics.load import load_rows
from pvn.statistics.summary import summarise
from pvn.statistics.tables import agent_name, estimate_cell
from pvn.storage.files import read_text, write_whole
from pvn.storage.remote import reading

_DESCRIBED = ("config.json", "policy/policy.json")  # they name the weights of an evaluation
_NOTE = (
    "Brackets are 95 % intervals: over the episodes of the test split for a probe, over evaluation "
    "episodes (and over seeds, if there are several) for a return. With one seed they do not "
    "include the variation between pretraining seeds."
)


class Results(NamedTuple):
    """Results of some weights, and the command lines that made them."""

    episodes: list[EpisodeRow]
    probes: list[ProbeRow]
    commands: list[str]


def write_card(path: str, inputs: Sequence[str]) -> Path:
    """Writes the model card of the features in `path`, with the results of these weights.

    Raises:
      UserError: there are no features, or see `read_results`.
      OSError: the card cannot be written.
    """
    folder, metadata = read_description(path)
    results, commands = "", []
    if inputs:
        found = read_results(inputs, metadata["sha256"])
        results, commands = results_markdown(found.episodes, found.probes), found.commands
    file = folder / "README.md"
    write_whole(file, model_card(metadata, results, commands))
    return file


def read_results(inputs: Sequence[str], sha256: str) -> Results:
    """The results in `inputs` that are of the weights with this SHA-256, whoever their agent is.

    Args:
      inputs: directories with scores.jsonl or probes.jsonl, local or `gs://bucket/path`.
      sha256: of the weights.

    Raises:
      UserError: an input holds no results of these weights, or a result is in two inputs (see
        `load_rows`).
    """
    found = Results([], [], [])
    with contextlib.ExitStack() as stack:
        names = (SCORES, PROBES, *_DESCRIBED, "run.json")
        folders = [stack.enter_context(reading(each, *names)) for each in inputs]
        for each, name in zip(folders, inputs, strict=True):
            more = _of_weights(each, name, sha256)
            found.episodes.extend(more.episodes)
            listed = {row.identity for row in found.probes}
            found.probes.extend(row for row in more.probes if row.identity not in listed)
            found.commands.extend(more.commands)
        load_rows([str(each) for each in folders])  # refuses what would count twice
    return found._replace(commands=list(dict.fromkeys(found.commands)))


def _of_weights(folder: Path, name: str, sha256: str) -> Results:
    """The results in a folder that are of the weights with this SHA-256.

    Probes name the weights themselves. Episodes are of the weights that config.json names (an
    evaluation began with them) and of those in policy/ (it trained them).

    Raises:
      UserError: there is none.
    """
    episodes, probes, _ = load_rows([str(folder)])
    ours = [row for row in probes if row.features.get("sha256") == sha256]
    used = [_read_object(folder / file).get("features_sha256") for file in _DESCRIBED]
    played = episodes if sha256 in used else []
    total, others = len(episodes) + len(probes), len(episodes) - len(played)
    others += len(probes) - len(ours)
    if others == total:
        raise UserError(
            f"--inputs={name}: no row in it is of these weights, with SHA-256 {sha256}; evaluate "
            "and probe these features"
        )
    if others:
        console.say(
            f"--inputs={name}: {others} of {total} rows are not of these weights; "
            "the card leaves them out"
        )
    commands = [row.details.get("command") for row in ours]
    run = _read_object(folder / "run.json")
    if played and isinstance(words := run.get("command"), list):
        commands.insert(0, shlex.join(["python", "-m", f"pvn.{run.get('kind')}", *words[1:]]))
    return Results(played, ours, [line for line in commands if isinstance(line, str)])


def _read_object(file: Path) -> dict[str, Any]:
    """The JSON object in a file; empty if there is no file."""
    if not file.is_file():
        return {}
    try:
        found = json.loads(read_text(file))
    except ValueError as error:
        raise UserError(f"{file}: is not JSON ({error})") from None
    if not isinstance(found, dict):
        raise UserError(f"{file}: is not a JSON object")
    return found


def results_markdown(episodes: Sequence[EpisodeRow], probes: Sequence[ProbeRow]) -> str:
    """Tables of the probes and of the scores, with their intervals."""
    parts = []
    if probes:
        rows = [
            (
                agent_name(row.agent),
                row.game,
                str(row.seed),
                row.target,
                ", ".join(f"{key} {json.dumps(value)}" for key, value in row.settings.items()),
                row.metric,
                f"{row.value:.3f} [{row.low:.3f}, {row.high:.3f}]",
            )
            for row in sorted(probes, key=lambda row: (row.target, row.game, row.agent, row.seed))
        ]
        head = ("features", "game", "seed", "target", "settings", "metric", "value")
        parts += ["Linear probes on held-out episodes:", table(head, rows)]
    scores = [
        (
            agent_name(result.agent),
            result.game,
            result.head,
            estimate_cell(result.episode_return, ",.1f").text,
            "" if result.normalised is None else f"{result.normalised:.3f}",
            f"{result.num_episodes} of {result.num_seeds} seed{'s' * (result.num_seeds != 1)}",
        )
        for result in summarise(episodes, probes)
        if result.episode_return is not None
    ]
    if scores:
        columns = ("agent", "game", "head", "episode return", "human-normalised", "episodes")
        parts += ["Evaluation:", table(columns, scores)]
    return "\n\n".join([*parts, _NOTE])
