"""`zoo bins convert`: any layout into a clean bin or a container, and back."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from faces import write_people
from hdf5_bins import write_hdf5_bin
from samples import Zoo, face, png, save_dense, write_pairs

from evaluator.bins.pairs_file import read_pairs_csv, read_people
from evaluator.bins.verification_set import read_bin, write_bin

A, B, C, D = (png(face(person, 0)) for person in range(4))
TORN = A[: len(A) // 2]


def test_there_and_back_gives_the_same_file(zoo: Zoo, tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.bin")
    assert zoo("bins", "convert", "a.bin", "b.npz").out == "b.npz: 60 pairs\n"
    assert zoo("bins", "convert", "b.npz", "c.bin").code == 0
    assert (tmp_path / "c.bin").read_bytes() == (tmp_path / "a.bin").read_bytes()


def test_hdf5_is_read_and_no_longer_written(zoo: Zoo, tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.bin")
    made = read_bin(tmp_path / "a.bin")
    write_hdf5_bin(tmp_path / "b.h5", made.images, made.genuine)
    assert zoo("bins", "convert", "b.h5", "c.bin").code == 0
    assert (tmp_path / "c.bin").read_bytes() == (tmp_path / "a.bin").read_bytes()
    done = zoo("bins", "convert", "a.bin", "d.h5")
    assert (done.code, len(done.error_lines)) == (2, 1)
    assert "d.h5: bins are no longer written as HDF5; name it .npz" in done.err
    assert not (tmp_path / "d.h5").exists()


def test_pythons_own_pickle_reads_what_a_python_2_bin_became(zoo: Zoo, tmp_path: Path) -> None:
    # Written out by hand: Python 2's protocol 0 of ([A, B], [True]).
    def text(data: bytes) -> bytes:
        return b"S'" + b"".join(b"\\x%02x" % byte for byte in data) + b"'\n"

    old = b"((lp0\n" + text(A) + b"a" + text(B) + b"a(lp1\nI01\natp2\n."
    (tmp_path / "old.bin").write_bytes(old)
    assert zoo("bins", "convert", "old.bin", "new.bin").code == 0
    with (tmp_path / "new.bin").open("rb") as file:
        assert pickle.load(file) == ([A, B], [True])


def test_real_arrays_become_plain_bytes(zoo: Zoo, tmp_path: Path, shared: Path) -> None:
    """insightface's file holds NumPy arrays of shape (N, 1), Python 3 pickled them."""
    source = shared / "bins/small_lfw.bin"
    assert zoo("bins", "convert", source, "new.bin").code == 0
    with source.open("rb") as file:
        images, labels = pickle.load(file, encoding="bytes")
    with (tmp_path / "new.bin").open("rb") as file:
        assert pickle.load(file) == (
            [bytes(np.asarray(i)) for i in images],
            list(map(bool, labels)),
        )


def test_a_bin_that_asks_for_code_is_refused(zoo: Zoo, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "ran",)

    (tmp_path / "evil.bin").write_bytes(pickle.dumps(([A, B, Bomb()], [True])))
    done = zoo("bins", "convert", "evil.bin", "out.bin", "--drop-bad")
    assert (done.code, len(done.error_lines)) == (2, 1)
    assert "is code and not data" in done.err
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out.bin").exists()


def test_pairs_that_do_not_decode_are_refused_or_left_out_and_listed(
    zoo: Zoo, tmp_path: Path
) -> None:
    images = [A, B, TORN, C, C, D, D, b"text"]
    (tmp_path / "a.bin").write_bytes(pickle.dumps((images, [True, False, False, True])))
    done = zoo("bins", "convert", "a.bin", "b.bin")
    assert done.code == 2
    assert "a.bin: pair 1: image 2 is a damaged or cut PNG" in done.err
    assert "2 of 4 pairs" in done.err
    assert not (tmp_path / "b.bin").exists()
    done = zoo("bins", "convert", "a.bin", "b.bin", "--drop-bad")
    assert (done.code, done.out) == (0, "b.bin: 2 pairs, 2 left out\n")
    assert "left out pair 1: image 2 is a damaged" in done.err
    assert "left out pair 3: image 7 is no JPEG" in done.err
    made = read_bin(tmp_path / "b.bin")
    assert list(made.images) == [A, B, C, D]
    assert made.genuine.tolist() == [True, False]


