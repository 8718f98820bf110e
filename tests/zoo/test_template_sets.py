"""`zoo eval` on template sets, and who reads its results: against NumPy alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from samples import Zoo, face, png

from evaluator.images.inputs import Embedder, InputSpec
from evaluator.measure.embed import EmbedOptions
from evaluator.metrics.all_figures import figure_named
from evaluator.results.store import load_result, load_scores, stored_results
from evaluator.statistics.differences import differences_on_bin, mean_of
from evaluator.statistics.shared_pairs import Scored, differences_of
from evaluator.templates import evaluation
from evaluator.templates.evaluation import embed_set
from evaluator.templates.kept_embeddings import KeptEmbeddings
from evaluator.templates.layouts import read_template_set
from zoo.terminal.set_table import print_sets

RESULTS = Path("results")
MINE = Path("mine")


def write_set(root: Path = MINE, *, people: int = 12, strangers: int = 15) -> Path:
    """Blots of people in `gallery/ID` (two images) and `probe/ID` (three), and of strangers."""
    for person in range(people + strangers):
        for shot in range(5 if person < people else 2):
            part = "unknown" if person >= people else "gallery" if shot < 2 else "probe"
            path = root / part / f"p{person:02d}" / f"{shot}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(face(person, shot)))
    return root


def on_set(zoo: Zoo, *arguments: object, code: int = 0) -> dict[str, Any]:
    done = zoo("eval", *arguments, "--json", "-")
    assert done.code == code, done.err
    (result,) = json.loads(done.out)
    found: dict[str, Any] = result
    return found


def by_hand(
    images: list[str], embeddings: NDArray[np.floating]
) -> tuple[dict[str, float | None], dict[str, float]]:
    """TAR by FAR of all probes and gallery people, and ranks and TPIR, from images' embeddings."""
    part = np.array([name.split("/")[0] for name in images])
    person = np.array([name.split("/")[1] for name in images])
    names = sorted(set(person[part == "gallery"]))
    wide = embeddings.astype(np.float64)
    held = np.stack([wide[(part == "gallery") & (person == name)].sum(axis=0) for name in names])
    probes = wide[part != "gallery"]
    held, probes = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (held, probes))
    scores = probes @ held.T
    same = person[part != "gallery"][:, None] == np.array(names)[None]
    tars = {}
    for key, far in (("0.1", 0.1), ("0.01", 0.01), ("0.001", 0.001)):
        impostors = np.sort(scores[~same])
        allowed = int(far * len(impostors) + 1e-9)
        limit = impostors[len(impostors) - allowed - 1]
        tars[key] = float((scores[same] > limit).mean()) if allowed else None
    mated = same.any(axis=1)
    mate = np.where(same, scores, -9).max(axis=1)
    rank = 1 + ((scores >= mate[:, None]) & ~same).sum(axis=1)
    found = {f"rank{r}": float((rank[mated] <= r).mean()) for r in (1, 5)}
    top = np.sort(scores[~mated].max(axis=1))
    limit = top[len(top) - int(0.1 * len(top) + 1e-9) - 1]
    found["tpir@0.1"] = float(((rank == 1) & (mate > limit))[mated].mean())
    return tars, found


def check_by_hand(result: dict[str, Any], images: list[str], embeddings: Any) -> None:
    tars, searched = by_hand(images, embeddings)
    figures = result["figures"]
    for key, expected in tars.items():
        block = figures["tar_at_far"][key]
        assert (block and block["tar"]) == (expected and pytest.approx(expected, abs=1e-12)), key
    (gallery,) = figures["identification"]["galleries"]
    for block in (figures["identification"], gallery):
        assert block["rank"]["1"] == pytest.approx(searched["rank1"], abs=1e-12)
        assert block["rank"]["5"] == pytest.approx(searched["rank5"], abs=1e-12)
        tpir = block["tpir_at_fpir"]["0.1"]
        assert tpir["tpir"] == pytest.approx(searched["tpir@0.1"], abs=1e-12)
        assert tpir["fpir"] <= 0.1
    assert figures["kfold"] is None
    assert figures["insightface"] is None


