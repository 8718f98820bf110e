"""`zoo bins fetch`: public data sets out of scikit-learn's folder."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from samples import Zoo

from evaluator.bins.pairs_file import read_people
from evaluator.bins.verification_set import read_bin
from evaluator.images.alignment import TEMPLATE
from evaluator.images.decode import decode_image
from zoo.align.landmarks import Row, write_landmarks

PEOPLE = ("Al_Gore", "Bill_Gates", "Celine_Dion", "Colin_Powell")
PAIRS = (
    "2\t1\n"
    "Al_Gore\t1\t2\nAl_Gore\t1\tBill_Gates\t1\n"
    "Celine_Dion\t1\t2\nCeline_Dion\t2\tColin_Powell\t1\n"
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that scikit-learn keeps its data in."""
    folder = tmp_path / "home"
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(folder))
    return folder


def _funneled(shared: Path) -> dict[str, bytes]:
    """Two faces of each person in the middle of 250x250, as the funneled images are."""
    images = {}
    for person in PEOPLE:
        for number in (1, 2):
            name = f"{person}/{person}_{number:04d}.jpg"
            face = decode_image((shared / "faces/lfw_train" / name).read_bytes())
            buffer = io.BytesIO()
            canvas = np.pad(face, ((69, 69), (69, 69), (0, 0)), mode="edge")
            Image.fromarray(canvas).save(buffer, "JPEG", quality=95)
            images[name] = buffer.getvalue()
    return images


