"""Small files read within a bound."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from evaluator.files import NotRegularError, TooLargeError, read_bounded


def test_whole_file_within_the_bound_is_read(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    path.write_bytes(b"")
    assert read_bounded(path, 0) == b""


def test_larger_file_is_refused_with_its_name_and_the_bound(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 1001)
    with pytest.raises(TooLargeError, match="larger than 1,000 bytes") as caught:
        read_bounded(path, 1000)
    assert caught.value.filename == str(path)


def test_missing_file_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_bounded(tmp_path / "a", 5)


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _link_to_zero(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize(
    ("make", "said"),
    [(_fifo, "a FIFO"), (_link_to_zero, "a device"), (_socket, "a socket"), (Path.mkdir, "folder")],
)
def test_what_is_no_file_is_refused_at_once(make, said, tmp_path):
    path = tmp_path / "a"
    make(path)
    started = time.process_time()
    with pytest.raises(NotRegularError, match=said) as caught:
        read_bounded(path, 5)
    assert time.process_time() - started < 1
    assert caught.value.filename == str(path)


def test_link_to_a_file_is_followed(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").symlink_to("a")
    assert read_bounded(tmp_path / "b", 5) == b"1"
