"""Normalises the paths that a user writes.

A path is normalised only once, when the flag or the config field is read.
"""

import os
import posixpath
import re

from pvn.errors import UserError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is on `gs://`."""
    return str(path).startswith("gs://")


def normalise_path(text: str, place: str, *, local: bool = False) -> str:
    """The normalised path: without `~`, inner `..` or a trailing slash.

    `..` is resolved in the text; links are not followed. A relative path stays relative.

    Args:
      text: a local path or `gs://bucket/path`.
      place: the flag or field of the path, for messages: `--workdir`, `config.dataset`.
      local: whether `gs://` is refused too.

    Raises:
      UserError: the path is empty, has another scheme, or names a home folder that does not exist.
    """
    text = text.strip()
    expected = "a local path" if local else "a local path or gs://bucket/path"
    if not text:
        raise UserError(f"{place}: is empty, expected a directory")
    if _SCHEME.match(text):
        bucket, _, path = text.removeprefix("gs://").partition("/")
        if local or not text.startswith("gs://") or not bucket:
            raise UserError(f"{place}={text}: expected {expected}")
        return f"gs://{bucket}{posixpath.normpath('/' + path.lstrip('/'))}".rstrip("/")
    expanded = os.path.expanduser(text)
    if expanded.startswith("~"):
        raise UserError(
            f"{place}={text}: there is no such home folder; a folder of that name is ./{text}"
        )
    path = os.path.normpath(expanded)
    return "/" + path.lstrip("/") if path.startswith("//") else path


def normalise_paths(text: str, place: str) -> tuple[str, ...]:
    """The paths of a comma-separated list, each normalised.

    Raises:
      UserError: as in `normalise_path`, or two paths are the same directory.
    """
    paths = tuple(normalise_path(part, place, local=False) for part in text.split(","))
    seen: dict[str, str] = {}
    for path in paths:
        place_on_disk = path if path.startswith("gs://") else os.path.realpath(path)
        if (other := seen.setdefault(place_on_disk, path)) is not path or paths.count(path) > 1:
            same = "" if other == path else f" (as {other})"
            raise UserError(f"{place}: names {path} twice{same}, expected each directory once")
    return paths


def make_folder(path: str | os.PathLike[str], place: str) -> None:
    """Makes the directory `path` and the directories above it.

    Raises:
      UserError: as in `check_folder`.
      OSError: the directory cannot be made, for example because the disk is full.
    """
    check_folder(path, place)
    os.makedirs(path, exist_ok=True)


def check_folder(path: str | os.PathLike[str], place: str) -> None:
    """Checks that `path` is a local directory, or that it can be made.

    Args:
      path: the directory.
      place: the beginning of the message.

    Raises:
      UserError: the path, or a folder above it, is a file or a link to something missing.
    """
    path = os.path.abspath(path)
    while not os.path.isdir(path):
        if os.path.lexists(path):
            what = "is a file"
            if os.path.islink(path):
                what = f"is a link to {os.readlink(path)}"
                what += "" if os.path.exists(path) else ", which does not exist"
            raise UserError(f"{place}: {path} {what}, expected a directory")
        path = os.path.dirname(path)
