"""`zoo probe`, `export`, `verify`, and what `zoo eval` says of models as they are out there."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import SIZE, Outcome, Zoo, save

from evaluator.models.formats import model_format
from tests.small_models import save_any_size, save_graph


@pytest.fixture(scope="module")
def keras() -> Any:
    from evaluator.models.runtime import import_keras

    return import_keras()


@pytest.fixture(scope="module")
def checkpoint(keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training checkpoint: embedding and logits concatenated."""
    keras.utils.set_random_seed(2)
    image = keras.Input((SIZE, SIZE, 3))
    pooled = keras.layers.Conv2D(8, 3, activation="relu")(image)
    embedding = keras.layers.Dense(16, name="embedding")(keras.layers.Flatten()(pooled))
    logits = keras.layers.Dense(40)(embedding)
    path = tmp_path_factory.mktemp("checkpoint") / "epoch_7.keras"
    save(keras.Model(image, keras.layers.Concatenate()([embedding, logits])), path)
    return path


def accuracy(outcome: Outcome) -> list[float]:
    return [each["figures"]["accuracy"] for each in json.loads(outcome.out)]


# ---- export -------------------------------------------------------------------------------------

FORMATS = {
    "keras": "keras",
    "h5": "keras-h5",
    "savedmodel": "savedmodel",
    "tflite": "tflite",
    "onnx": "onnx",
}


