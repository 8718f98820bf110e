"""Files that were believed or obeyed once, through the command: what is right stands beside each.

The figures are best accuracy and AUC, taken with pickle, Pillow, each format's own runtime and
scikit-learn when the files were made. Payloads leave a file MARKER_... where they run.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from samples import Outcome, Zoo

from evaluator.bins.verification_set import read_bin
from evaluator.errors import ModelError
from evaluator.measure.embed import EmbedOptions
from evaluator.measure.evaluation import evaluate_bins
from evaluator.models.load import load_embedder
from evaluator.models.options import LoadOptions


@pytest.fixture
def cases(shared: Path, tmp_path: Path) -> Path:
    """The folder of handed files. No payload may have left its mark afterwards."""
    return shared / "cases"


@pytest.fixture(autouse=True)
def no_marker(tmp_path: Path) -> object:
    """Nothing that a file says has run when the test is over."""
    yield
    assert list(tmp_path.rglob("MARKER*")) == []


def refused_in_one_line(done: Outcome) -> str:
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    (line,) = done.error_lines
    return line


def figures_of(done: Outcome) -> list[tuple[str, str]]:
    assert done.code == 0, done.err
    return [
        (f"{100 * each['figures']['accuracy']:.2f}", f"{each['figures']['auc']:.6f}")
        for each in json.loads(done.out)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "right"),
    [
        ("first_only.onnx", "--input insightface", ("55.00", "0.529444")),
        ("reshape_1_m1.onnx", "--input insightface", ("55.00", "0.529444")),
        ("out_64_1_1.onnx", "--input insightface", ("55.00", "0.529444")),
        ("uint8b_nchw.onnx", "", ("55.00", "0.529444")),
        ("u8_cast.tflite", "", ("61.67", "0.562222")),
        ("k3_softmax.keras", "--input unit", ("55.83", "0.493889")),
    ],
)
def test_a_model_is_read_as_it_was_meant(
    zoo: Zoo, cases: Path, name: str, options: str, right: tuple[str, str]
) -> None:
    done = zoo(
        "eval", cases / "models" / name, *options.split(),
        "--bins", cases / "data" / "base.bin", "--json", "-",
    )  # fmt: skip
    assert figures_of(done) == [right]


# The process of a Keras model takes seconds to start: the others are loaded in this one.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "trust", "right"),
    [
        ("k3_logits.h5", False, ("65.00", "0.605000")),
        ("k2_ki_arcface.h5", False, ("56.67", "0.534722")),
        ("k3_dictout.keras", False, ("58.33", "0.583889")),
        ("k2_lambda.h5", True, ("55.83", "0.521944")),
        ("k2_tfnorm.h5", False, ("55.00", "0.520556")),
        ("op_std.h5", False, None),
        ("op_gray.h5", False, None),
    ],
)
def test_a_keras_model_is_read_as_it_was_meant_and_plain_arithmetic_needs_no_trust(
    cases: Path, name: str, trust: bool, right: tuple[str, str] | None
) -> None:
    embedder = load_embedder(cases / "models" / name, LoadOptions(profile="unit", trust=trust))
    base = read_bin(cases / "data" / "base.bin")
    (found,) = evaluate_bins(embedder, [base], options=EmbedOptions())
    figures = found.figures
    assert figures is not None
    if right is not None:
        assert (f"{100 * figures.accuracy:.2f}", f"{figures.auc:.6f}") == right


@pytest.mark.slow
def test_networks_that_differ_beside_their_file_are_two_models(zoo: Zoo, cases: Path) -> None:
    runs = cases / "models" / "onnx_external_data"
    ask = ("--bins", cases / "data" / "base.bin", "--input", "insightface", "--json", "-")
    assert figures_of(zoo("eval", runs / "runA" / "model.onnx", *ask)) == [("55.00", "0.529444")]
    assert figures_of(zoo("eval", runs / "runB" / "model.onnx", *ask)) == [("55.83", "0.522778")]
    # Asked again, each has its own answer, and neither is measured a second time.
    again = zoo("eval", runs / "runA" / "model.onnx", *ask)
    assert figures_of(again) == [("55.00", "0.529444")]
    assert "answered from the store" in again.err
    line = refused_in_one_line(zoo("eval", runs / "runC" / "model.onnx", *ask))
    assert "model.onnx.data" in line
    assert "missing" in line
    folders = {path.parent.name for path in Path("results").glob("*/*.json")}
    assert len(folders) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("lambda_in_wrapper.h5", "residual_wrapper"),
        ("writefile_hidden_by_wire_type", "WriteFile"),
    ],
)
def test_what_would_run_or_write_is_refused_by_name(
    cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, named: str
) -> None:
    monkeypatch.chdir(tmp_path)  # where a mark would be left
    with pytest.raises(ModelError, match=named):
        load_embedder(cases / "security" / name, LoadOptions(profile="unit"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dense_square.keras", "constant_of_shape.onnx"])
def test_a_small_file_that_asks_for_gigabytes_is_refused(zoo: Zoo, cases: Path, name: str) -> None:
    done = zoo("eval", cases / "security" / name, "--bins", cases / "data" / "base.bin")
    assert name in refused_in_one_line(done)


@pytest.mark.parametrize("name", ["attr_empty.h5", "conv_kernel.keras", "upsample.keras"])
def test_gigabytes_are_refused_before_they_are_taken(cases: Path, name: str) -> None:
    with pytest.raises(ModelError):
        load_embedder(cases / "security" / name, LoadOptions(profile="unit"))


@pytest.mark.parametrize("name", ["badz.npz", "huge.npz"])
def test_scores_that_declare_what_is_not_there_are_refused(
    zoo: Zoo, cases: Path, name: str
) -> None:
    assert name in refused_in_one_line(zoo("eval", "--scores", cases / "security" / name))


def test_a_run_without_its_entry_is_one_line(zoo: Zoo, cases: Path) -> None:
    done = zoo(
        "eval", cases / "security" / "run_without_entry", "--bins", cases / "data" / "base.bin"
    )
    assert "run_without_entry" in refused_in_one_line(done)


@pytest.mark.parametrize("name", ["acc_str", "scores_up"])
@pytest.mark.parametrize("command", ["leaderboard", "report"])
def test_a_damaged_result_is_named_and_passed_over(
    zoo: Zoo, cases: Path, name: str, command: str
) -> None:
    store = Path(shutil.copytree(cases / "security" / "stores" / name, "store"))
    done = zoo(command, "--results", store, *(("-o", "r.html") if command == "report" else ()))
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    told = [line for line in (done.out + done.err).splitlines() if ".json" in line]
    assert len(told) == 1, done.err
    shown = Path("r.html").read_text() if command == "report" else done.out
    assert "B" in shown  # the sound one of the two


def test_a_store_removes_only_what_it_wrote(zoo: Zoo, cases: Path) -> None:
    store = Path(shutil.copytree(cases / "security" / "store_names_a_foreign_file", "copy"))
    for path in [store, *store.rglob("*")]:
        path.chmod(0o755)
    before = {path.name for path in store.rglob("*.json")}
    done = zoo("eval", "--scores", cases / "security" / "s.csv", "--name", "A", "--results", store)
    assert done.code == 0, done.err
    assert before <= {path.name for path in store.rglob("*.json")}


@pytest.mark.parametrize("kind", ["fifo", "device", "deep", "list"])
def test_an_input_note_of_any_kind_is_told_at_once(zoo: Zoo, cases: Path, kind: str) -> None:
    shutil.copy(cases / "models" / "uint8b_nchw.onnx", "m.onnx")
    note = Path("m.onnx.input.json")
    makers = {
        "fifo": lambda: os.mkfifo(note),
        "device": lambda: note.symlink_to("/dev/zero"),
        "deep": lambda: note.write_text("[" * 200_000),
        "list": lambda: note.write_text('{"profile": [], "channels": "rgb", "sha256": "0"}'),
    }
    makers[kind]()
    line = refused_in_one_line(zoo("eval", "m.onnx", "--bins", cases / "data" / "base.bin"))
    assert "m.onnx.input.json" in line


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_a_pairs_file_of_any_kind_is_told_at_once(zoo: Zoo, cases: Path, kind: str) -> None:
    shutil.copy(cases / "data" / "base.bin", "b.bin")
    pairs = Path("b.pairs.csv")
    if kind == "fifo":
        os.mkfifo(pairs)
    else:
        pairs.symlink_to("/dev/zero")
    done = zoo("eval", cases / "models" / "uint8b_nchw.onnx", "--bins", "b.bin")
    assert "b.pairs.csv" in refused_in_one_line(done)


def test_a_model_folder_with_a_link_out_of_it_is_refused(zoo: Zoo, cases: Path) -> None:
    model = Path(
        shutil.copytree(cases / "security" / "writefile_hidden_by_wire_type", "m", symlinks=True)
    )
    model.chmod(0o755)
    (model / "root").symlink_to("/")
    line = refused_in_one_line(zoo("eval", "m", "--bins", cases / "data" / "base.bin"))
    assert "link" in line