def _lfw_home(home: Path, images: dict[str, bytes], *, archive: bool) -> Path:
    folder = home / "lfw_home"
    folder.mkdir(parents=True)
    (folder / "pairs.txt").write_text(PAIRS)
    if archive:
        with tarfile.open(folder / "lfw-funneled.tgz", "w:gz") as tar:
            for name, data in images.items():
                member = tarfile.TarInfo(f"lfw_funneled/{name}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    else:
        for name, data in images.items():
            path = folder / "lfw_funneled" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return folder


def _landmarks(path: Path, names: list[str]) -> Path:
    # The shared faces lie almost on the template, 69 pixels in.
    write_landmarks(path, {name: Row(TEMPLATE + 69) for name in names})
    return path


@pytest.mark.parametrize("archive", [True, False])
def test_lfw_becomes_its_official_pairs_aligned(
    zoo: Zoo, tmp_path: Path, home: Path, shared: Path, archive: bool
) -> None:
    images = _funneled(shared)
    _lfw_home(home, images, archive=archive)
    csv = _landmarks(tmp_path / "marks.csv", list(images))
    for out in ("a.bin", "b.bin"):
        done = zoo("bins", "fetch", "lfw", "-o", out, "--landmarks", csv)
        assert done.code == 0, done.err
    assert (tmp_path / "a.bin").read_bytes() == (tmp_path / "b.bin").read_bytes()
    made = read_bin(tmp_path / "a.bin")
    assert made.genuine.tolist() == [True, False, True, False]
    # These landmarks make the alignment a shift: what lies 69 pixels in is the face.
    for slot, name in enumerate(
        [
            "Al_Gore/Al_Gore_0001",
            "Al_Gore/Al_Gore_0002",
            "Al_Gore/Al_Gore_0001",
            "Bill_Gates/Bill_Gates_0001",
        ]
    ):
        face = decode_image(images[f"{name}.jpg"])[69:181, 69:181]
        np.testing.assert_array_equal(decode_image(made.images[slot]), face)
    people = read_people(made)
    assert people is not None
    assert len(set(people[1].tolist())) == 4
    assert "4 pairs (2 genuine) in 2 folds" in done.out
    assert "made here: LFW's funneled photographs" in zoo("bins", "info", "b.bin").out


def test_a_face_not_found_is_the_centre_and_is_listed(
    zoo: Zoo, tmp_path: Path, home: Path, shared: Path
) -> None:
    images = _funneled(shared)
    _lfw_home(home, images, archive=True)
    csv = _landmarks(tmp_path / "marks.csv", [name for name in images if "Gates" not in name])
    done = zoo("bins", "fetch", "lfw", "-o", "a.bin", "--landmarks", csv)
    assert done.code == 0
    assert "no face found in Bill_Gates/Bill_Gates_0001.jpg: its centre is taken" in done.err
    square = Image.fromarray(decode_image(images["Bill_Gates/Bill_Gates_0001.jpg"])[50:200, 50:200])
    expected = np.asarray(square.resize((112, 112), Image.Resampling.BILINEAR))
    crop = decode_image(read_bin(tmp_path / "a.bin").images[3])
    np.testing.assert_array_equal(crop, expected)
    done = zoo("bins", "fetch", "lfw", "-o", "b.bin", "--landmarks", csv, "--missing", "fail")
    assert done.code == 2
    assert "no face found in 1 of 6 images: Bill_Gates/Bill_Gates_0001.jpg" in done.err
    done = zoo("bins", "fetch", "lfw", "-o", "c.bin", "--landmarks", csv, "--missing", "skip")
    assert done.code == 2  # its fold had one impostor pair only
    assert "a fold has no genuine or no impostor pair left" in done.err
    assert not (tmp_path / "c.bin").exists()


def test_an_archive_that_is_cut_or_lacks_an_image_is_named(
    zoo: Zoo, home: Path, shared: Path
) -> None:
    images = _funneled(shared)
    folder = _lfw_home(home, {n: d for n, d in images.items() if "Dion" not in n}, archive=True)
    done = zoo("bins", "fetch", "lfw", "-o", "a.bin")
    assert done.code == 2
    assert "2 of 6 images are not in it, the first lfw_funneled/Celine_Dion/Cel" in done.err
    archive = folder / "lfw-funneled.tgz"
    archive.write_bytes(archive.read_bytes()[:2000])
    assert "is no whole archive" in zoo("bins", "fetch", "lfw", "-o", "a.bin").err


def test_files_that_are_not_there_are_named_with_their_folder(zoo: Zoo, home: Path) -> None:
    done = zoo("bins", "fetch", "lfw", "--no-download")
    assert (done.code, done.out, len(done.error_lines)) == (2, "", 1)
    assert f"{home}/lfw_home: wants pairs.txt and lfw-funneled.tgz there" in done.err
    done = zoo("bins", "fetch", "olivetti", "--no-download")
    assert (done.code, done.out, len(done.error_lines)) == (2, "", 1)
    assert f"{home}: wants olivetti_py3.pkz there" in done.err


@pytest.mark.slow
@pytest.mark.parametrize(("name", "file"), [("lfw", "pairs.txt"), ("olivetti", "olivetti_py3.pkz")])
def test_without_a_network_the_error_is_one_line(
    tmp_path: Path, name: str, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "home"))
    for scheme in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(scheme, "http://127.0.0.1:9")  # nobody listens on the discard port
    done = subprocess.run(
        [sys.executable, "-m", "zoo", "bins", "fetch", name, "-o", tmp_path / "a.bin"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("zoo: error: ")]
    assert f"wants {file}" in line
    assert "Connection refused" in line
    assert "Traceback" not in done.stderr


def test_olivetti_becomes_ten_folds_of_four_people(
    zoo: Zoo, tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(shared / "scikit_learn_data"))
    for out in ("a.bin", "b.bin"):
        assert zoo("bins", "fetch", "olivetti", "-o", out).code == 0
    assert (tmp_path / "a.bin").read_bytes() == (tmp_path / "b.bin").read_bytes()
    made = read_bin(tmp_path / "a.bin")
    assert made.genuine.reshape(10, -1).sum(axis=1).tolist() == [180] * 10
    assert made.pairs == 3600
    people = read_people(made)
    assert people is not None
    folds = np.stack(people, axis=1).reshape(10, -1)
    assert [len(set(fold)) for fold in folds.tolist()] == [4] * 10
    assert len({person for fold in folds.tolist() for person in fold}) == 40
    # scikit-learn's floats are the 8-bit levels, stretched to [0, 1].
    from sklearn.datasets import fetch_olivetti_faces

    originals = fetch_olivetti_faces()
    images = {decode_image(image)[..., 0].tobytes() for image in set(made.images)}
    levels = np.rint(originals.images * 255).astype(np.uint8)
    assert images == {level.tobytes() for level in levels}
    assert zoo("bins", "info", "a.bin").code == 0


def test_an_unknown_data_set_is_one_line(zoo: Zoo, tmp_path: Path) -> None:
    done = zoo("bins", "fetch", "lwf")
    assert done.code == 2
    assert "did you mean 'lfw'?" in done.err
