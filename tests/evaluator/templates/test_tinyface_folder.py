"""TinyFace: three folders, with MATLAB's lists and without, which anyone may have made."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import loadmat, savemat
from template_samples import jpeg, write_images

from evaluator.bins.mat_file import read_mat
from evaluator.errors import BinError
from evaluator.templates.image_files import template_image
from evaluator.templates.layouts import layout_of, read_template_set
from evaluator.templates.template_set import NOBODY

GALLERY = ["10_1.jpg", "10_2.jpg", "9_1.jpg"]
PROBE = ["10_3.jpg", "9_2.jpg", "9_3.jpg", "33_1.jpg"]
DISTRACTORS = ["a.jpg", "b.jpg"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    testing = tmp_path / "tinyface" / "Testing_Set"
    write_images(testing / "Gallery_Match", GALLERY)
    write_images(testing / "Probe", PROBE)
    write_images(testing / "Gallery_Distractor", DISTRACTORS)
    return tmp_path / "tinyface"


def cells(names: list[str]) -> np.ndarray:
    made = np.empty((len(names), 1), object)
    made[:, 0] = names
    return made


def write_mats(
    root: Path,
    *,
    gallery: list[str] = GALLERY,
    probe: list[str] = PROBE,
    dtype: str = "f8",
    packed: bool = True,
) -> None:
    for file, key, names in (("gallery_match", "gallery", gallery), ("probe", "probe", probe)):
        ids = np.array([[int(name.partition("_")[0])] for name in names], dtype)
        values = {f"{key}_set": cells(names), f"{key}_ids": ids}
        path = root / "Testing_Set" / f"{file}_img_ID_pairs.mat"
        savemat(path, values, do_compression=packed)


def test_names_tell_who_is_who(root: Path) -> None:
    assert layout_of(root) == layout_of(root / "Testing_Set") == "tinyface"
    found = read_template_set(root)
    assert (found.name, found.kind) == ("tinyface", "tinyface")
    assert found.images == (
        *(f"Gallery_Match/{name}" for name in GALLERY),
        *(f"Probe/{name}" for name in sorted(PROBE)),
        "Gallery_Distractor/a.jpg",
        "Gallery_Distractor/b.jpg",
    )
    assert found.template.tolist() == found.media.tolist() == list(range(9))
    assert found.person.tolist() == [1, 1, 0, 1, 2, 0, 0, NOBODY, NOBODY]
    (gallery,) = found.galleries
    assert gallery.templates.tolist() == [0, 1, 2, 7, 8]
    assert found.probes.tolist() == [3, 4, 5, 6]
    assert found.pairs is found.points is found.detector_scores is None
    assert template_image(found, 0).shape == (12, 10, 3)  # as it is: there are no points


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dtype", ["f8", "f4", "u2", "i4", "u1", "i8", ">f8"])
def test_matlabs_lists_are_read_as_scipy_reads_them(root: Path, packed: bool, dtype: str) -> None:
    write_mats(root, dtype=dtype, packed=packed)
    path = root / "Testing_Set" / "probe_img_ID_pairs.mat"
    values, theirs = read_mat(path, path.read_bytes()), loadmat(path)
    assert values["probe_set"].values == [row[0].item() for row in theirs["probe_set"]] == PROBE
    assert np.array_equal(values["probe_ids"], theirs["probe_ids"].ravel())


def test_a_list_gives_order_and_people(root: Path) -> None:
    write_mats(root, gallery=GALLERY[::-1])
    found = read_template_set(root)
    assert found.images[:3] == tuple(f"Gallery_Match/{name}" for name in GALLERY[::-1])
    assert found.person[:7].tolist() == [0, 1, 1, 1, 0, 0, 2]


@pytest.mark.parametrize("packed", [True, False])
def test_short_names_and_values_are_read(tmp_path: Path, packed: bool) -> None:
    # Of up to four bytes, which the format puts beside their length.
    written = {
        "n": cells(["a", "bc", ""]),
        "ids": np.array([7], "u1"),
        "two": np.array([1, 2], "u2"),
    }
    savemat(tmp_path / "a.mat", written, do_compression=packed)
    values = read_mat(tmp_path / "a.mat", (tmp_path / "a.mat").read_bytes())
    assert values["n"].values == ["a", "bc", ""]
    assert list(values["ids"]) == [7]
    assert list(values["two"]) == [1, 2]


def test_texts_of_other_alphabets_are_read(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"names": cells(["Zoë.jpg", "顔.jpg", "x"]), "s": {"deep": 1}})
    values = read_mat(tmp_path / "a.mat", (tmp_path / "a.mat").read_bytes())
    assert values["names"].values == ["Zoë.jpg", "顔.jpg", "x"]
    assert [list(each) for each in values["s"].values] == [[1]]


@pytest.mark.parametrize(
    ("gallery", "probe", "words"),
    [
        (["10_1.jpg", "10_/../../x"], PROBE, "line 2: expected the name of an image below"),
        (["10_1.jpg", "10_1.jpg"], PROBE, "row 2: the image 10_1.jpg stands in row 1 too"),
        (["10_1.jpg", "10_9.jpg"], PROBE, "row 2: names 10_9.jpg, which is not in"),
        (GALLERY, ["33_1.jpg"], "no probe has a mate"),
        (GALLERY, ["-1_1.jpg"], "row 1: expected a whole number of a person, found -1.0"),
    ],
)
def test_what_is_wrong_in_a_list_is_named(
    root: Path, gallery: list[str], probe: list[str], words: str
) -> None:
    write_mats(root, gallery=gallery, probe=probe)
    with pytest.raises(BinError) as caught:
        read_template_set(root)
    assert words in str(caught.value)


def test_one_list_alone_is_refused(root: Path) -> None:
    write_mats(root)
    (root / "Testing_Set" / "probe_img_ID_pairs.mat").unlink()
    with pytest.raises(BinError, match=r"probe_img_ID_pairs.mat: is not there"):
        read_template_set(root)


def test_a_name_without_a_person_is_refused(root: Path) -> None:
    (root / "Testing_Set" / "Probe" / "face.jpg").write_bytes(jpeg(3))
    with pytest.raises(BinError, match=r"Probe/face.jpg: expected a name that begins with"):
        read_template_set(root)


def test_cached_embeddings_need_no_image(root: Path, tmp_path: Path) -> None:
    write_mats(root)
    whole = read_template_set(root)
    bare = tmp_path / "bare" / "Testing_Set"
    bare.mkdir(parents=True)
    for path in (root / "Testing_Set").glob("*.mat"):
        path.rename(bare / path.name)
    found = read_template_set(bare.parent, embeddings_names=whole.images)
    assert found.images == whole.images
    assert found.person.tolist() == whole.person.tolist()
    assert found.folder is None
    assert found.sha256 != whole.sha256
    with pytest.raises(BinError, match=r"row 1: names 10_1.jpg, which is not in"):
        read_template_set(bare.parent)
    with pytest.raises(BinError, match="the name of an image below the folder"):
        read_template_set(bare.parent, embeddings_names=["Gallery_Distractor/../../x"])


def test_the_hash_is_of_the_images_too(root: Path) -> None:
    before = read_template_set(root).sha256
    (root / "Testing_Set" / "Gallery_Distractor" / "b.jpg").write_bytes(jpeg(99))
    assert read_template_set(root).sha256 != before


def test_a_file_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    packed = zlib.compress(bytes(2**27), 9)
    header = b" " * 124 + struct.pack("<H", 0x0100) + b"IM"
    data = header + struct.pack("<II", 15, len(packed)) + packed
    assert len(data) < 2**18
    with pytest.raises(BinError, match="unpacks to more than 67,108,864 bytes"):
        read_mat(Path("x.mat"), data)


def test_a_file_of_version_7_3_says_how_to_save_it() -> None:
    data = b"MATLAB 7.3 MAT-file".ljust(124) + struct.pack("<H", 0x0200) + b"IM" + b"\x89HDF"
    with pytest.raises(BinError, match="no MATLAB file of version 5 to 7; save it with"):
        read_mat(Path("x.mat"), data)


def mat_bytes(folder: Path, *, packed: bool) -> bytes:
    values = {"probe_set": cells(PROBE), "probe_ids": np.array([[10], [9], [9], [33]], "u2")}
    savemat(folder / "x.mat", values, do_compression=packed)
    return (folder / "x.mat").read_bytes()


@given(place=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.booleans())
def test_damaged_bytes_are_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int, cut: bool
) -> None:
    data = bytearray(mat_bytes(tmp_path_factory.mktemp("mat"), packed=False))
    place %= len(data)
    data[place:] = b"" if cut else bytes([value]) + data[place + 1 :]
    try:
        found = read_mat(Path("x.mat"), bytes(data))
    except BinError as error:
        message = str(error)
        assert "MATLAB file" in message
    else:
        assert len(found) <= 2
