"""One store, asked the same through every reader: leaderboard, compare, report and Python."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from samples import Zoo
from stores import cosines, sha, store, with_flip

import evaluator
from evaluator.metrics.sweep import best_accuracy, sweep
from evaluator.results.bin_facts import keep_facts
from evaluator.results.choice import results_meant
from evaluator.results.names import Named, meant
from evaluator.results.record import Settings
from evaluator.results.store import load_result, load_scores, save_result
from zoo.report.selection import select
from zoo.report.standings import standings
from zoo.report.summary import summary

PAIRS = 600
PEOPLE = 60
GENUINE = np.arange(PAIRS) % 2 == 0
# Ten pairs a person on the left; a genuine pair shows that person twice.
LEFT = np.repeat(np.arange(PEOPLE), PAIRS // PEOPLE)
SLOTS = np.column_stack([LEFT, np.where(GENUINE, LEFT, PEOPLE + np.arange(PAIRS))]).ravel()


def person_scores(seed: int, quality: float) -> NDArray[np.float64]:
    """Scores whose errors are a person's: pairs of one person are easy or hard together."""
    random = np.random.default_rng(seed)
    shared = random.normal(size=PEOPLE)[LEFT]
    return np.tanh(
        (quality * GENUINE + 1.2 * (2 * GENUINE - 1) * shared + random.normal(size=PAIRS)) / 4
    )


@dataclass(frozen=True)
class Answer:
    """What a reader says of two models on a bin, and of their mean over bins."""

    pairs: tuple[int, ...]
    differences: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...]
    p_values: tuple[float, ...]
    only: tuple[tuple[list[int], list[int]], ...]
    basis: tuple[str, ...]
    overall: tuple[float, float, float, float]
    words: str


def from_compare(zoo: Zoo, folder: Path, a: str, b: str) -> Answer:
    done = zoo("compare", a, b, "--results", folder, "--format", "json")
    assert done.code == 0, done.err
    (duel,) = json.loads(done.out)["comparisons"]
    bins, overall = duel["bins"], duel["overall"]
    return Answer(
        tuple(each["pairs"] for each in bins),
        tuple(each["difference"] for each in bins),
        tuple(tuple(each["interval95"]) for each in bins),
        tuple(each["p_holm"] for each in bins),
        tuple((each["only_a"], each["only_b"]) for each in bins),
        tuple(each["basis"] for each in bins),
        (overall["difference"], *overall["interval95"], overall["p_holm"]),
        overall["verdict"],
    )


def from_python(folder: Path, a: str, b: str) -> Answer:
    stored = evaluator.load_results(folder)
    found = evaluator.compare(stored[a], stored[b])
    bins = found.bins.values()
    return Answer(
        tuple(each.pairs for each in bins),
        tuple(each.difference for each in bins),
        tuple(each.interval for each in bins),
        tuple(found.p_values.values()),
        tuple((each.only_a.tolist(), each.only_b.tolist()) for each in bins),
        tuple(each.basis for each in bins),
        (found.overall.difference, *found.overall.interval, found.overall.p_value),
        found.verdict,
    )


def test_python_says_of_three_models_what_the_command_says(zoo: Zoo, tmp_path: Path) -> None:
    people_of_one(tmp_path)
    put(tmp_path, "c", person_scores(3, 0.5))
    done = zoo("compare", "b", "a", "c", "--results", tmp_path, "--format", "json", "--margin", "2")
    assert done.code == 0, done.err
    said = [each for each in json.loads(done.out)["comparisons"] if each["a"]["name"] == "b"]
    stored = evaluator.load_results(tmp_path)
    found = evaluator.compare([stored[name] for name in "bac"], margin=2)
    assert [each.name_b for each in found] == [each["b"]["name"] for each in said] == ["a", "c"]
    for each, duel in zip(found, said, strict=True):
        assert each.overall.p_value == duel["overall"]["p_holm"]
        assert list(each.p_values.values()) == [own["p_holm"] for own in duel["bins"]]
        assert each.verdict == duel["overall"]["verdict"]
    # More comparisons, less sure of each.
    alone = evaluator.compare(stored["b"], stored["a"])
    assert found["a"].p_values["lfw"] >= alone.p_values["lfw"]
    assert found[0] is found["a"]
    assert len(found) == 2
    assert repr(found) == f"{found[0]!r}\n\n{found[1]!r}"
    with pytest.raises(KeyError, match="there is: a, c"):
        found["b"]
    with pytest.raises(evaluator.InputError, match="three evaluations or more"):
        evaluator.compare([stored["a"], stored["b"]])


