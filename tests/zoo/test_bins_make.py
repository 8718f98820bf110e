"""`zoo bins make`: pairs drawn from a folder and read from lists, as bins."""

from __future__ import annotations

import csv
import itertools
import os
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from faces import write_people
from samples import Zoo, face, png, save_dense
from sklearn.model_selection import KFold

from evaluator.bins.pairs_file import Pair
from evaluator.bins.verification_set import read_bin
from evaluator.errors import InputError
from tests.small_models import save_projection
from zoo.bins.hard import hardest
from zoo.bins.lists import dealt, read_pair_list
from zoo.bins.make import trimmed
from zoo.bins.sampling import Sampling, below, distinct_numbers, sample_pairs, shuffled

COUNTS = {f"p{i:02d}": 2 + i % 5 for i in range(40)}
PEOPLE = {name: [f"{name}/{i}" for i in range(count)] for name, count in COUNTS.items()}


def _folds(pairs: list[Pair], folds: int) -> list[list[Pair]]:
    """The parts that scikit-learn's KFold cuts."""
    cut = KFold(folds, shuffle=False).split(np.zeros(len(pairs)))
    return [[pairs[i] for i in part] for _, part in cut]


@pytest.mark.parametrize("impostors", [None, 20, 200])
def test_folds_are_balanced_and_share_no_person(impostors: int | None) -> None:
    pairs = sample_pairs(PEOPLE, Sampling(impostors=impostors))
    folds = _folds(pairs, 10)
    assert {sum(pair.genuine for pair in fold) for fold in folds} == {
        len(folds[0]) - sum(not pair.genuine for pair in folds[0])
    }
    seen = [{person for pair in fold for person in pair.people or ()} for fold in folds]
    assert sum(map(len, seen)) == len(set().union(*seen))
    assert sum(not pair.genuine for pair in pairs) == (
        impostors or sum(pair.genuine for pair in pairs)
    )


def test_labels_follow_the_people_and_no_pair_comes_twice() -> None:
    pairs = sample_pairs(PEOPLE, Sampling(pairs_per_person=6))
    for pair in pairs:
        owners = pair.left.split("/")[0], pair.right.split("/")[0]
        assert pair.people == owners
        assert pair.genuine == (owners[0] == owners[1])
    assert len({frozenset((pair.left, pair.right)) for pair in pairs}) == len(pairs)
    assert all(len({pair.left, pair.right}) == 2 for pair in pairs)


@pytest.mark.parametrize("limit", [1, 2, 4])
def test_a_person_has_at_most_so_many_genuine_pairs(limit: int) -> None:
    pairs = sample_pairs(PEOPLE, Sampling(pairs_per_person=limit))
    counts = Counter(pair.people[0] for pair in pairs if pair.genuine and pair.people)
    assert max(counts.values()) == limit


def test_the_draw_is_the_same_everywhere_and_follows_the_seed() -> None:
    first = sample_pairs(PEOPLE, Sampling(seed=5))
    assert first == sample_pairs(dict(PEOPLE), Sampling(seed=5))
    assert first != sample_pairs(PEOPLE, Sampling(seed=6))
    # The stream of random() that Python's documentation promises to keep.
    assert below(1000, random.Random(5)) == 622


def test_every_impostor_pair_can_be_asked_for() -> None:
    people = {name: [f"{name}{i}" for i in range(2)] for name in "abcd"}
    pairs = sample_pairs(people, Sampling(folds=2, impostors=8))  # 2 folds x 2 people x 2x2
    assert len({frozenset((p.left, p.right)) for p in pairs if not p.genuine}) == 8
    with pytest.raises(InputError, match="has 4 impostor pairs, 5 are wanted"):
        sample_pairs(people, Sampling(folds=2, impostors=10))


def test_draws_are_even() -> None:
    """Chi-squared against even shares, at the 0.1 % level."""
    from scipy.stats import chisquare

    draw = random.Random(1)
    orders = Counter(tuple(shuffled("abc", draw)) for _ in range(6000))
    assert len(orders) == 6
    assert chisquare(list(orders.values())).pvalue > 1e-3
    chosen = Counter(n for _ in range(2000) for n in distinct_numbers(3, 10, draw))
    assert chisquare([chosen[n] for n in range(10)]).pvalue > 1e-3


