"""Arrays of a .npz that anyone may have made."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.npz import NpzError, array_names, opened_npz, read_array


def npy(descr: str, shape: str, data: bytes = b"", *, fortran: str = "False") -> bytes:
    """A .npy of whatever header."""
    text = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}"
    header = text.encode().ljust(118 + 64 * (len(text) // 64)) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def packed(path: Path, member: bytes, *, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a.npy", member)
    return path


def read(path: Path, name: str = "a") -> np.ndarray:  # type: ignore[type-arg]
    with opened_npz(path) as archive:
        return read_array(archive, name)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4),
        np.asfortranarray(np.arange(24, dtype=np.int16).reshape(2, 3, 4)),
        np.array(7),
        np.zeros((0, 5), np.float32),
        np.array(["genuine", "é"]),
        np.arange(5, dtype=">i4"),
        np.array([(1, 2.0)], dtype=[("x", "i4"), ("y", "f8")]),
    ],
    ids=range(7),
)
def test_arrays_are_those_that_numpy_reads(tmp_path: Path, save: object, array: object) -> None:
    save(tmp_path / "x.npz", a=array, b=[1])  # type: ignore[operator]
    with np.load(tmp_path / "x.npz", allow_pickle=False) as theirs:
        expected = theirs["a"]
    found = read(tmp_path / "x.npz")
    np.testing.assert_array_equal(found, expected)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    with opened_npz(tmp_path / "x.npz") as archive:
        assert array_names(archive) == ["a", "b"]


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (npy("'<f8'", "(17592186044416,)"), r"declares \(17592186044416,\) of 8 bytes and holds 0"),
        (npy("'<f8'", "(2,)", bytes(8)), r"declares \(2,\) of 8 bytes and holds 8"),
        (npy("'<f8'", "(1,)", bytes(9)), "holds 9"),
        (npy("'<f8'", "(-2, -2)", bytes(32)), "which is none"),
        (npy("'<U0'", f"({10**12},)"), "which is none"),
        (npy("'|V0'", f"({10**12},)"), "which is none"),
        (npy("'|O'", "(1,)", bytes(8)), "pickled"),
        (npy("[('x', '|O')]", "(1,)", bytes(8)), "pickled"),
        (npy("'<f8'", "(" + "9" * 5000 + ",)"), "."),
        (npy("'<f8'", "(1,) * 99999999"), "."),
        (npy("'<f8'", "[1]", bytes(8)), "."),
        (npy("'nonsense'", "(1,)"), "."),
        (npy("(" * 90 + "'<f8'" + ")" * 90, "(1,)"), "."),
        (b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b" " * 100, "."),
        (b"\x93NUMPY\x09\x00", "."),
        (b"", "."),
        (b"text", "."),
    ],
    ids=range(17),
)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_what_is_no_array_is_refused(
    tmp_path: Path, member: bytes, said: str, compression: int
) -> None:
    with pytest.raises(NpzError, match=said):
        read(packed(tmp_path / "x.npz", member, compression=compression))


def test_sizes_that_the_zip_makes_up_are_refused(tmp_path: Path) -> None:
    size = 2**33
    path = packed(tmp_path / "x.npz", npy("'|u1'", f"({size},)"))
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("a.npy").file_size
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    # Packed and whole size in the directory: as many bytes as the .npy declares, modulo 2^32.
    data[at + 20 : at + 28] = struct.pack("<II", start, (size + start) % 2**32)
    path.write_bytes(data)
    with pytest.raises(NpzError):
        read(path)
    data[at + 20 : at + 28] = struct.pack("<II", 2**31, 2**31)
    path.write_bytes(data)
    with pytest.raises(NpzError):
        read(path)


def test_what_unpacks_to_more_than_memory_holds_is_refused_with_the_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evaluator.limits.available_bytes", lambda: 2**27)
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(2**24 + 1))
    with pytest.raises(NpzError, match=r"needs 134,217,736 bytes .*, and 134,217,728 are"):
        read(tmp_path / "x.npz")
    np.savez_compressed(tmp_path / "y.npz", a=np.zeros(2**24))
    assert read(tmp_path / "y.npz").nbytes == 2**27


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_of_packing_are_refused(tmp_path: Path, kind: int) -> None:
    with pytest.raises(NpzError, match="packed otherwise"):
        read(packed(tmp_path / "x.npz", npy("'<f8'", "(1,)", bytes(8)), compression=kind))


def test_no_regular_file_is_told_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "zero.npz").symlink_to("/dev/zero")
    for name in ("pipe.npz", "zero.npz", "none.npz", "."):
        with pytest.raises(OSError, match=r"file|folder|device|FIFO"):
            read(tmp_path / name)


WHOLE = io.BytesIO()
np.savez_compressed(WHOLE, a=np.arange(40.0), b=np.array(["x", "y"]))


@given(
    st.lists(st.tuples(st.integers(0, len(WHOLE.getvalue()) - 1), st.integers(0, 255)), max_size=8)
)
def test_damage_anywhere_is_an_error_of_the_documented_kind(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(WHOLE.getvalue())
    for place, value in changes:
        data[place] = value
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(data)
    try:
        with opened_npz(path) as archive:
            for name in array_names(archive):
                read_array(archive, name)
    except (NpzError, KeyError):
        pass
