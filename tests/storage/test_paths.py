"""Paths are normalised, in whatever form the user writes them."""

from pathlib import Path

import pytest

from pvn.errors import UserError
from pvn.storage.paths import check_folder, normalise_path, normalise_paths


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("data/pong", "data/pong"),
        ("data/pong/", "data/pong"),
        ("./data//pong/.", "data/pong"),
        (" data/pong ", "data/pong"),
        ("data/x/../pong", "data/pong"),
        ("../pong/", "../pong"),
        (".", "."),
        ("/", "/"),
        ("//data/pong", "/data/pong"),
        ("~/pong", "/home/me/pong"),
        ("~", "/home/me"),
        ("a~/b", "a~/b"),
        ("mine.py:Own", "mine.py:Own"),
        ("gs://bucket", "gs://bucket"),
        ("gs://bucket/", "gs://bucket"),
        ("gs://bucket//a/./b/../c/", "gs://bucket/a/c"),
    ],
)
def test_one_spelling(monkeypatch: pytest.MonkeyPatch, text: str, path: str) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert normalise_path(text, "--x") == path
    assert normalise_path(path, "--x") == path


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "--x: is empty, expected a directory"),
        ("  ", "--x: is empty, expected a directory"),
        ("s3://b/a", "--x=s3://b/a: expected a local path or gs://bucket/path"),
        ("file:///a", "--x=file:///a: expected a local path or gs://bucket/path"),
        ("gs:/b/a", "--x=gs:/b/a: expected a local path or gs://bucket/path"),
        ("gs://", "--x=gs://: expected a local path or gs://bucket/path"),
        (
            "~nobody-here/a",
            "--x=~nobody-here/a: there is no such home folder; a folder of that name is "
            "./~nobody-here/a",
        ),
    ],
)
def test_what_is_no_path(text: str, line: str) -> None:
    with pytest.raises(UserError) as caught:
        normalise_path(text, "--x")
    assert str(caught.value) == line


def test_gs_where_only_local_paths_go() -> None:
    with pytest.raises(UserError, match=r"^--x=gs://b/a: expected a local path$"):
        normalise_path("gs://b/a", "--x", local=True)


def test_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("a")
    assert normalise_paths("a/, b,gs://c/d/", "--x") == ("a", "b", "gs://c/d")
    for text, line in [
        ("a,a", "--x: names a twice, expected each directory once"),
        ("b,a,./a/", "--x: names a twice, expected each directory once"),
        (f"a,{tmp_path}/a", f"--x: names {tmp_path}/a twice (as a), expected each directory once"),
        ("a,link", "--x: names link twice (as a), expected each directory once"),
        ("gs://a/b,gs://a//b", "--x: names gs://a/b twice, expected each directory once"),
        ("a,,b", "--x: is empty, expected a directory"),
    ]:
        with pytest.raises(UserError) as caught:
            normalise_paths(text, "--x")
        assert str(caught.value) == line


def test_what_cannot_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("/nowhere")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    for good in ("folder", "folder/new/deeper", "link", "link/new"):
        check_folder(tmp_path / good, "it")
    for bad, reason in [
        ("file", "file is a file"),
        ("file/new", "file is a file"),
        ("dangling", "dangling is a link to /nowhere, which does not exist"),
        ("dangling/new", "dangling is a link to /nowhere, which does not exist"),
    ]:
        with pytest.raises(UserError) as caught:
            check_folder(tmp_path / bad, "it")
        assert str(caught.value) == f"it: {tmp_path}/{reason}, expected a directory"
