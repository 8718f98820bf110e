"""What a Keras file says about itself is checked without TensorFlow."""

import base64
import io
import json
import marshal
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from evaluator.errors import ModelError
from evaluator.models.formats import model_format
from evaluator.models.keras.allowed.walk import code_in_config
from evaluator.models.keras.archive import member_file
from evaluator.models.keras.config import check_weights
from evaluator.models.load import check_model, load_embedder
from evaluator.models.options import LoadOptions


def functional(*layers: dict[str, Any]) -> dict[str, Any]:
    """A functional model's config: an image input and these layers."""
    image = {"class_name": "InputLayer", "config": {"batch_shape": [None, 16, 16, 3]}}
    return {"class_name": "Functional", "config": {"name": "m", "layers": [image, *layers]}}


def h5_model(path: Path, config: object) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = config if isinstance(config, str) else json.dumps(config)
        file.create_group("model_weights")
    return path


def keras_archive(path: Path, config: object) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", "{}")
    return path


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        check_model(path, LoadOptions(**options))
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


# ---- Code ---------------------------------------------------------------------------------------

LAMBDA = {"class_name": "Lambda", "config": {"name": "evil", "function": "whatever"}}
ACTIVATION = {"class_name": "Activation", "config": {"name": "act", "activation": "relu"}}


def wrapped(layer: dict[str, Any]) -> dict[str, Any]:
    return {"class_name": "TimeDistributed", "config": {"name": "each", "layer": layer}}


@pytest.mark.parametrize(
    "config",
    [
        functional(LAMBDA),
        functional(functional(functional(LAMBDA))),
        functional(wrapped(LAMBDA)),
        {"class_name": "Sequential", "config": [LAMBDA]},
        {"class_name": "Sequential", "config": {"name": "s", "layers": [LAMBDA]}},
    ],
    ids=["plain", "nested", "TimeDistributed", "oldest Sequential", "Sequential"],
)
@pytest.mark.parametrize("write", [h5_model, keras_archive])
def test_a_lambda_is_refused_wherever_it_stands(tmp_path: Path, config: Any, write: Any) -> None:
    message = refusal(write(tmp_path / "m", config))
    assert "Lambda layer 'evil'" in message
    assert "--trust" in message


def function(module: str, name: str) -> dict[str, Any]:
    return {"class_name": "function", "module": module, "config": name, "registered_name": name}


def activation(value: object) -> dict[str, Any]:
    return {"class_name": "Activation", "config": {"name": "act", "activation": value}}


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        ({"class_name": "Thing", "module": "os", "config": {}}, "os.Thing"),
        ({"class_name": "Popen", "module": "subprocess", "config": {}}, "subprocess.Popen"),
        ({"class_name": "exec", "module": "builtins", "config": {}}, "builtins.exec"),
        (activation(function("os", "system")), "os.system"),
        (activation(function("builtins", "eval")), "builtins.eval"),
        (activation(function("keras.utils", "get_file")), "keras.utils.get_file"),
        (activation(function("tf_keras.utils", "get_file")), "tf_keras.utils.get_file"),
        (activation(function("keras.models", "load_model")), "keras.models.load_model"),
        (
            {"class_name": "get_file", "module": "keras.src.utils.file_utils", "config": {}},
            "keras.src.utils.file_utils.get_file",
        ),
        ({"class_name": "X", "module": "keras.layersx", "config": {}}, "keras.layersx.X"),
        ({"class_name": "NormDense", "module": "os", "config": {}}, "os.NormDense"),
        ({"class_name": "CenterLoss", "module": "os", "config": {}}, "os.CenterLoss"),
        (
            {"class_name": "Other", "module": "training.network.centers", "config": {}},
            "centers.Other",
        ),
        ({"class_name": "TFSMLayer", "config": {"name": "t"}}, "TFSMLayer layer 't'"),
        (
            {"class_name": "StringLookup", "module": "keras.layers", "config": {"name": "v"}},
            "StringLookup layer 'v'",
        ),
        (
            {"class_name": "TFOpLambda", "config": {"name": "w", "function": "io.write_file"}},
            "'io.write_file' in layer 'w'",
        ),
        (
            {"class_name": "SlicingOpLambda", "config": {"name": "w", "function": "py_function"}},
            "'py_function' in layer 'w'",
        ),
        ({"class_name": "ClassMethod", "config": {"name": "c"}}, "ClassMethod layer 'c'"),
        (activation({"class_name": "__lambda__", "config": {"value": "eA=="}}), "Lambda"),
    ],
)
@pytest.mark.parametrize("write", [h5_model, keras_archive])
def test_what_would_be_imported_or_called_by_name_is_refused(
    tmp_path: Path, layer: dict[str, Any], named: str, write: Any
) -> None:
    assert named in refusal(write(tmp_path / "m", functional(layer)))


