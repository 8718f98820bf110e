"""What is known of a bin's pairs, whenever it became known: people, by the bin's hash."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from samples import Zoo
from stores import store

import evaluator
from evaluator.bins.pairs_file import Pair, sidecar_path, write_sidecar
from evaluator.errors import ResultError
from evaluator.results import bin_facts
from evaluator.results.bin_facts import facts_path, keep_facts, known_people
from evaluator.results.record import Scores
from evaluator.results.store import load_result, load_scores, save_result

ROOT = Path(__file__).parents[2]
RESULTS = Path("results")
BIN = Path("own.bin")
PEOPLE, EACH = 40, 10
PAIRS = PEOPLE * EACH

# Ten pairs a person, whose scores move together: image numbers alone hide that.
LEFT = np.repeat(np.arange(PEOPLE), EACH)
GENUINE = np.arange(PAIRS) % 2 == 0


def numbered(right: NDArray[np.int64]) -> NDArray[np.int64]:
    """Slots of the pairs with these impostors, numbered without gaps as names are."""
    slots = np.column_stack([LEFT, np.where(GENUINE, LEFT, right)]).ravel()
    return np.unique(slots, return_inverse=True)[1].astype(np.int64).ravel()


SLOTS = numbered(PEOPLE + np.arange(PAIRS))
OTHERS = numbered(PEOPLE + np.arange(PAIRS) % 20)  # who are ten people, again and again


def results(folder: Path = RESULTS, people: NDArray[np.int64] | None = None) -> list[Path]:
    """The results of a and b on own.bin, which is written, too, stored with these people."""
    BIN.write_bytes(b"what it holds does not matter: results are stored, and its hash tells it")
    random = np.random.default_rng(0)
    shared = random.normal(size=PEOPLE)[LEFT]
    paths = []
    for name in "ab":
        values = np.tanh(GENUINE + 0.7 * (shared + random.normal(size=PAIRS)))
        paths.append(store(folder, name, values, bin="own", bin_hash=own_hash(), genuine=GENUINE))
        result = load_result(paths[-1])
        if people is not None:
            save_result(paths[-1], result, Scores(values, GENUINE, np.arange(2 * PAIRS), people))
    return paths


def own_hash() -> str:
    return hashlib.sha256(BIN.read_bytes()).hexdigest()


def facts() -> Path:
    return facts_path(RESULTS, own_hash())


def names(slots: NDArray[np.int64], pairs: int = PAIRS) -> list[Pair]:
    people = [f"{number:04}" for number in slots]
    return [
        Pair(
            f"{2 * i}.png", f"{2 * i + 1}.png", bool(GENUINE[i]), (people[2 * i], people[2 * i + 1])
        )
        for i in range(pairs)
    ]


def write_names(slots: NDArray[np.int64], pairs: int = PAIRS) -> Path:
    path = sidecar_path(BIN)
    write_sidecar(path, names(slots, pairs))
    return path


def answer(zoo: Zoo, folder: Path = RESULTS, models: str = "ab") -> Any:
    """All that compare says of a and b on the bin."""
    done = zoo("compare", *models, "--format", "json", "--results", folder)
    assert done.code == 0, done.err
    return json.loads(done.out)["comparisons"]


def people(path: Path) -> NDArray[np.int64] | None:
    return load_scores(path, load_result(path)).people


def test_people_added_later_count_as_if_known_at_once(zoo: Zoo) -> None:
    path, _ = results()
    before = answer(zoo)
    assert "people" not in before[0]["bins"][0]["basis"]
    results(Path("at-once"), SLOTS)
    known = answer(zoo, Path("at-once"))
    assert "people" in known[0]["bins"][0]["basis"]
    assert known[0]["overall"]["p_value"] != before[0]["overall"]["p_value"]
    write_names(SLOTS)
    scores_file = path.with_name(load_result(path).scores or "").read_bytes()
    assert answer(zoo) == known
    assert path.with_name(load_result(path).scores or "").read_bytes() == scores_file
    for each in (["leaderboard"], ["threshold", "a", "--far", "0.1"], ["report", "-o", "r.html"]):
        assert zoo(*each).code == 0


def test_people_stay_without_their_file_and_go_with_another(zoo: Zoo) -> None:
    results()
    beside = write_names(SLOTS)
    known = answer(zoo)
    assert facts().is_file()
    beside.unlink()
    assert answer(zoo) == known
    write_names(OTHERS)
    changed = answer(zoo)
    results(Path("at-once"), OTHERS)
    beside.unlink()
    assert changed == answer(zoo, Path("at-once")) != known
    write_sidecar(beside, [Pair(p.left, p.right, p.genuine) for p in names(SLOTS)])
    assert answer(zoo) == changed  # it names nobody


def test_what_stands_beside_another_bin_is_not_of_this_one(zoo: Zoo) -> None:
    results()
    before = answer(zoo)
    write_names(OTHERS)
    BIN.write_bytes(b"a bin made since")
    assert answer(zoo) == before
    BIN.unlink()
    assert answer(zoo) == before
    assert not list(RESULTS.glob("bin-*"))


@pytest.mark.parametrize("noted", [False, True])
def test_a_pairs_file_of_other_pairs_is_one_line(zoo: Zoo, noted: bool) -> None:
    results()
    if noted:
        write_names(SLOTS)
        answer(zoo)
    beside = write_names(SLOTS, PAIRS - 1)
    done = zoo("compare", "a", "b")
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert "own.pairs.csv: its 399 pairs are not the 400 of the bin" in line
    assert "its 399 pairs are not" in zoo("leaderboard").out
    beside.write_text("a,b\n")
    assert "own.pairs.csv, line 1: expected" in zoo("compare", "a", "b").error_lines[0]
    beside.unlink()
    os.mkfifo(beside)
    assert "own.pairs.csv: no pairs file (a FIFO" in zoo("compare", "a", "b").error_lines[0]


def test_a_made_up_result_does_not_blame_the_bin_for_others(tmp_path: Path, zoo: Zoo) -> None:
    results()
    write_names(SLOTS)
    scores = np.linspace(-1, 1, PAIRS)
    liar = store(RESULTS, "0liar", scores, bin="own", bin_hash=own_hash(), genuine=~GENUINE)
    done = zoo("leaderboard")
    assert done.code == 0
    assert "0liar: ranked as if tied" in done.out
    assert "b: ranked as if tied" not in done.out
    for _ in range(2):
        with pytest.raises(ResultError, match=r"not the 400|do not go with the labels"):
            load_scores(liar, load_result(liar))


def test_of_two_copies_of_a_bin_the_newer_pairs_file_counts(zoo: Zoo) -> None:
    path, _ = results()
    copy = Path("copy") / BIN
    copy.parent.mkdir()
    shutil.copy(BIN, copy)
    write_names(SLOTS)
    os.utime(sidecar_path(BIN), ns=(0, 10**18))
    write_sidecar(sidecar_path(copy), names(OTHERS))
    os.utime(sidecar_path(copy), ns=(0, 2 * 10**18))
    here = load_result(path).bin
    there = replace(here, path=str(copy))
    for side, expected in ((here, SLOTS), (there, OTHERS), (here, OTHERS)):
        np.testing.assert_array_equal(known_people(RESULTS, side, GENUINE), expected)


def test_eval_notes_people_of_stored_results_without_measuring(
    zoo: Zoo, models: Path, bins: Path
) -> None:
    shutil.copy(bins / "easy.bin", "easy.bin")
    assert zoo("eval", models / "a.onnx", "--bins", "easy.bin").code == 0
    (path,) = RESULTS.glob("*/*.json")
    before = path.read_bytes()
    assert people(path) is None
    expected = write_people_of_easy(Path("easy.bin"))
    done = zoo("eval", models / "a.onnx", "--bins", "easy.bin")
    assert "answered from the store" in done.err
    sidecar_path(Path("easy.bin")).unlink()
    np.testing.assert_array_equal(people(path), expected)
    assert path.read_bytes() == before
    (RESULTS / f"bin-{load_result(path).bin.sha256}.h5").unlink()
    assert people(path) is None


def write_people_of_easy(path: Path) -> list[int]:
    """The pairs file of samples.write_pairs; numbers of the people in each slot."""
    slots = [
        number
        for person in range(10)
        for _ in range(3)
        for number in (person, person, person, (person + 1) % 10)
    ]
    ends = zip(slots[0::2], slots[1::2], strict=True)
    write_sidecar(sidecar_path(path), [Pair("l", "r", a == b, (f"{a}", f"{b}")) for a, b in ends])
    return slots


def test_scores_from_elsewhere_carry_the_people_of_their_bin(zoo: Zoo, bins: Path) -> None:
    shutil.copy(bins / "easy.bin", "easy.bin")
    expected = write_people_of_easy(Path("easy.bin"))
    of_bin = evaluator.read_bin("easy.bin")
    scores = of_bin.genuine + np.random.default_rng(0).normal(size=of_bin.pairs)
    lines = [f"{score},{int(label)}" for score, label in zip(scores, of_bin.genuine, strict=True)]
    Path("vendor.csv").write_text("\n".join(lines))
    assert zoo("eval", "--scores", "vendor.csv", "--bins", "easy.bin").code == 0
    found = evaluator.evaluate_scores(scores, name="python", bin=of_bin)
    np.testing.assert_array_equal(found.bins[0].people, expected)
    evaluator.save_results(found, "from-python")
    Path("easy.pairs.csv").unlink()
    for path in (*RESULTS.glob("*/*.json"), *Path("from-python").glob("*/*.json")):
        np.testing.assert_array_equal(people(path), expected)
        images = load_scores(path, load_result(path)).images
        assert len(np.unique(images)) == len(set(of_bin.images))


def test_a_models_folder_alone_still_answers(zoo: Zoo) -> None:
    results(people=SLOTS)
    assert people(next(RESULTS.glob("a-*/*.json"))) is not None
    shutil.copytree(RESULTS, "copied", ignore=shutil.ignore_patterns("bin-*"))
    assert "people" not in answer(zoo, Path("copied"))[0]["bins"][0]["basis"]


def test_scores_files_with_people_of_earlier_releases_are_read(zoo: Zoo) -> None:
    # As face-zoo wrote them before there were facts of bins, dataset by dataset.
    paths = results()
    for path in paths:
        name = load_result(path).scores or ""
        scores = load_scores(path, load_result(path)).scores
        with h5py.File(path.with_name(name), "w", libver="v110") as file:
            for dataset, values in {
                "scores": scores,
                "genuine": GENUINE.astype(np.uint8),
                "images": np.arange(2 * PAIRS),
                "people": SLOTS,
            }.items():
                file.create_dataset(dataset, data=values, compression="gzip", track_times=False)
    old = answer(zoo)
    np.testing.assert_array_equal(people(paths[0]), SLOTS)
    results(Path("at-once"), SLOTS)
    assert old == answer(zoo, Path("at-once"))
    write_names(OTHERS)
    np.testing.assert_array_equal(people(paths[0]), OTHERS)


# ---- Facts that a stranger made ------------------------------------------------------------------


def datasets(**changes: Any) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with h5py.File(path, "w") as file:
            for name, values in {"people": SLOTS, **changes}.items():
                if isinstance(values, tuple):
                    file.create_dataset(name, **dict(values))
                else:
                    file[name] = values

    return make


def claims(count: int, **more: Any) -> tuple[tuple[str, Any], ...]:
    return tuple({"shape": (count,), "dtype": "i8", "chunks": (1000,), **more}.items())


HOSTILE: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "device": lambda at: at.symlink_to("/dev/zero"),
    "folder": Path.mkdir,
    "empty": lambda at: at.write_bytes(b""),
    "text": lambda at: at.write_bytes(b"people\n" * 1000),
    "cut": lambda at: (datasets()(at), at.write_bytes(at.read_bytes()[:1500])),
    "huge": lambda at: (at.touch(), os.truncate(at, 2**36)),
    "1e9 people": datasets(people=claims(10**9)),
    "empty chunks": datasets(people=claims(2 * PAIRS, chunks=(2**28,), maxshape=(None,))),
    "nothing": datasets(people=np.zeros(0, np.int64)),
    "another length": datasets(people=SLOTS[:-2]),
    "floats": datasets(people=SLOTS.astype(float)),
    "texts": datasets(people=np.array([b"a"] * 2 * PAIRS)),
    "scalar": datasets(people=7),
    "table": datasets(people=SLOTS.reshape(-1, 2)),
    "group": lambda at: h5py.File(at, "w").create_group("people"),
    "other labels": datasets(people=np.arange(2 * PAIRS)),
    "elsewhere": datasets(people=h5py.ExternalLink("/etc/passwd", "people")),
    "long path": datasets(pairs_file=np.zeros(10**6, np.uint8), pairs_file_state=np.zeros(2, int)),
    "path of floats": datasets(pairs_file=np.zeros(4096), pairs_file_state=np.zeros(2, int)),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_facts_of_any_content_are_one_line_until_a_pairs_file_mends_them(
    zoo: Zoo, kind: str
) -> None:
    path, _ = results()
    HOSTILE[kind](facts())
    with pytest.raises(ResultError, match=r"remove it$") as caught:
        load_scores(path, load_result(path))
    assert len(str(caught.value)) < 400
    done = zoo("compare", "a", "b")
    assert done.code == 2
    assert len(done.err.splitlines()) == 1
    assert zoo("leaderboard").code == 0
    write_names(SLOTS)
    np.testing.assert_array_equal(people(path), SLOTS)
    if kind == "folder":  # not ours to remove; where nothing can be written, it still answers
        return
    sidecar_path(BIN).unlink()
    assert people(path) is not None
    assert facts().is_file()
    assert not facts().is_symlink()


def test_what_a_link_for_facts_leads_to_is_not_written_to(tmp_path: Path, zoo: Zoo) -> None:
    results()
    precious = tmp_path / "precious"
    precious.write_text("mine")
    facts().symlink_to(precious)
    write_names(SLOTS)
    answer(zoo)
    assert precious.read_text() == "mine"
    assert not facts().is_symlink()


@pytest.mark.parametrize("source", [b"\xff\0\xfe", b"", b"/dev/zero", b"x" * 4096])
@pytest.mark.parametrize("state", [[0, 0], [-1, 2**63 - 1], [-(2**63), -(2**63)]])
def test_a_source_of_any_text_is_only_compared(zoo: Zoo, source: bytes, state: list[int]) -> None:
    path, _ = results()
    padded = np.frombuffer(source.ljust(4096, b"\0"), np.uint8)
    datasets(pairs_file=padded, pairs_file_state=np.array(state, np.int64))(facts())
    np.testing.assert_array_equal(people(path), SLOTS)
    write_names(OTHERS)
    found = people(path)
    assert found is not None
    assert found.tobytes() in (SLOTS.tobytes(), OTHERS.tobytes())


# ---- Many at once --------------------------------------------------------------------------------


def test_two_writers_at_once_leave_the_people_of_one(tmp_path: Path) -> None:
    path = store(tmp_path, "a", np.linspace(-1, 1, PAIRS), genuine=GENUINE)
    record = replace(load_result(path).bin, path="")
    np.savez(tmp_path / "people.npz", one=SLOTS, two=OTHERS, genuine=GENUINE)
    script = f"""
