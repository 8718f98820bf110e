"""`zoo data pack --jobs`: what several processes write is what one does, to the byte."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from face_samples import write_faces

from evaluator.errors import InputError
from training.data.convert import convert
from training.data.convert.convert import by_processes, faces_again
from training.data.convert.pack import pack_records
from training.data.convert.tfrecords import pack_tfrecords
from training.data.sources.faces import FaceSet, open_faces


@pytest.fixture
def faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FaceSet:
    monkeypatch.setattr(convert, "_STRETCH", 5)
    return open_faces(write_faces(tmp_path / "faces"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_records_by_several_processes_are_those_of_one(faces: FaceSet, tmp_path: Path) -> None:
    done: list[int] = []
    pack_records(faces, tmp_path / "one")
    pack_records(faces, tmp_path / "three", jobs=3, progress=done.append)
    assert contents(tmp_path / "three") == contents(tmp_path / "one")
    assert done == [0, 5, 5, 5, 5, 5, 3]


def test_what_a_process_cannot_pack_is_named(faces: FaceSet, tmp_path: Path) -> None:
    from PIL import Image

    odd = tmp_path / "faces" / "person 2" / "3.png"
    Image.new("RGB", (9, 9)).save(odd)
    with pytest.raises(InputError, match=r"person 2/3\.png: expected 32x32 pixels .* found 9x9"):
        pack_records(faces, tmp_path / "out", jobs=2)


@pytest.mark.slow
def test_shards_by_several_processes_are_those_of_one(faces: FaceSet, tmp_path: Path) -> None:
    pack_tfrecords(faces, tmp_path / "one", shards=3)
    pack_tfrecords(faces, tmp_path / "two", shards=3, jobs=2)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def killed(item: int) -> int:
    if item == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_a_killed_process_is_an_error_of_one_line() -> None:
    with pytest.raises(InputError, match=r"a process was killed, .* the same command goes on"):
        list(by_processes(killed, range(4), 2))


def test_a_source_that_changed_is_refused_by_the_processes(faces: FaceSet) -> None:
    assert faces_again(faces.source, faces.fingerprint).names == faces.names
    with pytest.raises(InputError, match="was changed while it was read"):
        faces_again(faces.source, "another")
