"""TFRecord shards read by TensorFlow, and their framing and checksums restated."""

import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from evaluator.errors import InputError
from training.data.convert.describe import describe
from training.data.convert.tfrecords import pack_tfrecords
from training.data.sources.faces import open_faces

pytestmark = pytest.mark.slow  # imports TensorFlow


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> int:
    """TFRecord's rotated checksum."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three people with 4, 1 and 3 images of several sizes and formats."""
    from PIL import Image

    root = tmp_path / "f"
    for value, (name, count) in enumerate({"69003070": 4, "bob": 1, "Zoë": 3}.items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            image = Image.new("RGB", (8 + number, 6), (40 * value, number, 7))
            image.save(root / name / f"{number}.{'png' if number == 2 else 'jpg'}")
    return root


def test_shards_are_framed_as_the_format_says(folder: Path, tmp_path: Path) -> None:
    pack_tfrecords(open_faces(folder), tmp_path / "out", shards=3)
    count = 0
    for shard in sorted((tmp_path / "out").glob("*.tfrecord")):
        data = shard.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            assert struct.unpack("<I", data[8:12]) == (masked(data[:8]),)
            body = data[12 : 12 + length]
            assert struct.unpack("<I", data[12 + length : 16 + length]) == (masked(body),)
            data = data[16 + length :]
            count += 1
    assert count == 8


def test_tensorflow_reads_images_ids_and_names(folder: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    done = pack_tfrecords(open_faces(folder), tmp_path / "out", shards=3)
    assert (done.images, done.classes) == (8, 3)
    text, number = tf.io.FixedLenFeature([], tf.string), tf.io.FixedLenFeature([], tf.int64)
    names = ("image/encoded", "image/format", "image/class/text")
    spec = {**dict.fromkeys(names, text), "image/class/label": number}
    found = []
    for shard in range(3):
        path = tmp_path / f"out/train-{shard:05d}-of-00003.tfrecord"
        for raw in tf.data.TFRecordDataset(str(path)):
            row = tf.io.parse_single_example(raw, spec)
            found.append(
                (
                    row["image/class/text"].numpy().decode(),
                    int(row["image/class/label"]),
                    row["image/format"].numpy().decode(),
                    row["image/encoded"].numpy(),
                )
            )
    people = sorted(folder.iterdir())
    wanted = [
        (person.name, label, "png" if file.suffix == ".png" else "jpeg", file.read_bytes())
        for label, person in enumerate(people)
        for file in sorted(person.iterdir())
    ]
    assert sorted(found) == sorted(wanted)
    assert found == wanted[0::3] + wanted[1::3] + wanted[2::3]
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert (manifest["classes"], manifest["images"]) == (3, 8)
    assert manifest["names"] == ["69003070", "Zoë", "bob"]


def test_shards_of_records_have_the_digest_of_the_peoples_files(
    shared: Path, tmp_path: Path
) -> None:
    pack_tfrecords(open_faces(shared / "records"), tmp_path / "tf", shards=4)
    info = describe(tmp_path / "tf", check=True)
    assert (info.images, info.people, info.problems) == (732, 120, ())
    assert info.sizes == {"112x112": 732}
    people = sorted((shared / "faces/lfw_train").iterdir(), key=lambda person: person.name)[:120]
    files = [file for person in people for file in sorted(person.iterdir())]
    wanted = hashlib.sha256(b"".join(hashlib.sha256(f.read_bytes()).digest() for f in files))
    manifest = json.loads((tmp_path / "tf/manifest.json").read_text())
    assert manifest["images_sha256"] == wanted.hexdigest()


def test_damage_and_cut_ends_are_named_with_their_shard(folder: Path, tmp_path: Path) -> None:
    pack_tfrecords(open_faces(folder), tmp_path / "out", shards=2)
    shard = tmp_path / "out/train-00001-of-00002.tfrecord"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-5])
    with pytest.raises(InputError, match=r"train-00001.*after 3 whole records"):
        describe(tmp_path / "out")
    shard.write_bytes(whole[:400] + bytes([whole[400] ^ 1]) + whole[401:])
    with pytest.raises(InputError, match=r"train-00001.*after 0 whole records"):
        describe(tmp_path / "out")
    with pytest.raises(InputError, match="found it changed"):
        pack_tfrecords(open_faces(folder), tmp_path / "out", shards=2)
    shard.unlink()
    assert any("says 8 images, found 4" in text for text in describe(tmp_path / "out").problems)


def test_examples_of_something_else_are_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    path = tmp_path / "x.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(tf.train.Example().SerializeToString())
    with pytest.raises(InputError, match="expected the features image/encoded"):
        describe(path)


@pytest.mark.parametrize("shards", [0, 9])
def test_a_number_of_shards_that_leaves_some_empty_is_refused(
    shards: int, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"expected 1 to 8.*found {shards}"):
        pack_tfrecords(open_faces(folder), tmp_path / "out", shards=shards)


RUN = """
import sys, os, signal
from pathlib import Path
from training.data.sources.faces import open_faces
from training.data.convert.tfrecords import pack_tfrecords
done = []
def step(count):
    done.append(count)
    if len(done) == 3:
        print("there", flush=True)
        signal.pause()
pack_tfrecords(open_faces(Path(sys.argv[1])), Path(sys.argv[2]), shards=4, progress=step)
"""


def test_after_a_kill_whole_shards_are_kept(folder: Path, tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder), str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "there\n"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    (tmp_path / ".out.partial/train-00003-of-00004.tfrecord").unlink(missing_ok=True)
    assert not (tmp_path / "out").exists()
    done = pack_tfrecords(open_faces(folder), tmp_path / "out", shards=4)
    assert 4 <= done.kept < 8
    assert describe(tmp_path / "out", check=True).problems == ()
