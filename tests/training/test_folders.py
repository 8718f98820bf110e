"""Folders of faces: ids, conversion to and from records, resuming, and what is refused."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluator.errors import InputError
from training.data.convert.describe import describe
from training.data.convert.pack import pack_records
from training.data.convert.staging import staged
from training.data.convert.unpack import unpack
from training.data.sources.faces import faces_of_folder, faces_of_records, open_faces
from training.data.sources.folders import FolderError, contiguous_ids, open_folder
from training.data.sources.records import image_record, open_records


def people(root: Path, **images: int) -> Path:
    """A folder per person with so many small distinct JPEGs each."""
    from PIL import Image

    for value, (name, count) in enumerate(images.items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            image = Image.new("RGB", (8, 6), (40 * value % 256, number * 3 % 256, 7))
            image.save(root / name / f"{number:04d}.jpg")
    return root


def tree(root: Path) -> dict[str, bytes]:
    """Every file below root and its bytes."""
    return {
        str(file.relative_to(root)): file.read_bytes()
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Tests about permissions mean nothing to root."""
    if os.name == "nt":
        pytest.skip("permissions work otherwise on Windows")
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_numbers_in_folder_names_are_no_ids(tmp_path: Path) -> None:
    people(tmp_path / "f", **{"0069003070": 2, "m.0abc": 1, "n000002": 1, "69003070": 3})
    faces = open_faces(tmp_path / "f")
    assert faces.names == ("0069003070", "69003070", "m.0abc", "n000002")
    assert faces.labels.tolist() == [0, 0, 1, 1, 1, 2, 3]
    done = pack_records(faces, tmp_path / "rec")
    assert done.classes == 4
    assert (tmp_path / "rec/property").read_text() == "4,6,8\n"


def test_large_labels_in_records_are_so_many_classes_as_there_are_people(tmp_path: Path) -> None:
    jpeg = next(iter(tree(people(tmp_path / "f", a=1)).values()))
    rec = tmp_path / "train.rec"
    labels = [16_000_003, 5, 16_000_003, 9]
    rec.write_bytes(b"".join(image_record(key, x, jpeg) for key, x in enumerate(labels)))
    faces = faces_of_records(open_records(rec))
    assert faces.names == ("00000005", "00000009", "16000003")
    assert faces.labels.tolist() == [2, 0, 2, 1]
    assert any("labels run from 5 to 16000003 for 3 people" in p for p in describe(rec).problems)


def test_contiguous_ids_are_those_of_numpy_unique() -> None:
    ids, originals = contiguous_ids(np.array([69_003_070, -1, 5, 5]))
    assert ids.tolist() == [2, 0, 1, 1]
    assert originals.tolist() == [-1, 5, 69_003_070]


def test_names_are_in_code_point_order_and_any_name_will_do(tmp_path: Path) -> None:
    names = ["10", "9", "Zoë", "a b", "zoe", "Ångström", "李小龙"]
    people(tmp_path / "f", **dict.fromkeys(names, 1))
    folder = open_folder(tmp_path / "f")
    assert list(folder.names) == sorted(names)
    done = unpack(faces_of_folder(folder), tmp_path / "out")
    assert done.classes == 7
    assert json.loads((tmp_path / "out/manifest.json").read_text())["names"] == sorted(names)


def test_hidden_files_are_passed_over_and_others_counted(tmp_path: Path) -> None:
    root = people(tmp_path / "f", ann=2, bob=1)
    (root / "ann/.DS_Store").write_bytes(b"x")
    (root / ".git").mkdir()
    (root / "ann/notes.txt").write_text("x")
    (root / "bob/more").mkdir()
    (root / "readme.md").write_text("x")
    folder = open_folder(root)
    assert len(folder.files) == 3
    assert folder.ignored == ("readme.md", "ann/notes.txt", "bob/more")
    assert describe(root).details["ignored"] == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        ([], "found no folder at all"),
        (["1.jpg", "2.JPG"], "found 2 images directly in it"),
        (["ann/", "bob/1.jpg"], "none in 1 of 2: 'ann'"),
        (["ann/x/1.jpg"], "none in 1 of 1: 'ann'; name the folder below"),
        (["ann/1.jpg"], "at least 2 people, found only 'ann'"),
    ],
)
def test_a_folder_that_is_no_folder_of_people_is_refused(
    make: list[str], message: str, tmp_path: Path
) -> None:
    root = tmp_path / "f"
    root.mkdir()
    for name in make:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            (root / name).mkdir()
        else:
            (root / name).write_bytes(b"\xff\xd8\xff")
    with pytest.raises(FolderError, match=message):
        open_folder(root)