def from_report(folder: Path, a: str, b: str) -> Answer:
    table = standings(select(folder, models=[a, b]))
    (duel,) = table.duels
    # The report names the better model first.
    sign = 1 if duel.a.label == a else -1
    bins = [each.comparison for each in duel.bins]

    def turned(interval: tuple[float, float]) -> tuple[float, float]:
        low, high = sorted(sign * end for end in interval)
        return low, high

    def only(each: Any) -> tuple[list[int], list[int]]:
        lists = each.only_a.tolist(), each.only_b.tolist()
        return lists if sign > 0 else lists[::-1]

    return Answer(
        tuple(each.pairs for each in bins),
        tuple(sign * each.difference for each in bins),
        tuple(turned(each.interval) for each in bins),
        tuple(each.p_value for each in duel.bins),
        tuple(only(each) for each in bins),
        tuple(each.basis for each in bins),
        (sign * duel.overall.difference, *turned(duel.overall.interval), duel.p_value),
        duel.words,
    )


def on_leaderboard(
    zoo: Zoo, folder: Path, a: str, b: str, bins: tuple[str, ...] = ("lfw",)
) -> dict[str, Any]:
    asked = ("--models", a, b, "--bins", *bins)
    done = zoo("leaderboard", *asked, "--results", folder, "--format", "json")
    assert done.code == 0, done.err
    board = json.loads(done.out)
    assert len(board["rows"]) == 2
    (couple,) = board["couples"]
    return {**couple, "ranks": {row["model"]["name"]: row["rank"] for row in board["rows"]}}


def put(
    folder: Path,
    model: str,
    scores: NDArray[np.float64],
    *,
    bin: str = "lfw",
    people: NDArray[np.int64] | None = None,
    dropped: tuple[int, ...] = (),
    missed: tuple[int, ...] = (),
    settings: Settings | None = None,
) -> Path:
    scores = scores.copy()
    scores[list(dropped)] = np.nan
    scores[list(missed)] = -np.inf
    path = store(folder, model, scores, bin=bin, genuine=GENUINE, settings=settings)
    result = load_result(path)
    save_result(path, result, replace(load_scores(path, result), people=people))
    return path


def plain(folder: Path) -> None:
    put(folder, "a", person_scores(1, 3.0))
    put(folder, "b", person_scores(2, 2.0))


def people_of_one(folder: Path) -> None:
    put(folder, "a", person_scores(1, 2.4), people=SLOTS)
    put(folder, "b", person_scores(2, 2.0))


def people_of_the_other(folder: Path) -> None:
    put(folder, "a", person_scores(1, 2.4))
    put(folder, "b", person_scores(2, 2.0), people=SLOTS)


def people_of_both(folder: Path) -> None:
    put(folder, "a", person_scores(1, 2.4), people=SLOTS)
    put(folder, "b", person_scores(2, 2.0), people=SLOTS)


def people_added_later(folder: Path) -> None:
    put(folder, "a", person_scores(1, 2.4))
    path = put(folder, "b", person_scores(2, 2.0))
    keep_facts(folder, load_result(path).bin, people=SLOTS)


def dropped_by_one(folder: Path) -> None:
    put(folder, "a", person_scores(1, 3.0), dropped=tuple(range(0, 150)))
    put(folder, "b", person_scores(2, 2.0))


def dropped_by_both(folder: Path) -> None:
    put(folder, "a", person_scores(1, 3.0), dropped=tuple(range(0, 90, 3)))
    put(folder, "b", person_scores(2, 2.0), dropped=tuple(range(300, 360)))


def dropped_with_people_of_one(folder: Path) -> None:
    put(folder, "a", person_scores(1, 2.4), people=SLOTS, dropped=tuple(range(40)))
    put(folder, "b", person_scores(2, 2.0), dropped=tuple(range(20, 70)))


def missed_by_one(folder: Path) -> None:
    put(folder, "a", person_scores(1, 3.0), missed=tuple(range(0, 150)))
    put(folder, "b", person_scores(2, 2.0))