def pixels(images: list[str], root: Path = MINE) -> NDArray[np.float32]:
    found = [np.asarray(Image.open(root / name).convert("RGB"), np.float32) for name in images]
    return np.stack(found)


def projected(models: Path, images: list[str], name: str = "a") -> NDArray[np.floating]:
    """What a model of `small_models` gives, from its weights alone."""
    rows = (pixels(images) / 255).reshape(len(images), -1)
    weights = np.random.default_rng({"a": 1, "b": 2}[name]).normal(size=(rows.shape[1], 16))
    return rows @ weights.astype(np.float32)


@pytest.fixture
def mine(zoo: Zoo) -> list[str]:
    """A small set in the folder that `zoo` runs in; the names of its images."""
    return list(read_template_set(write_set()).images)


def test_one_command_gives_verification_and_identification_by_definition(
    zoo: Zoo, models: Path, mine: list[str]
) -> None:
    result = on_set(zoo, models / "a.onnx", "--bins", MINE)
    check_by_hand(result, mine, projected(models, mine))
    record, settings = result["bin"], result["settings"]
    assert (record["kind"], record["templates"], record["probes"]) == ("folders", 12 + 36 + 30, 66)
    assert (record["images"], record["pairs"], record["galleries"]) == (len(mine), 66 * 12, 1)
    assert (settings["norm"], "detector_score" in settings) == ("raw", False)


def test_bins_and_a_set_stand_in_one_command_and_bins_have_no_new_keys(
    zoo: Zoo, models: Path, bins: Path, mine: list[str]
) -> None:
    done = zoo("eval", models / "a.onnx", models / "b.onnx", "--bins", MINE, bins / "easy.bin")
    assert done.code == 0, done.err
    lines = [line.split()[:3] for line in done.out.splitlines() if line.startswith("a ")]
    on_bin, exact, nearest, gallery = lines
    assert on_bin[1].replace(".", "").isdecimal()
    assert (exact[1:], nearest[1:]) == (["mine", "exact"], ["mine", "nearest"])
    assert gallery[1:] == ["mine", "-"]
    whole = zoo("eval", models / "a.onnx", "--bins", MINE, bins / "easy.bin", "--json", "-")
    on_mine, on_easy = json.loads(whole.out)
    assert on_mine["bin"]["name"] == "mine"
    assert {"kind", "templates", "probes"}.isdisjoint(on_easy["bin"])
    assert {"norm", "detector_score"}.isdisjoint(on_easy["settings"])
    assert {"identification", "tar_nearest_far"}.isdisjoint(on_easy["figures"])


def test_a_set_is_found_by_its_name_in_a_folder_of_data(zoo: Zoo, models: Path) -> None:
    write_set(Path("data") / "office")
    result = on_set(zoo, models / "a.onnx", "--bins", "office", "--data", "data")
    assert (result["bin"]["name"], result["bin"]["path"]) == ("office", "data/office")


def test_batches_of_one_and_of_64_score_alike(zoo: Zoo, models: Path, mine: list[str]) -> None:
    found = []
    for size in (1, 64):
        on_set(zoo, models / "a.onnx", "--bins", MINE, "--batch-size", size, "--fresh")
        (path,) = stored_results(RESULTS)
        found.append(load_scores(path, load_result(path)))
    np.testing.assert_allclose(found[0].scores, found[1].scores, atol=1e-6)
    np.testing.assert_array_equal(found[0].searches[0].rank, found[1].searches[0].rank)


