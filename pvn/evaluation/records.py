"""The rows of results: an episode is a line of scores.jsonl, a probe is a line of probes.jsonl.

This file defines the fields of a row, writes rows and reads them. Unknown fields are ignored.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pvn.errors import UserError
from pvn.storage.files import LineWriter, write_whole

SCORES, PROBES = "scores.jsonl", "probes.jsonl"

DIAGNOSTICS = "features"  # the target of rows that measure features themselves, without a target

Row = TypeVar("Row", "EpisodeRow", "ProbeRow")


class EpisodeRow(NamedTuple):
    """A line of scores.jsonl: one episode that an agent played."""

    game: str
    agent: str  # the name of the features, or "random_policy"
    head: str  # the name of the learner, or "none"
    seed: int
    phase: str  # "train" or "eval"
    agent_step: int  # agent steps with rewards until the end of the episode; in eval, what the
    # head had learned from: agent steps, or labels
    episode_return: float  # undiscounted, in the game's own points
    length: int  # agent steps


class ProbeRow(NamedTuple):
    """A line of probes.jsonl: how well a probe of frozen features predicts a target.

    The mappings hold JSON values.
    """

    game: str
    agent: str  # the name of the features
    seed: int
    target: str  # what is predicted: "value", or the name of a user's own target
    settings: Mapping[str, Any]  # of the target and the probe: discount, max_rows, ...
    features: Mapping[str, Any]  # path, sha256 of the weights, encoder, dtype, ...
    dataset: Mapping[str, Any]  # path, fingerprint
    metric: str  # what `value` is: "r2", "accuracy", "f1", ...
    value: float
    low: float  # lower end of the 95 % interval
    high: float  # upper end
    details: Mapping[str, Any]  # more about the result: num_test_rows, penalty, step, ...

    @property
    def identity(self) -> str:
        """Everything that the result depends on, as JSON. Without paths: data may move."""
        facts = {name: getattr(self, name) for name in ("game", "agent", "seed", "target")}
        facts |= {"settings": self.settings, "metric": self.metric}
        for name in ("features", "dataset"):
            facts[name] = {k: v for k, v in getattr(self, name).items() if k != "path"}
        return json.dumps(facts, sort_keys=True)


def to_json(row: EpisodeRow | ProbeRow) -> str:
    """The row as one line of JSON, without the newline.

    Raises:
      ValueError: a number is not finite, which JSON cannot hold.
    """
    return json.dumps(row._asdict(), allow_nan=False)


def append(lines: LineWriter, row: EpisodeRow | ProbeRow) -> None:
    """Writes the row as the next line of a file, without buffering.

    Raises:
      ValueError: as `to_json`.
      OSError: the line cannot be written; the error names the file.
    """
    lines.write(to_json(row))


def put_probes(file: Path, new: Sequence[ProbeRow]) -> None:
    """Adds rows to a file of probes; they replace the rows that have the same identities.

    The file is replaced atomically, so it gets all rows or none. The file and its folder are made
    if they are missing. The text of other rows does not change.

    Raises:
      UserError: the file holds a line that is not a probe.
    """
    kept: list[str] = []
    identities = {row.identity for row in new}
    if file.is_file():
        rows = [old for _, old in read_rows(file, parse_probe)]
        lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n") if rows else []
        pairs = zip(lines, rows, strict=True)
        kept = [line for line, old in pairs if old.identity not in identities]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, "".join(f"{line}\n" for line in [*kept, *map(to_json, new)]))


class _Kind(NamedTuple):
    holds: Callable[[Any], bool]
    expected: str


def _is_finite(value: Any) -> bool:
    # The comparison is false for NaN, and for integers that are too large for a float.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max


def is_name(value: object) -> bool:
    """Whether a row may have this name of an agent, a head, a target or a metric."""
    return isinstance(value, str) and value != "" and value.isprintable()


_NAME = _Kind(is_name, "a name")
_GAME = _Kind(
    lambda x: isinstance(x, str) and re.fullmatch(r"(MinAtar/)?[A-Za-z0-9_-]+", x) is not None,
    "a game's name, as Pong",
)
_COUNT = _Kind(
    lambda x: isinstance(x, int) and not isinstance(x, bool) and x >= 0, "an integer from 0"
)
_NUMBER = _Kind(_is_finite, "a finite number")
_PHASE = _Kind(lambda x: x in ("train", "eval"), '"train" or "eval"')
_OBJECT = _Kind(lambda x: isinstance(x, dict), "an object")


def _take(fields: Mapping[str, Any], name: str, kind: _Kind) -> Any:
    """The field `name`. `ValueError` if it is missing or invalid."""
    if name not in fields:
        raise ValueError(f"lacks the field {name!r}")
    value = fields[name]
    if not kind.holds(value):
        text = json.dumps(value)
        text = text if len(text) <= 40 else text[:40] + "..."
        raise ValueError(f"field {name!r} is {text}, expected {kind.expected}")
    return value


def parse_episode(fields: Mapping[str, Any]) -> EpisodeRow:
    """The row of scores.jsonl in a JSON object.

    Raises:
      ValueError: a field is missing or invalid; the message names the first one.
    """
    return EpisodeRow(
        game=_take(fields, "game", _GAME),
        agent=_take(fields, "agent", _NAME),
        head=_take(fields, "head", _NAME),
        seed=_take(fields, "seed", _COUNT),
        phase=_take(fields, "phase", _PHASE),
        agent_step=_take(fields, "agent_step", _COUNT),
        episode_return=float(_take(fields, "episode_return", _NUMBER)),
        length=_take(fields, "length", _COUNT),
    )


def parse_probe(fields: Mapping[str, Any]) -> ProbeRow:
    """The row of probes.jsonl in a JSON object.

    Raises:
      ValueError: a field is missing or invalid; the message names the first one.
    """
    return ProbeRow(
        game=_take(fields, "game", _GAME),
        agent=_take(fields, "agent", _NAME),
        seed=_take(fields, "seed", _COUNT),
        target=_take(fields, "target", _NAME),
        settings=_take(fields, "settings", _OBJECT),
        features=_take(fields, "features", _OBJECT),
        dataset=_take(fields, "dataset", _OBJECT),
        metric=_take(fields, "metric", _NAME),
        value=float(_take(fields, "value", _NUMBER)),
        low=float(_take(fields, "low", _NUMBER)),
        high=float(_take(fields, "high", _NUMBER)),
        details=_take(fields, "details", _OBJECT),
    )


def read_rows(file: Path, parse: Callable[[Mapping[str, Any]], Row]) -> Iterator[tuple[str, Row]]:
    """Yields ("file:line", row) for each line of a file of results.

    parse: `parse_episode` or `parse_probe`.

    Raises:
      UserError: the file cannot be read, or a line is not such a row. The message names the file
        and the line.
    """
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        last = number == len(lines)
        if last and not line:
            return
        place = f"{file}:{number}"
        try:
            fields = json.loads(line)
        except ValueError as error:
            raise UserError(
                f"{place}: the last line is cut off; is the run still writing, or was it killed?"
                if last
                else f"{place}: is not JSON"
            ) from error
        if not isinstance(fields, dict):
            raise UserError(f"{place}: is not a JSON object")
        try:
            row = parse(fields)
        except ValueError as error:
            raise UserError(f"{place}: {error}") from error
        yield place, row
