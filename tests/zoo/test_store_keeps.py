"""What storing a result may remove: what that result wrote itself, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from samples import Zoo
from stores import cosines, store

from evaluator.results.store import load_result

RESULTS = Path("results")
HOURS_AGO = 10_000


def everything_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_store_that_names_a_foreign_file_keeps_it(zoo: Zoo, shared: Path) -> None:
    case = shared / "cases" / "security"
    shutil.copytree(case / "store_names_a_foreign_file", "copy", copy_function=shutil.copyfile)
    shutil.copyfile(case / "s.csv", "s.csv")
    # The list of pairs is the bin now: the case's result stands where today's will be.
    assert zoo("eval", "--scores", "s.csv", "--name", "A", "--results", "results").code == 0
    (path,) = RESULTS.glob("*/*.json")
    hostile = json.loads(Path("copy/A-35ca74fe/s-d9de9fe9.json").read_text())
    record = json.loads(path.read_text())["bin"]
    own = Path("copy", *path.parts[1:])
    own.write_text(json.dumps({**hostile, "bin": record}))
    before = everything_in(Path("copy"))
    done = zoo("eval", "--scores", "s.csv", "--name", "A", "--results", "copy")
    assert done.code == 0, done.err
    after = everything_in(Path("copy"))
    (measured,) = (name for name in before if after[name] != before[name])
    assert measured == own.relative_to("copy").as_posix()
    assert set(before) <= set(after)


def names(path: Path) -> list[str]:
    """Names of scores that a stored result could give, none of them its own file."""
    other = load_result(path.with_name(path.name.replace("lfw", "cfp"))).scores or ""
    return [
        path.name.replace("lfw", "cfp"),
        other,
        f"../{path.parent.name}/{other}",
        str(path.with_name(other).absolute()),
        f"{path.stem}.0123456789ab.h5",
        f"{path.stem}.aaaaaaaaaaaa.h5",
        f"{path.stem}.bbbbbbbbbbbb.h5/../{other}",
        ".",
        "",
    ]


@pytest.mark.parametrize("number", range(9))
def test_nothing_that_a_result_merely_names_is_removed(tmp_path: Path, number: int) -> None:
    from stores import sha

    store(tmp_path, "a", cosines(40, noise=1, seed=1), bin="cfp", bin_hash=sha("lfw"))
    path = store(tmp_path, "a", cosines(40, noise=1, seed=1), bin="lfw")
    path.with_name(f"{path.stem}.0123456789ab.h5").symlink_to(path.with_name("linked.h5"))
    path.with_name("linked.h5").write_text("kept")
    path.with_name(f"{path.stem}.aaaaaaaaaaaa.h5").mkdir()
    name = names(path)[number]
    own = path.with_name(load_result(path).scores or "")
    path.write_text(json.dumps({**json.loads(path.read_text()), "scores": name}))
    before = {each.name for each in path.parent.iterdir()}
    store(tmp_path, "a", cosines(40, noise=1, seed=2), bin="lfw")
    after = {each.name for each in path.parent.iterdir()}
    assert before <= after
    assert len(after) == len(before) + 1
    assert own.is_file()  # nobody names it any more; it goes when it is an hour old


def test_only_leftovers_of_this_very_result_are_removed(tmp_path: Path) -> None:
    path = store(tmp_path, "a", cosines(40, noise=1, seed=1))
    stem = path.stem
    kept = [
        "notes.json",
        ".notes.json.abcdefgh",
        ".other-00000000.json.abcdefgh",
        f"other-00000000.{'a' * 12}.h5",
        f"{stem}.raw.{'a' * 12}.h5",
        f".{stem}.json.short",
        ".notes.json.0123abcd.part.json",
        f"{stem}.{'g' * 12}.h5",
    ]
    gone = [
        f".{stem}.json.abcdefgh",
        f".{stem}.json.0123abcd.part.json",
        f".{stem}.{'a' * 12}.h5.0123abcd.part.h5",
        f".{stem}.{'a' * 12}.h5.a_b_c_d1",
        f"{stem}.{'a' * 12}.h5",
    ]
    for name in (*kept, *gone):
        path.with_name(name).write_text("")
        os.utime(path.with_name(name), (HOURS_AGO, HOURS_AGO))
    path.with_name(f"{stem}.{'b' * 12}.h5").symlink_to("notes.json")
    store(tmp_path, "a", cosines(40, noise=1, seed=2))
    left = {each.name for each in path.parent.iterdir()}
    assert set(kept) <= left
    assert f"{stem}.{'b' * 12}.h5" in left
    assert not set(gone) & left


def test_a_long_name_is_found_again_among_leftovers(tmp_path: Path) -> None:
    for length in (60, 66, 75, 79, 90):
        name = "n" * length
        path = store(tmp_path, "a", cosines(40, noise=1, seed=1), bin=name)
        scores = f"{path.stem}.{'a' * 12}.h5"
        for each in (path.name, scores):
            for end in ("abcdefgh", f"0123abcd.part{Path(each).suffix}"):
                left = path.with_name(f".{each[:80]}.{end}")
                left.write_text("")
                os.utime(left, (HOURS_AGO, HOURS_AGO))
        store(tmp_path, "a", cosines(40, noise=1, seed=2), bin=name)
        assert not list(path.parent.glob(".*"))