def test_an_unreadable_folder_is_the_systems_error(tmp_path: Path, unprivileged: None) -> None:
    root = tmp_path / "f"
    if os.geteuid() == 65534:  # pytest's own folders belong to root: one that is anybody's
        root = Path("/tmp") / f"zoo-unreadable-{os.getpid()}"
    people(root, ann=1, bob=1)
    (root / "bob").chmod(0)
    try:
        with pytest.raises(PermissionError, match="bob"):
            open_folder(root)
    finally:
        (root / "bob").chmod(0o700)
        shutil.rmtree(root)


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    root = people(tmp_path / "f", ann=1, bob=1)
    (root / "bob/9.jpg").write_bytes(b"<html>")
    for convert in (pack_records, unpack):
        with pytest.raises(InputError, match=r"9\.jpg: expected a JPEG.*3c 68 74 6d"):
            convert(open_faces(root), tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_an_image_of_another_size_is_named(tmp_path: Path) -> None:
    from PIL import Image

    root = people(tmp_path / "f", ann=1, bob=1)
    Image.new("L", (9, 9)).save(root / "bob/9.png")
    with pytest.raises(InputError, match=r"9\.png: expected 6x8 pixels.*found 9x9"):
        pack_records(open_faces(root), tmp_path / "out")


def test_unpacked_records_are_the_images_of_the_first_120_people(
    shared: Path, tmp_path: Path
) -> None:
    done = unpack(open_faces(shared / "records"), tmp_path / "out")
    first = sorted((shared / "faces/lfw_train").iterdir(), key=lambda person: person.name)[:120]
    unpacked = sorted(path for path in (tmp_path / "out").iterdir() if path.is_dir())
    assert (done.images, done.classes, len(unpacked)) == (732, 120, 120)
    for ours, theirs in zip(unpacked, first, strict=True):
        assert list(tree(ours).values()) == list(tree(theirs).values())


def test_packing_those_people_gives_the_file_that_mxnet_wrote(shared: Path, tmp_path: Path) -> None:
    first = sorted((shared / "faces/lfw_train").iterdir(), key=lambda person: person.name)[:120]
    (tmp_path / "f").mkdir()
    for person in first:
        (tmp_path / "f" / person.name).symlink_to(person.resolve())
    pack_records(open_faces(tmp_path / "f"), tmp_path / "rec")
    for name in ("train.rec", "train.idx", "property"):
        assert (tmp_path / "rec" / name).read_bytes() == (shared / "records" / name).read_bytes()
    assert open_faces(tmp_path / "rec").names == tuple(person.name for person in first)


def test_a_manifest_names_the_digest_that_hashlib_gives(tmp_path: Path) -> None:
    root = people(tmp_path / "f", ann=2, bob=3)
    images = list(tree(root).values())
    wanted = hashlib.sha256(b"".join(hashlib.sha256(image).digest() for image in images))
    unpack(open_faces(root), tmp_path / "out")
    pack_records(open_faces(root), tmp_path / "rec")
    for made in ("out", "rec"):
        manifest = json.loads((tmp_path / made / "manifest.json").read_text())
        assert manifest["images_sha256"] == wanted.hexdigest()
    rec = (tmp_path / "rec/train.rec").read_bytes()
    assert manifest["files"]["train.rec"] == {
        "bytes": len(rec),
        "sha256": hashlib.sha256(rec).hexdigest(),
    }


def test_people_that_do_not_lie_together_are_packed_together(tmp_path: Path) -> None:
    jpegs = list(tree(people(tmp_path / "f", a=5)).values())
    rec = tmp_path / "mixed.rec"
    labels = [1, 0, 1, 2, 0]
    rec.write_bytes(b"".join(image_record(i, x, jpegs[i]) for i, x in enumerate(labels)))
    pack_records(open_faces(rec), tmp_path / "out")
    packed = open_faces(tmp_path / "out")
    assert packed.labels.tolist() == [0, 0, 1, 1, 2]
    assert [bytes(packed.read(i)) for i in range(5)] == [jpegs[i] for i in (1, 4, 0, 2, 3)]
    assert describe(tmp_path / "out", check=True).problems == ()
    unpack(open_faces(rec), tmp_path / "unpacked")
    assert describe(tmp_path / "unpacked", check=True).problems == ()


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "", "..", "a\\b", "nul\0"])
def test_names_that_lead_out_of_the_folder_are_refused(name: str, tmp_path: Path) -> None:
    faces = open_faces(people(tmp_path / "f", ann=1, bob=1))
    with pytest.raises(InputError, match="names that can be folders"):
        unpack(replace(faces, names=("ok", name)), tmp_path / "out")


