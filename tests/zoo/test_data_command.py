"""`zoo data`, on files, through the commands as a user types them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# The contract of zoo.cli: a user's mistake and the system's errors become exit code 2.
RUNNER = """
import sys
from evaluator.errors import InputError
from zoo.commands.data import app
try:
    code = app(sys.argv[1:], standalone_mode=False)
except (InputError, OSError) as error:
    sys.exit((print(error, file=sys.stderr), 2)[1])
finally:
    heavy = {"numpy", "tensorflow", "keras", "PIL"} & set(sys.modules)
    print("HEAVY", *sorted(heavy), file=sys.stderr)
sys.exit(code or 0)
"""


def zoo_data(*arguments: str | Path, code: int = 0) -> tuple[str, str, set[str]]:
    """What the command prints to stdout and stderr, and which heavy packages it loaded."""
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "COLUMNS": "80"},
    )
    assert done.returncode == code, done.stdout + done.stderr
    stderr, _, heavy = done.stderr.rpartition("HEAVY")
    return done.stdout, stderr, set(heavy.split())


def faces(root: Path, *names: str) -> Path:
    """Two images for each of these people."""
    from PIL import Image

    for value, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (8, 6), (40 * value, number, 7)).save(root / name / f"{number}.jpg")
    return root


def test_help_loads_nothing_heavy() -> None:
    for command in ([], ["info"], ["unpack"], ["pack"]):
        stdout, _, heavy = zoo_data(*command, "--help")
        assert "Usage" in stdout
        assert heavy == set()


def test_info_unpack_and_pack_load_no_tensorflow(tmp_path: Path) -> None:
    root = faces(tmp_path / "f", "ann", "bob")
    for arguments in (
        ["pack", root, tmp_path / "rec"],
        ["unpack", tmp_path / "rec", tmp_path / "out"],
        ["info", tmp_path / "rec", "--check"],
    ):
        assert not zoo_data(*arguments)[2] & {"tensorflow", "keras"}


def test_a_folder_survives_the_way_through_records(tmp_path: Path) -> None:
    root = faces(tmp_path / "f", "69003070", "Zoë", "ann")
    stdout, stderr, _ = zoo_data("pack", root, tmp_path / "rec")
    assert "6 images of 3 people, read back and equal" in stdout
    assert stderr == ""
    zoo_data("unpack", tmp_path / "rec/train.rec", tmp_path / "out")
    for person in root.iterdir():
        ours = [file.read_bytes() for file in sorted((tmp_path / "out" / person.name).iterdir())]
        assert ours == [file.read_bytes() for file in sorted(person.iterdir())]
    again = zoo_data("pack", root, tmp_path / "rec")[0]
    assert "6 of them were there already" in again


@pytest.mark.slow
def test_pack_to_tfrecord_counts_the_classes(tmp_path: Path) -> None:
    root = faces(tmp_path / "f", "69003070", "bob")
    said = zoo_data("pack", root, tmp_path / "tf", "--to", "tfrecord", "--shards", "2")[1]
    assert said == ""  # TensorFlow has its notes on CUDA and oneDNN at every start
    out, said, _ = zoo_data("info", tmp_path / "tf", "--json", "--check")
    assert said == ""
    found = json.loads(out)
    assert (found["kind"], found["images"], found["people"]) == ("tfrecord", 4, 2)
    assert found["details"]["shards"] == 2
    zoo_data("pack", tmp_path / "tf", tmp_path / "again", code=2)


def test_info_of_mxnets_file(shared: Path) -> None:
    stdout, stderr, _ = zoo_data("info", shared / "records")
    rows = [" ".join(line.split()) for line in stdout.splitlines()]
    assert {"images 732", "people 120 (numbers, no names)", "layout insightface"} <= set(rows)
    assert stderr == ""
    found = json.loads(zoo_data("info", shared / "records/train.rec", "--json", "--check")[0])
    assert found["images_per_person"] == {"min": 3, "median": 4.0, "max": 20}
    assert found["sizes"] == {"112x112": 732}
    assert found["formats"] == {"jpeg": 732}
    assert found["problems"] == []


def test_info_with_problems_exits_1(shared: Path, tmp_path: Path) -> None:
    shutil.copy(shared / "records/train.rec", tmp_path)
    (tmp_path / "property").write_text("69003071,112,112\n")
    stdout = zoo_data("info", tmp_path, code=1)[0]
    assert "problem: property says 69003071 people, found 120" in stdout
    assert "rebuilt by a scan" in stdout


def test_a_long_path_stays_on_its_line_in_a_pipe(tmp_path: Path) -> None:
    root = faces(tmp_path / ("long" * 50), "ann", "bob")
    stdout, stderr, _ = zoo_data("info", root)
    assert str(root) in stdout
    assert stderr == ""


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
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    faces(tmp_path / "f", "ann", "bob")
    faces(tmp_path / "one", "ann")
    (tmp_path / "empty").mkdir()
    (tmp_path / "two").mkdir()
    for name in ("text.txt", "text.rec", "two/a.rec", "two/b.rec"):
        (tmp_path / name).write_text("not this")
    stdout, stderr, _ = zoo_data(*arguments, code=2)
    assert stdout == ""
    assert message in stderr
    assert len(stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
