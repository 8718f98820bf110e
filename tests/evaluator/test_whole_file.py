"""Files that are there whole or not at all; devices, pipes and links stay what they are."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

import pytest

from evaluator.files import TEMPORARY, temporaries_of, whole_file, whole_path, write_whole


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with whole_file(path) as file:
        file.write(b"one")
        assert not path.exists()
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_failure_leaves_the_former_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"former")

    def write() -> None:
        with whole_file(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)):
        write()
    assert path.read_bytes() == b"former"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_bytes(b"former")
    link = tmp_path / "link.txt"
    link.symlink_to("real.txt")
    with whole_file(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert (tmp_path / "real.txt").read_bytes() == b"new"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    with whole_file(pipe) as file:
        file.write(b"through")
    reader.join()
    assert read == [b"through"]
    assert pipe.is_fifo()


def test_an_error_names_the_file_and_not_the_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "none" / "a.txt"
    with pytest.raises(FileNotFoundError) as caught, whole_file(path):
        pass
    assert caught.value.filename == str(path)


def test_a_write_that_fails_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(OSError, match="No space left") as caught, whole_file(path):
        raise OSError(28, "No space left on device")
    assert caught.value.filename == str(path)


def test_names_that_no_user_gave_are_replaced_and_nothing_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_bytes(b"kept")
    link, pipe = tmp_path / "link.txt", tmp_path / "pipe"
    link.symlink_to("real.txt")
    os.mkfifo(pipe)
    for path in (link, pipe):
        write_whole(path, "é")
        assert path.is_file()
        assert not path.is_symlink()
        assert path.read_bytes() == "é".encode()
    assert (tmp_path / "real.txt").read_bytes() == b"kept"


def test_what_writes_by_name_gets_a_name_of_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "a.keras"
    with whole_path(path) as temporary:
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".keras")
        temporary.write_bytes(b"one")
    assert path.read_bytes() == b"one"

    def half_a_folder() -> None:
        with whole_path(tmp_path / "folder") as temporary:
            temporary.mkdir()
            (temporary / "half").write_bytes(b"half")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        half_a_folder()
    with pytest.raises(FileNotFoundError) as caught, whole_path(path):
        pass  # nothing was written
    assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a.txt", "n" * 100 + ".json", "folder", "last.npz"])
def test_temporary_names_are_known_as_such(tmp_path: Path, name: str) -> None:
    with whole_path(tmp_path / name) as temporary:
        assert TEMPORARY.fullmatch(temporary.name)
        assert re.fullmatch(temporaries_of(re.escape(name[:80])), temporary.name)
        assert not re.fullmatch(temporaries_of("b|a"), temporary.name)
        temporary.write_bytes(b"")
    assert not TEMPORARY.fullmatch(name)