def test_foreign_files_are_left_alone_and_force_moves_them_aside(tmp_path: Path) -> None:
    faces = open_faces(people(tmp_path / "f", ann=1, bob=1))
    out = tmp_path / "out"
    for round_ in ("one", "two"):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        (out / "mine.txt").write_text(round_)
        with pytest.raises(InputError, match="new or empty folder"):
            unpack(faces, out)
        unpack(faces, out, force=True)
        assert not (out / "mine.txt").exists()
    assert (tmp_path / "out.old/mine.txt").read_text() == "one"
    assert (tmp_path / "out.old-2/mine.txt").read_text() == "two"


def test_a_finished_conversion_is_checked_and_not_repeated(tmp_path: Path) -> None:
    faces = open_faces(people(tmp_path / "f", ann=2, bob=1))
    pack_records(faces, tmp_path / "rec")
    unpack(faces, tmp_path / "out")
    before = (tmp_path / "rec/train.rec").stat()
    assert pack_records(faces, tmp_path / "rec").kept == 3
    assert unpack(faces, tmp_path / "out").kept == 3
    assert (tmp_path / "rec/train.rec").stat().st_ino == before.st_ino
    (tmp_path / "rec/train.idx").write_text("")
    with pytest.raises(InputError, match=r"train\.idx: expected it as an earlier run wrote it"):
        pack_records(faces, tmp_path / "rec")
    (tmp_path / "out/ann/00000001.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputError, match="what was written differs"):
        unpack(faces, tmp_path / "out")
    assert describe(tmp_path / "out", check=True).problems


def test_a_source_that_changes_during_a_run_is_noticed(tmp_path: Path) -> None:
    root = people(tmp_path / "f", ann=2, bob=1)
    faces, first = open_faces(root), root / "ann/0000.jpg"
    calls = 0

    def change(count: int) -> None:
        nonlocal calls
        calls += count
        if calls == 3:
            first.write_bytes(first.read_bytes() + b"more")

    with pytest.raises(InputError, match=r"0000\.jpg: what was written differs"):
        unpack(faces, tmp_path / "out", progress=change)
    assert not (tmp_path / "out").exists()


def test_another_conversion_half_done_is_not_mixed_in(tmp_path: Path) -> None:
    plan = {"to": "folder", "fingerprint": "another"}
    with contextlib.suppress(KeyError), staged(tmp_path / "out", plan) as stage:
        (stage / "left").write_text("behind")
        raise KeyError
    faces = open_faces(people(tmp_path / "f", ann=1, bob=1))
    unpack(faces, tmp_path / "out")
    assert not (tmp_path / "out/left").exists()


def test_a_folder_with_the_half_done_name_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    faces = open_faces(people(tmp_path / "f", ann=1, bob=1))
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial/mine").write_text("x")
    with pytest.raises(InputError, match="found other files"):
        unpack(faces, tmp_path / "out", force=True)
    assert (tmp_path / ".out.partial/mine").read_text() == "x"


@pytest.mark.skipif(sys.platform == "win32", reason="no folder locks on Windows")
def test_two_processes_do_not_build_the_same_folder(tmp_path: Path) -> None:
    with (
        staged(tmp_path / "out", {"a": 1}),
        pytest.raises(InputError, match="another process"),
        staged(tmp_path / "out", {"a": 1}),
    ):
        pass


SLOW_RUN = """
import sys, time
from pathlib import Path
from training.data.sources.faces import open_faces
from training.data.convert.{module} import {function}
def step(count):
    print("step", flush=True)
    time.sleep(0.005)
{function}(open_faces(Path(sys.argv[1])), Path(sys.argv[2]), progress=step)
"""


@pytest.mark.parametrize(("module", "function"), [("unpack", "unpack"), ("pack", "pack_records")])
def test_after_a_kill_the_next_run_goes_on(module: str, function: str, tmp_path: Path) -> None:
    root = people(tmp_path / "f", ann=200, bob=200, cyd=100)
    code = SLOW_RUN.format(module=module, function=function)
    for steps in (150, 300):
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(root), str(tmp_path / "out")],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        for _ in range(steps):
            assert child.stdout.readline() == "step\n"
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert not (tmp_path / "out").exists()
        assert (tmp_path / ".out.partial").is_dir()
    started = time.time()
    convert = {"unpack": unpack, "pack_records": pack_records}[function]
    done = convert(open_faces(root), tmp_path / "out")
    assert done.images == 500
    assert 100 <= done.kept < 500
    convert(open_faces(root), tmp_path / "fresh")
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")
    assert not (tmp_path / ".out.partial").exists()
    assert describe(tmp_path / "out", check=True).problems == ()
    old = [f for f in (tmp_path / "out").rglob("*.jpg") if f.stat().st_mtime < started]
    assert function != "unpack" or len(old) == done.kept