import sys
from pathlib import Path
import numpy as np
sys.path.insert(0, {str(ROOT / "tests" / "zoo")!r})
from dataclasses import replace
from evaluator.results.bin_facts import keep_facts
from evaluator.results.store import load_result
known = np.load({str(tmp_path / "people.npz")!r})
record = replace(load_result(Path({str(path)!r})).bin, path="")
for _ in range(60):
    keep_facts(Path({str(tmp_path)!r}), record, people=known[sys.argv[1]])
"""
    keep_facts(tmp_path, record, people=SLOTS)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", script, name], env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        for name in ("one", "two")
    ]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        found = known_people(tmp_path, record, GENUINE)
        assert found is not None
        seen.add(found.tobytes())
    assert [writer.wait() for writer in writers] == [0, 0]
    assert seen <= {SLOTS.tobytes(), OTHERS.tobytes()}
    assert [each.name for each in tmp_path.glob("*bin-*")] == [f"bin-{record.sha256}.h5"]


def test_what_a_killed_writer_of_facts_left_goes_after_an_hour(tmp_path: Path) -> None:
    record = load_result(store(tmp_path, "a", np.linspace(-1, 1, PAIRS), genuine=GENUINE)).bin
    old, new = (
        tmp_path / f".bin-{record.sha256}.h5.{digits}.part.h5"
        for digits in ("0123abcd", "4567abcd")
    )
    for each in (old, new):
        each.touch()
    os.utime(old, (0, 0))
    keep_facts(tmp_path, record, people=SLOTS)
    assert not old.exists()
    assert new.exists()


def test_facts_are_read_once_for_all_results_on_a_bin(zoo: Zoo) -> None:
    results(people=SLOTS)
    random = np.random.default_rng(1)
    paths = [
        store(
            RESULTS, f"m{i}", random.normal(size=PAIRS), bin="own", bin_hash=own_hash(),
            genuine=GENUINE,
        )
        for i in range(30)
    ]  # fmt: skip
    before = bin_facts._read.cache_info().misses
    shared = {id(people(path)) for path in paths}
    assert len(shared) == 1
    assert bin_facts._read.cache_info().misses <= before + 1


# ---- Lists of pairs without a bin ----------------------------------------------------------------


def write_list(path: str, *, left: str = "", people: bool = False, seed: int = 0) -> Path:
    """Scores of PAIRS pairs, with images called after ``left`` if it is given."""
    scores = GENUINE + np.random.default_rng(seed).normal(size=PAIRS)
    columns: dict[str, list[Any]] = {
        "score": scores.tolist(),
        "label": GENUINE.astype(int).tolist(),
    }
    if left:
        columns["left"] = [f"{left}/{number}.jpg" for number in LEFT]
        columns["right"] = [f"{left}/r{number}.jpg" for number in range(PAIRS)]
    if people:
        columns["left_person"] = SLOTS[0::2].tolist()
        columns["right_person"] = SLOTS[1::2].tolist()
    rows = zip(*columns.values(), strict=True)
    Path(path).write_text("\n".join([",".join(columns), *(",".join(map(str, r)) for r in rows)]))
    return Path(path)


def test_systems_scored_on_one_list_are_compared(zoo: Zoo) -> None:
    for seed, name in enumerate("ab"):
        assert zoo("eval", "--scores", write_list(f"{name}.csv", seed=seed)).code == 0
    (duel,) = answer(zoo)
    assert duel["bins"][0]["pairs"] == PAIRS
    scores = np.loadtxt("a.csv", delimiter=",", skiprows=1)[:, 0]
    evaluator.save_results(evaluator.evaluate_scores(scores, GENUINE, name="c"), RESULTS)
    assert zoo("compare", "a", "c").code == 0


@pytest.mark.parametrize("left", ["", "x"])
def test_lists_in_any_order_have_one_comparison(zoo: Zoo, left: str) -> None:
    # Lines of all files move together: by the pairs' names, or else by their labels, they belong.
    said = []
    for order in (
        np.arange(PAIRS),
        np.argsort(GENUINE),
        np.random.default_rng(5).permutation(PAIRS),
    ):
        for seed, name in enumerate("abc"):
            path = write_list(f"{name}.csv", seed=seed, left=left)
            head, *lines = path.read_text().splitlines()
            scores = 2 * GENUINE + np.random.default_rng(9).normal(size=PAIRS)  # near copies
            scores += 0.6 * np.random.default_rng(seed).normal(size=PAIRS)
            lines = [
                f"{score},{line.partition(',')[2]}"
                for score, line in zip(scores, lines, strict=True)
            ]
            path.write_text("\n".join([head, *(lines[i] for i in order)]))
            assert zoo("eval", "--scores", path, "--fresh").code == 0
        board = json.loads(zoo("leaderboard", "--format", "json").out)
        overall = [
            (each["overall"]["p_holm"], each["overall"]["interval95"])
            for models in ("abc", "cb", "ba")
            for each in answer(zoo, models=models)
        ]
        said.append((overall, [each["p_holm"] for each in board["couples"]]))
        shutil.rmtree(RESULTS)
    assert said[0] == said[1] == said[2]
    assert 0 < said[0][0][-1][0] < 1


def test_a_systems_second_list_with_equal_labels_must_be_named(zoo: Zoo) -> None:
    # LFW's and AgeDB's labels are equal; nothing must pair the one's scores with the other's.
    arguments = ("--name", "vendor")
    assert zoo("eval", "--scores", write_list("lfw.csv"), *arguments).code == 0
    assert zoo("eval", "--scores", write_list("lfw.csv", seed=1), *arguments).code == 0
    done = zoo("eval", "--scores", write_list("agedb.csv"), *arguments)
    assert done.code == 2
    assert "agedb.csv: there are scores of pairs with the same labels" in done.error_lines[0]
    named = write_list("agedb.csv", left="agedb")
    assert zoo("eval", "--scores", named, *arguments).code == 0
    (row,) = json.loads(zoo("leaderboard", "--format", "json").out)["rows"]
    assert len(row["figures"]) == 2


def test_a_list_that_names_its_pairs_tells_images_and_people(zoo: Zoo) -> None:
    for name, left in (("a", "x"), ("b", "x"), ("c", "y")):
        listed = write_list(f"{name}.csv", left=left, people=name == "a", seed=ord(name))
        assert zoo("eval", "--scores", listed).code == 0
    (duel,) = answer(zoo)
    assert "people" in duel["bins"][0]["basis"]
    paths = {path.parent.name[0]: path for path in RESULTS.glob("*/*.json")}
    assert load_result(paths["a"]).bin.unique_images == PEOPLE + PAIRS
    np.testing.assert_array_equal(people(paths["b"]), people(paths["a"]))
    assert people(paths["c"]) is None
    assert "share no bin" in zoo("compare", "a", "c").error_lines[0]


def test_a_list_whose_people_contradict_its_labels_is_one_line(zoo: Zoo) -> None:
    text = write_list("a.csv", left="x", people=True).read_text().splitlines()
    text[3] = text[3].rpartition(",")[0] + ",nobody"
    Path("a.csv").write_text("\n".join(text))
    assert "a.csv:4: the label says one person, but" in zoo("eval", "--scores", "a.csv").err
    Path("a.csv").write_text("score,label,left,right\n1,1,a\n")
    line = zoo("eval", "--scores", "a.csv").error_lines[0]
    assert "a.csv:2: expected score,label,left,right; found '1,1,a'" in line


def test_the_digest_of_a_list_is_its_name_and_labels() -> None:
    from evaluator.results.record import list_sha256

    labels = np.array([True, False, True])
    expected = hashlib.sha256(b"pairs pairs 3 " + bytes([0b10100000])).hexdigest()
    assert list_sha256(labels) == expected