def missed_by_one_and_dropped_by_the_other(folder: Path) -> None:
    put(folder, "a", person_scores(1, 2.4), people=SLOTS, missed=tuple(range(10, 40)))
    put(folder, "b", person_scores(2, 2.0), dropped=tuple(range(20, 70)))


def two_bins(folder: Path) -> None:
    for bin in ("lfw", "agedb_30"):
        put(folder, "a", person_scores(len(bin), 3.0), bin=bin, people=SLOTS)
        put(folder, "b", person_scores(len(bin) + 1, 2.0), bin=bin)


def measured_twice(folder: Path) -> None:
    plain(folder)
    put(folder, "a", person_scores(9, 3.2), settings=Settings(nan="drop"), dropped=(3, 4))


def a_bin_of_one_alone(folder: Path) -> None:
    plain(folder)
    put(folder, "a", person_scores(5, 3.0), bin="rare")


STORES: list[Callable[[Path], None]] = [
    plain,
    people_of_one,
    people_of_the_other,
    people_of_both,
    people_added_later,
    dropped_by_one,
    dropped_by_both,
    dropped_with_people_of_one,
    missed_by_one,
    missed_by_one_and_dropped_by_the_other,
    two_bins,
    measured_twice,
    a_bin_of_one_alone,
]


@pytest.mark.parametrize("fill", STORES, ids=lambda fill: fill.__name__)
def test_every_reader_gives_one_answer(zoo: Zoo, fill: Callable[[Path], None]) -> None:
    folder = Path("results")
    fill(folder)
    compared = from_compare(zoo, folder, "a", "b")
    # Floats to the bit: JSON keeps them, and what is computed alike is computed once.
    assert from_python(folder, "a", "b") == compared
    assert from_report(folder, "a", "b") == compared
    bins = ("lfw", "agedb_30") if fill is two_bins else ("lfw",)
    ranked = on_leaderboard(zoo, folder, "a", "b", bins)
    difference, low, high, p_value = compared.overall
    assert ranked["separable"] == (p_value < 0.05)
    assert ranked["p_holm"] == p_value
    better = "a" if difference > 0 else "b"
    worse = 2 if ranked["separable"] else 1
    assert ranked["ranks"] == {better: 1, ("b" if better == "a" else "a"): worse}
    page = folder / "page.html"
    assert zoo("report", "--results", folder, "--no-faces", "-o", page).code == 0
    assert compared.words in page.read_text()
    for end in (low, high):
        assert f"{abs(100 * end):.2f}" in page.read_text()
    printed = zoo("compare", "a", "b", "--results", folder).out
    assert compared.words in printed
    assert f"[{100 * low:+.2f},{100 * high:+.2f}]" in printed


def test_report_and_leaderboard_rank_alike(zoo: Zoo) -> None:
    folder = Path("results")
    for bin in ("lfw", "agedb_30"):
        for seed, (model, noise) in enumerate({"a": 0.4, "b": 0.45, "c": 1.2, "d": 2.5}.items()):
            store(folder, model, cosines(800, noise=noise, seed=seed, bin=bin), bin=bin)
    store(folder, "e", cosines(800, noise=0.1, seed=9), bin="lfw")
    holes = cosines(800, noise=0.3, seed=10, bin="agedb_30")
    holes[:90] = np.nan
    store(folder, "c", holes, bin="agedb_30")
    # A result whose scores are gone may have any rank.
    next(folder.glob("d-*/lfw-*.h5")).unlink()
    for asked in ({}, {"models": ["a", "c", "e"]}, {"bins": ["lfw"]}, {"bins": ["*"]}):
        options = [word for name, values in asked.items() for word in (f"--{name}", *values)]
        board = json.loads(zoo("leaderboard", *options, "--format", "json").out)
        table = standings(select(folder, **asked))
        assert [each.label for each in table.contestants] == [row["label"] for row in board["rows"]]
        for model, row in zip(table.contestants, board["rows"], strict=True):
            place = table.places[model.key]
            interval = row["rank_interval"] or row["on_its_bins"]["rank_interval"]
            assert [place.best, place.worst] == interval
            assert (model in table.ranked) == (row["rank"] is not None)
            assert place.mean == (row["mean"] or row["on_its_bins"]["mean"])
        said = summary(table)
        first = [each for each in board["couples"] if each["rows"][0] == 0]
        assert ("No single winner" in said.headline) == any(not each["separable"] for each in first)
        lacking = any(row["lacks"] for row in board["rows"])
        assert ("e has no figure on agedb_30: its rank on lfw is" in said.text) == lacking