def test_another_norm_and_flip_are_other_results_and_a_norm_takes_no_new_embeddings(
    zoo: Zoo, models: Path, mine: list[str]
) -> None:
    raw = on_set(zoo, models / "a.onnx", "--bins", MINE)
    done = zoo("eval", models / "a.onnx", "--bins", MINE, "--norm", "unit", "--json", "-")
    assert f"{len(mine)} of {len(mine)} embeddings are in" in done.err
    (unit,) = json.loads(done.out)
    own = projected(models, mine)
    check_by_hand(unit, mine, own / np.linalg.norm(own, axis=1, keepdims=True))
    assert unit["settings"]["norm"] == "unit"
    assert unit["cost"]["images_per_second"] == 0 < raw["cost"]["images_per_second"]
    flipped = on_set(zoo, models / "a.onnx", "--bins", MINE, "--flip", "sum")
    mirrored = (pixels(mine)[:, :, ::-1] / 255).reshape(len(mine), -1)
    weights = np.random.default_rng(1).normal(size=(mirrored.shape[1], 16)).astype(np.float32)
    check_by_hand(flipped, mine, own + mirrored @ weights)
    assert len(list(stored_results(RESULTS))) == 3
    again = zoo("eval", models / "a.onnx", "--bins", MINE)
    assert "all results answered from the store" in again.err


def test_what_is_interrupted_goes_on_where_it_was(
    zoo: Zoo, mine: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "_BLOCK", 16)
    held = read_template_set(MINE)
    calls: list[int] = []

    def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(len(batch))
        return batch.reshape(len(batch), -1)

    embedder = Embedder(forward, InputSpec(8, 8))
    path, key = Path("kept") / "a.npy", {"model": "a"}
    with pytest.raises(KeyboardInterrupt):
        embed_set(embedder, held, options=EmbedOptions(), kept=KeptEmbeddings(path, key, len(mine)))
    assert KeptEmbeddings(path, key, len(mine)).rows == 48
    assert KeptEmbeddings(path, {"model": "b"}, len(mine)).rows == 0
    assert KeptEmbeddings(path, key, len(mine) + 1).rows == 0
    calls.clear()
    calls += [0, 0, 0, 0]  # no interruption any more
    kept = KeptEmbeddings(path, key, len(mine))
    found = embed_set(embedder, held, options=EmbedOptions(), kept=kept)
    assert sum(calls) == found.new == len(mine) - 48
    np.testing.assert_array_equal(
        found.embeddings, (pixels(mine) / np.float32(255)).reshape(len(mine), -1)
    )
    path.with_suffix(".rows").write_text("no JSON")
    assert KeptEmbeddings(path, key, len(mine)).rows == 0


def test_images_of_equal_bytes_are_embedded_once_whatever_block_they_are_in(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "_BLOCK", 4)
    root = write_set(people=3, strangers=1)
    for name in ("probe/p00/2.png", "probe/p00/3.png", "unknown/p03/1.png"):
        (root / name).write_bytes((root / "gallery/p00/0.png").read_bytes())
    held = read_template_set(root)
    seen: list[int] = []

    def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append(len(batch))
        return batch.reshape(len(batch), -1)

    embedder = Embedder(forward, InputSpec(8, 8))
    found = embed_set(embedder, held, options=EmbedOptions())
    kept = embed_set(
        embedder,
        held,
        options=EmbedOptions(),
        kept=KeptEmbeddings(Path("k") / "a.npy", {}, len(held.images)),
    )
    assert sum(seen) == 2 * (len(held.images) - 3)
    assert found.unique == len(held.images) - 3
    expected = (pixels(list(held.images)) / np.float32(255)).reshape(len(held.images), -1)
    np.testing.assert_array_equal(found.embeddings, expected)
    np.testing.assert_array_equal(kept.embeddings, expected)


def write_embeddings(path: Path, images: list[str], embeddings: Any, **more: Any) -> Path:
    order = np.random.default_rng(3).permutation(len(images))
    arrays = {name: values[order] for name, values in more.items()}
    np.savez(path, names=np.array(images)[order], embeddings=embeddings[order], **arrays)
    return path