def test_a_torn_end_of_a_record_file_is_cut_off_before_going_on(tmp_path: Path) -> None:
    root = people(tmp_path / "f", ann=3, bob=4)
    pack_records(open_faces(root), tmp_path / "whole")
    data = (tmp_path / "whole/train.rec").read_bytes()
    plan = json.loads((tmp_path / "whole/manifest.json").read_text())["plan"]
    for size in [0, 2, 39, 40, 41, len(data) // 2, len(data) - 41, len(data) - 1, len(data)]:
        with contextlib.suppress(KeyError), staged(tmp_path / "out", plan) as stage:
            (stage / "train.rec.partial").write_bytes(data[:size])
            raise KeyError
        pack_records(open_faces(root), tmp_path / "out")
        assert (tmp_path / "out/train.rec").read_bytes() == data
        shutil.rmtree(tmp_path / "out")


def test_a_torn_image_in_a_half_done_folder_is_written_again(tmp_path: Path) -> None:
    faces = open_faces(people(tmp_path / "f", ann=1, bob=2))
    plan = {"to": "folder", "fingerprint": faces.fingerprint}
    with contextlib.suppress(KeyError), staged(tmp_path / "out", plan) as stage:
        (stage / "bob").mkdir()
        (stage / "bob/00000002.jpg").write_bytes(faces.read(1))
        (stage / "bob/00000003.jpg").write_bytes(faces.read(2)[:100])
        raise KeyError
    assert unpack(faces, tmp_path / "out").kept == 1
    assert (tmp_path / "out/bob/00000003.jpg").read_bytes() == faces.read(2)


def test_info_finds_a_property_and_ranges_that_do_not_fit(tmp_path: Path) -> None:
    pack_records(open_faces(people(tmp_path / "f", ann=2, bob=1)), tmp_path / "rec")
    rec = tmp_path / "rec/train.rec"
    assert describe(tmp_path / "rec", check=True).problems == ()
    (tmp_path / "rec/property").write_text("69003071,112,112\n")
    data = bytearray(rec.read_bytes())
    data[-8:] = struct.pack("<2f", 1, 3)  # bob's range, now over ann's images
    rec.write_bytes(data)
    problems = " | ".join(describe(rec).problems)
    assert "property says 69003071 people, found 2" in problems
    assert "property says 112x112, the first image is 6x8" in problems
    assert "ranges in insightface's records are not" in problems


def test_info_reports_a_first_record_that_is_no_image(tmp_path: Path) -> None:
    rec = tmp_path / "train.rec"
    rec.write_bytes(image_record(0, 0, b"no image"))
    (tmp_path / "property").write_text("1,112,112\n")
    (problem,) = describe(rec).problems
    assert "record 0: cannot be decoded" in problem


def test_info_with_check_names_what_cannot_be_decoded(tmp_path: Path) -> None:
    root = people(tmp_path / "f", ann=2, bob=1)
    cut = root / "ann/0001.jpg"
    cut.write_bytes(cut.read_bytes()[:200])
    assert describe(root).problems == ()
    (problem,) = describe(root, check=True).problems
    assert "0001.jpg: cannot be decoded" in problem


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "a JSON object"),
        ("{", "expected a manifest in JSON"),
        ('{"kind": "records"}', "expected 'images'"),
        (
            '{"kind": "x", "images": 1, "classes": 2, "names": ["a", "a"], "images_sha256": ""}',
            "distinct",
        ),
        (
            '{"kind": "x", "images": 1, "classes": 3, "names": ["a", "b"], "images_sha256": ""}',
            "says 3 classes, names 2",
        ),
        (
            '{"kind": "x", "images": 1, "classes": 1, "names": ["a"], "images_sha256": ""}',
            "names 1 people, but train.rec has 2 labels",
        ),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(text: str, message: str, tmp_path: Path) -> None:
    pack_records(open_faces(people(tmp_path / "f", ann=2, bob=1)), tmp_path / "rec")
    (tmp_path / "rec/manifest.json").write_text(text)
    with pytest.raises(InputError, match=message):
        open_faces(tmp_path / "rec")
