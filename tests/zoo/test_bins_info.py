"""`zoo bins info`: what is in a bin, and what is wrong with it."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faces import write_people
from hdf5_bins import write_hdf5_bin
from PIL import Image
from samples import Zoo, face, png, write_pairs

from evaluator.bins.verification_set import read_bin, write_bin
from zoo.bins.inspection import inspect_bin
from zoo.entries.public_bins import OTHERS

A, B, C, D = (png(face(person, 0)) for person in range(4))
TORN = A[: len(A) // 2]


def _info(zoo: Zoo, *arguments: object, code: int) -> list[dict[str, Any]]:
    done = zoo("bins", "info", *arguments, "--json")
    assert done.code == code, done.err
    reports: list[dict[str, Any]] = json.loads(done.out)
    return reports


def test_a_clean_bin_has_no_problem(zoo: Zoo, tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "a.bin")
    (report,) = _info(zoo, path, code=0)
    assert report["problems"] == report["notes"][1:] == []
    assert (report["pairs"], report["genuine"], report["impostor"]) == (60, 30, 30)
    assert (report["images"], report["unique_images"]) == (120, 30)
    assert report["sizes"] == {"8x8": 30}
    assert report["formats"] == {"PNG": 30}
    assert report["folds"] == [[3, 3]] * 10
    assert report["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert report["bytes"] == path.stat().st_size
    assert report["known"] is None


@pytest.mark.parametrize(
    ("images", "labels", "key", "found", "words"),
    [
        ([A, B, B, A], [1, 0], "contradicting", [[0, 1]], "the other label: 1"),
        ([A, B, B, C, A, C, C, D], [1, 1, 0, 0], "linked", [2], "join to one person: 2"),
        ([A, A, A, B], [1, 0], "same_image", [0], "the same image on both sides: 0"),
        ([A, B, TORN, C], [1, 0], "undecodable", {"2": "is a damaged"}, "image 2 is a damaged"),
        ([A, B, C, D], [1, 1], "impostor", 0, "no impostor pairs"),
        ([A, B, C, D], [0, 0], "genuine", 0, "no genuine pairs"),
    ],
)
def test_what_is_wrong_is_named_and_exits_1(
    zoo: Zoo,
    tmp_path: Path,
    images: list[bytes],
    labels: list[int],
    key: str,
    found: Any,
    words: str,
) -> None:
    write_bin(tmp_path / "a.bin", images, labels)
    (report,) = _info(zoo, "a.bin", code=1)
    if isinstance(found, dict):
        assert {slot: why[:12] for slot, why in report[key].items()} == found
    else:
        assert report[key] == found
    assert words in " ".join(report["problems"])
    assert len(report["problems"]) == 1
    text = zoo("bins", "info", "a.bin")
    assert f"problem: {report['problems'][0]}" in text.out
    assert text.code == 1


def test_slots_that_are_no_images_are_listed_not_raised(zoo: Zoo, tmp_path: Path) -> None:
    images = [A, B, b"text", C, None, D, A, C]
    (tmp_path / "a.bin").write_bytes(pickle.dumps((images, [True, False, True, False])))
    (report,) = _info(zoo, "a.bin", code=1)
    assert report["undecodable"] == {
        "2": "is no JPEG, PNG, BMP, WebP, GIF, TIFF or AVIF: it starts with b'text'",
        "4": "is None, not the bytes of an image file",
    }


def test_a_repeated_pair_is_a_note_and_exits_0(zoo: Zoo, tmp_path: Path) -> None:
    write_bin(tmp_path / "a.bin", [A, B, C, D, B, A], [1, 0, 1])
    (report,) = _info(zoo, "a.bin", code=0)
    assert report["repeated"] == [[0, 2]]
    assert "1 pairs are repeated and count again: 2" in report["notes"]


def test_a_fold_of_one_label_is_a_problem(zoo: Zoo, tmp_path: Path) -> None:
    images = [png(face(i, 0)) for i in range(40)]
    write_bin(tmp_path / "a.bin", images, [1] * 10 + [0] * 10)
    (report,) = _info(zoo, "a.bin", code=1)
    assert report["folds"] == [[2, 0]] * 5 + [[0, 2]] * 5
    assert "a tenth of the pairs has one label only" in report["problems"][0]


def test_folds_are_the_parts_of_kfold(tmp_path: Path) -> None:
    from sklearn.model_selection import KFold

    labels = np.random.default_rng(0).random(43) < 0.5
    write_bin(tmp_path / "a.bin", [png(face(i, 0)) for i in range(86)], labels)
    expected = [
        [int(labels[part].sum()), int((~labels[part]).sum())] for _, part in KFold(10).split(labels)
    ]
    assert inspect_bin(tmp_path / "a.bin").folds == expected


def test_the_pairs_file_tells_the_people(zoo: Zoo, tmp_path: Path) -> None:
    root = write_people(tmp_path / "f", {f"p{i}": 3 for i in range(20)})
    zoo("bins", "make", "a.bin", root)
    assert _info(zoo, "a.bin", code=0)[0]["people"] == {"count": 20, "in_several_folds": 0}
    assert "20, each in one fold" in zoo("bins", "info", "a.bin").out
    write_pairs(tmp_path / "a.bin")
    assert "are not the 60 of the bin" in _info(zoo, "a.bin", code=1)[0]["problems"][0]


def test_the_shared_bins_are_known(zoo: Zoo, shared: Path) -> None:
    paths = [shared / "bins/lfw_devtest.bin", shared / "bins/small_lfw.bin"]
    devtest, small = _info(zoo, *paths, code=1)  # small_lfw.bin has no impostor pairs
    assert devtest["known"].startswith("lfw_devtest.bin")
    assert "small_lfw.bin" in small["known"]
    assert set(OTHERS) == {hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    assert (devtest["unique_images"], small["unique_images"]) == (1549, 17)
    assert devtest["folds"] == [[50, 50]] * 10
    assert devtest["problems"] == devtest["notes"] == []
    assert small["problems"] == ["no impostor pairs: accuracy and every error rate are undefined"]


def test_one_bin_that_cannot_be_read_leaves_the_others_reported(zoo: Zoo, tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.bin")
    (tmp_path / "b.bin").write_bytes(b"no bin")
    done = zoo("bins", "info", "b.bin", "a.bin", "--json")
    assert done.code == 2
    assert [report["name"] for report in json.loads(done.out)] == ["a"]
    assert len(done.error_lines) == 1
    assert zoo("bins", "info", "b.bin").code == 2


def test_a_bin_is_found_by_name_where_evaluations_find_it(zoo: Zoo) -> None:
    Path("datasets").mkdir()
    write_pairs(Path("datasets/own.bin"))
    for name in ("own", "own.bin"):
        (report,) = _info(zoo, name, code=0)
        assert report["path"] == "datasets/own.bin"
    assert zoo("bins", "info", "own", "--faces", "own.png").code == 0
    missed = zoo("bins", "info", "owm")
    assert missed.code == 2
    assert "in datasets, .; did you mean 'own'? there is: own" in missed.err


@pytest.mark.parametrize("suffix", ["bin", "npz", "h5"])
def test_a_container_has_the_same_report(zoo: Zoo, tmp_path: Path, suffix: str) -> None:
    made = read_bin(write_pairs(tmp_path / "a.bin"))
    write = write_hdf5_bin if suffix == "h5" else write_bin
    write(tmp_path / f"b.{suffix}", made.images, made.genuine)
    (one,), (two,) = _info(zoo, "a.bin", code=0), _info(zoo, f"b.{suffix}", code=0)
    own = ("path", "name", "sha256", "layout", "bytes")
    assert {k: v for k, v in one.items() if k not in own} == {
        k: v for k, v in two.items() if k not in own
    }
    assert two["layout"] == {"bin": "pickle", "npz": "npz", "h5": "hdf5"}[suffix]


def test_the_table_fits_in_80_columns(zoo: Zoo, tmp_path: Path, shared: Path) -> None:
    shutil.copy(shared / "bins/lfw_devtest.bin", tmp_path)
    lines = zoo("bins", "info", "lfw_devtest.bin").out.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 93  # the known bin's line is the longest
    assert sum(len(line.rstrip()) > 80 for line in lines) <= 2


def test_the_contact_sheet_shows_pairs_of_both_labels(zoo: Zoo, tmp_path: Path) -> None:
    write_bin(tmp_path / "a.bin", [A, B, TORN, C], [1, 0])
    done = zoo("bins", "info", "a.bin", "--faces", "a.png")
    assert "a.png: 2 of 2 pairs" in done.err
    sheet = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    colors = {tuple(color) for color in sheet.reshape(-1, 3).tolist()}
    assert {(0, 0x72, 0xB2), (0xD5, 0x5E, 0)} <= colors  # blue and orange frames
    # Pair 0's first image, enlarged, stands inside its frame.
    big = Image.open(__import__("io").BytesIO(A)).resize((96, 96), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(sheet[33 : 33 + 96, 13 : 13 + 96], np.asarray(big))


def test_the_contact_sheet_goes_with_one_bin(zoo: Zoo, tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.bin")
    done = zoo("bins", "info", "a.bin", "a.bin", "--faces", "a.png")
    assert (done.code, done.out) == (2, "")
    assert "--faces a.png: goes with one bin" in done.err


def test_help_and_work_on_bins_load_no_tensorflow(tmp_path: Path) -> None:
    write_pairs(tmp_path / "a.bin")
    code = (
        "import sys; from zoo.cli import run; code = run(sys.argv[1:]);"
        "sys.exit(code + 10 * bool({'tensorflow', 'keras', 'mtcnn'} & set(sys.modules)))"
    )
    for arguments in (
        ["bins", "--help"],
        ["bins", "make", "--help"],
        ["align", "--help"],
        ["bins", "info", "a.bin"],
        ["bins", "convert", "a.bin", "b.npz"],
    ):
        done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, check=False)
        assert done.returncode == 0, arguments