def test_single_people_are_used_as_asked() -> None:
    people = {**PEOPLE, **{f"s{i}": [f"s{i}/0"] for i in range(10)}}
    with pytest.raises(InputError, match=r"s0, s1, s2 and 7 more: only one image"):
        sample_pairs(people, Sampling())
    skipped = sample_pairs(people, Sampling(singles="skip"))
    assert not any(name.startswith("s") for pair in skipped for name in pair.people or ())
    used = sample_pairs(people, Sampling(singles="impostors", impostors=400))
    singles = {n for p in used for n in p.people or () if n.startswith("s")}
    assert len(singles) == 10
    assert not any(p.genuine for p in used if p.people and p.people[0].startswith("s"))


@pytest.mark.parametrize(("genuine", "impostor", "folds"), [(500, 500, 10), (37, 21, 4), (9, 2, 3)])
def test_a_dealt_list_is_balanced_in_the_parts_of_kfold(
    genuine: int, impostor: int, folds: int
) -> None:
    pairs = [Pair(f"g{i}", "", True) for i in range(genuine)]
    pairs += [Pair(f"i{i}", "", False) for i in range(impostor)]
    ordered = dealt(pairs, folds)
    assert sorted(p.left for p in ordered) == sorted(p.left for p in pairs)
    for part in _folds(ordered, folds):
        share = genuine / len(pairs) * len(part)
        assert abs(sum(p.genuine for p in part) - share) < 1
    assert dealt(ordered, folds) == ordered


def test_trimming_leaves_equal_folds() -> None:
    pairs = sample_pairs(PEOPLE, Sampling())
    usable = [pair.left != pairs[0].left for pair in pairs]
    kept = trimmed(usable, pairs, 10)
    counts = {(sum(p.genuine for p in f), len(f)) for f in _folds(kept, 10)}
    assert len(counts) == 1
    assert len(kept) < len(pairs)
    assert pairs[0].left not in {p.left for p in kept}
    assert trimmed([True] * len(pairs), pairs, 10) == pairs


