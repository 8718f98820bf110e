"""`zoo groups`, on synthetic stored results and on a bin with its pairs file."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import Zoo, write_pairs
from stores import cosines, labels, store

from evaluator.bins.pairs_file import Pair, write_sidecar

RESULTS = Path("results")


def found(zoo: Zoo, *arguments: object) -> dict[str, Any]:
    done = zoo("groups", *arguments, "--format", "json")
    assert done.code == 0, done.err
    value: dict[str, Any] = json.loads(done.out)
    return value


def slots_csv(path: str, columns: dict[str, list[str]], *, slots: range | None = None) -> None:
    """A table with a row a slot."""
    count = len(next(iter(columns.values())))
    rows = [[str(i), *(each[i] for each in columns.values())] for i in slots or range(count)]
    write_csv(path, [["slot", *columns], *rows])


def write_csv(path: str, rows: list[list[str]], delimiter: str = ",") -> None:
    with Path(path).open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)


def in_turn(pairs: int, names: str) -> list[str]:
    """Groups of slots: both of a pair in one, the next pair of its kind in the next."""
    return [names[i // 2 % len(names)] for i in range(pairs) for _ in (0, 1)]


def test_rates_of_slots_groups_are_those_of_their_pairs(zoo: Zoo) -> None:
    scores = cosines(2000, noise=1, seed=1)
    store(RESULTS, "m", scores)
    groups = in_turn(2000, "ab")
    slots_csv("by.csv", {"kind": groups})
    value = found(zoo, "m", "--by", "by.csv", "--far", "0.02")
    [model] = value["models"]
    threshold = model["all"]["threshold"]
    impostors = np.sort(scores[~labels(2000)])
    assert (impostors > threshold).sum() == 20
    audit = model["attributes"]["kind"]
    for name in "ab":
        own = np.array(groups[::2]) == name
        each = audit["groups"][name]
        assert each["fmr"] == (scores[own & ~labels(2000)] > threshold).mean()
        assert each["fnmr"] == (scores[own & labels(2000)] <= threshold).mean()
        assert each["impostors"] == 500
    assert audit["cross_group"]["impostors"] == 0
    assert audit["cross_group"]["fmr"] is None
    # A threshold at hand has the rates that zoo threshold gives it.
    checked = json.loads(zoo("threshold", "m", "--check", threshold, "--format", "json").out)
    assert checked["pooled"]["far_ci95"] == model["all"]["fmr_ci95"]
    same = found(zoo, "m", "--by", "by.csv", "--threshold", threshold)["models"][0]
    assert same["attributes"] == model["attributes"]
    assert same["target_fmr"] is None


def test_attributes_cross_and_unknown_values_are_left_out(zoo: Zoo) -> None:
    store(RESULTS, "m", cosines(2000, noise=1, seed=1))
    sex, age = in_turn(2000, "fm"), ["young" if i // 8 % 2 else "old" for i in range(4000)]
    age[:100] = ["NA"] * 100
    slots_csv("by.csv", {"sex": sex, "age": age, "empty": [""] * 4000})
    attributes = found(zoo, "m", "--by", "by.csv", "--cross", "sex,age")["models"][0]["attributes"]
    assert list(attributes) == ["sex", "age", "sex x age"]
    assert list(attributes["sex x age"]["groups"]) == ["f old", "f young", "m old", "m young"]
    assert attributes["age"]["pairs_without_group"] == 50
    everything = found(zoo, "m", "--by", "by.csv", "--cross", "all")["models"][0]
    assert everything["attributes"] == attributes


def test_missed_pairs_count_and_are_said(zoo: Zoo) -> None:
    scores = cosines(2000, noise=1, seed=1)
    scores[:50] = -np.inf
    store(RESULTS, "m", scores)
    slots_csv("by.csv", {"kind": in_turn(2000, "ab")})
    [model] = found(zoo, "m", "--by", "by.csv")["models"]
    assert (model["dropped_pairs"], model["missed_pairs"]) == (0, 50)
    assert model["all"]["fnmr"] == (scores[labels(2000)] <= model["all"]["threshold"]).mean()
    out = zoo("groups", "m", "--by", "by.csv").out
    assert "# 50 pairs without a score, accepted at no threshold" in out


def test_bins_are_groups_where_no_table_is(zoo: Zoo) -> None:
    for i, bin in enumerate(("African_test", "Asian_test", "Caucasian_test", "Indian_test")):
        store(RESULTS, "m", cosines(1000, noise=1 + 0.5 * i, seed=i, bin=bin), bin=bin)
    value = found(zoo, "m", "--far", "0.05")
    audit = value["models"][0]["attributes"]["bin"]
    assert list(audit["groups"]) == value["bins"]
    assert audit["cross_group"]["impostors"] == 0
    assert "with a look at groups" in audit["chance"]
    assert "FNMR" in audit["verdict"]
    [bins] = value["bin_accuracies"]
    accuracies = [100 * each for each in bins["accuracies"]]
    assert 100 * bins["sd_ddof0"] == pytest.approx(np.std(accuracies))
    assert 100 * bins["sd_ddof1"] == pytest.approx(np.std(accuracies, ddof=1))
    assert bins["ser"] == pytest.approx((100 - min(accuracies)) / (100 - max(accuracies)))


def test_two_models_are_compared_on_the_pairs_that_both_scored(zoo: Zoo) -> None:
    groups = in_turn(4000, "ab")
    scores = cosines(4000, noise=1, seed=1)
    unfair = scores - 0.5 * (labels(4000) & (np.array(groups[::2]) == "b"))
    unfair[:10] = np.nan
    store(RESULTS, "unfair", unfair)
    store(RESULTS, "fair", cosines(4000, noise=1, seed=2))
    slots_csv("by.csv", {"kind": groups})
    value = found(zoo, "unfair", "fair", "--by", "by.csv")
    assert [each["dropped_pairs"] for each in value["models"]] == [10, 0]
    [pair] = value["comparisons"]
    gini = pair["attributes"]["kind"]["fnmr_gini"]
    assert (gini["fairer"], gini["difference"] < 0, gini["p_value"] < 0.01) == ("b", True, True)
    assert value["models"][0]["attributes"]["kind"]["verdict"] == "FNMR differs between groups"


# ---- What a table may look like ------------------------------------------------------------------


@pytest.fixture
def named(zoo: Zoo, models: Path) -> Zoo:
    """A bin with a pairs file, and the results of a model on it."""
    write_pairs(Path("easy.bin"))
    pairs = []
    for person in range(10):
        for shot in range(3):
            own, other = f"p{person}", f"p{(person + 1) % 10}"
            left = f"{own}/{shot}.jpg"
            pairs += [
                Pair(left, f"{own}/{(shot + 1) % 3}.jpg", True, (own, own)),
                Pair(left, f"{other}/{shot}.jpg", False, (own, other)),
            ]
    write_sidecar(Path("easy.pairs.csv"), pairs)
    assert zoo("eval", models / "a.onnx", "--bins", "easy.bin").code == 0
    return zoo


def people_rows() -> list[list[str]]:
    return [["person", "sex"], *([f"p{i}", "fm"[i // 5]] for i in range(10))]


def test_people_and_images_are_named_as_in_the_pairs_file(named: Zoo) -> None:
    write_csv("people.csv", people_rows())
    write_csv("semicolons.csv", people_rows(), ";")
    images = [[f"p{i}/{shot}.jpg", "fm"[i // 5]] for i in range(10) for shot in range(3)]
    write_csv("images.csv", [["file", "sex"], *images])
    write_csv(
        "pandas.csv", [["", "image", "sex"], *([str(i), *row] for i, row in enumerate(images))]
    )
    # Whatever the column is called: what stands in it decides.
    write_csv("id.csv", [["id", "sex"], *images])
    write_csv("who.csv", [["who", "sex"], *people_rows()[1:]])
    first, *others = (
        found(named, "a", "--by", f"{name}.csv", "--far", "0.1")["models"][0]["attributes"]
        for name in ("people", "semicolons", "images", "pandas", "id", "who")
    )
    assert first["sex"]["groups"]["f"]["people"] == 5
    # Of the 30 impostor pairs, 3 x 2 are between p4 and p5, and p9 and p0.
    assert first["sex"]["cross_group"]["impostors"] == 6
    assert all(each == first for each in others)


def test_images_are_found_without_their_folders_where_each_has_a_name_of_its_own(
    zoo: Zoo, models: Path
) -> None:
    write_pairs(Path("easy.bin"))
    pairs = [Pair(f"x/{2 * i}.jpg", f"y\\{2 * i + 1}.jpg", i % 2 == 0) for i in range(60)]
    write_sidecar(Path("easy.pairs.csv"), pairs)
    assert zoo("eval", models / "a.onnx", "--bins", "easy.bin").code == 0
    write_csv("by.csv", [["picture", "k"], ["0.jpg", "f"], ["1.jpg", "f"], ["7.jpg", "m"]])
    audit = found(zoo, "a", "--by", "by.csv", "--threshold", "0")["models"][0]["attributes"]["k"]
    assert audit["groups"]["f"]["genuine"] == 1


def test_the_same_image_in_another_slot_is_in_the_same_group(named: Zoo) -> None:
    # Slot 0 is p0/0.jpg, shown in slots 2 and 9 again, and so on.
    write_csv("some.csv", [["slot", "sex"], ["0", "f"], ["3", "m"]])
    attribute = found(named, "a", "--by", "some.csv", "--threshold", "0")["models"][0]["attributes"]
    assert attribute["sex"]["cross_group"]["impostors"] == 1
    write_csv("twice.csv", [["slot", "sex"], ["0", "f"], ["2", "m"]])
    [line] = named("groups", "a", "--by", "twice.csv").error_lines
    assert "twice.csv, line 3: the very image of line 2, with other values" in line


def test_the_table_of_bfw_says_the_groups_of_both_sides(named: Zoo) -> None:
    rows = [["fold", "p1", "p2", "label", "id1", "id2", "att1", "att2", "e1", "e2", "g1", "g2"]]
    for row in csv.DictReader(io.StringIO(Path("easy.pairs.csv").read_text())):
        sides = [
            f"{'asian' if row[side] < 'p5' else 'white'}_females" for side in ("left", "right")
        ]
        races = [each[0].upper() for each in sides]
        ids = [row["left_person"], row["right_person"]]
        label = row["label"]
        rows.append(["1", row["left"], row["right"], label, *ids, *sides, *races, "F", "F"])
    write_csv("bfw.csv", rows)
    value = found(named, "a", "--by", "bfw.csv", "--far", "0.1")
    assert value["notes"] == ["bfw.csv: column 'g' has one group alone, 'F'"]
    by_pair = value["models"][0]["attributes"]
    assert list(by_pair) == ["att", "e"]
    assert by_pair["att"]["cross_group"]["impostors"] == 6
    # In another order, and less of it, the names of images decide.
    write_csv("shuffled.csv", [rows[0][:-2], *(row[:-2] for row in rows[:6:-1])])
    shuffled = found(named, "a", "--by", "shuffled.csv", "--far", "0.1")["models"][0]["attributes"]
    assert shuffled["att"]["groups"]["white_females"] == by_pair["att"]["groups"]["white_females"]


def test_a_group_of_one_person_and_strangers_are_said_in_a_line_each(named: Zoo) -> None:
    rows = [*people_rows()[:2], *([f"p{i}", "m"] for i in range(1, 9)), ["zed", "m"]]
    write_csv("by.csv", rows)
    done = named("groups", "a", "--by", "by.csv", "--far", "0.2")
    assert "# f: one person, who is no impostor of anyone in it" in done.out
    assert "# by.csv: 1 of its names are not in these bins" in done.out
    assert "# by.csv: says nothing of 12 slots; pairs with one have no group" in done.out
    assert re.search(r"^f +1 +0 +- +- +3 ", done.out, re.MULTILINE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("person,sex\np0,f\np1\n", "line 3: expected 2 values, as the first row names, found 1"),
        ("person,sex\np0,f\np0,m\n", "line 3: 'p0' again, with other values than on line 2"),
        ("person,sex\nq0,f\nq1,m\n", "none of its 2 rows is of a person of these bins, as 'q0'"),
        ("who,sex\nq0,f\nq1,m\n", "line 2: 'q0' is not an image or a person or a slot"),
        ("person,sex\np0,f\np1,f\n", "column 'sex' has one group alone, 'f'"),
        ("person\np0\n", "expected a column of images or people and one or more beside it"),
        ("person,sex\n", "expected a row of names and rows below it, found 1"),
        ("person,sex,sex\np0,f,f\n", "expected a name for each column, each once, got 'sex'"),
        ("p1,p2,att1,att2\na,b,f,m\n", "1 pairs, where the bin has 60, and no names"),
        ("slot,sex\n0,f\n120,m\n", "column 'sex' has one group alone"),
        ("p0,f\np1,m\n", "line 1: expected names of columns, found a row of 'p0'"),
        ("0,f\n1,m\n", "line 1: expected names of columns, found a row of '0'"),
    ],
)
def test_a_wrong_table_is_one_line(named: Zoo, text: str, said: str) -> None:
    Path("by.csv").write_text(text)
    done = named("groups", "a", "--by", "by.csv")
    assert done.code == 2
    [line] = done.error_lines
    assert line.startswith("zoo: error: by.csv")
    assert said in line


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(lambda text: text.encode("utf-16"), id="Excel's Unicode text"),
        pytest.param(lambda text: f"sep=;\r\n{text.replace(',', ';')}".encode(), id="Excel's sep"),
        pytest.param(
            lambda text: re.sub(r"^p(?=[0-9])", "7,p", text, flags=re.MULTILINE).encode(),
            id="R's write.table",
        ),
    ],
)
def test_a_table_is_read_as_programs_write_it(named: Zoo, written: Callable[[str], bytes]) -> None:
    rows = people_rows()
    write_csv("plain.csv", rows)
    text = Path("plain.csv").read_text()
    Path("other.csv").write_bytes(written(text))
    plain = found(named, "a", "--by", "plain.csv", "--far", "0.2")["models"]
    assert found(named, "a", "--by", "other.csv", "--far", "0.2")["models"] == plain


def test_many_values_are_no_groups(zoo: Zoo) -> None:
    store(RESULTS, "m", cosines(60, noise=1, seed=1))
    slots_csv("by.csv", {"age": [str(i) for i in range(120)]})
    assert (
        "has 120 values, where 50 groups are the most" in zoo("groups", "m", "--by", "by.csv").err
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("m",), "expected --by FILE.csv"),
        (("m", "--cross", "a,b"), "--cross: goes with --by"),
        (("m", "--by", "by.csv", "--cross", "kind"), "expected two columns or more"),
        (("m", "--by", "by.csv", "--cross", "kind,knd"), "did you mean 'kind'?"),
        (("m", "--by", "by.csv", "--far", "1e-5"), "of 1,000 impostors is less than one of them"),
        (("m", "--by", "by.csv", "--far", "2"), "between 0 and 1"),
        (("m", "--by", "by.csv", "--far", "0.1", "--threshold", "0"), "give one of them"),
        (("m", "--by", "by.csv", "--threshold", "nan"), "expected a number"),
        (("m", "--by", "none.csv"), "none.csv: No such file"),
        (("n", "--by", "by.csv"), "no model 'n'"),
        (
            ("m", "--by", "names.csv"),
            "'x' is not a slot; no pairs file, NAME.pairs.csv, stands beside the bin",
        ),
    ],
)
def test_wrong_arguments_are_one_line(zoo: Zoo, arguments: tuple[str, ...], said: str) -> None:
    store(RESULTS, "m", cosines(2000, noise=1, seed=1))
    slots_csv("by.csv", {"kind": in_turn(2000, "ab")})
    write_csv("names.csv", [["image", "kind"], ["x", "a"], ["y", "b"]])
    done = zoo("groups", *arguments)
    assert done.code == 2
    [line] = done.error_lines
    assert said in line


def test_names_are_compared_by_their_letters_and_shown_without_obeying_them(zoo: Zoo) -> None:
    store(RESULTS, "m", cosines(400, noise=1, seed=1))
    # One word, its accent composed and decomposed; and what would colour a terminal.
    groups = [("Ren\u00e9e", "\x1b[31mred", "Rene\u0301e")[slot // 4 % 3] for slot in range(800)]
    slots_csv("by.csv", {"kind": groups})
    audit = found(zoo, "m", "--by", "by.csv", "--far", "0.1")["models"][0]["attributes"]["kind"]
    assert list(audit["groups"]) == ["Ren\u00e9e", "\\x1b[31mred"]


# ---- How it is printed ---------------------------------------------------------------------------


def test_every_format_has_the_same_rates(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    for model, seed in (("one", 1), ("two", 2)):
        store(RESULTS, model, cosines(600, noise=1, seed=seed))
    slots_csv("by.csv", {"kind": in_turn(600, "ab")})
    arguments = ("one", "two", "--by", "by.csv", "--far", "0.1")
    value = found(zoo, *arguments)
    rate = value["models"][1]["attributes"]["kind"]["groups"]["b"]["fnmr"]
    rows = list(csv.DictReader(io.StringIO(zoo("groups", *arguments, "--format", "csv").out)))
    [own] = [
        row for row in rows if (row["model"], row["group"], row["figure"]) == ("two", "b", "fnmr")
    ]
    assert float(own["value"]) == rate
    [apart] = [row for row in rows if (row["model"], row["figure"]) == ("two - one", "garbe")]
    garbe = value["comparisons"][0]["attributes"]["kind"]["garbe"]
    assert float(apart["value"]) == garbe["difference"]
    shown = f"{rate:.3g}"
    for name in ("table", "markdown", "latex"):
        assert shown in zoo("groups", *arguments, "--format", name).out
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", zoo("groups", *arguments).out)
    assert max(map(len, plain.splitlines())) <= 80
    assert "kind: is two (B) fairer than one (A)?" in plain


def test_the_same_seed_draws_the_same_chance(zoo: Zoo) -> None:
    store(RESULTS, "m", cosines(600, noise=1, seed=1))
    slots_csv("by.csv", {"kind": in_turn(600, "ab")})
    one, again, other = (
        zoo("groups", "m", "--by", "by.csv", "--seed", seed).out for seed in (1, 1, 2)
    )
    assert one == again != other
