"""Copies files between a local folder and a `gs://` folder, so that what is there is complete.

Each object appears whole or not at all. A folder of files that belong together has a seal, a file
that is written last and deleted first, such as the `manifest.json` of a checkpoint. So who finds a
seal finds all files of its folder.
"""

import threading
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from pvn.storage.remote import Bucket

SEALS = ("manifest.json", "features.json", "policy.json")


class Mirror:
    """A local folder and its copy on `gs://`. Threads may share it.

    A name is a file, a folder with all that is in it, or a pattern in which `*` stands for any
    text; relative, with slashes. Every method raises `UserError` if the server refuses.
    """

    def __init__(self, bucket: Bucket, folder: Path):
        """bucket: the `gs://` folder. folder: the local one, which exists."""
        self._bucket, self._folder = bucket, folder
        self._copied: dict[str, tuple[int, int] | None] = {}  # the file's state when it was equal
        self._one_at_a_time = threading.RLock()

    def pull(self, *names: str) -> None:
        """Copies objects to the local folder, except those whose file is equal already.

        Raises:
          OSError: a file cannot be written.
        """
        with self._one_at_a_time:
            found = [name for each in names for name in self._bucket.list(each)]
            wanted = [name for name in dict.fromkeys(found) if self._changed(name)]
            self._bucket.download(wanted, self._folder)
            self._copied |= {name: self._state(name) for name in wanted}

    def push(self, *names: str) -> None:
        """Copies the files that have changed, in the order of the names.

        If a file in a sealed folder has changed, the seal is deleted first, then the objects of the
        folder that have no file any more; the seal is written last. Nothing else is deleted.

        Raises:
          OSError: a file cannot be read.
        """
        with self._one_at_a_time:
            for each in names:
                changed = {name for name in self._files(each) if self._changed(name)}
                seals = {seal for name in changed for seal in self._seals_above(name)}
                for seal in seals:
                    there = self._bucket.list(str(PurePosixPath(seal).parent))
                    self._delete([n for n in there if n in seals or not self._file(n).is_file()])
                self._upload(sorted(changed - seals))
                for seal in sorted(seals, key=lambda name: -name.count("/")):
                    self._upload([seal])

    def delete(self, *names: str) -> None:
        """Deletes objects, seals first."""
        with self._one_at_a_time:
            self._delete([name for each in names for name in self._bucket.list(each)])

    def prune(self, folder: str) -> None:
        """Deletes the objects under `folder` whose subfolder is not in the local `folder`."""
        with self._one_at_a_time:
            subfolders = {PurePosixPath(name).parts[:2] for name in self._bucket.list(folder)}
            names = ("/".join(parts) for parts in subfolders)
            self.delete(*(name for name in names if not self._file(name).exists()))

    def _upload(self, names: list[str]) -> None:
        states = {name: self._state(name) for name in names}  # before it is read: it may grow
        self._bucket.upload(names, self._folder)
        self._copied |= states

    def _delete(self, names: Iterable[str]) -> None:
        names = list(names)
        seals = [name for name in names if PurePosixPath(name).name in SEALS]
        self._bucket.delete(seals)
        self._bucket.delete([name for name in names if name not in seals])
        for name in names:
            self._copied.pop(name, None)

    def _files(self, name: str) -> list[str]:
        """Names of the local files that `name` stands for."""
        folder = self._folder
        found = [self._file(name)] if "*" not in name else folder.glob(name)
        deep = [f for each in found for f in (each.rglob("*") if each.is_dir() else [each])]
        return sorted(f.relative_to(folder).as_posix() for f in deep if f.is_file())

    def _seals_above(self, name: str) -> list[str]:
        """Names of the seals, on disk, of the folders that hold the file."""
        folders = PurePosixPath(name).parents[:-1]  # the last is the run itself
        seals = (str(folder / seal) for folder in folders for seal in SEALS)
        return [seal for seal in seals if self._file(seal).is_file()]

    def _changed(self, name: str) -> bool:
        return name not in self._copied or self._copied[name] != self._state(name)

    def _state(self, name: str) -> tuple[int, int] | None:
        """Size and time of a file; None if it is missing."""
        try:
            found = self._file(name).stat()
        except FileNotFoundError:
            return None
        return found.st_size, found.st_mtime_ns

    def _file(self, name: str) -> Path:
        return self._folder / name
