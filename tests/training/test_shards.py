"""TFRecord shards read without TensorFlow give what was packed into them."""

import shutil
from pathlib import Path

import pytest
from face_samples import write_faces

from evaluator.errors import InputError
from training.data.convert.tfrecords import pack_tfrecords
from training.data.sources.faces import open_faces
from training.data.sources.shards import open_training_faces


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    pack_tfrecords(open_faces(write_faces(folder / "faces")), folder / "packed", shards=3)
    return folder


def test_shards_hold_every_image_with_its_label(packed: Path) -> None:
    source, shards = open_faces(packed / "faces"), open_training_faces(packed / "packed")
    assert shards.names == source.names

    def content(faces) -> list[tuple[int, bytes]]:
        return sorted((int(faces.labels[i]), bytes(faces.read(i))) for i in range(len(faces)))

    assert content(shards) == content(source)
    assert len(shards) == 28


def test_a_folder_per_person_is_still_one(packed: Path) -> None:
    assert len(open_training_faces(packed / "faces")) == 28


def test_a_shard_that_is_cut_off_is_named(packed: Path, tmp_path: Path) -> None:
    shutil.copytree(packed / "packed", tmp_path / "cut")
    last = sorted((tmp_path / "cut").glob("*.tfrecord"))[-1]
    last.write_bytes(last.read_bytes()[:-5])
    with pytest.raises(InputError, match=f"{last.name}: the record at byte .* is cut off"):
        open_training_faces(tmp_path / "cut")


def test_a_label_beyond_the_people_is_refused(packed: Path, tmp_path: Path) -> None:
    import json

    shutil.copytree(packed / "packed", tmp_path / "fewer")
    path = tmp_path / "fewer" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest |= {"names": manifest["names"][:2], "classes": 2}
    path.write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"has the label [23], but manifest\.json names 2 people"):
        open_training_faces(tmp_path / "fewer")


def test_records_of_something_else_are_refused(packed: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    shutil.copytree(packed / "packed", tmp_path / "other")
    with tf.io.TFRecordWriter(str(tmp_path / "other" / "zzz.tfrecord")) as writer:
        writer.write(b"\x0a\x03abc")
    with pytest.raises(InputError, match=r"zzz.tfrecord: the record at byte 12 has no image"):
        open_training_faces(tmp_path / "other")
