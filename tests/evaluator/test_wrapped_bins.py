"""Bins in what they are wrapped in: numpy.save, xz, gzip; and labels that are floats."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import ArrayLike
from test_containers import IMAGES, LABELS

from evaluator.bins.stored_images import left_in_file
from evaluator.bins.verification_set import VerificationSet, is_pickle, read_bin, read_stored
from evaluator.errors import BinError


def saved(path: Path, value: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol))
    return path


def assert_holds(found: VerificationSet, images: list[bytes], labels: ArrayLike) -> None:
    assert list(found.images) == images
    assert found.genuine.tolist() == np.asarray(labels, bool).tolist()


def by_numpy(path: Path, images: list[bytes], labels: object) -> Path:
    """A bin as `numpy.save` writes two lists of two lengths."""
    both = np.empty(2, object)
    both[0], both[1] = images, labels
    with path.open("wb") as file:
        np.save(file, both)
    return path


PACKERS: dict[str, Callable[[bytes], bytes]] = {"xz": lzma.compress, "gzip": gzip.compress}


def test_a_bin_by_numpy_save_is_read_as_the_founding_callback_reads_it(tmp_path: Path) -> None:
    path = by_numpy(tmp_path / "a.npy", IMAGES, LABELS)
    images, labels = np.load(path, encoding="bytes", allow_pickle=True)
    assert_holds(read_bin(path), images, labels)
    assert is_pickle(path)
    assert read_stored(path).layout == "npy"


def test_labels_may_be_floats(tmp_path: Path) -> None:
    numbers = [float(label) for label in LABELS]
    for i, labels in enumerate(
        (
            numbers,
            np.array(numbers),
            np.array(numbers, np.float32),
            [np.float64(x) for x in numbers],
        )
    ):
        for protocol in (0, 2, 4):
            path = saved(tmp_path / f"{i}{protocol}.bin", (IMAGES, labels), protocol)
            assert_holds(read_bin(path), IMAGES, LABELS)


@pytest.mark.parametrize("kind", PACKERS)
def test_a_packed_bin_is_read_and_known_by_its_own_hash(tmp_path: Path, kind: str) -> None:
    plain = saved(tmp_path / "a.bin", (IMAGES, LABELS))
    for source in (plain, by_numpy(tmp_path / "a.npy", IMAGES, LABELS)):
        packed = tmp_path / f"{source.name}.{kind}"
        packed.write_bytes(PACKERS[kind](source.read_bytes()))
        assert_holds(read_bin(packed), IMAGES, LABELS)
        assert is_pickle(packed)
        assert read_stored(packed).layout == kind
        assert read_bin(packed).sha256 == hashlib.sha256(packed.read_bytes()).hexdigest()
        left = left_in_file(read_bin(packed))
        assert list(left.images) == IMAGES


@pytest.mark.parametrize("kind", PACKERS)
def test_what_is_packed_and_no_bin_is_one_line(tmp_path: Path, kind: str) -> None:
    path, pack = tmp_path / "a.bin", PACKERS[kind]
    whole = pack(saved(tmp_path / "b.bin", (IMAGES, LABELS)).read_bytes())
    for content, words in {
        pack(bytes(2**27)): "unpack to more than",
        whole[: len(whole) // 2]: "damaged|cut short",
        whole[:20] + b"??" + whole[22:]: "damaged|cut short",
        pack(pack(b"x")): "packed twice",
        pack(b"text"): "damaged|no bin|holds",
        pack(pickle.dumps(os.system)): "asks for",
    }.items():
        path.write_bytes(content)
        with pytest.raises(BinError, match=words):
            read_bin(path)


def test_an_array_of_numbers_is_no_bin_and_code_in_one_of_objects_is_refused(
    tmp_path: Path,
) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    assert not is_pickle(tmp_path / "a.npy")
    with pytest.raises(BinError, match="NumPy array of numbers"):
        read_bin(tmp_path / "a.npy")
    by_numpy(tmp_path / "b.npy", IMAGES, [os.system])
    with pytest.raises(BinError, match=r"asks for 'posix\.system'"):
        read_bin(tmp_path / "b.npy")