def test_what_one_side_knows_of_people_widens_for_all(zoo: Zoo, tmp_path: Path) -> None:
    found = {}
    for fill in (people_of_one, people_of_the_other, people_of_both, people_added_later):
        fill(tmp_path / fill.__name__)
        found[fill.__name__] = from_compare(zoo, tmp_path / fill.__name__, "a", "b")
    assert len({answer.intervals for answer in found.values()}) == 1
    put(tmp_path / "nobody", "a", person_scores(1, 2.4))
    put(tmp_path / "nobody", "b", person_scores(2, 2.0))
    alone = from_compare(zoo, tmp_path / "nobody", "a", "b")
    assert "share people" in found["people_of_one"].basis[0]
    assert "share people" not in alone.basis[0]
    known = found["people_of_one"].intervals[0]
    assert known[1] - known[0] > 1.2 * (alone.intervals[0][1] - alone.intervals[0][0])
    boards = [
        on_leaderboard(zoo, tmp_path / name, "a", "b")["p_holm"] for name in (*found, "nobody")
    ]
    assert boards[0] == boards[1] == boards[2] == boards[3] > boards[4]


def test_a_duel_with_dropped_pairs_and_people_is_what_drawing_people_gives(zoo: Zoo) -> None:
    # Restated: both models decided anew on the pairs that both have, whole people drawn.
    folder = Path("results")
    dropped_with_people_of_one(folder)
    found = from_compare(zoo, folder, "a", "b")
    kept = np.arange(PAIRS) >= 70
    genuine, left = GENUINE[kept], LEFT[kept]
    right = []
    for scores in (person_scores(1, 2.4)[kept], person_scores(2, 2.0)[kept]):
        best = best_accuracy(sweep(scores, genuine))
        assert best is not None
        right.append(((scores > best.threshold) == genuine).astype(int))
    difference = right[0] - right[1]
    assert found.pairs == (PAIRS - 70,)
    assert found.differences[0] == pytest.approx(difference.mean(), abs=1e-12)
    assert found.only[0][0] == (np.flatnonzero(difference > 0) + 70).tolist()
    assert found.only[0][1] == (np.flatnonzero(difference < 0) + 70).tolist()
    random = np.random.default_rng(0)
    people = np.unique(left)
    sums = np.array([difference[left == each].sum() for each in people])
    sizes = np.array([(left == each).sum() for each in people])
    drawn = random.integers(0, len(people), (4000, len(people)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = found.intervals[0]
    ratio = (high - low) / np.subtract(*np.quantile(means, [0.975, 0.025]))
    assert 0.93 < ratio < 1.15


def test_a_leaderboard_says_what_was_dropped(zoo: Zoo) -> None:
    dropped_by_one(Path("results"))
    assert "a on lfw: 150 of 600 pairs dropped" in zoo("leaderboard").out


# ---- Names ---------------------------------------------------------------------------------------


def test_a_value_means_the_same_models_to_all(zoo: Zoo) -> None:
    folder = Path("results")
    for seed, name in enumerate(("arc", "arc_8", "center")):
        store(folder, name, cosines(400, noise=0.5 + seed, seed=seed))
    values = {
        "arc": ["arc"],
        "arc*": ["arc", "arc_8"],
        "?enter": ["center"],
        sha("arc_8")[:4]: ["arc_8"],
        sha("center")[:12].upper(): ["center"],
    }
    for value, expected in values.items():
        board = json.loads(zoo("leaderboard", "--models", value, "--format", "json").out)
        assert sorted(row["model"]["name"] for row in board["rows"]) == expected
        assert [each.name for each in select(folder, models=[value]).contestants] == expected
        loaded = evaluator.load_results(folder, models=value)
        assert [each.model.name for each in loaded] == expected
        read = {each.result.model.name for each in results_meant([folder], value).results}
        assert sorted(read) == expected
        if len(expected) == 1:
            other = "arc_8" if expected != ["arc_8"] else "arc"
            done = zoo("compare", value, other, "--format", "json")
            assert json.loads(done.out)["comparisons"][0]["a"]["name"] == expected[0]
            assert f"# {expected[0]} " in zoo("threshold", value, "--far", "0.1").out
    (duel,) = json.loads(zoo("compare", "arc*", "--format", "json").out)["comparisons"]
    assert (duel["a"]["name"], duel["b"]["name"]) == ("arc", "arc_8")
    three = json.loads(zoo("compare", "center", "*", "--format", "json").out)["comparisons"]
    assert [each["b"]["name"] for each in three] == ["arc", "arc_8", "arc_8"]
    assert "3 stored models" in zoo("threshold", "*", "--far", "0.1").error_lines[0]


def test_the_first_rule_that_finds_any_decides() -> None:
    named, hashed = Named("abcd", "1" * 64, "2" * 64), Named("x", "abcd" + "0" * 60, "3" * 64)
    by_file = Named("y", "4" * 64, "abcd" + "5" * 60)
    assert meant("abcd", [named, hashed, by_file]) == [named]
    assert meant("abcd", [hashed, by_file]) == [hashed]
    assert meant("ABCD", [by_file, named]) == [by_file]
    assert meant("abc", [hashed]) == []
    starred = Named("n*", "6" * 64, "6" * 64)
    assert meant("n*", [Named("net", "7" * 64, "7" * 64), starred]) == [starred]


@pytest.mark.parametrize("asked", ["--models", "--bins"])
def test_an_unknown_name_is_refused_in_the_same_words(zoo: Zoo, asked: str) -> None:
    folder = Path("results")
    store(folder, "alpha", cosines(400, noise=0.5, seed=1))
    lines = {zoo(command, asked, "alhpa").error_lines[0] for command in ("leaderboard", "report")}
    (line,) = lines
    with pytest.raises(evaluator.InputError) as caught:
        evaluator.load_results(folder, **{asked[2:]: "alhpa"})
    assert line.endswith(f"--{caught.value}")
    assert ("did you mean 'alpha'?" in line) == (asked == "--models")


def test_settings_pick_and_tell_apart(zoo: Zoo) -> None:
    folder = Path("results")
    store(folder, "a", cosines(400, noise=0.5, seed=1))
    store(folder, "a", cosines(400, noise=0.5, seed=2), settings=with_flip("sum"))
    found = evaluator.load_results(folder)
    assert {each.label for each in found.models} == {"a", "a (flip sum)"}
    assert {each.label for each in select(folder).contestants} == {"a", "a (flip sum)"}
    board = json.loads(zoo("leaderboard", "--format", "json").out)
    assert {row["label"] for row in board["rows"]} == {"a", "a (flip sum)"}
    (flipped,) = evaluator.load_results(folder, flip="sum")
    np.testing.assert_array_equal(flipped.scores, cosines(400, noise=0.5, seed=2))
    with pytest.raises(KeyError, match="2 stored models are meant by 'a': "):
        found["a"]
    assert found["a (flip sum)"].scores is not None
    with pytest.raises(evaluator.InputError, match="no result with these settings"):
        evaluator.load_results(folder, precision="bfloat16")
    with pytest.raises(evaluator.InputError, match="unknown flip 'sun'"):
        evaluator.load_results(folder, flip="sun")


def test_loaded_results_are_what_was_stored(tmp_path: Path) -> None:
    scores = cosines(400, noise=0.5, seed=1)
    scores[7] = np.nan
    path = store(tmp_path, "a", scores)
    store(tmp_path, "a", scores, bin="bad", finite=False)
    (path.parent / "torn.json").write_text("{")
    results = evaluator.load_results(tmp_path)
    (one,) = results
    assert "torn.json" in results.notes[0]
    assert repr(results).startswith("a: ")
    whole, bad = one["lfw"], one["bad"]
    assert bad.scores is None
    np.testing.assert_array_equal(whole.scores, scores)
    assert whole.figures is not None
    stored = load_result(path).figures
    assert stored is not None
    assert whole.figures.kfold is not None
    assert whole.figures.kfold.accuracy == stored["kfold"]["accuracy"]
    assert whole.figures.auc == stored["auc"]
    evaluator.save_results(one, tmp_path / "copy")
    again = evaluator.load_results(tmp_path / "copy")[0]
    for ours, theirs in itertools.zip_longest(one, again):
        assert ours.result.figures == theirs.result.figures
    with pytest.raises(evaluator.InputError, match="no stored results"):
        evaluator.load_results(tmp_path / "nowhere")
