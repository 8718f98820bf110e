"""Images that stay in the bin's file until they are asked for."""

from __future__ import annotations

import gc
import pickle
from pathlib import Path

import numpy as np
import pytest
from hdf5_bins import write_hdf5_bin

from evaluator.bins.stored_images import FileImages, distinct_of, left_in_file
from evaluator.bins.verification_set import VerificationSet, read_bin, write_bin
from evaluator.errors import BinError
from evaluator.images.inputs import Embedder, InputSpec
from evaluator.measure.embed import EmbedOptions
from evaluator.measure.evaluation import evaluate_bins

PNG = b"\x89PNG\r\n\x1a\n"
IMAGES = [PNG + bytes([200 + number]) * (50 + 70 * number) for number in range(12)]
# Repeated near and far, first seen out of order.
SLOTS = [3, 3, 0, 1, 2, 0, 7, 4, 5, 6, 3, 11, 8, 9, 10, 11]
GENUINE = [True, False] * 4


def open_files() -> int:
    """How many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def in_memory(images: VerificationSet) -> int:
    """How many distinct images are held as bytes."""
    return sum(isinstance(each, bytes) for each in distinct_of(images)[0]._held)


@pytest.mark.parametrize("name", ["b.bin", "b.npz", "b.h5"])
def test_every_layout_stays_in_its_file(tmp_path: Path, name: str) -> None:
    slots = [IMAGES[i] for i in SLOTS]
    write = write_hdf5_bin if name.endswith(".h5") else write_bin
    write(tmp_path / name, slots, GENUINE)
    whole = read_bin(tmp_path / name)
    left = left_in_file(whole)
    assert in_memory(left) == 0
    assert list(left.images) == list(whole.images) == slots
    assert left.images[3:7] == tuple(slots[3:7])
    assert left.images[-1] == slots[-1]
    assert (left.images.index(slots[6]), len(left.images)) == (6, 16)
    with pytest.raises(IndexError):
        left.images[16]
    assert (left.sha256, left.name, left.path) == (whole.sha256, whole.name, whole.path)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_every_protocol_gives_its_images_and_escaped_ones_are_kept(
    tmp_path: Path, protocol: int
) -> None:
    slots = [IMAGES[i] for i in SLOTS]
    (tmp_path / "b.bin").write_bytes(pickle.dumps((slots, GENUINE), protocol))
    left = left_in_file(read_bin(tmp_path / "b.bin"))
    assert list(left.images) == slots
    # Protocols 0 to 2 write bytes as text, in which what is beyond ASCII takes two bytes.
    assert (in_memory(left) == 0) == (protocol >= 3)


def test_arrays_of_one_column_stay_in_the_file(tmp_path: Path) -> None:
    arrays = [np.frombuffer(IMAGES[i], np.uint8).reshape(-1, 1) for i in SLOTS]
    (tmp_path / "b.bin").write_bytes(pickle.dumps((arrays, GENUINE), 3))
    left = left_in_file(read_bin(tmp_path / "b.bin"))
    assert list(left.images) == [IMAGES[i] for i in SLOTS]
    assert in_memory(left) == 0


def test_keys_are_equal_for_equal_bytes_alone(tmp_path: Path) -> None:
    write_bin(tmp_path / "b.bin", [IMAGES[i] for i in SLOTS], GENUINE)
    whole = read_bin(tmp_path / "b.bin")
    held, slots = distinct_of(whole)
    left, left_slots = distinct_of(left_in_file(whole))
    assert list(held.keys) == list(left.keys)
    assert len(set(left.keys)) == len(left) == 12
    assert slots.tolist() == left_slots.tolist()
    assert list(left[2:5]) == [held[2], held[3], held[4]]


def test_a_file_that_is_another_one_by_now_leaves_the_images_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "b.bin"
    write_bin(path, [IMAGES[i] for i in SLOTS], GENUINE)
    whole = read_bin(path)
    write_bin(path, [IMAGES[i] + b"other" for i in SLOTS], GENUINE)
    path.write_bytes(path.read_bytes().replace(b"other", b""))
    assert list(left_in_file(whole).images) == list(whole.images)
    for content in (b"", b"gone"):
        path.write_bytes(content)
        assert list(left_in_file(whole).images) == list(whole.images)
    path.unlink()
    assert left_in_file(whole) is whole


def test_a_changed_byte_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "b.bin"
    write_bin(path, [IMAGES[i] for i in SLOTS], GENUINE)
    left = left_in_file(read_bin(path))
    data = bytearray(path.read_bytes())
    data[data.index(IMAGES[4]) + 100] ^= 1
    path.write_bytes(data)
    assert left.images[0] == IMAGES[3]
    with pytest.raises(BinError, match=r"b\.bin: was changed while it was evaluated"):
        left.images[7]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts in /proc")
def test_the_file_is_closed_with_the_last_that_holds_it(tmp_path: Path) -> None:
    write_bin(tmp_path / "b.bin", [IMAGES[i] for i in SLOTS], GENUINE)
    gc.collect()
    before = open_files()
    left = left_in_file(read_bin(tmp_path / "b.bin"))
    part = left.images.distinct.only([1]) if isinstance(left.images, FileImages) else None
    assert open_files() == before + 1
    del left
    assert part is not None
    assert part[0] == IMAGES[0]
    del part
    gc.collect()
    assert open_files() == before


def test_embeddings_are_those_of_images_in_memory_and_shared_ones_are_made_once(
    tmp_path: Path,
) -> None:
    import io

    from PIL import Image

    def png(level: int) -> bytes:
        buffer = io.BytesIO()
        pixels = np.random.default_rng(level).integers(0, 255, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()

    random = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.bin" for number in range(4)]
    levels_of = [random.integers(0, 30, 40) + 20 * (number % 2) for number in range(4)]
    # The third is the first again; the fourth shares a part with each.
    levels_of[2] = levels_of[0]
    for path, levels in zip(paths, levels_of, strict=True):
        write_bin(path, [png(int(level)) for level in levels], [True, False] * 10)
    seen: list[int] = []

    def forward(batch: np.ndarray) -> np.ndarray:
        seen.append(len(batch))
        return batch.reshape(len(batch), -1) - 0.5

    embedder = Embedder(forward, InputSpec(4, 4))
    sets = [read_bin(path) for path in paths]
    alone = [next(evaluate_bins(embedder, [each], options=EmbedOptions())) for each in sets]
    seen.clear()
    for given in (
        sets,
        [left_in_file(each) for each in sets],
        [sets[0], *map(left_in_file, sets[1:])],
    ):
        found = list(evaluate_bins(embedder, given, options=EmbedOptions(batch_size=7)))
        for one, other in zip(found, alone, strict=True):
            assert one.scores is not None
            assert other.scores is not None
            np.testing.assert_array_equal(one.scores, other.scores)
            np.testing.assert_array_equal(one.images, other.images)
        distinct = {image for each in sets for image in each.images}
        assert sum(seen) == sum(each.embedded for each in found) == len(distinct)
        assert found[2].embedded == 0
        seen.clear()
