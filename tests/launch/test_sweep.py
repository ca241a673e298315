"""launch/sweep.sh with real lists: what a job is, how it is split, when it runs again."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def _sweep(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "launch/sweep.sh", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_jobs_run_until_they_have_ended_with_status_0(tmp_path: Path) -> None:
    jobs, log = tmp_path / "jobs.txt", tmp_path / "log"
    record = f"sh -c 'echo \"$1\" >> {log}; test ! -f {tmp_path}/fail-$1' sh"
    jobs.write_text(f"# a comment\n\n  {record} one \r\n\t# another\n{record} two\n{record} three")
    (tmp_path / "fail-two").touch()
    first = _sweep(jobs)
    assert first.returncode == 1
    assert first.stderr.endswith("error: 1 of 3 jobs failed: 2\n")
    assert log.read_text() == "one\ntwo\nthree\n"

    (tmp_path / "fail-two").unlink()
    jobs.write_text(jobs.read_text().replace("three", "four"))  # an edited line is a new job
    second = _sweep(jobs)
    assert second.returncode == 0
    assert f"job 1 is finished: {record} one\n" in second.stderr
    assert log.read_text() == "one\ntwo\nthree\ntwo\nfour\n"
    assert _sweep("--count", jobs).stdout == "3\n"


def test_words_are_split_as_in_a_shell_and_not_expanded(tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.txt"
    jobs.write_text("""printf <%s> 'a  b' "it's" c\\ d $HOME * ~ `id` x#y ""\n""")
    result = _sweep(jobs)
    assert result.stdout == "<a  b><it's><c d><$HOME><*><~><`id`><x#y><>"


def test_a_first_word_of_pvn_is_a_command_of_pvn(tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.txt"
    jobs.write_text("pvn.dataset info missing\n")
    result = _sweep(jobs)
    assert result.returncode == 1
    assert "missing: does not exist" in result.stderr


@pytest.mark.parametrize("status", [130, 143])
def test_a_job_that_was_asked_to_stop_ends_the_sweep(tmp_path: Path, status: int) -> None:
    jobs = tmp_path / "jobs.txt"
    jobs.write_text(f"sh -c 'exit {status}'\ntouch {tmp_path}/second\n")
    assert _sweep(jobs).returncode == status
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "error: {jobs}: no such file\n"),
        ("echo 'a\n", "error: {jobs}: No closing quotation: echo 'a\n"),
    ],
)
def test_bad_lists(tmp_path: Path, text: str | None, message: str) -> None:
    jobs = tmp_path / "jobs.txt"
    if text is not None:
        jobs.write_text(text)
    result = _sweep(jobs)
    assert result.returncode == 1
    assert result.stderr.startswith(message.format(jobs=jobs))
