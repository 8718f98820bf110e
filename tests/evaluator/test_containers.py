"""Containers of a bin without pickle: what is in them, and files that lie."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from hdf5_bins import write_hdf5_bin
from PIL import Image

from evaluator.bins.containers import MARKER, container_kind
from evaluator.bins.verification_set import is_pickle, read_bin, write_bin
from evaluator.errors import BinError
from evaluator.models.formats import model_format


def _png(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (level, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


A, B, C = _png(1), _png(2), _png(3)
IMAGES = [A, B, A, C, B, B]
LABELS = [True, False, True]


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".hdf5"])
def test_a_container_gives_the_images_and_labels_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    (write_bin if suffix == ".npz" else write_hdf5_bin)(path, IMAGES, LABELS)
    read = read_bin(path)
    assert list(read.images) == IMAGES
    assert read.images[0] is read.images[2]
    assert read.genuine.tolist() == LABELS
    assert not read.genuine.flags.writeable
    assert container_kind(path) is not None
    assert not is_pickle(path)
    assert model_format(path) is None


@pytest.mark.parametrize("name", ["a.h5", "a.HDF5"])
def test_hdf5_is_not_written_and_npz_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(BinError, match=f"{name}: .* no longer written as HDF5; name it .npz"):
        write_bin(tmp_path / name, IMAGES, LABELS)
    assert not list(tmp_path.iterdir())


def test_the_same_pairs_give_the_same_bytes(tmp_path: Path) -> None:
    write_bin(tmp_path / "a.npz", IMAGES, LABELS)
    write_bin(tmp_path / "b.npz", list(IMAGES), np.array(LABELS))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_numpy_reads_the_npz_without_pickle(tmp_path: Path) -> None:
    write_bin(tmp_path / "a.npz", IMAGES, LABELS)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        data, offsets = arrays["data"].tobytes(), arrays["offsets"]
        slots = [data[offsets[i] : offsets[i + 1]] for i in arrays["slots"]]
        assert arrays["genuine"].tolist() == [1, 0, 1]
        assert len(offsets) == 4  # three distinct images
    assert slots == IMAGES


def test_what_numpy_itself_saves_is_read(tmp_path: Path) -> None:
    blob = np.frombuffer(A + B, np.uint8)
    np.savez(
        tmp_path / "a.npz",
        **{MARKER: np.int64(1)},
        data=blob,
        offsets=np.array([0, len(A), len(A) + len(B)]),
        slots=np.array([0, 1]),
        genuine=np.array([1], np.uint8),
    )
    assert list(read_bin(tmp_path / "a.npz").images) == [A, B]


def test_other_zip_and_hdf5_files_are_no_containers(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", data=np.zeros(3))
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["model_config"] = "{}"
    (tmp_path / "cut.h5").write_bytes((tmp_path / "m.h5").read_bytes()[:100])
    (tmp_path / "cut.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:100])
    for name in ("a.npz", "m.h5", "cut.h5", "cut.npz"):
        assert container_kind(tmp_path / name) is None
    assert model_format(tmp_path / "m.h5") == "keras-h5"
    assert container_kind(tmp_path) is None


def _arrays(**changed: np.ndarray) -> dict[str, np.ndarray]:
    arrays = {
        MARKER: np.array(1),
        "data": np.frombuffer(A + B, np.uint8),
        "offsets": np.array([0, len(A), len(A) + len(B)]),
        "slots": np.array([0, 1]),
        "genuine": np.array([1], np.uint8),
    }
    return {**arrays, **changed}


LIES = [
    ({"offsets": np.array([0, 10])}, "do not divide"),
    ({"offsets": np.array([0, len(A) + len(B), 5, len(A) + len(B)])}, "do not divide"),
    ({"offsets": np.array([-4, len(A) + len(B)])}, "do not divide"),
    ({"offsets": np.zeros(0, np.int64)}, "do not divide"),
    ({"slots": np.array([0, 2])}, "a slot names an image"),
    ({"slots": np.array([-1, 0])}, "a slot names an image"),
    ({"slots": np.array([0.0, 1.0])}, "'slots' is 1-d of <f8"),
    ({"slots": np.array([[0, 1]])}, "'slots' is 2-d"),
    ({"genuine": np.array([2], np.uint8)}, "label 0 is 2"),
    ({"genuine": np.array([1, 0], np.uint8)}, "2 labels"),
    ({"slots": np.zeros(0, np.int64), "genuine": np.zeros(0, np.uint8)}, "no images"),
    ({MARKER: np.array(9)}, "version 9"),
    ({"data": np.frombuffer(b"x" * (len(A) + len(B)), np.uint8)}, "image 0"),
]


@pytest.mark.parametrize(("changed", "words"), LIES)
@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_arrays_that_lie_are_refused(
    tmp_path: Path, changed: dict[str, np.ndarray], words: str, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    arrays = _arrays(**changed)
    if suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            file.attrs[MARKER] = arrays.pop(MARKER)
            for name, values in arrays.items():
                file[name] = values
    with pytest.raises(BinError, match=words) as caught:
        read_bin(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_small_npz_cannot_unfold_to_a_large_one(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", **_arrays(data=np.zeros(10_000_000, np.uint8)))
    with pytest.raises(BinError, match="compressed"):
        read_bin(tmp_path / "a.npz")


def test_an_npz_array_that_declares_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        huge, {"descr": "|u1", "fortran_order": False, "shape": (10**15,)}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for name, values in _arrays().items():
            member = io.BytesIO()
            np.lib.format.write_array(member, values)
            archive.writestr(
                f"{name}.npy", huge.getvalue() if name == "data" else member.getvalue()
            )
    with pytest.raises(BinError, match="declares"):
        read_bin(tmp_path / "a.npz")


def test_an_hdf5_array_without_storage_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs[MARKER] = 1
        file.create_dataset("data", shape=(10**12,), dtype=np.uint8)
    with pytest.raises(BinError, match="stored whole"):
        read_bin(tmp_path / "a.h5")


def test_an_hdf5_link_to_another_file_is_refused(tmp_path: Path) -> None:
    write_hdf5_bin(tmp_path / "other.h5", IMAGES, LABELS)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs[MARKER] = 1
        file["data"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/data")
    with pytest.raises(BinError, match="no array 'data' of its own"):
        read_bin(tmp_path / "a.h5")


def test_an_array_that_is_missing_is_named(tmp_path: Path) -> None:
    arrays = _arrays()
    del arrays["slots"]
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(BinError, match="no array 'slots'"):
        read_bin(tmp_path / "a.npz")
