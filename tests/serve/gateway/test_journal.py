"""The record of verdicts: whole lines, whatever the disk does, and images that several threads keep at once."""

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from gazeshift.data import replace_file
from gazeshift.errors import OutputError
from gazeshift.serve.gateway._journal import Journal
from gazeshift.serve.gateway.intake import Upload


def picture(encoded: bytes = b"") -> Upload:
    digest = hashlib.sha256(encoded).hexdigest()
    return Upload(image=torch.zeros(3, 8, 8), size=(8, 8), form="PNG", sha256=digest, encoded=encoded)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As if the disk were full once a file has this size."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_line_that_was_torn_counts_as_failed_and_spoils_no_other(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.jsonl"
    journal, entry = Journal(file=file), {"pad": "x" * 300}
    with files_of_at_most(1000):
        assert [journal.write(picture(), entry) for _ in range(4)] == [True, True, False, False]
        assert file.stat().st_size == 1000, "the third line is torn"
    assert journal.write(picture(), {"n": 1})
    assert Journal(file=file).write(picture(), {"n": 2})
    lines = file.read_text().splitlines()
    assert len(lines) == 5
    assert [json.loads(line).get("n") for line in (*lines[:2], *lines[3:])] == [None, None, 1, 2]


def test_a_torn_line_of_an_earlier_process_is_ended(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.jsonl"
    file.write_bytes(b'{"a": ')
    journal = Journal(file=file)
    journal.check()
    assert file.read_bytes() == b'{"a": ', "to look whether it can be written changes nothing"
    assert journal.write(picture(), {"n": 1})
    torn, whole = file.read_text().splitlines()
    assert (torn, json.loads(whole)["n"]) == ('{"a": ', 1)


def test_the_file_may_be_moved_away_or_be_no_file(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.jsonl"
    journal = Journal(file=file)
    assert journal.write(picture(), {"n": 1})
    file.rename(tmp_path / "verdicts.1")
    assert journal.write(picture(), {"n": 2})
    assert json.loads(file.read_text())["n"] == 2
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit((tmp_path / "pipe").read_text)
        assert Journal(file=tmp_path / "pipe").write(picture(), {"n": 3})
        assert json.loads(read.result(20))["n"] == 3


def test_threads_that_keep_the_same_image_do_not_stand_in_each_others_way(tmp_path: Path) -> None:
    journal, threads = Journal(images=tmp_path), 4
    with ThreadPoolExecutor(threads) as pool:
        for turn in range(20):
            same = picture(bytes([turn]) * 300_000)
            assert all(pool.map(lambda one: journal.write(one, {}), [same] * threads))
    assert {file.name for file in tmp_path.iterdir()} == {
        f"{hashlib.sha256(bytes([turn]) * 300_000).hexdigest()}.png" for turn in range(20)
    }


def test_two_threads_write_one_file_and_leave_nothing_beside_it(tmp_path: Path) -> None:
    target, both, seen = tmp_path / "a.b", threading.Barrier(2), list[str]()

    def write(beside: Path, content: bytes) -> None:
        beside.write_bytes(content)
        seen.append(beside.name)
        both.wait(20)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(replace_file, target, lambda path, c=c: write(path, c)) for c in (b"one", b"two")]:
            done.result(20)
    assert target.read_bytes() in (b"one", b"two")
    assert [file.name for file in tmp_path.iterdir()] == ["a.b"]
    assert len(set(seen)) == 2
    assert {(name.startswith(".a.b."), name.rpartition(".")[2]) for name in seen} == {(True, str(os.getpid()))}


def test_what_fails_leaves_nothing_beside_the_target(tmp_path: Path) -> None:
    def fail(beside: Path) -> None:
        beside.write_bytes(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        replace_file(tmp_path / "a", fail)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        replace_file(tmp_path / "file" / "a", lambda beside: beside.write_bytes(b""))


def test_processes_that_write_at_once_leave_no_empty_line(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from gazeshift.serve.gateway._journal import Journal;"
        "journal = Journal(file=Path(sys.argv[1])); [journal._append(b'{}\\n') for _ in range(4000)]"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "log")]) for _ in range(2)]
    assert [one.wait(120) for one in both] == [0, 0]
    assert set((tmp_path / "log").read_text().splitlines()) == {"{}"}