def test_embeddings_from_elsewhere_are_taken_by_name_in_any_order(
    zoo: Zoo, models: Path, mine: list[str]
) -> None:
    own = projected(models, mine)
    path = write_embeddings(Path("x.npz"), mine, own)
    result = on_set(zoo, "--embeddings", path, "--name", "vendor", "--bins", MINE)
    check_by_hand(result, mine, own)
    assert (result["model"]["name"], result["model"]["format"]) == ("vendor", "embeddings")
    more = write_embeddings(Path("more.npz"), [*mine, "x"], np.vstack([own, own[:1]]))
    assert on_set(zoo, "--embeddings", more, "--bins", MINE)["figures"] == result["figures"]
    both = write_embeddings(Path("both.npz"), mine, own, mirrored=own[::-1].copy())
    check_by_hand(on_set(zoo, "--embeddings", both, "--bins", MINE), mine, own + own[::-1])
    on_set(zoo, models / "a.onnx", "--bins", MINE)
    compared = zoo("compare", "a", "vendor", "--metric", "rank1", "--format", "json")
    assert json.loads(compared.out)["comparisons"][0]["overall"]["difference"] == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (dict.fromkeys(("names", "embeddings", "mirrored"), slice(1, None)), "is not among the"),
        ({"embeddings": slice(1, None)}, "names and"),
        ({"mirrored": slice(1, None)}, "mirrored has shape"),
    ],
)
def test_embeddings_that_are_not_the_sets_are_told_in_a_line(
    zoo: Zoo, mine: list[str], change: dict[str, slice], said: str
) -> None:
    rows = np.ones((len(mine), 4), np.float32)
    arrays = {"names": np.array(mine), "embeddings": rows, "mirrored": rows}
    np.savez("x.npz", **{k: v[change.get(k, slice(None))] for k, v in arrays.items()})
    done = zoo("eval", "--embeddings", "x.npz", "--bins", MINE)
    assert (done.code, len(done.error_lines)) == (2, 1)
    assert said in done.error_lines[0]


def test_names_twice_no_set_and_scores_of_a_set_are_told_in_a_line(
    zoo: Zoo, bins: Path, mine: list[str]
) -> None:
    rows = np.ones((len(mine), 4), np.float32)
    np.savez("x.npz", names=np.array([mine[0], *mine[:-1]]), embeddings=rows)
    Path("x.csv").write_text("0.1,1\n")
    for arguments, said in (
        (("--embeddings", "x.npz", "--bins", MINE), f"{mine[0]} is named twice"),
        (("--embeddings", "x.npz"), "name that by --bins FOLDER"),
        (("--embeddings", "x.npz", "--bins", bins / "easy.bin"), "name that by --bins FOLDER"),
        (("--scores", "x.csv", "--bins", MINE), "takes --embeddings with arrays names"),
    ):
        done = zoo("eval", *arguments)
        assert (done.code, len(done.error_lines)) == (2, 1)
        assert said in done.error_lines[0]


def test_images_of_no_use_fail_by_name_or_are_left_out(zoo: Zoo, models: Path) -> None:
    root = write_set()
    dark = ["gallery/p00/0.png", "probe/p01/2.png"]
    for name in dark:
        (root / name).write_bytes(png(np.zeros((8, 8, 3), np.uint8)))
    done = zoo("eval", models / "dark.onnx", "--bins", root)
    assert done.code == 1
    assert ", ".join(dark) in done.err
    result = on_set(zoo, models / "dark.onnx", "--bins", root, "--nan", "drop")
    lost = result["non_finite"]
    assert (lost["count"], lost["names"]) == (2, dark)
    # The gallery's person has another image; the probe is its template's only one.
    assert (lost["dropped_pairs"], lost["dropped_probes"]) == (12, 1)
    dropped = result["figures"]["identification"]
    assert dropped["galleries"][0]["mated"] == 35
    result = on_set(zoo, models / "dark.onnx", "--bins", root, "--nan", "miss")
    lost = result["non_finite"]
    assert (lost["dropped_pairs"], lost["missed_pairs"], lost["missed_probes"]) == (0, 12, 1)
    missed = result["figures"]["identification"]
    assert missed["galleries"][0]["mated"] == 36
    # Of 36 searches the one without an embedding finds nobody, whatever the rank.
    for rank, share in missed["rank"].items():
        assert share * 36 == pytest.approx(dropped["rank"][rank] * 35)


