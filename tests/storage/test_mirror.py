from pathlib import Path

import pytest

from pvn.errors import UserError
from pvn.storage.mirror import Mirror
from pvn.storage.remote import Bucket, reading
from tests.gcs import Server

CHECKPOINT = {"c/one/manifest.json": "m", "c/one/a": "a", "c/one/z/b": ""}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def changes(gcs: Server, prefix: str) -> list[str]:
    """The objects that were written (+) or deleted (-) since the last call, in order."""
    signs = {"POST": "+", "DELETE": "-"}
    found = [signs[how] + name.removeprefix(prefix) for how, name in gcs.changes]
    gcs.changes.clear()
    return found


def test_push(gcs: Server, tmp_path: Path) -> None:
    changes(gcs, "")
    mirror = Mirror(Bucket("gs://bucket/push"), tmp_path)
    write(tmp_path, {"log": "1", "left": "out", **CHECKPOINT})
    mirror.push("log", "c", "missing", "d/*")
    first, *middle, last = changes(gcs, "push/")
    assert (first, sorted(middle), last) == (
        "+log",
        ["+c/one/a", "+c/one/z/b"],
        "+c/one/manifest.json",
    )
    assert gcs.storage.get_file("bucket", "push/c/one/z/b") == b""

    mirror.push("c", "log")
    assert changes(gcs, "push/") == []
    write(tmp_path, {"log": "12"})
    mirror.push("l*")
    assert sorted(changes(gcs, "push/")) == ["+left", "+log"]
    assert gcs.storage.get_file("bucket", "push/log") == b"12"


def test_a_sealed_folder_is_never_mixed(gcs: Server, tmp_path: Path) -> None:
    mirror = Mirror(Bucket("gs://bucket/seal"), tmp_path)
    write(tmp_path, CHECKPOINT | {"c/old/manifest.json": "", "c/old/a": ""})
    mirror.push("c")
    changes(gcs, "")
    (tmp_path / "c/one/z/b").unlink()
    write(tmp_path, {"c/one/a": "another"})  # the same step again; the seal has the same text
    mirror.push("c")
    assert changes(gcs, "seal/") == [
        *("-c/one/manifest.json", "-c/one/z/b", "+c/one/a", "+c/one/manifest.json")
    ]


def test_prune_and_delete(gcs: Server, tmp_path: Path) -> None:
    mirror = Mirror(Bucket("gs://bucket/prune"), tmp_path)
    write(tmp_path, CHECKPOINT | {"c/one_more/a": "", "log": "", "logs": ""})
    mirror.push("c", "log", "logs")
    changes(gcs, "")
    for file in ("manifest.json", "a", "z/b"):
        (tmp_path / "c/one" / file).unlink()
    (tmp_path / "c/one/z").rmdir()
    mirror.prune("c")
    assert changes(gcs, "prune/") == []  # a folder that is there, but was not pulled
    (tmp_path / "c/one").rmdir()
    mirror.prune("c")
    first, *others = changes(gcs, "prune/")
    assert (first, sorted(others)) == ("-c/one/manifest.json", ["-c/one/a", "-c/one/z/b"])
    mirror.delete("log", "c", "missing")
    assert gcs.names("prune/") == ["logs"]


def test_pull(gcs: Server, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    two.mkdir()
    write(one, CHECKPOINT | {"c/two/manifest.json": "2", "log": "1", "logs": ""})
    Mirror(Bucket("gs://bucket/pull"), one).push("c", "log", "logs")
    changes(gcs, "")
    mirror = Mirror(Bucket("gs://bucket/pull"), two)
    mirror.pull("log", "c/*/manifest.json", "missing")
    assert files(two) == {"log": "1", "c/one/manifest.json": "m", "c/two/manifest.json": "2"}
    mirror.push("log", "c")
    assert changes(gcs, "pull/") == []  # nothing has changed, the other files are not missed
    mirror.pull("c/one")
    assert files(two) == CHECKPOINT | {"log": "1", "c/two/manifest.json": "2"}


def files(folder: Path) -> dict[str, str]:
    found = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_text() for file in found}


def test_reading(gcs: Server, tmp_path: Path) -> None:
    write(tmp_path, {"a": "1", "b/c": "2", "d": ""})
    Mirror(Bucket("gs://bucket/reading"), tmp_path).push("*")
    with pytest.raises(UserError, match=r"^gs://bucket/reading/b/c: is bad$"):  # noqa: SIM117
        with reading("gs://bucket/reading", "a", "b") as folder:
            assert files(folder) == {"a": "1", "b/c": "2"}
            raise UserError(f"{folder}/b/c: is bad")
    with reading(tmp_path, "a") as folder:
        assert folder == tmp_path


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("gs://forbidden/a", "gs://forbidden/a: x cannot be read: PERMISSION_DENIED: Forbidden"),
        ("gs://nowhere/a", "gs://nowhere/a: x cannot be written: there is no such bucket"),
    ],
)
def test_what_the_server_refuses(gcs: Server, tmp_path: Path, path: str, line: str) -> None:
    with pytest.raises(UserError) as caught, reading(path, "x"):
        write(tmp_path, {"x": ""})
        Mirror(Bucket(path), tmp_path).push("x")
    assert str(caught.value) == line
