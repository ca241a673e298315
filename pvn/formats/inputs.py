"""The input files of a conversion."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from pvn.errors import UserError
from pvn.formats.episode import RecordedEpisode
from pvn.formats.findings import Findings


class CorruptError(UserError):
    """The data of an input file are broken. No row of the file can be trusted."""


class InputFile(NamedTuple):
    """A file, or the files of one Dopamine window. It is converted or left out as a whole."""

    name: str  # unique within the game
    num_bytes: int
    read: Callable[[Findings], Iterator[RecordedEpisode]]  # yields the episodes in order


class Inputs(NamedTuple):
    """The files to convert, and messages about missing files."""

    files: list[InputFile]  # in the order in which they were recorded
    missing: list[str]  # one line for each window or file that is missing or incomplete


class Selection(NamedTuple):
    """The user's choice of files."""

    path: Path  # folder of the public format
    game: str  # CamelCase, as in the names of the folders
    runs: list[int]
    split: str | None  # a key of `checkpoints.SPLITS`
    checkpoints: list[int]  # numbers of checkpoints if there is no split; empty for all