def test_a_bin_of_nothing_but_damage_is_refused(zoo: Zoo, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(pickle.dumps(([A, TORN], [True])))
    assert "no pair is left" in zoo("bins", "convert", "a.bin", "b.bin", "--drop-bad").err


def test_the_pairs_file_goes_along(zoo: Zoo, tmp_path: Path) -> None:
    root = write_people(tmp_path / "f", {f"p{i}": 3 for i in range(20)})
    zoo("bins", "make", "a.bin", root)
    zoo("bins", "convert", "a.bin", "b.npz")
    assert (tmp_path / "b.pairs.csv").read_bytes() == (tmp_path / "a.pairs.csv").read_bytes()
    made = read_bin(tmp_path / "a.bin")
    broken = [TORN, *made.images[1:]]
    (tmp_path / "c.bin").write_bytes(pickle.dumps((broken, made.genuine.tolist())))
    (tmp_path / "c.pairs.csv").write_bytes((tmp_path / "a.pairs.csv").read_bytes())
    zoo("bins", "convert", "c.bin", "d.bin", "--drop-bad")
    pairs = read_pairs_csv(tmp_path / "d.pairs.csv")
    assert pairs == read_pairs_csv(tmp_path / "a.pairs.csv")[1:]
    assert read_people(read_bin(tmp_path / "d.bin")) is not None


def test_in_place_only_when_asked_and_with_a_backup(zoo: Zoo, tmp_path: Path) -> None:
    old = pickle.dumps(([np.frombuffer(A, np.uint8), np.frombuffer(B, np.uint8)], [True]))
    (tmp_path / "a.bin").write_bytes(old)
    for arguments in (["a.bin", "a.bin"], ["a.bin", "./a.bin", "--force"], ["a.bin"]):
        assert zoo("bins", "convert", *arguments).code == 2
        assert (tmp_path / "a.bin").read_bytes() == old
    done = zoo("bins", "convert", "a.bin", "--in-place")
    assert (done.code, done.err) == (0, "the former file is a.bin.bak\n")
    assert (tmp_path / "a.bin.bak").read_bytes() == old
    assert list(read_bin(tmp_path / "a.bin").images) == [A, B]
    assert zoo("bins", "convert", "a.bin", "a.bin", "--in-place").code == 0
    assert (tmp_path / "a.bin.bak").read_bytes() == old
    assert (tmp_path / "a.bin.bak2").exists()


def test_another_file_is_not_overwritten_unless_forced(zoo: Zoo, tmp_path: Path) -> None:
    write_bin(tmp_path / "a.bin", [A, B], [1])
    write_bin(tmp_path / "b.bin", [C, D], [0])
    done = zoo("bins", "convert", "a.bin", "b.bin")
    assert (done.code, len(done.error_lines)) == (2, 1)
    assert list(read_bin(tmp_path / "b.bin").images) == [C, D]
    assert zoo("bins", "convert", "a.bin", "b.bin", "--force").code == 0
    assert list(read_bin(tmp_path / "b.bin").images) == [A, B]


@pytest.mark.slow
def test_a_container_is_evaluated_as_its_bin_and_never_taken_for_a_model(
    zoo: Zoo, tmp_path: Path
) -> None:
    import json

    made = read_bin(write_pairs(tmp_path / "a.bin"))
    write_hdf5_bin(tmp_path / "b.h5", made.images, made.genuine)
    save_dense(tmp_path / "m.keras")
    zoo("bins", "convert", "a.bin", "c.npz")
    done = zoo("eval", "m.keras", "--bins", "a.bin", "b.h5", "c.npz", "--json", "-")
    assert done.code == 0, done.err
    a, b, c = json.loads(done.out)
    assert a["figures"] == b["figures"] == c["figures"]
    for name in ("b.h5", "c.npz"):
        done = zoo("eval", name, "--bins", "a.bin")
        assert done.code == 2
        assert "this is a bin, not a model" in done.err