@pytest.mark.parametrize("junk", ["", "!", "\n", "-"])
def test_a_text_is_refused_where_no_layer_reads_one(tmp_path: Path, junk: str) -> None:
    # Python's base64 passes over what is none: no pattern tells what it would decode.
    code = base64.b64encode(marshal.dumps(compile("import os", "x", "exec"))).decode()
    layer = {
        "class_name": "Dense",
        "config": {"name": "d", "units": 2, "extra": [junk + code, None]},
    }
    message = refusal(h5_model(tmp_path / "m", functional(layer)))
    assert "as 'extra' of Dense 'd'" in message
    assert "not known to be harmless" in message


@pytest.mark.parametrize(
    "layer",
    [
        ACTIVATION,
        activation(function("builtins", "tanh")),
        activation(function("keras.activations", "relu6")),
        {"class_name": "TFOpLambda", "config": {"name": "n", "function": "math.l2_normalize"}},
        {"class_name": "SlicingOpLambda", "config": {"function": "__operators__.getitem"}},
        {"class_name": "GlorotUniform", "module": "keras.initializers", "config": {}},
        {"class_name": "NotEqual", "module": "keras.src.ops.numpy", "config": {"name": "n"}},
        {"class_name": "Zeros", "module": "tf_keras.initializers", "config": {}},
        {"class_name": "__slice__", "module": "builtins", "config": {"start": None}},
        {"class_name": "NormDense", "module": "__main__", "config": {"classes": 9}},
        {"class_name": "DTypePolicy", "module": "keras", "config": {"name": "mixed_float16"}},
    ],
)
def test_what_keras_has_itself_is_no_code(layer: dict[str, Any]) -> None:
    assert code_in_config(functional(layer)) == []


def test_the_compile_config_is_never_built_and_not_looked_at() -> None:
    loss = {"class_name": "function", "module": "my.losses", "config": "arcface"}
    config = functional(ACTIVATION)
    assert code_in_config({**config, "compile_config": {"loss": loss}}) == []
    assert code_in_config(functional({**config, "compile_config": {"loss": loss}})) != []


@pytest.mark.parametrize("kind", ["TypeSpec", "CompositeTensor"])
def test_what_is_looked_up_while_a_config_is_parsed_is_looked_at_everywhere(kind: str) -> None:
    config = {"class_name": "Functional", "config": {"layers": []}}
    found = code_in_config({**config, "compile_config": {"loss": [{"a": {"class_name": kind}}]}})
    assert [str(each) for each in found] == [f"{kind} (looks a type up by its name)"]


def test_many_findings_are_counted(tmp_path: Path) -> None:
    layers = [{"class_name": "Lambda", "config": {"name": f"l{i}"}} for i in range(8)]
    assert "and 3 more" in refusal(h5_model(tmp_path / "m", functional(*layers)))


