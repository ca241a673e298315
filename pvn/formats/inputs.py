"""Which files a conversion reads."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from pvn.errors import UserError
from pvn.formats.episode import RecordedEpisode
from pvn.formats.findings import Findings


class CorruptError(UserError):
    """The data of an input file are broken: nothing of it can be trusted."""


class InputFile(NamedTuple):
    """A file, or the files of one Dopamine window: converted as a whole or left out as a whole."""

    name: str  # unique within the game
    num_bytes: int
    read: Callable[[Findings], Iterator[RecordedEpisode]]


class Inputs(NamedTuple):
    """What there is to convert, and what should be there."""

    files: list[InputFile]  # in the order of play
    missing: list[str]  # one line for each window or file that is not there, or not complete


class Selection(NamedTuple):
    """What a person asks for."""

    path: Path  # folder of the public format
    game: str  # CamelCase, as the folders spell it
    runs: list[int]
    split: str | None  # a published split (see `checkpoints.SPLITS`)
    checkpoints: list[int]  # without a split: their numbers; empty: all
