"""The pairs file beside a bin."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluator.bins.pairs_file import (
    NAMED,
    Pair,
    numbered_people,
    read_pairs_csv,
    read_people,
    sidecar_path,
    write_sidecar,
)
from evaluator.bins.verification_set import read_bin, write_bin
from evaluator.errors import BinError

PAIRS = [
    Pair("a/1.jpg", "a/2.jpg", True, ("a", "a")),
    Pair("a/1.jpg", "b/1.jpg", False, ("a", "b")),
    Pair('c, "x"/1.jpg', "b/1.jpg", False, ('c, "x"', "b")),
]


def _bin(path: Path, labels: list[bool]) -> Path:
    images = []
    for level in range(2 * len(labels)):
        buffer = io.BytesIO()
        Image.new("L", (2, 2), level).save(buffer, "PNG")
        images.append(buffer.getvalue())
    write_bin(path, images, labels)
    return path


def test_pairs_survive_the_way_through_the_file(tmp_path: Path) -> None:
    for pairs in (PAIRS, [Pair(p.left, p.right, p.genuine) for p in PAIRS]):
        write_sidecar(tmp_path / "a.pairs.csv", pairs)
        assert read_pairs_csv(tmp_path / "a.pairs.csv") == pairs


def test_a_name_has_one_number_in_all_lists(tmp_path: Path) -> None:
    path = _bin(tmp_path / "lfw.bin", [True, False, False])
    assert read_people(read_bin(path)) is None
    assert sidecar_path(path) == tmp_path / "lfw.pairs.csv"
    write_sidecar(sidecar_path(path), PAIRS)
    people = read_people(read_bin(path))
    assert people is not None
    (a, also_a), (again_a, b), (c, again_b) = zip(*(side.tolist() for side in people), strict=True)
    assert a == also_a == again_a
    assert b == again_b
    assert len({a, b, c}) == 3
    assert min(a, b, c) >= NAMED
    assert people[0].dtype == np.int64
    other = numbered_people([Pair("x", "y", False, ("b", "zoe"))])
    assert other is not None
    assert other[0] == b


def test_names_that_are_numbers_are_those_of_a_list_alone() -> None:
    pairs = [Pair("a", "b", False, ("07", "12")), Pair("a", "c", False, ("07", "3_4"))]
    found = numbered_people(pairs)
    assert found is not None
    assert found.tolist() == [0, 1, 0, 2]


def test_pairs_without_people_tell_nothing(tmp_path: Path) -> None:
    path = _bin(tmp_path / "a.bin", [True])
    write_sidecar(sidecar_path(path), [Pair("x", "y", True)])
    assert read_people(read_bin(path)) is None


@pytest.mark.parametrize("labels", [[True, False], [True, True, False]])
def test_the_pairs_file_of_another_bin_is_refused(tmp_path: Path, labels: list[bool]) -> None:
    path = _bin(tmp_path / "a.bin", labels)
    write_sidecar(sidecar_path(path), PAIRS)
    with pytest.raises(BinError, match=r"a\.pairs\.csv: its 3 pairs are not"):
        read_people(read_bin(path))


@pytest.mark.parametrize("label", ["1", "TRUE", "genuine", " same "])
def test_labels_are_read_in_several_words(tmp_path: Path, label: str) -> None:
    (tmp_path / "a.csv").write_text(f"one,two,label\na.jpg,b.jpg,{label}\nc.jpg,d.jpg,0\n")
    assert [pair.genuine for pair in read_pairs_csv(tmp_path / "a.csv")] == [True, False]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b,1\na,c,maybe\n", "line 2: expected 1 or 0 as the label, found 'maybe'"),
        ("a,b\n", "line 1: expected left,right,label"),
        ("a,,1\n", "line 1: expected left,right,label"),
        ("a,b,1,x,y\n", "line 1: the label is 1, but the people are 'x' and 'y'"),
        ("a,b,0,x,x\n", "the label is 0"),
        ("left,right,label\n", "holds no pairs"),
        ("", "holds no pairs"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(BinError, match=words):
        read_pairs_csv(tmp_path / "a.csv")


def test_a_pairs_file_of_any_content_is_one_line_at_once(tmp_path: Path) -> None:
    bin_ = read_bin(_bin(tmp_path / "lfw.bin", [True, False]))
    path = sidecar_path(tmp_path / "lfw.bin")
    contents = {
        "quotes": b'"' * 200_001,
        "nested quotes": b'a,b,1\n"' + b'""' * 100_000,
        "zero": b"a,b,1\n\0,\0,\0\n",
        "returns": b"a,b,1\rc\rd,e,0\r",
        "utf-16": "a,b,1\nc,d,0\n".encode("utf-16-le"),
        "latin": "é,b,1\nc,d,0\n".encode("latin-1"),
        "long name": b"a," + b"b" * 5000 + b",1\n",
        "long cell": b"a," + b"b" * 200_000 + b",1\n",
        "wide": b"," * 100_000,
        "empty": b"",
    }
    for name, content in contents.items():
        path.write_bytes(content)
        with pytest.raises(BinError, match=r"lfw\.pairs\.csv") as caught:
            read_people(bin_)
        assert len(str(caught.value)) < 1000, name
        assert "\n" not in str(caught.value), name


def test_a_pairs_file_that_is_no_file_is_one_line_at_once(tmp_path: Path) -> None:
    bin_ = read_bin(_bin(tmp_path / "lfw.bin", [True, False]))
    path = sidecar_path(tmp_path / "lfw.bin")

    def sparse(at: Path) -> None:
        with at.open("wb") as file:
            file.truncate(10 * 2**30)

    for make in (os.mkfifo, lambda at: at.symlink_to("/dev/zero"), Path.mkdir, sparse):
        make(path)
        with pytest.raises(OSError, match=r"a FIFO|a device|a folder|larger than 536,870,912"):
            read_people(bin_)
        path.rmdir() if path.is_dir() else path.unlink()


def test_one_long_name_does_not_lengthen_the_others(tmp_path: Path) -> None:
    import tracemalloc

    pairs = [Pair("a", "b", True, ("p", "p"))] * 2000 + [Pair("a", "b", True, ("n" * 4000,) * 2)]
    write_sidecar(tmp_path / "lfw.pairs.csv", pairs)
    bin_ = read_bin(_bin(tmp_path / "lfw.bin", [True]))
    bin_ = replace(bin_, genuine=np.ones(2001, np.bool_))
    tracemalloc.start()
    people = read_people(bin_)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()
    assert people is not None
    assert np.unique(people[0], return_counts=True)[1].tolist() in ([1, 2000], [2000, 1])