def test_trust_skips_the_refusal(tmp_path: Path) -> None:
    path = h5_model(tmp_path / "m", functional(LAMBDA))
    assert "Lambda" in refusal(path)
    check_model(path, LoadOptions(trust=True))


def test_a_config_nested_deeper_than_python_recurses_is_handled(tmp_path: Path) -> None:
    deep = '{"class_name":"M","config":' + "[" * 20_000 + "]" * 20_000 + "}"
    assert "config" in refusal(keras_archive_text(tmp_path / "m", deep))


def keras_archive_text(path: Path, text: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", text)
    return path


# ---- Files that are no whole model --------------------------------------------------------------


def test_weights_only_files_say_what_is_missing(tmp_path: Path) -> None:
    old, new = tmp_path / "old.h5", tmp_path / "new.weights.h5"
    with h5py.File(old, "w") as file:
        file.attrs["layer_names"] = ["dense"]
        file.create_group("dense")
    with h5py.File(new, "w") as file:
        file.create_group("layers/dense/vars")
    for path in (old, new):
        assert "weights only" in refusal(path)
        assert "model.save" in refusal(path)


def test_an_hdf5_file_of_other_data_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(3)
    assert "no Keras model" in refusal(path)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
@pytest.mark.parametrize("write", [h5_model, keras_archive])
def test_a_truncated_file_is_damaged(tmp_path: Path, write: Any, share: float) -> None:
    path = write(tmp_path / "m", functional(ACTIVATION))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    message = refusal(path)
    assert "damaged" in message or "truncated" in message


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "empty"),
        (b"not a model at all\n", "text"),
        (pickle.dumps({"state_dict": [1, 2]}), "pickle"),
        (bytes(range(200, 256)), "first bytes"),
    ],
    ids=["zero bytes", "text", "pickle", "noise"],
)
def test_other_files_are_named_by_their_content(tmp_path: Path, content: bytes, cause: str) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(content)
    assert model_format(path) is None
    assert cause in refusal(path)


def test_a_pytorch_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    assert "PyTorch" in refusal(path)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    assert "saved_model.pb" in refusal(tmp_path)


@pytest.mark.parametrize("config", ["{", "[1]", '{"config": 1}', '"text"'])
def test_a_config_that_describes_no_model_is_damaged(tmp_path: Path, config: str) -> None:
    assert "damaged" in refusal(h5_model(tmp_path / "m", config))


@pytest.mark.parametrize(
    "config",
    [
        {"class_name": 3, "config": 4},
        {"class_name": "Functional", "config": "text"},
        {"class_name": "Functional", "config": {"layers": ["text", None, 3]}},
        {"class_name": "Functional", "config": {"layers": [{"class_name": "InputLayer"}]}},
        functional({"class_name": ["Lambda"], "config": {"name": ["x"]}}),
    ],
)
def test_a_config_of_odd_types_is_no_crash(tmp_path: Path, config: Any) -> None:
    path = h5_model(tmp_path / "m", config)
    with pytest.raises(ModelError):
        load_embedder(path, LoadOptions())
    check_model(path, LoadOptions(trust=True))


# ---- Weights that are elsewhere, or larger than the file ----------------------------------------


def with_weights(path: Path, write: Any) -> Path:
    """A model file whose weights ``write`` fills; inside an archive for a .keras name."""
    if path.suffix == ".h5":
        h5_model(path, functional(ACTIVATION))
        with h5py.File(path, "a") as file:
            write(file)
        return path
    weights = path.with_name("weights")
    with h5py.File(weights, "w") as file:
        write(file)
    keras_archive(path, functional(ACTIVATION))
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(weights, "model.weights.h5")
    return path


def external_link(file: h5py.File) -> None:
    file["layers"] = h5py.ExternalLink("/etc/hostname", "/w")