def put_two(zoo: Zoo, models: Path) -> None:
    done = zoo("eval", models / "a.onnx", models / "b.onnx", "--bins", MINE)
    assert done.code == 0, done.err


def test_smaller_galleries_are_told_where_asked(
    zoo: Zoo, models: Path, mine: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "gallery_sizes" not in on_set(zoo, models / "a.onnx", "--bins", MINE)["figures"]
    done = zoo("eval", models / "a.onnx", "--bins", MINE, "--gallery-sizes", "--json", "-")
    assert "embeddings are in" in done.err  # measured again, of embeddings that were there
    (result,) = json.loads(done.out)
    (smaller,) = result["figures"]["gallery_sizes"]
    (whole,) = result["figures"]["identification"]["galleries"]
    sizes = smaller["sizes"]
    assert [each["size"] for each in sizes] == [1, 2, 5, 10, 12]
    at = whole["tpir_at_fpir"]["0.1"]
    assert smaller["threshold"] == at["threshold"]
    assert (sizes[-1]["tpir"], sizes[-1]["fpir"]) == pytest.approx((at["tpir"], at["fpir"]))
    fpirs = [each["fpir"] for each in sizes]
    assert fpirs == sorted(fpirs)
    # Of one template: strangers' share of cosines above, which the 1:1 list has, too.
    (path,) = stored_results(RESULTS)
    scores = load_scores(path, load_result(path))
    facts = scores.facts
    assert facts is not None
    unknown = np.isin(facts.templates[0::2], facts.probes[~scores.searches[0].mated])
    above = scores.scores[unknown] > at["threshold"]
    assert fpirs[0] == pytest.approx(above.mean())
    stored = zoo("eval", models / "a.onnx", "--bins", MINE, "--gallery-sizes")
    assert "embeddings are in" not in stored.err
    assert stored.out.splitlines()[-6].split() == [
        "model", "set", "gallery", "threshold", "size", "fpir", "tpir",
    ]  # fmt: skip


def test_tables_of_two_galleries_and_a_long_name_fit_into_80_columns(
    zoo: Zoo,
    models: Path,
    mine: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert zoo("eval", models / "a.onnx", "--bins", MINE).code == 0
    (path,) = stored_results(RESULTS)
    result = load_result(path)
    assert result.figures is not None
    block = result.figures["identification"]
    galleries = [{**block["galleries"][0], "name": name} for name in ("G1", "G2")]
    whole = {**result.figures, "identification": {**block, "galleries": galleries}}
    named = replace(result, figures=whole, model=replace(result.model, name="a_name_" * 5))
    console = Console(width=80, no_color=True)
    monkeypatch.setattr("zoo.terminal.set_table.rich_terminal", lambda: console)
    print_sets([result, named], intervals=True)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    heads = [line.split() for line in lines]
    assert ["at", "FAR", "1e-1", "1e-2", "1e-3", "1e-4", "1e-5", "1e-6"] in heads
    assert ["templates", "1", "5", "10", "20", "FPIR", "0.1", "FPIR", "0.01"] in heads
    assert sum(line[:1] == ["all"] for line in heads) == 1


def test_searches_rank_and_compare_models(zoo: Zoo, models: Path, mine: list[str]) -> None:
    put_two(zoo, models)
    figures = {}
    for name in ("a", "b"):
        (path,) = RESULTS.glob(f"{name}-*/*.json")
        figures[name] = load_result(path).figures
    for metric in ("tpir@0.1", "rank1", "rank5", "tar@1e-2"):
        figure = figure_named("--metric", metric)
        board = json.loads(zoo("leaderboard", "--metric", metric, "--format", "json").out)
        shown = {row["model"]["name"]: row["mean"] for row in board["rows"]}
        assert shown == {name: figure.read(own) for name, own in figures.items()}
        done = zoo("compare", "a", "b", "--metric", metric, "--format", "json")
        (duel,) = json.loads(done.out)["comparisons"]
        assert duel["overall"]["difference"] == pytest.approx(shown["a"] - shown["b"], abs=1e-12)
        low, high = duel["overall"]["interval95"]
        assert low < duel["overall"]["difference"] < high
        assert (duel["overall"]["p_value"] < 0.05) == (low > 0 or high < 0)
        (pair,) = duel["bins"]
        assert (pair["value_a"], pair["value_b"]) == (shown["a"], shown["b"])
    ranks = zoo("compare", "a", "b", "--metric", "rank3", "--format", "json")
    assert json.loads(ranks.out)["comparisons"][0]["bins"][0]["pairs"] == 36


def test_a_figure_of_galleries_is_their_mean_with_people_drawn_together(
    zoo: Zoo, models: Path, mine: list[str]
) -> None:
    put_two(zoo, models)
    figure = figure_named("--metric", "tpir@0.1")
    models_scored = []
    for path in stored_results(RESULTS):
        result = load_result(path)
        scores = load_scores(path, result)
        (found,) = scores.searches
        # As if the set had a second gallery: fewer probes have a mate in it.
        other = replace(found, gallery="other", score=np.roll(found.score, 7))
        models_scored.append(Scored(result, replace(scores, searches=(found, other))))
    whole = differences_of([each.asked(figure) for each in models_scored], figure)
    facts = models_scored[0].scores.facts
    assert facts is not None
    probe = facts.person[facts.probes]
    alone, across = [], []
    for number in range(2):
        own = [each.scores.searches[number] for each in models_scored]
        lists = [np.where(x.mated & (x.rank > 1), -2.0, x.score) for x in own]
        # Of two models' rivals those that are fewer stand for both.
        slots = [
            np.column_stack([probe, np.where(x.mated, probe, facts.person[x.rival])]) for x in own
        ]
        ends = min(slots, key=lambda s: (len(np.unique(s)), s.astype(np.int64).tobytes()))
        from evaluator.metrics.sharing import pair_sharing

        sharing = pair_sharing(ends[:, 0], ends[:, 1], unit="person")
        alone.append(differences_on_bin(lists, own[0].mated, sharing, figure))
        across.append((ends[:, 0], ends[:, 1]))
    expected = mean_of(alone, across)
    np.testing.assert_allclose(whole.gaps, expected.gaps, atol=1e-12)
    np.testing.assert_allclose(whole.variances, expected.variances, rtol=1e-9)
    apart = mean_of(alone)
    assert (whole.variances >= apart.variances - 1e-15).all()


def test_figures_of_folds_are_undefined_on_a_set_and_said_to_be(
    zoo: Zoo, models: Path, mine: list[str]
) -> None:
    put_two(zoo, models)
    board = zoo("leaderboard")
    assert board.code == 0
    assert "kfold is undefined on mine: the order of a template set's pairs means" in board.out
    assert "try rank1 or tar@1e-3" in board.out
    for metric in ("kfold", "insightface", "kfold-decisions"):
        done = zoo("compare", "a", "b", "--metric", metric)
        assert (done.code, len(done.error_lines)) == (2, 1)
        assert "has no folds" in done.error_lines[0]


def test_figures_of_searches_are_undefined_on_bins(zoo: Zoo, models: Path, bins: Path) -> None:
    assert zoo("eval", models / "a.onnx", models / "b.onnx", "--bins", bins / "easy.bin").code == 0
    assert "no galleries are searched in it" in zoo("leaderboard", "--metric", "rank1").out
    done = zoo("compare", "a", "b", "--metric", "tpir@0.01")
    assert (done.code, len(done.error_lines)) == (2, 1)
    assert "no galleries are searched in it" in done.error_lines[0]


def test_commands_for_bins_say_so_and_a_threshold_is_chosen_from_pairs(
    zoo: Zoo, models: Path, mine: list[str]
) -> None:
    put_two(zoo, models)
    for command in (("probe",), ("project",)):
        done = zoo(*command, models / "a.onnx", "--bins", MINE)
        assert (done.code, len(done.error_lines)) == (2, 1)
        assert "a template set, and this takes a bin" in done.error_lines[0]
    done = zoo("train", "centsoft", "--data", MINE / "probe", "--bins", MINE)
    assert (done.code, len(done.error_lines)) == (2, 1)
    assert "a template set, and this takes a bin" in done.error_lines[0]
    Path("by.csv").write_text("slot,kind\n" + "".join(f"{i},{i % 2}\n" for i in range(len(mine))))
    for asked in (("groups", "a", "--by", "by.csv"), ("discard", "a", "--quality", "norm")):
        done = zoo(*asked)
        assert (done.code, len(done.error_lines)) == (2, 1)
        assert "mine: the images of template sets have no slots" in done.error_lines[0]
    assert zoo("threshold", "a", "--check", "0.5").code == 0
    assert zoo("report", "-o", "page.html").code == 0
    assert zoo("eval", models / "a.onnx", "--bins", "no-set").code == 2


def test_groups_leave_a_set_beside_a_bin_out_and_say_so(
    zoo: Zoo, models: Path, bins: Path, mine: list[str]
) -> None:
    assert zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin").code == 0
    (stored,) = stored_results(RESULTS)
    images = load_scores(stored, load_result(stored)).images
    rows = [f"{slot},{image % 2}\n" for slot, image in enumerate(images)]
    Path("by.csv").write_text("slot,kind\n" + "".join(rows))
    command = ("groups", "a", "--by", "by.csv", "--far", "0.2", "--format", "csv")
    alone = zoo(*command)
    assert alone.code == 0, alone.err
    put_two(zoo, models)
    beside = zoo(*command)
    assert (beside.code, beside.out) == (0, alone.out)
    table = zoo(*command[:-2])
    assert "mine: left out, a template set, whose images have no slots" in table.out


def test_a_comparison_of_searches_counts_searches(zoo: Zoo, models: Path, mine: list[str]) -> None:
    put_two(zoo, models)
    done = zoo("compare", "a", "b", "--metric", "rank1")
    assert (
        "on the same searches, counted as pairs; only_A and only_B: found by one alone" in done.out
    )
    value = json.loads(zoo("compare", "a", "b", "--metric", "rank1", "--format", "json").out)
    (own,) = value["comparisons"][0]["bins"]
    alone = (len(own["only_a"]) - len(own["only_b"])) / own["pairs"]
    assert own["difference"] == pytest.approx(alone, abs=1e-12)
    done = zoo("compare", "a", "b", "--metric", "tpir@0.1")
    assert "only_A and only_B: accuracy by decisions at each model's best threshold" in done.out


def test_detector_scores_that_a_set_does_not_have_are_refused(
    zoo: Zoo, models: Path, mine: list[str]
) -> None:
    done = zoo("eval", models / "a.onnx", "--bins", MINE, "--detector-score", "yes")
    assert (done.code, len(done.error_lines)) == (2, 1)
    assert "states no detector scores" in done.error_lines[0]


def test_results_whose_facts_are_gone_or_damaged_are_told_in_a_line(
    zoo: Zoo, models: Path, mine: list[str]
) -> None:
    put_two(zoo, models)
    (facts,) = RESULTS.glob("set-*.h5")
    whole = facts.read_bytes()
    for content, said in ((None, "are gone"), (whole[:-200], "damaged facts"), (b"", "damaged")):
        facts.unlink(missing_ok=True)
        if content is not None:
            facts.write_bytes(content)
        done = zoo("compare", "a", "b", "--metric", "rank1")
        assert (done.code, len(done.error_lines)) == (2, 1)
        assert said in done.error_lines[0]
    facts.unlink()
    again = zoo("eval", models / "a.onnx", "--bins", MINE)
    assert "answered from the store" not in again.err
    assert zoo("compare", "a", "b", "--metric", "rank1").code == 0


def test_a_set_with_a_wrong_list_is_told_in_a_line(zoo: Zoo, models: Path) -> None:
    from tests.template_samples import write_lists

    root = Path("IJBC")
    write_lists(root)
    rows = root / "meta" / "ijbc_face_tid_mid.txt"
    rows.write_text(rows.read_text().replace(" ", ",", 2))
    done = zoo("eval", models / "a.onnx", "--bins", root)
    assert (done.code, len(done.error_lines)) == (2, 1)
    assert "ijbc_face_tid_mid.txt, line 1" in done.error_lines[0]


def test_python_stores_and_compares_what_the_command_does(
    zoo: Zoo, models: Path, mine: list[str]
) -> None:
    import evaluator

    found = on_set(zoo, models / "a.onnx", "--bins", MINE)
    own = evaluator.evaluate(models / "a.onnx", MINE, input="unit")
    assert own.bins[0].result.figures == found["figures"]
    assert own.bins[0].identification == found["figures"]["identification"]
    assert "rank-1" in repr(own.bins[0])
    (path,) = evaluator.save_results(own, "other")
    assert load_result(path).figures == found["figures"]
    (stored,) = evaluator.load_results("results")
    other = evaluator.evaluate(models / "b.onnx", [MINE], input="unit")
    compared = evaluator.compare(stored, other, metric="tpir@0.1")
    assert compared.bins["mine"].pairs == 66


def test_a_report_draws_searches_and_shows_the_faces_of_the_worst(
    zoo: Zoo, models: Path, mine: list[str]
) -> None:
    put_two(zoo, models)
    assert zoo("report", "-o", "page.html").code == 0
    page = Path("page.html").read_text()
    part = page.partition('<section id="identification">')[2].partition("</section>")[0]
    for model in ("a", "b"):
        (path,) = RESULTS.glob(f"{model}-*/*.json")
        block = (load_result(path).figures or {})["identification"]
        assert f"<strong>{100 * block['rank']['1']:.2f}</strong>" in part
        assert f"<strong>{100 * block['tpir_at_fpir']['0.1']['tpir']:.2f}</strong>" in part
    (path,) = RESULTS.glob("a-*/*.json")
    scores = load_scores(path, load_result(path))
    (found,) = scores.searches
    assert scores.facts is not None
    worst = int(np.argmax(np.where(found.mated, -9, found.rival_score)))
    shown = part.partition("Strangers closest")[2].partition("templates ")[2].partition("</small>")
    assert shown[0] == f"{scores.facts.probes[worst]}, {found.rival[worst]}"
    assert part.count("data:image/jpeg") >= 32
    assert part.count("TPIR over FPIR") == 1
    assert "has changed since it was measured" not in page
    (MINE / mine[0]).write_bytes(png(face(99, 1)))
    assert zoo("report", "-o", "page.html").code == 0
    changed = Path("page.html").read_text()
    assert "has changed since it was measured" in changed
    assert "data:image/jpeg" not in changed


@pytest.mark.slow
def test_real_faces_searched_by_a_real_network_in_one_command(zoo: Zoo, shared: Path) -> None:
    people = [each for each in sorted((shared / "faces" / "lfw_train").iterdir()) if each.is_dir()]
    for number, person in enumerate([p for p in people if len(list(p.iterdir())) >= 4][:24]):
        for shot, image in enumerate(sorted(person.iterdir())[:4]):
            part = "unknown" if number >= 12 else "gallery" if shot < 2 else "probe"
            target = MINE / part / person.name / image.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(image)
    onnxruntime = pytest.importorskip("onnxruntime")
    network = shared / "models" / "mobileface_v3.onnx"
    result = on_set(zoo, network, "--input", "raw", "--bins", MINE)
    images = list(read_template_set(MINE).images)
    session = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
    (wanted,) = session.get_inputs()
    batch = pixels(images)
    batch = batch if wanted.shape[-1] == 3 else batch.transpose(0, 3, 1, 2)
    rows = [session.run(None, {wanted.name: each[None]})[0][0] for each in batch]
    check_by_hand(result, images, np.stack(rows))