def test_a_folder_becomes_a_bin_of_its_files_bytes(zoo: Zoo, tmp_path: Path) -> None:
    root = write_people(tmp_path / "f", COUNTS)
    done = zoo("bins", "make", "own.bin", root)
    assert (done.code, done.err) == (0, "")
    made = read_bin(tmp_path / "own.bin")
    with (tmp_path / "own.pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == made.pairs
    for pair, row in enumerate(rows):
        assert made.images[2 * pair] == (root / row["left"]).read_bytes()
        assert made.images[2 * pair + 1] == (root / row["right"]).read_bytes()
        assert made.genuine[pair] == (row["left_person"] == row["right_person"])
    assert f"{made.pairs} pairs ({made.genuine_pairs} genuine) in 10 folds" in done.out
    assert made.sha256 in done.out


def test_making_twice_gives_the_same_bytes(zoo: Zoo, tmp_path: Path) -> None:
    root = write_people(tmp_path / "f", COUNTS)
    for name in ("a.bin", "b.bin"):
        assert zoo("bins", "make", name, root).code == 0
    assert (tmp_path / "a.bin").read_bytes() == (tmp_path / "b.bin").read_bytes()
    again = zoo("bins", "make", "c.bin", "--pairs", "a.pairs.csv", "--images", root)
    assert again.code == 0
    assert (tmp_path / "c.bin").read_bytes() == (tmp_path / "a.bin").read_bytes()


def test_what_is_there_is_not_overwritten_unless_forced(zoo: Zoo, tmp_path: Path) -> None:
    root = write_people(tmp_path / "f", COUNTS)
    (tmp_path / "own.bin").write_bytes(b"mine")
    assert zoo("bins", "make", "own.bin", root).code == 2
    assert (tmp_path / "own.bin").read_bytes() == b"mine"
    assert zoo("bins", "make", "own.bin", root, "--force").code == 0


def test_size_resizes_only_what_is_of_another_size(zoo: Zoo, tmp_path: Path) -> None:
    root = write_people(tmp_path / "f", dict.fromkeys("abcd", 2), size=8)
    (root / "a/a_0001.png").write_bytes(png(face(0, 1, 20)))
    zoo("bins", "make", "own.bin", root, "--folds", "2", "--size", "8")
    images = set(read_bin(tmp_path / "own.bin").images)
    assert (root / "a/a_0001.png").read_bytes() not in images
    assert (root / "a/a_0002.png").read_bytes() in images
    assert '"8x8"' in zoo("bins", "info", "own.bin", "--json").out


LFW = "2\t1\nann\t1\t2\nann\t1\tbob\t2\nbob\t1\t2\nbob\t1\tann\t2\n"


def test_lfws_ten_fold_format_keeps_its_order(zoo: Zoo, tmp_path: Path) -> None:
    root = write_people(tmp_path / "f", {"ann": 2, "bob": 2})
    (tmp_path / "pairs.txt").write_text(LFW)
    done = zoo("bins", "make", "own.bin", "--pairs", "pairs.txt", "--images", root)
    assert (done.code, done.err) == (0, "")
    assert "in 2 folds" in done.out
    names = ["ann/ann_0001", "ann/ann_0002", "ann/ann_0001", "bob/bob_0002"]
    names += ["bob/bob_0001", "bob/bob_0002", "bob/bob_0001", "ann/ann_0002"]
    made = read_bin(tmp_path / "own.bin")
    assert list(made.images) == [(root / f"{name}.png").read_bytes() for name in names]
    assert made.genuine.tolist() == [True, False, True, False]


def test_a_development_list_is_dealt_into_folds(zoo: Zoo, tmp_path: Path) -> None:
    root = write_people(tmp_path / "f", {"ann": 2, "bob": 2})
    (tmp_path / "dev.txt").write_text("2\nann 1 2\nbob 1 2\nann 1 bob 2\nbob 1 ann 2\n")
    done = zoo("bins", "make", "own.bin", "--pairs", "dev.txt", "--images", root, "--folds", 2)
    assert "dealt into 2 balanced folds" in done.err
    assert read_bin(tmp_path / "own.bin").genuine.tolist() == [True, False, True, False]


def test_names_with_spaces_and_files_without_a_head_are_read(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("Ann B.\t1\t2\nAnn B.\t3\tBob\t10\n")
    listed = read_pair_list(tmp_path / "p.txt")
    assert listed.folds is None
    assert listed.pairs[1] == Pair("Ann B./Ann B._0003", "Bob/Bob_0010", False, ("Ann B.", "Bob"))


def test_the_development_test_bin_is_its_list_dealt(shared: Path) -> None:
    """Whoever made lfw_devtest.bin put the same labels in the same order."""
    listed = read_pair_list(shared / "bins/lfw_devtest_pairs.txt")
    assert listed.folds is None
    labels = [pair.genuine for pair in dealt(listed.pairs, 10)]
    made = read_bin(shared / "bins/lfw_devtest.bin")
    assert labels == made.genuine.tolist()
    # Equal bytes in the bin exactly where the list has the same image.
    names = [n for pair in dealt(listed.pairs, 10) for n in (pair.left, pair.right)]
    assert len(set(zip(names, made.images, strict=True))) == len(set(names))


def test_a_csv_lies_beside_its_images(zoo: Zoo, tmp_path: Path) -> None:
    root = write_people(tmp_path / "f", {"ann": 2, "bob": 2})
    rows = ["ann/ann_0001.png,bob/bob_0001.png,0", "ann/ann_0001.png,ann/ann_0002.png,1"]
    (root / "pairs.csv").write_text("\n".join(rows) + "\n")
    done = zoo("bins", "make", "own.npz", "--pairs", root / "pairs.csv", "--folds", "2")
    assert (done.code, done.err) == (0, "")
    made = read_bin(tmp_path / "own.npz")
    assert made.images[1] == (root / "bob/bob_0001.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["make", "x.bin", "none"], "none: No such file"),
        (["make", "x.bin", "empty"], "empty: expected one folder a person"),
        (["make", "x.bin", "hollow"], "found none in 1 of 2: 'ann'"),
        (["make", "x.bin", "single"], "bob: only one image, and a genuine pair needs two"),
        (["make", "x.bin", "f"], "--folds 10: each fold needs at least 2 people of its own"),
        (["make", "x.bin", "twin", "--folds", "2"], "the same image byte for byte"),
        (["make", "x.bin", "torn", "--folds", "2"], "a_0001.png: the image is a damaged"),
        (["make", "x.bin"], "give a FOLDER"),
        (["make", "x.txt", "f"], "x.txt: expected a name ending in .bin"),
        (["make", "x.bin", "f", "--impostors", "15"], "expected a multiple of the 10 folds"),
        (["make", "x.bin", "f", "--negatives", "hard"], "needs --model"),
        (["make", "x.bin", "f", "--negatives", "odd"], "unknown --negatives 'odd'"),
        (["make", "x.bin", "f", "--missing", "skip"], "go with --align"),
        (["make", "x.bin", "f", "--images", "f"], "--images: goes with --pairs"),
        (["make", "x.bin", "f", "--align", "--size", "8"], "give --align or --size"),
        (["make", "x.bin", "--pairs", "ok.txt"], "needs --images"),
        (["make", "x.bin", "--pairs", "ok.txt", "--images", "none"], "no such folder"),
        (["make", "x.bin", "--pairs", "ok.txt", "--images", "f", "--seed", "1"], "--seed: goes"),
        (["make", "x.bin", "--pairs", "ok.txt", "--images", "f", "--folds", "3"], "itself says 2"),
        (["make", "x.bin", "--pairs", "gone.txt", "--images", "f"], "ann_0009.jpg (or .jpeg"),
        (
            ["make", "x.bin", "--pairs", "word.txt", "--images", "f"],
            "word.txt, line 2: expected an",
        ),
        (
            ["make", "x.bin", "--pairs", "long.txt", "--images", "f"],
            "long.txt, line 2: expected NA",
        ),
        (["make", "x.bin", "--pairs", "few.txt", "--images", "f"], "few.txt, line 1: says 2 x 2 x"),
        (["make", "x.bin", "--pairs", "kind.txt", "--images", "f"], "kind.txt, line 2: expected N"),
        (["make", "x.bin", "--pairs", "self.txt", "--images", "f"], "self.txt, line 1: both sides"),
        (["make", "x.bin", "--pairs", "void.txt", "--images", "f"], "void.txt: is empty"),
        (["make", "x.bin", "--pairs", "bad.csv"], "bad.csv, line 2: expected 1 or 0"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    zoo: Zoo, tmp_path: Path, arguments: list[str], words: str
) -> None:
    write_people(tmp_path / "f", {"ann": 2, "bob": 2})
    (tmp_path / "empty").mkdir()
    write_people(tmp_path / "hollow", {"bob": 2})
    (tmp_path / "hollow/ann").mkdir()
    write_people(tmp_path / "single", {"ann": 2, "bob": 1})
    twin = write_people(tmp_path / "twin", dict.fromkeys("abcd", 2))
    (twin / "a/a_0002.png").write_bytes((twin / "a/a_0001.png").read_bytes())
    torn = write_people(tmp_path / "torn", dict.fromkeys("abcd", 2))
    (torn / "a/a_0001.png").write_bytes((torn / "a/a_0001.png").read_bytes()[:90])
    for name, text in {
        "ok.txt": LFW,
        "gone.txt": "ann 1 9\n",
        "word.txt": "ann 1 2\nann 1 bob two\n",
        "long.txt": "ann 1 2\nann 1 bob 2 3\n",
        "few.txt": "2 1\nann 1 2\n",
        "kind.txt": "1 1\nann 1 bob 1\nann 1 2\n",
        "self.txt": "ann 1 1\n",
        "void.txt": "\n",
        "bad.csv": "left,right,label\na.png,b.png,maybe\n",
    }.items():
        (tmp_path / name).write_text(text)
    before = sorted(tmp_path.iterdir())
    done = zoo("bins", *arguments)
    assert (done.code, done.out) == (2, "")
    assert len(done.error_lines) == 1
    assert words in done.err
    assert sorted(tmp_path.iterdir()) == before


def test_an_unreadable_folder_is_one_line_and_exit_2(zoo: Zoo, tmp_path: Path) -> None:
    root = write_people(tmp_path / "f", {"ann": 2, "bob": 2})
    (root / "bob").chmod(0)
    try:
        if os.access(root / "bob", os.R_OK):
            pytest.skip("this user (root) may read every folder")
        done = zoo("bins", "make", "x.bin", root)
    finally:
        (root / "bob").chmod(0o755)
    assert done.code == 2
    assert "bob: Permission denied" in done.err


def test_a_folder_that_fails_to_open_is_one_line_and_exit_2(
    zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_people(tmp_path / "f", {"ann": 2, "bob": 2})
    opened = os.scandir

    def refuse(folder: str | Path) -> object:
        if Path(folder).name == "bob":
            raise PermissionError(13, "Permission denied", str(folder))
        return opened(folder)

    monkeypatch.setattr(os, "scandir", refuse)  # what the system does to a user who is not root
    done = zoo("bins", "make", "x.bin", root)
    assert done.code == 2
    assert f"zoo: error: {root / 'bob'}: Permission denied" in done.err


@pytest.mark.slow
@pytest.mark.usefixtures("same_process")
def test_hard_impostors_are_the_most_alike_by_the_model(zoo: Zoo, tmp_path: Path) -> None:
    root = write_people(tmp_path / "f", dict.fromkeys("abcdefgh", 3))
    model = save_dense(tmp_path / "m.keras")
    done = zoo(
        "bins",
        "make",
        "hard.bin",
        root,
        "--folds",
        "2",
        "--impostors",
        "8",
        "--negatives",
        "hard",
        "--model",
        model,
    )
    assert done.code == 0, done.err
    assert "hard for m.keras itself" in done.err
    from zoo.bins.hard import model_embeddings

    people = {p.name: sorted(f"{p.name}/{f.name}" for f in p.iterdir()) for p in root.iterdir()}
    rows = model_embeddings(people, lambda n: (root / n).read_bytes(), model, profile="unit")
    with (tmp_path / "hard.pairs.csv").open(newline="") as file:
        pairs = list(csv.DictReader(file))
    for fold in (pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]):
        members = sorted({row["left_person"] for row in fold} | {r["right_person"] for r in fold})
        assert len(members) == 4
        best = sorted(
            (
                max(float(rows[a] @ rows[b]) for a in people[one] for b in people[two])
                for i, one in enumerate(members)
                for two in members[i + 1 :]
            ),
            reverse=True,
        )
        found = [float(rows[r["left"]] @ rows[r["right"]]) for r in fold if r["label"] == "0"]
        np.testing.assert_allclose(sorted(found, reverse=True), best[:4], rtol=1e-5)


@pytest.mark.slow
def test_ten_thousand_pairs_of_real_faces_take_seconds(
    zoo: Zoo, tmp_path: Path, shared: Path
) -> None:
    import time

    start = time.process_time()
    faces = shared / "faces/lfw_train"
    done = zoo("bins", "make", "b.bin", faces, "--pairs-per-person", 12, "--impostors", 6000)
    seconds = time.process_time() - start
    assert done.code == 0
    assert read_bin(tmp_path / "b.bin").pairs > 10_000
    assert seconds < 10
    assert zoo("bins", "info", "b.bin").code == 0


def test_a_bin_of_real_pairs_holds_the_listed_files(zoo: Zoo, tmp_path: Path, shared: Path) -> None:
    pairs, faces = shared / "bins/lfw_train_pairs.txt", shared / "faces/lfw_train"
    done = zoo("bins", "make", "t.bin", "--pairs", pairs, "--images", faces)
    assert (done.code, done.err) == (0, "")
    expected, labels = [], []
    for line in pairs.read_text().splitlines()[1:]:
        cells = line.split("\t")
        ends = [cells[:2], cells[2:] if len(cells) == 4 else [cells[0], cells[2]]]
        expected += [(faces / n / f"{n}_{int(i):04d}.jpg").read_bytes() for n, i in ends]
        labels.append(len(cells) == 3)
    made = read_bin(tmp_path / "t.bin")
    assert list(made.images) == expected
    assert made.genuine.tolist() == labels


@pytest.mark.parametrize(
    "content",
    [
        b"9" * 5000 + b"\n",
        b"1 " + b"9" * 5000 + b"\n",
        b"Ann " + b"9" * 900 + b" 2\n",
        b"A" * 100_000 + b" 1 2\n",
        b"\0 1 2\n",
        b"\xff\xfe",
        b"",
    ],
    ids=range(7),
)
def test_a_pairs_file_of_any_content_is_one_short_line(zoo: Zoo, content: bytes) -> None:
    Path("pairs.txt").write_bytes(content)
    Path("images").mkdir()
    done = zoo("bins", "make", "o.bin", "--pairs", "pairs.txt", "--images", "images")
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert line.startswith("zoo: error: ")
    assert len(line) < 1500
    assert not Path("o.bin").exists()


def test_a_list_of_pairs_that_is_no_file_is_one_line_at_once(zoo: Zoo) -> None:
    import os

    Path("images").mkdir()
    for name in ("pairs.txt", "pairs.csv"):
        for make in (os.mkfifo, lambda at: at.symlink_to("/dev/zero")):
            make(Path(name))
            done = zoo("bins", "make", "o.bin", "--pairs", name, "--images", "images")
            assert done.code == 2
            assert len(done.err.splitlines()) == 1
            Path(name).unlink()


def test_hard_impostors_are_those_of_every_pair_compared_in_turn() -> None:
    draw = np.random.default_rng(5)
    people = {p: [f"{p}/{i}" for i in range(draw.integers(1, 5))] for p in "abcdefghij"}
    names = [name for images in people.values() for name in images]
    # Whole numbers, so that products are exact and many are equal.
    rows = draw.integers(-2, 3, (len(names), 3)).astype(np.float32)
    place = {name: i for i, name in enumerate(names)}
    found = []
    for one, other in itertools.combinations(people, 2):
        # Of equal ones the first image of the other person, then of the one.
        pairs = [(left, right) for right in people[other] for left in people[one]]
        products = [float((rows[place[a]] * rows[place[b]]).sum()) for a, b in pairs]
        best = int(np.argmax(products))
        found.append((-products[best], *(place[each] for each in pairs[best]), pairs[best]))
    expected = [each[-1] for each in sorted(found)]
    choose = hardest(people, dict(zip(names, rows, strict=True)))
    for wanted in (1, 7, len(expected)):
        assert choose(list(people), wanted) == expected[:wanted]
    with pytest.raises(InputError, match="which are 45 in a fold of 10 people, and 46 are wanted"):
        choose(list(people), 46)


def test_hard_impostors_of_several_processes_are_those_of_one(zoo: Zoo, tmp_path: Path) -> None:
    root = write_people(tmp_path / "f", dict.fromkeys("abcdefgh", 3))
    save_projection(tmp_path / "m.onnx")
    words = (
        root,
        "--folds",
        "2",
        "--impostors",
        "8",
        "--negatives",
        "hard",
        "--model",
        "m.onnx",
        "--input",
        "raw",
    )
    bins = []
    for name, jobs in (("one.bin", ()), ("two.bin", ("--jobs", "2"))):
        done = zoo("bins", "make", name, *words, *jobs)
        assert done.code == 0, done.err
        bins.append((tmp_path / name).read_bytes())
    assert bins[0] == bins[1]
    refused = zoo("bins", "make", "no.bin", root, "--jobs", "2")
    assert refused.code == 2
    assert "--jobs: embeds by the --model" in refused.err