def external_storage(file: h5py.File) -> None:
    file.create_dataset("w", (4,), "u1", external=[("/etc/hostname", 0, 4)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "w", (4,))
    file.create_virtual_dataset("a/b/w", layout)


def enormous(file: h5py.File) -> None:
    file.create_dataset("a/w", (2**40,), "f4", chunks=(2**10,))


def compressed_zeros(file: h5py.File) -> None:
    zeros = np.zeros(2**26, np.float32)
    file.create_dataset("w", data=zeros, chunks=(2**20,), compression="gzip")


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
@pytest.mark.parametrize(
    ("write", "cause"),
    [
        (external_link, "link to another file, '/etc/hostname'"),
        (external_storage, "from another file"),
        (virtual, "from another file"),
        (enormous, "declares 4,398,046,511,104 bytes"),
        (compressed_zeros, "bytes of weights, in a file of"),
    ],
)
def test_weights_elsewhere_or_too_large_are_refused(
    tmp_path: Path, name: str, write: Any, cause: str
) -> None:
    assert cause in refusal(with_weights(tmp_path / name, write))


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_weights_in_the_file_itself_pass(tmp_path: Path, name: str) -> None:
    def write(file: h5py.File) -> None:
        file.create_dataset("a/w", data=np.ones((100, 100), np.float32))
        file["again"] = h5py.SoftLink("/a/w")
        file["loop"] = file["a"]

    check_model(with_weights(tmp_path / name, write), LoadOptions())


def test_an_archive_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    path = keras_archive(tmp_path / "m", functional(ACTIVATION))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("assets/zeros", bytes(200 * 2**20))
    assert "unpacks to 209," in refusal(path)


@pytest.mark.parametrize("member", ["../../evil", "/evil", "assets/../../evil"])
def test_an_archive_member_outside_its_folder_is_refused(tmp_path: Path, member: str) -> None:
    path = keras_archive(tmp_path / "m", functional(ACTIVATION))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(member, "x")
    assert "outside its folder" in refusal(path)


def test_a_config_larger_than_any_network_s_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b" " * (65 * 2**20))
    assert "no model needs that" in refusal(path)


def test_checking_imports_no_tensorflow(tmp_path: Path) -> None:
    path = h5_model(tmp_path / "m", functional(ACTIVATION))
    program = (
        "import sys; from pathlib import Path; from evaluator.models.load import *; "
        f"check_model(Path({str(path)!r}), LoadOptions()); "
        "sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras', 'tf_keras')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_weights_in_an_archive_are_checked_at_their_place(tmp_path: Path, compression: int) -> None:
    # A hard link out of its group, or a size beyond the file, is seen only if HDF5 reads rightly.
    weights = io.BytesIO()
    values = np.random.default_rng(0).bytes(4000)
    with h5py.File(weights, "w") as file:
        for number in range(300):
            file[f"layers/dense_{number}/vars/0"] = np.frombuffer(values, np.uint8)
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("config.json", "{}" * 100)
        archive.writestr("model.weights.h5", weights.getvalue())
    check_weights(path, "keras", {})
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("model.weights.h5")
        with member_file(path, archive, member) as stored:
            assert stored.read() == weights.getvalue()
            stored.seek(-1000, io.SEEK_END)
            assert stored.read(500) == weights.getvalue()[-1000:-500]
            stored.seek(17)
            assert stored.read(5) == weights.getvalue()[17:22]


def test_checking_an_archive_reads_no_more_than_it_holds(tmp_path: Path) -> None:
    # zipfile goes back by reading a member from its begin: 100 times the file for 300 layers.
    path = tmp_path / "model.keras"
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        for number in range(300):
            file[f"layers/dense_{number}/vars/0"] = np.zeros(10_000, np.float32)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", weights.getvalue())
    counter = Path("/proc/self/io")
    if not counter.is_file():
        pytest.skip("needs Linux's count of what a process reads")
    before = int(counter.read_text().split()[1])
    check_weights(path, "keras", {})
    assert int(counter.read_text().split()[1]) - before < 2 * path.stat().st_size
