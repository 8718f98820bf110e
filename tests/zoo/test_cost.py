"""`zoo cost` and `zoo leaderboard --cost`: what is counted, timed, stored, and beaten by nobody."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.errors import ForwardError
from evaluator.images.inputs import Embedder, InputSpec
from evaluator.isolation.process import ModelProcess
from evaluator.measure.timing import time_batches
from evaluator.models.options import LoadOptions
from evaluator.results.cost import Cost, read_costs, save_costs
from evaluator.results.stored import read_store
from tests.command import Zoo
from tests.small_models import save_projection
from tests.zoo.stores import sha, three_models, with_flip
from tests.zoo.stores import store as stored
from zoo.results.cost_text import amount, csv_costs, milliseconds, size
from zoo.results.costs import unbeaten_by

ONE = Cost(
    name="alpha",
    sha256=sha("alpha"),
    format="onnx",
    size=(112, 112),
    parameters=1_000_000,
    macs=200_000_000,
    reasons=(),
    file_bytes=4_000_000,
    machine="CPU, 8 processors, Linux",
    device="cpu",
    engine="native",
    precision="float32",
    threads=8,
    batch=1,
    repeats=20,
    seconds=0.010,
    low=0.009,
    high=0.011,
    least=0.008,
    load=0.5,
    peak_bytes=90_000_000,
    runtime="onnxruntime 1.0",
    measured="2026-01-01T00:00:00+00:00",
)


def of(name: str, **changed: object) -> Cost:
    return replace(ONE, name=name, sha256=sha(name), **changed)  # type: ignore[arg-type]


# ---- The command ---------------------------------------------------------------------------------


def test_a_model_is_counted_timed_and_kept(zoo: Zoo, tmp_path: Path) -> None:
    save_projection(tmp_path / "m.onnx", side=8, units=16)
    done = zoo("cost", "m.onnx", "--batch-size", 4, 1, "--threads", 1, "--repeats", 5, "--json")
    assert done.code == 0
    costs = json.loads(done.out)["costs"]
    assert [each["batch"] for each in costs] == [1, 4]
    for each in costs:
        assert (each["parameters"], each["macs"]) == (8 * 8 * 3 * 16 + 16, 8 * 8 * 3 * 16)
        assert each["file_bytes"] == (tmp_path / "m.onnx").stat().st_size
        assert (each["threads"], each["device"], each["engine"]) == (1, "cpu", "native")
        assert (each["repeats"], each["size"]) == (5, [8, 8])
        assert 0 < each["least"] <= each["low"] <= each["seconds"] <= each["high"]
        assert each["ms_per_image"] == pytest.approx(1000 * each["seconds"] / each["batch"])
        assert each["images_per_second"] == pytest.approx(each["batch"] / each["seconds"])
        assert 10e6 < each["peak_bytes"] < 2e9
    (path,) = (tmp_path / "results").glob("m-*/*")
    found, problems = read_costs(path)
    assert [each.to_dict() for each in found] == [
        {**each, "reasons": (), "size": (8, 8)} for each in costs
    ]
    assert problems == []
    assert read_store(tmp_path / "results").unreadable == ()  # it is taken for no result


def test_a_model_that_fails_leaves_the_others_their_costs(zoo: Zoo, tmp_path: Path) -> None:
    save_projection(tmp_path / "m.onnx")
    (tmp_path / "bad.onnx").write_bytes((tmp_path / "m.onnx").read_bytes()[:300])
    done = zoo("cost", "bad.onnx", "m.onnx", "--batch-size", 2, "--repeats", 5)
    assert done.code == 2
    assert "bad.onnx: a damaged .onnx file" in done.err
    conditions, header, row, *rest = done.out.splitlines()
    assert conditions.startswith("# ")
    assert header.split()[:6] == ["model", "input", "parameters", "MACs", "file", "batch"]
    assert row.split()[:4] == ["m", "8x8", "3.09k", "3.07k"]
    assert all(line.startswith("# ") for line in rest)


@pytest.mark.parametrize("name", ["uint8b_nchw.onnx", "u8_cast.tflite"])
def test_models_that_take_whole_numbers_are_timed(zoo: Zoo, shared: Path, name: str) -> None:
    pytest.importorskip("ai_edge_litert" if name.endswith("tflite") else "onnxruntime")
    model = shared / "cases" / "models" / name
    done = zoo("cost", model, "--batch-size", 1, "--repeats", 5, "--json", "--quiet")
    assert (done.code, done.err) == (0, "")
    (found,) = json.loads(done.out)["costs"]
    assert found["macs"] > 0
    assert found["reasons"] == []


def test_formats_say_the_same(zoo: Zoo, tmp_path: Path) -> None:
    save_projection(tmp_path / "m_1.onnx")
    asked = ("cost", "m_1.onnx", "--batch-size", "1", "--repeats", "5", "--format")
    (row,) = csv.DictReader(io.StringIO(zoo(*asked, "csv").out))
    assert (row["name"], row["macs"], row["size"]) == ("m_1", "3072", "8x8")
    assert "| m\\_1 | 8x8 | 3.09 k | 3.07 k |" in zoo(*asked, "markdown").out
    assert "m\\_1 & 8x8 & 3.09 k & 3.07 k & " in zoo(*asked, "latex").out
    refused = zoo(*asked, "csv", "--json")
    assert (refused.code, refused.out) == (2, "")
    assert "--json and --format csv: give one of them" in refused.err


def test_a_name_is_no_formula_in_csv() -> None:
    (row,) = csv.DictReader(io.StringIO(csv_costs([replace(ONE, name="=1+1")])))
    assert row["name"] == "'=1+1"


def test_the_table_fits_80_columns(
    zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_projection(tmp_path / "a_rather_long_name_of_a_model.onnx", side=112)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    out = zoo("cost", "a_rather_long_name_of_a_model.onnx", "--repeats", 5).out
    plain = [line.encode().decode().replace("\x1b[0m", "") for line in out.splitlines()]
    assert "ms/image" in out
    assert "602 k" in out
    assert max(len(_unstyled(line)) for line in plain) <= 80


def _unstyled(line: str) -> str:
    while (start := line.find("\x1b[")) >= 0:
        line = line[:start] + line[line.index("m", start) + 1 :]
    return line


def test_threads_are_as_many_as_asked_for(tmp_path: Path) -> None:
    save_projection(tmp_path / "m.onnx")
    counts = []
    for threads in (1, 4):
        with ModelProcess() as process:
            process.load(tmp_path / "m.onnx", LoadOptions(profile="unit", threads=threads))
            tasks = Path(f"/proc/{process._process.pid}/task")
            if not tasks.is_dir():
                pytest.skip("only Linux lists a process's threads")
            counts.append(len(list(tasks.iterdir())))
    assert counts[1] - counts[0] == 3


# ---- Times ---------------------------------------------------------------------------------------


def test_times_are_medians_and_quartiles_after_a_warm_up() -> None:
    seconds = [50.0, 50.0, 50.0, 4.0, 1.0, 3.0, 2.0, 9.0, 7.0]  # three to warm up
    now = [0.0]

    def forward(batch: np.ndarray) -> np.ndarray:
        now[0] += seconds.pop(0)
        return np.ones((len(batch), 4), np.float32)

    found = time_batches(Embedder(forward, InputSpec(4, 4)), 2, repeats=6, clock=lambda: now[0])
    assert seconds == []
    taken = [4.0, 1.0, 3.0, 2.0, 9.0, 7.0]
    assert (found.batch, found.repeats, found.seconds) == (2, 6, 3.5)
    assert (found.low, found.high) == tuple(np.quantile(taken, [0.25, 0.75]))
    assert found.least == 1.0


def test_a_slow_model_is_timed_five_times() -> None:
    now = [0.0]

    def forward(batch: np.ndarray) -> np.ndarray:
        now[0] += 100.0
        return np.ones((len(batch), 4), np.float32)

    found = time_batches(Embedder(forward, InputSpec(4, 4)), 1, repeats=20, clock=lambda: now[0])
    assert found.repeats == 5


def test_a_model_without_a_row_an_image_is_not_timed() -> None:
    embedder = Embedder(lambda batch: np.ones((1, 4), np.float32), InputSpec(4, 4))
    with pytest.raises(ForwardError, match="rows for 3 images: 1; --batch-size 1 may do"):
        time_batches(embedder, 3, repeats=5)


def test_a_batch_beyond_memory_is_one_line() -> None:
    embedder = Embedder(lambda batch: batch, InputSpec(1024, 1024))
    with pytest.raises(ForwardError, match="the limit is"):
        time_batches(embedder, 4096, repeats=5)


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "-"), (0, "0"), (999, "999"), (1000, "1.00 k"), (999_499, "999 k"), (999_500, "1.00 M"),
     (271_000_000, "271 M")],
)  # fmt: skip
def test_counts_have_three_digits(value: int | None, said: str) -> None:
    assert amount(value) == said


def test_sizes_and_times_have_three_digits() -> None:
    assert (size(2_190_000), milliseconds(0.01396), milliseconds(1.2344)) == (
        "2.19 MB", "14.0", "1234",
    )  # fmt: skip


# ---- Stored --------------------------------------------------------------------------------------


def test_a_cost_under_the_same_conditions_is_replaced(tmp_path: Path) -> None:
    save_costs(tmp_path, [ONE, replace(ONE, batch=64)])
    path = save_costs(tmp_path, [replace(ONE, macs=7, measured="later"), replace(ONE, threads=1)])
    found, _ = read_costs(path)
    assert [(each.batch, each.threads, each.macs) for each in found] == [
        (1, 8, 7), (64, 8, ONE.macs), (1, 1, ONE.macs),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "{}", '{"name": 1}', json.dumps({**ONE.to_dict(), "batch": 0}),
     json.dumps({**ONE.to_dict(), "seconds": 9.0}), json.dumps({**ONE.to_dict(), "macs": -1}),
     json.dumps({**ONE.to_dict(), "name": "a\u001b[2J"}), "[" * 100_000],
)  # fmt: skip
def test_what_is_no_cost_is_said_and_passed_over(tmp_path: Path, line: str) -> None:
    path = save_costs(tmp_path, [ONE])
    path.write_text(line + "\n" + path.read_text())
    found, problems = read_costs(path)
    assert found == [ONE]
    assert len(problems) == 1
    assert problems[0].startswith(f"{path}, line 1: ")
    assert problems[0].isprintable()


# ---- Who is beaten -------------------------------------------------------------------------------


def test_nobody_beats_the_best_the_cheapest_and_their_equals() -> None:
    # Better is shown of 0 over 2 and 3 alone: 1 cannot be told from 0, nor 2 from 3.
    better = {(0, 2), (0, 3)}
    costs = [10.0, 20.0, 10.0, 5.0]
    found = unbeaten_by(costs, lambda i, j: (i, j) in better)
    assert found == (True, True, False, True)


@given(st.lists(st.one_of(st.none(), st.sampled_from([1.0, 2.0, 3.0])), max_size=6), st.integers(0))
def test_a_model_is_beaten_by_one_that_is_better_and_no_dearer(
    costs: list[float | None], seed: int
) -> None:
    n = len(costs)
    better = np.triu(np.random.default_rng(seed).random((n, n)) < 0.5, 1)
    found = unbeaten_by(costs, lambda i, j: bool(better[i, j]))
    for j, own in enumerate(costs):
        beaten = own is None
        for i, other in enumerate(costs):
            beaten |= own is not None and other is not None and other <= own and better[i, j]
        assert found[j] is not beaten


# ---- The leaderboard -----------------------------------------------------------------------------


@pytest.mark.usefixtures("nothing_published")
def test_the_leaderboard_shows_costs_and_who_is_unbeaten(zoo: Zoo) -> None:
    results = Path("results")
    three_models(results, bins=("lfw",))
    # beta cannot be told from alpha, and is dearer; weak is worse, and dearer than both.
    save_costs(results, [of("alpha"), of("alpha", batch=64, seconds=9.0, high=9.0)])
    save_costs(results, [of("beta", macs=300_000_000, parameters=None)])
    save_costs(results, [of("weak", macs=400_000_000, parameters=10, seconds=0.0105)])
    rows = {
        cells[2]: cells[4:7]
        for line in zoo("leaderboard", "--cost").out.splitlines()
        if not line.startswith("#") and (cells := line.split())
    }
    assert rows == {
        "model": ["parameters", "MACs", "ms/image"],
        "alpha": ["1.00M*", "200M*", "10.0*"],
        "beta": ["-", "300M*", "10.0*"],
        "weak": ["10*", "400M", "10.5"],
    }
    found = json.loads(zoo("leaderboard", "--cost", "--format", "json").out)
    assert found["cost_conditions"] == ONE.where
    costs = {row["model"]["name"]: row["cost"] for row in found["rows"]}
    assert costs["weak"] == {
        "parameters": 10, "macs": 400_000_000, "image_seconds": 0.0105, "unbeaten": ["parameters"],
    }  # fmt: skip
    lines = list(csv.DictReader(io.StringIO(zoo("leaderboard", "--cost", "--format", "csv").out)))
    assert {row["model"]: row["macs"] for row in lines}["beta"] == "300000000"
    assert "| 200 M \\* |" in zoo("leaderboard", "--cost", "--format", "markdown").out
    assert "& 200 M * &" in zoo("leaderboard", "--cost", "--format", "latex").out


def test_without_the_option_nothing_is_said_of_costs(zoo: Zoo) -> None:
    three_models(Path("results"), bins=("lfw",))
    save_costs(Path("results"), [of("alpha")])
    for format in ("table", "markdown", "csv", "json", "latex"):
        assert "macs" not in zoo("leaderboard", "--format", format).out.lower()


def test_mirrored_images_cost_twice_and_settings_must_be_the_model_s(zoo: Zoo) -> None:
    results = Path("results")
    scores = np.linspace(0, 1, 1000)
    stored(results, "alpha", scores, settings=with_flip("sum"))
    stored(results, "beta", scores)
    save_costs(results, [of("alpha")])
    save_costs(results, [of("beta", engine="openvino"), of("beta", size=(96, 96))])
    found = json.loads(zoo("leaderboard", "--cost", "--format", "json").out)
    costs = {row["model"]["name"]: row["cost"] for row in found["rows"]}
    assert costs["alpha"]["macs"] == 400_000_000
    assert costs["alpha"]["image_seconds"] == pytest.approx(0.02)
    assert costs["alpha"]["parameters"] == 1_000_000
    assert costs["beta"]["macs"] is None


def test_no_costs_is_one_sentence(zoo: Zoo) -> None:
    three_models(Path("results"), bins=("lfw",))
    assert "zoo cost MODEL measures them" in zoo("leaderboard", "--cost").out