@pytest.mark.slow
@pytest.mark.usefixtures("same_process")
def test_one_network_in_five_formats_stands_in_one_table_with_equal_figures(
    zoo: Zoo, checkpoint: Path, bins: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ai_edge_litert")
    pytest.importorskip("tf2onnx")
    written = []
    for name, found in FORMATS.items():
        out = tmp_path / f"as_{name}"
        outcome = zoo("export", checkpoint, "--to", name, "-o", out, "--input", "symmetric")
        assert outcome.code == 0, outcome.err
        assert outcome.out == f"{out}\n"
        assert model_format(out) == found
        assert outcome.err.count("cosines differ by") == 2
        written.append(out)
    outcome = zoo("eval", checkpoint, *written, "--input", "symmetric", "--bins", bins / "easy.bin")
    assert outcome.code == 0, outcome.err
    rows = [line.split() for line in outcome.out.splitlines()[1:]]
    assert [row[0] for row in rows] == ["epoch_7", *(f"as_{name}" for name in FORMATS)]
    assert len({tuple(row[1:]) for row in rows}) == 1


@pytest.fixture(scope="module")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoint as e.onnx, exported with an input of its own."""
    from zoo.cli import run

    pytest.importorskip("tf2onnx")
    out = tmp_path_factory.mktemp("exported") / "e.onnx"
    arguments = ["export", str(checkpoint), "--to", "onnx", "-o", str(out)]
    assert run([*arguments, "--input", "insightface", "--channels", "bgr"]) == 0
    return out.parent


@pytest.mark.usefixtures("same_process")
def test_an_export_states_its_input_and_eval_uses_it(
    zoo: Zoo, checkpoint: Path, exported: Path, bins: Path
) -> None:
    easy = bins / "easy.bin"
    outcome = zoo("eval", exported / "e.onnx", "--bins", easy, "--json", "-")
    result = json.loads(outcome.out)[0]
    assert result["model"]["input"]["range"] == "insightface"
    assert result["model"]["input"]["channels"] == "bgr"
    arguments = ("--input", "insightface", "--channels", "bgr")
    assert accuracy(outcome) == accuracy(
        zoo("eval", checkpoint, *arguments, "--bins", easy, "--json", "-")
    )
    asked = zoo("eval", exported / "e.onnx", "--input", "raw", "--bins", easy, "--json", "-")
    assert json.loads(asked.out)[0]["model"]["input"]["range"] == "raw"


def test_a_stated_input_of_another_model_is_refused(
    zoo: Zoo, exported: Path, models: Path, bins: Path, tmp_path: Path
) -> None:
    shutil.copytree(exported, tmp_path / "mine")
    out = tmp_path / "mine" / "e.onnx"
    out.write_bytes((models / "a.onnx").read_bytes())
    outcome = zoo("eval", out, "--bins", bins / "easy.bin")
    assert outcome.code == 2
    assert "another model" in outcome.err
    out.with_name("e.onnx.input.json").write_text("{}")
    assert "expected profile" in zoo("eval", out, "--bins", bins / "easy.bin").err


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["--to", "onxx"], "did you mean 'onnx'"),
        (["--to", "tflite", "--quantize", "int8"], "give --bins"),
        (["--to", "onnx", "--quantize", "float16"], "--to tflite only"),
        (["-o", "nowhere/x.keras"], "no folder nowhere"),
        (["-o", "taken.keras"], "--force replaces it"),
    ],
)
def test_what_export_cannot_do_is_said_before_the_work(
    zoo: Zoo, checkpoint: Path, tmp_path: Path, arguments: list[str], cause: str
) -> None:
    (tmp_path / "taken.keras").write_text("mine")
    outcome = zoo("export", checkpoint, *arguments)
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert cause in outcome.error_lines[0]
    assert (tmp_path / "taken.keras").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.usefixtures("same_process")
def test_int8_is_calibrated_on_a_bin_and_parity_is_printed(
    zoo: Zoo, checkpoint: Path, bins: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ai_edge_litert")
    out = tmp_path / "q.tflite"
    arguments = ("--to", "tflite", "--quantize", "int8", "--bins", bins / "easy.bin")
    outcome = zoo("export", checkpoint, "-o", out, "--input", "unit", *arguments)
    assert outcome.code == 0, outcome.err
    differences = [
        float(line.split()[-3]) for line in outcome.err.splitlines() if "cosines" in line
    ]
    assert len(differences) == 2
    assert all(1e-9 < value < 0.05 for value in differences)


# ---- probe --------------------------------------------------------------------------------------


def test_probe_shows_every_profile_and_the_options_to_use(
    zoo: Zoo, bins: Path, tmp_path: Path
) -> None:
    values = SIZE * SIZE * 3
    # Made for 0..255: below 64 it sees nothing but the constant that is added.
    nodes = [
        ("Relu", ["image"], "light"),
        ("Div", ["light", "step"], "counted"),
        ("Floor", ["counted"], "steps"),
        ("Flatten", ["steps"], "flat"),
        ("MatMul", ["flat", "room"], "wider"),
        ("Add", ["wider", "constant"], "embedding"),
    ]
    weights = {
        "step": np.full(1, 64, np.float32),
        "room": np.eye(values, values + 4, dtype=np.float32),
        "constant": (np.arange(values + 4) >= values).astype(np.float32),
    }
    save_graph(tmp_path / "m.onnx", nodes, weights, side=SIZE, width=values + 4)
    outcome = zoo("probe", "m.onnx", "--bins", bins / "easy.bin")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert len([line for line in lines if " rgb " in line or " bgr " in line]) >= 12
    assert max(len(line.rstrip()) for line in lines[:13]) <= 80
    assert lines[1].split()[0] == "raw"
    assert any("{profile: raw" in line for line in lines)
    # The last line is a command that can be typed.
    assert lines[-1].startswith(f"zoo eval m.onnx --bins {bins / 'easy.bin'} --input raw")
    assert zoo(*shlex.split(lines[-1])[1:]).code == 0


def test_probe_says_where_it_cannot_tell(zoo: Zoo, models: Path, bins: Path) -> None:
    outcome = zoo("probe", models / "a.onnx", "--bins", bins / "easy.bin")
    assert outcome.code == 0
    assert "cannot tell" in outcome.out
    assert outcome.out.splitlines()[-1].startswith("zoo eval ")


def test_probe_says_that_no_input_works(zoo: Zoo, bins: Path, tmp_path: Path) -> None:
    nodes = [("Flatten", ["image"], "flat"), ("MatMul", ["flat", "none"], "nothing")]
    nodes += [("Add", ["nothing", "constant"], "embedding")]
    weights = {"none": np.zeros((SIZE * SIZE * 3, 16), np.float32), "constant": np.ones(16, "f")}
    save_graph(tmp_path / "dead.onnx", nodes, weights, side=SIZE)
    outcome = zoo("probe", "dead.onnx", "--bins", bins / "easy.bin")
    assert outcome.code == 1
    assert "no input works: the best AUC is 0.5000" in outcome.out
    assert "impostors' cosines are almost all alike" in outcome.out
    assert "--input" not in outcome.out


def test_results_of_other_inputs_do_not_mix(zoo: Zoo, models: Path, bins: Path) -> None:
    def measured(*words: str) -> list[Any]:
        outcome = zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin", "--json", "-", *words)
        assert outcome.code == 0, outcome.err
        (result,) = json.loads(outcome.out)
        return [result["model"]["input"]["range"], result["created"], result["figures"]["auc"]]

    unit, words = measured("--input", "unit"), measured("--input", "mean=10,99,200+std=3,1,2")
    assert unit[0] == "unit"
    assert words[0] == "mean=10,99,200+std=3,1,2"
    assert words[2] != unit[2]
    # The same input in other words is the same result; another is measured.
    assert measured("--input", "scale=1/255+mean=0") == unit
    assert measured("--input", "std=3,1,2+mean=10,99,200.0") == words
    assert measured("--input", "mean=10,99,201+std=3,1,2") != words
    asked = zoo("threshold", "a", "--far", "0.3", "--input", "std=3,1,2+mean=10,99,200")
    assert asked.code == 0, asked.err
    assert zoo("threshold", "a", "--far", "0.3", "--input", "mean=5").code == 2
    refused = zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin", "--input", "crop=9x-1")
    assert refused.code == 2
    assert "input crop: expected pixels" in refused.error_lines[0]


def test_probe_tries_an_input_in_words_and_hands_it_on(zoo: Zoo, models: Path, bins: Path) -> None:
    outcome = zoo(
        "probe", models / "a.onnx", "--data", bins, "--bins", "easy", "--input", "std=99+crop=6"
    )
    assert outcome.code == 0, outcome.err
    assert "std=99+crop=6" in outcome.out
    assert "imagenet+crop=6" in outcome.out
    last = outcome.out.splitlines()[-1]
    assert f"--bins easy --data {bins} --input" in last
    assert "+crop=6" in last


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["--bins", "unheard-of"], "no bin 'unheard-of'"),
        (["--bins", "easy,other"], "expected one bin"),
        (["--bins", "easy", "--size", "big"], "--size big"),
        (["--bins", "easy", "--input", "std=0"], "input std: expected numbers above 0"),
        (["--bins", "easy", "--output", "nose"], "no output is named 'nose'"),
    ],
)
def test_probe_s_bad_arguments_are_one_line(
    zoo: Zoo, models: Path, bins: Path, arguments: list[str], cause: str
) -> None:
    outcome = zoo("probe", models / "a.onnx", "--data", bins, *arguments)
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert cause in outcome.error_lines[0]


# ---- verify -------------------------------------------------------------------------------------


def registry(folder: Path, model: Path, published: str, protocol: str = "seed") -> None:
    (folder / "models.yaml").write_text(
        f"models:\n  mine:\n    file: {model}\n    input: {{profile: unit}}\n    source: a test\n"
        f"    published:\n      protocol: {protocol}\n      easy: {{accuracy: {published}}}\n"
        "      elsewhere: {accuracy: 0.5}\n"
    )


@pytest.mark.parametrize("protocol", ["seed", "seed300", "kfold", "insightface"])
def test_verify_compares_under_the_published_protocol(
    zoo: Zoo, models: Path, bins: Path, tmp_path: Path, protocol: str
) -> None:
    from evaluator.metrics import protocols
    from evaluator.results.store import load_result, load_scores, stored_results

    registry(tmp_path, models / "a.onnx", "0.5", protocol)
    outcome = zoo("verify", "mine", "--data", bins)
    assert "not measured, the bin is not here: mine" in outcome.out
    (path,) = stored_results(tmp_path / "results")
    scores = load_scores(path, load_result(path))
    given = (scores.scores, scores.genuine)
    folds = (protocols.sorted_pairs(*given).folds,)
    expected = getattr(protocols, protocol)(
        *(folds if protocol == "insightface" else given)
    ).accuracy
    row, lacking = (line.split() for line in outcome.out.splitlines()[2:4])
    assert row[:2] == ["mine", "easy"]
    assert lacking[-1] == "not_measured"
    assert f"# protocol {protocol}: mine" in outcome.out
    assert row[3] == f"{100 * expected:.2f}"
    block = load_result(path).figures or {}
    own = block if protocol.startswith("seed") else block[protocol]
    # The 300 highest impostors are all that this bin has.
    low, high = own["accuracy_ci95"]
    assert row[5] == f"{100 * low:.2f}-{100 * high:.2f}"
    registry(tmp_path, models / "a.onnx", f"{expected:.6f}", protocol)
    assert zoo("verify", "mine", "--data", bins).code == 0


def test_verify_exits_1_where_the_published_figure_is_outside_the_interval(
    zoo: Zoo, models: Path, bins: Path, tmp_path: Path
) -> None:
    registry(tmp_path, models / "a.onnx", "0.1")
    outcome = zoo("verify", "mine", "--data", bins)
    assert outcome.code == 1
    assert "differs" in outcome.out


def test_verify_of_a_model_that_is_not_finite_fails(
    zoo: Zoo, models: Path, bins: Path, tmp_path: Path
) -> None:
    registry(tmp_path, models / "nan.onnx", "0.9")
    outcome = zoo("verify", "mine", "--data", bins)
    assert outcome.code == 1
    assert "not_finite" in outcome.out


def test_verify_says_what_is_missing(zoo: Zoo, models: Path, tmp_path: Path) -> None:
    registry(tmp_path, models / "a.onnx", "0.9")
    assert "none of these bins" in zoo("verify", "mine").err
    assert "did you mean 'mine'" in zoo("verify", "mime").err
    (tmp_path / "models.yaml").write_text(
        f"models:\n  bare:\n    file: {models / 'a.onnx'}\n    input: {{profile: unit}}\n"
        "    source: a test\n"
    )
    assert "no published figures" in zoo("verify", "bare").err


# ---- eval ---------------------------------------------------------------------------------------


def test_collapsed_embeddings_point_to_probe(zoo: Zoo, bins: Path, tmp_path: Path) -> None:
    nodes = [
        ("Flatten", ["image"], "flat"),
        ("MatMul", ["flat", "nothing"], "empty"),
        ("Add", ["empty", "ones"], "embedding"),
    ]
    weights = {"nothing": np.zeros((SIZE * SIZE * 3, 8), np.float32)}
    weights["ones"] = np.ones(8, np.float32)
    save_graph(tmp_path / "flat.onnx", nodes, weights, side=SIZE, width=8)
    outcome = zoo("eval", "flat.onnx", "--bins", bins / "easy.bin")
    assert outcome.code == 0
    assert "collapsed" in outcome.err
    assert f"zoo probe flat.onnx --bins {bins / 'easy.bin'}" in outcome.err
    for i in range(4):
        save_graph(tmp_path / f"{i}.onnx", nodes, weights | {"ones": np.full(8, i + 2, np.float32)},
                   side=SIZE, width=8)  # fmt: skip
    of_many = zoo("eval", "[0-3].onnx", "--bins", bins / "easy.bin", "-q").err.splitlines()
    assert len(of_many) == 2  # twenty checkpoints are not twenty lines
    assert of_many[0].startswith("0 on easy: impostors' cosines")
    assert of_many[1] == "so it is with 1 on easy, 2 on easy, 3 on easy"


def test_a_working_model_is_not_called_collapsed(zoo: Zoo, models: Path, bins: Path) -> None:
    assert "zoo probe" not in zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin").err


def test_embeddings_that_are_not_finite_point_to_probe(zoo: Zoo, models: Path, bins: Path) -> None:
    outcome = zoo("eval", models / "nan.onnx", "--bins", bins / "easy.bin")
    assert outcome.code == 1
    assert "zoo probe" in outcome.err


@pytest.mark.usefixtures("same_process")
def test_two_outputs_of_one_model_are_two_results(zoo: Zoo, checkpoint: Path, bins: Path) -> None:
    easy = bins / "easy.bin"
    first = zoo("eval", checkpoint, "--bins", easy, "--json", "-")
    other = zoo("eval", checkpoint, "--output", "conv2d", "--bins", easy)
    assert other.code == 2  # a feature map
    again = zoo("eval", checkpoint, "--output", "embedding", "--bins", easy, "--json", "-")
    assert "answered from the store" not in again.err
    assert accuracy(first) == accuracy(again)
    stored = zoo("eval", checkpoint, "--output", "embedding", "--bins", easy)
    assert "answered from the store" in stored.err


def test_two_sizes_of_one_model_are_two_results(zoo: Zoo, bins: Path, tmp_path: Path) -> None:
    save_any_size(tmp_path / "free.onnx")
    easy = bins / "easy.bin"
    large = zoo("eval", "free.onnx", "--size", "16x12", "--bins", easy, "--json", "-")
    usual = zoo("eval", "free.onnx", "--bins", easy, "--json", "-")
    sizes = [json.loads(each.out)[0]["model"]["input"]["size"] for each in (large, usual)]
    assert sizes == [[16, 12], [112, 112]]


@pytest.mark.usefixtures("same_process")
def test_an_entry_states_output_size_and_custom_layers(
    zoo: Zoo, keras: Any, bins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "twice_layer.py").write_text(
        "import keras\n\nclass Twice(keras.layers.Layer):\n    def call(self, x):\n"
        "        return 2 * x\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    from twice_layer import Twice  # type: ignore[import-not-found]

    image = keras.Input((None, None, 3))
    features = keras.layers.Conv2D(16, 3, name="stem")(image)
    pooled = Twice(name="vector")(keras.layers.GlobalAveragePooling2D()(features))
    save(keras.Model(image, [pooled, keras.layers.Dense(3, name="age")(pooled)]), tmp_path / "m.h5")
    (tmp_path / "models.yaml").write_text(
        "models:\n  odd:\n    file: m.h5\n    input: {profile: raw, size: [8, 8]}\n"
        "    output: vector\n    custom: [twice_layer:Twice]\n    source: a test\n"
    )
    refused = zoo("eval", "odd", "--bins", bins / "easy.bin")
    assert refused.code == 2
    assert "--trust" in refused.err
    outcome = zoo("eval", "odd", "--bins", bins / "easy.bin", "--trust", "--json", "-")
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)[0]
    assert result["model"]["embedding_size"] == 16
    assert result["model"]["input"]["size"] == [8, 8]
    assert "twice_layer" in zoo("show", "odd").out


@pytest.mark.parametrize("option", [["--size", "0"], ["--size", "8x"], ["--size", "axb"]])
def test_a_size_that_is_none_is_refused(
    zoo: Zoo, models: Path, bins: Path, option: list[str]
) -> None:
    outcome = zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin", *option)
    assert outcome.code == 2
    assert "expected pixels" in outcome.err


def test_hostile_models_leave_no_trace_through_the_command(
    zoo: Zoo, keras: Any, bins: Path, tmp_path: Path
) -> None:
    import tensorflow as tf

    trace = tmp_path / "trace"
    image = keras.Input((SIZE, SIZE, 3))
    evil = keras.layers.Lambda(
        eval(f"lambda x: (open({str(trace)!r}, 'w').close(), x * 1.0)[1]"), name="evil"
    )
    save(keras.Model(image, keras.layers.Flatten()(evil(image))), tmp_path / "evil.h5")
    module = tf.Module()

    def serve(x: Any) -> Any:
        with tf.control_dependencies([tf.io.write_file(str(trace), "was here")]):
            return tf.reshape(x, [-1, SIZE * SIZE * 3])

    signature = [tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32)]
    module.serve = tf.function(serve, input_signature=signature, autograph=False)
    tf.saved_model.save(module, str(tmp_path / "evil"), signatures=module.serve)
    trace.unlink(missing_ok=True)
    for model, named in (("evil.h5", "Lambda layer 'evil'"), ("evil", "WriteFile")):
        for command in (("eval",), ("probe",)):
            outcome = zoo(*command, model, "--bins", bins / "easy.bin")
            assert outcome.code == 2
            assert named in outcome.error_lines[0]
    assert zoo("export", "evil.h5").code == 2
    assert not trace.exists()
    # What was measured with --trust is answered without it, and without running anything.
    trusted = zoo("eval", "evil.h5", "--trust", "--bins", bins / "easy.bin")
    assert trace.exists()
    trace.unlink()
    assert zoo("eval", "evil.h5", "--bins", bins / "easy.bin").out == trusted.out
    for more in (["--fresh", "--bins", bins / "easy.bin"], ["--bins", bins / "other.bin"]):
        refused = zoo("eval", "evil.h5", *more)
        assert refused.code == 2
        assert "Lambda layer 'evil'" in refused.error_lines[0]
    assert not trace.exists()


def test_the_public_entries_state_all_that_verify_needs() -> None:
    from zoo.entries.registry import read_registry

    entries = read_registry(Path(__file__).parents[2] / "models.yaml")
    public = [entry for entry in entries.values() if "Keras_insightface" in entry.source]
    assert len(public) == 4
    for entry in public:
        assert (entry.protocol, entry.flip, entry.size) == ("seed", "sum", (112, 112))
        assert set(entry.published) == {"lfw", "cfp_fp", "agedb_30"}
        assert all(0.95 < row.accuracy < 1 for row in entry.published.values())
    assert np.sum([entry.url is not None for entry in public]) == 3


def test_a_model_of_another_fixed_size_names_both(zoo: Zoo, models: Path, bins: Path) -> None:
    outcome = zoo("eval", models / "small.onnx", "--size", "8", "--bins", bins / "easy.bin")
    assert outcome.code == 2
    assert "4x4, not the 8x8" in outcome.err
