"""`zoo data`, on files, through the commands as a user types them."""

import json
import shutil
from pathlib import Path

import pytest

from tests.command import ROOT, Zoo, ended, started

# Commands, as JSON; what they loaded is looked at after the last.
RUNNER = """
import json, sys
from zoo.cli import run
codes = [run(["data", *each]) for each in json.loads(sys.argv[1])]
heavy = {"numpy", "tensorflow", "keras", "PIL"} & set(sys.modules)
print("HEAVY", *sorted(heavy), file=sys.stderr)
sys.exit(max(codes))
"""


def fresh(*commands: list[str | Path]) -> tuple[str, str, set[str]]:
    """What commands in one new process print on both streams, and which heavy packages it loads."""
    asked = json.dumps([[*map(str, each)] for each in commands])
    done = ended(started(asked, cwd=ROOT, code=RUNNER, COLUMNS="80"))
    assert done.code == 0, done.out + done.err
    said, _, heavy = done.err.rpartition("HEAVY")
    return done.out, said, set(heavy.split())


def faces(root: Path, *names: str) -> Path:
    """Two images for each of these people."""
    from PIL import Image

    for value, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (8, 6), (40 * value, number, 7)).save(root / name / f"{number}.jpg")
    return root


def test_help_loads_nothing_heavy() -> None:
    asked = [[*command, "--help"] for command in ([], ["info"], ["unpack"], ["pack"])]
    stdout, _, heavy = fresh(*asked)
    assert stdout.count("Usage") == len(asked)
    assert heavy == set()


def test_info_unpack_and_pack_load_no_tensorflow(tmp_path: Path) -> None:
    root = faces(tmp_path / "f", "ann", "bob")
    loaded = fresh(
        ["pack", root, tmp_path / "rec"],
        ["unpack", tmp_path / "rec", tmp_path / "out"],
        ["info", tmp_path / "rec", "--check"],
    )[2]
    assert not loaded & {"tensorflow", "keras"}


def test_a_folder_survives_the_way_through_records(zoo: Zoo, tmp_path: Path) -> None:
    root = faces(tmp_path / "f", "69003070", "Zoë", "ann")
    done = zoo("data", "pack", root, tmp_path / "rec")
    assert "6 images of 3 people, read back and equal" in done.out
    assert (done.code, done.err) == (0, "")
    assert zoo("data", "unpack", tmp_path / "rec/train.rec", tmp_path / "out").code == 0
    for person in root.iterdir():
        ours = [file.read_bytes() for file in sorted((tmp_path / "out" / person.name).iterdir())]
        assert ours == [file.read_bytes() for file in sorted(person.iterdir())]
    again = zoo("data", "pack", root, tmp_path / "rec")
    assert "6 of them were there already" in again.out


@pytest.mark.slow
def test_pack_to_tfrecord_counts_the_classes(zoo: Zoo, tmp_path: Path) -> None:
    root = faces(tmp_path / "f", "69003070", "bob")
    said = fresh(["pack", root, tmp_path / "tf", "--to", "tfrecord", "--shards", "2"])[1]
    assert said == ""  # TensorFlow has its notes on CUDA and oneDNN at every start
    done = zoo("data", "info", tmp_path / "tf", "--json", "--check")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert (found["kind"], found["images"], found["people"]) == ("tfrecord", 4, 2)
    assert found["details"]["shards"] == 2
    assert zoo("data", "pack", tmp_path / "tf", tmp_path / "again").code == 2


def test_info_of_mxnets_file(zoo: Zoo, shared: Path) -> None:
    done = zoo("data", "info", shared / "records")
    rows = [" ".join(line.split()) for line in done.out.splitlines()]
    assert {"images 732", "people 120 (numbers, no names)", "layout insightface"} <= set(rows)
    assert (done.code, done.err) == (0, "")
    found = json.loads(zoo("data", "info", shared / "records/train.rec", "--json", "--check").out)
    assert found["images_per_person"] == {"min": 3, "median": 4.0, "max": 20}
    assert found["sizes"] == {"112x112": 732}
    assert found["formats"] == {"jpeg": 732}
    assert found["problems"] == []


def test_info_with_problems_exits_1(zoo: Zoo, shared: Path, tmp_path: Path) -> None:
    shutil.copy(shared / "records/train.rec", tmp_path)
    (tmp_path / "property").write_text("69003071,112,112\n")
    done = zoo("data", "info", tmp_path)
    assert done.code == 1
    assert "problem: property says 69003071 people, found 120" in done.out
    assert "rebuilt by a scan" in done.out


def test_a_long_path_stays_on_its_line_in_a_pipe(zoo: Zoo, tmp_path: Path) -> None:
    root = faces(tmp_path / ("long" * 50), "ann", "bob")
    done = zoo("data", "info", root)
    assert str(root) in done.out
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "gone"], "No such file"),
        (["info", "gone.rec"], "No such file"),
        (["info", "text.txt"], "text.txt: expected a .rec or .tfrecord file or a folder"),
        (["info", "text.rec"], "record 0 at byte 0: expected the magic"),
        (["info", "empty"], "empty: expected one folder a person, found no folder at all"),
        (["unpack", "f", "out"], "f: expected a .rec file or a folder that holds one"),
        (["pack", "one", "out"], "found only 'ann'"),
        (["pack", "f", "out.rec"], "expected the folder to make"),
        (["pack", "f", "out", "--shards", "2"], "--shards: goes with --to tfrecord"),
        (["pack", "f", "empty/../f"], "expected a new or empty folder"),
        (["info", "two"], "expected one .rec file, found a.rec, b.rec"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, zoo: Zoo, tmp_path: Path
) -> None:
    faces(tmp_path / "f", "ann", "bob")
    faces(tmp_path / "one", "ann")
    (tmp_path / "empty").mkdir()
    (tmp_path / "two").mkdir()
    for name in ("text.txt", "text.rec", "two/a.rec", "two/b.rec"):
        (tmp_path / name).write_text("not this")
    done = zoo("data", *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
