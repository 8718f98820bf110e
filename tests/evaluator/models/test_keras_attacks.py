"""Kinds of hostile Keras files: each is refused by what it names, and nothing of it runs.

A payload makes a file called MARKER where it runs, is imported, or is looked up and called.
"""

from __future__ import annotations

import base64
import json
import marshal
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

from evaluator.errors import ModelError
from evaluator.models.load import check_model, load_embedder
from evaluator.models.options import LoadOptions

Layer = dict[str, Any]


def marshalled(folder: Path) -> str:
    """A function that makes MARKER, as Keras writes functions: base64 of Python's marshal."""
    source = f"lambda *inputs: (open({str(folder / 'MARKER')!r}, 'a').close(), inputs[0])[1]"
    return base64.encodebytes(marshal.dumps(eval(source).__code__)).decode()


def function(module: Any, name: Any, **more: Any) -> Layer:
    return {"class_name": "function", "module": module, "config": name, **more}


def named(class_name: Any, config: Any = None, **more: Any) -> Layer:
    settings = {"name": "evil", **(config or {})}
    return {"class_name": class_name, "config": settings, "name": "evil", **more}


def dense(**config: Any) -> Layer:
    return named("Dense", {"units": 4, **config}, module="keras.layers", registered_name=None)


def rnn(cell: Any, **more: Any) -> Layer:
    return named("RNN", {"cell": cell}, **more)


def lambda_dict(code: str) -> Layer:
    return {"class_name": "__lambda__", "config": {"value": code}}


CELL = {"class_name": "GRUCell", "config": {"units": 3}}
PYTHON = "tensorflow.python.keras.layers"

# Name -> layer for a marshalled function.
LAYERS: dict[str, Callable[[str], Layer]] = {
    # ---- Lambda, under all its names
    "Lambda": lambda code: named("Lambda", {"function": [code, None, None]}),
    "Lambda of Keras 3": lambda code: named("Lambda", {"function": lambda_dict(code)}),
    "keras.layers>Lambda": lambda code: named("keras.layers>Lambda", {"function": [code, 0, 0]}),
    "Custom>Lambda": lambda code: named("Custom>Lambda", {"function": [code, None, None]}),
    "Keras>Lambda": lambda code: named("Keras>Lambda", {"function": [code, None, None]}),
    "layers.Lambda": lambda code: named(
        "layers.Lambda", {"function": lambda_dict(code)}, module="keras"
    ),
    "src.layers.Lambda": lambda code: named(
        "src.layers.Lambda", {"function": lambda_dict(code)}, module="keras"
    ),
    "lambda_layer.Lambda": lambda code: named(
        "lambda_layer.Lambda",
        {"function": lambda_dict(code)},
        module="tf_keras.src.layers.core",
    ),
    "Lambda by registered name": lambda code: named(
        "Dense", {"function": lambda_dict(code)}, module="keras.layers", registered_name="Lambda"
    ),
    "Lambda as registered name of nothing": lambda code: named(
        "Nothing",
        {"function": lambda_dict(code)},
        module="tf_keras.src.layers.core.lambda_layer",
        registered_name="Lambda",
    ),
    "Lambda of its source": lambda code: named(
        "Lambda", {"function": lambda_dict(code)}, module="keras.src.layers.core.lambda_layer"
    ),
    "Lambda of TensorFlow": lambda code: named(
        "Lambda", {"function": [code, None, None]}, module=f"{PYTHON}.core"
    ),
    "Lambda of tensorflow.keras": lambda code: named(
        "Lambda", {"function": [code, None, None]}, module="tensorflow.keras.layers"
    ),
    "Lambda by keras.api": lambda code: named(
        "Lambda", {"function": lambda_dict(code)}, module="keras.api.layers"
    ),
    # ---- functions in cells and wrappers
    "residual_fn": lambda code: rnn(
        named(
            "ResidualWrapper",
            {
                "cell": CELL,
                "residual_fn": ["!" + code, None, None],
                "residual_fn_type": "lambda",
                "residual_fn_module": "os",
            },
            module=f"{PYTHON}.rnn_cell_wrapper_v2",
        ),
        module="tf_keras.layers",
    ),
    "residual_fn of tf_keras": lambda code: rnn(
        named(
            "ResidualWrapper",
            {"cell": CELL, "residual_fn": [code, None, None], "residual_fn_type": "lambda"},
        )
    ),
    "residual_fn by name": lambda code: rnn(
        named(
            "ResidualWrapper",
            {
                "cell": CELL,
                "residual_fn": "system",
                "residual_fn_type": "function",
                "residual_fn_module": "os",
            },
        )
    ),
    "dropout_fn": lambda code: rnn(
        named(
            "DropoutWrapper",
            {"cell": CELL, "dropout_fn": [code, None, None], "dropout_fn_type": "lambda"},
        )
    ),
    "a wrapper in stacked cells": lambda code: rnn(
        named(
            "StackedRNNCells",
            {"cells": [CELL, named("ResidualWrapper", {"cell": CELL, "residual_fn": [code]})]},
        )
    ),
    "residual_fn of a cell that takes none": lambda code: rnn(
        named("GRUCell", {"units": 3, "residual_fn": [code, None, None]})
    ),
    "backward_layer": lambda code: named(
        "Bidirectional",
        {
            "layer": rnn(CELL),
            "backward_layer": named("Lambda", {"function": [code, None, None]}),
        },
    ),
    "TimeDistributed": lambda code: named(
        "TimeDistributed", {"layer": named("Lambda", {"function": [code, None, None]})}
    ),
    # ---- lambdas where something else is expected
    "activation": lambda code: dense(activation=lambda_dict(code)),
    "initializer": lambda code: dense(kernel_initializer=lambda_dict(code)),
    "regularizer": lambda code: dense(
        kernel_regularizer={"class_name": "L2", "config": {"l2": [[[lambda_dict(code)]]]}}
    ),
    "constraint": lambda code: dense(kernel_constraint=lambda_dict(code)),
    "dtype": lambda code: dense(dtype=lambda_dict(code)),
    "dtype policy map": lambda code: dense(
        dtype={
            "class_name": "DTypePolicyMap",
            "module": "keras.dtype_policies",
            "config": {"default_policy": None, "policy_map": {"x": lambda_dict(code)}},
        }
    ),
    "a pattern without an end": lambda code: dense(
        dtype={
            "class_name": "DTypePolicyMap",
            "module": "keras.dtype_policies",
            "config": {"default_policy": None, "policy_map": {"(a+)+$": "float32"}},
        }
    ),
    "quantization config": lambda code: dense(
        quantization_config={
            "class_name": "Int8QuantizationConfig",
            "module": "keras.quantizers",
            "config": {"weight_quantizer": lambda_dict(code)},
        }
    ),
    "a tuple": lambda code: dense(
        activation={"class_name": "__tuple__", "items": [[lambda_dict(code)]]}
    ),
    "a slice": lambda code: dense(
        activation={"class_name": "__slice__", "config": {"start": lambda_dict(code)}}
    ),
    "an array": lambda code: dense(
        kernel_initializer={
            "class_name": "__numpy__",
            "config": {"value": [lambda_dict(code)], "dtype": "float32"},
        }
    ),
    "build_config": lambda code: {**dense(), "build_config": {"shape": [lambda_dict(code)]}},
    "compile_config": lambda code: {
        **named("Sequential", {"layers": []}),
        "compile_config": {"loss": lambda_dict(code)},
    },
    "a loss in compile_config": lambda code: {
        **named("Sequential", {"layers": []}),
        "compile_config": {"optimizer": "adam", "loss": "deserialize", "metrics": ["get"]},
    },
    "a function in compile_config": lambda code: {
        **named("Sequential", {"layers": []}),
        "compile_config": {"optimizer": "adam", "loss": function("os", "system")},
    },
    "inbound_nodes of Keras 3": lambda code: {
        **dense(),
        "inbound_nodes": [{"args": [], "kwargs": {"mask": [[[lambda_dict(code)]]]}}],
    },
    "inbound_nodes of Keras 2": lambda code: {
        **dense(),
        "inbound_nodes": [[["image", 0, 0, {"mask": [[lambda_dict(code)]]}]]],
    },
    "a layer in inbound_nodes": lambda code: {
        **dense(),
        "inbound_nodes": [[["image", 0, 0, {"x": dense(activation="system")}]]],
    },
    # ---- code without a key for it
    "unread text": lambda code: dense(extra=code),
    "unread text in lists": lambda code: dense(extra=[[[code]]]),
    "junk in the base64": lambda code: dense(extra="-_!" + code.replace("\n", "?")),
    "function_type": lambda code: dense(function=[code], function_type="lambda"),
    "code as activation": lambda code: dense(activation=code),
    "code as dtype": lambda code: dense(dtype=code),
    # ---- functions by name
    "os.system": lambda code: dense(activation=function("os", "system")),
    "os.system as bias": lambda code: dense(bias_initializer=function("posix", "system")),
    "builtins.eval": lambda code: dense(activation=function("builtins", "eval")),
    "builtins.exec by registered name": lambda code: dense(
        activation=function("builtins", "relu", registered_name="exec")
    ),
    "get_file": lambda code: dense(activation=function("keras.utils", "get_file")),
    "get_file of tf_keras": lambda code: dense(activation=function("tf_keras.utils", "get_file")),
    "dotted function": lambda code: dense(activation=function("keras", "utils.get_file")),
    "function of activations' imports": lambda code: dense(
        activation=function("tf_keras.src.activations", "tf")
    ),
    "function of TensorFlow": lambda code: dense(
        activation=function("tensorflow.python.platform.gfile", "Remove")
    ),
    "a function without a module": lambda code: dense(
        activation={"class_name": "function", "config": "system"}
    ),
    "a function named by a list": lambda code: dense(activation=function("os", ["system"])),
    "a function of a module that is a list": lambda code: dense(
        activation=function(["os"], "system")
    ),
    "a class of os": lambda code: named("popen", {"command": "touch MARKER"}, module="os"),
    "a class of subprocess": lambda code: named("Popen", {"args": ["id"]}, module="subprocess"),
    "a class of this project": lambda code: named("Path", module="evaluator.models.keras.load"),
    "a module to import": lambda code: named("Dense", {"units": 2}, module="antigravity"),
    "our class of another module": lambda code: named("NormDense", {"units": 2}, module="this"),
    "our class without its name": lambda code: named(
        "NormDense", {"units": 2}, module="models", registered_name=None
    ),
    # ---- what activations' module holds besides activations
    **{
        f"activation {name}": (lambda code, name=name: dense(activation=name))
        for name in "deserialize get serialize tf sys backend __builtins__ open eval".split()
    },
    "initializer deserialize": lambda code: dense(kernel_initializer="deserialize"),
    "regularizer math": lambda code: dense(kernel_regularizer="math"),
    "constraint warnings": lambda code: dense(kernel_constraint="warnings"),
    "constraint tf": lambda code: dense(kernel_constraint={"class_name": "tf", "config": {}}),
    # ---- layers that run, load, unpickle or open
    "TorchModuleWrapper": lambda code: named(
        "TorchModuleWrapper", {"module": code}, module="keras.layers"
    ),
    "layers.TorchModuleWrapper": lambda code: named(
        "layers.TorchModuleWrapper", {"module": code}, module="keras"
    ),
    "TorchModuleWrapper of its source": lambda code: named(
        "TorchModuleWrapper", {"module": code}, module="keras.src.utils.torch_utils"
    ),
    "TFSMLayer": lambda code: named("TFSMLayer", {"filepath": "/tmp/x"}, module="keras.layers"),
    "export.TFSMLayer": lambda code: named("export.TFSMLayer", {"filepath": "x"}, module="keras"),
    "JaxLayer": lambda code: named("JaxLayer", {"call_fn": lambda_dict(code)}),
    "FlaxLayer": lambda code: named("FlaxLayer", {"module": code}, module="keras.layers"),
    "TextVectorization": lambda code: named(
        "TextVectorization", {"standardize": lambda_dict(code), "vocabulary": "/etc/passwd"}
    ),
    "StringLookup": lambda code: named("StringLookup", {"vocabulary": "/etc/passwd"}),
    "layers.StringLookup": lambda code: named(
        "layers.StringLookup", {"vocabulary": "/etc/passwd"}, module="keras"
    ),
    "IntegerLookup": lambda code: named("IntegerLookup", {"vocabulary": "/etc/passwd"}),
    "experimental StringLookup": lambda code: named(
        "StringLookup",
        {"vocabulary": "/etc/passwd"},
        module="keras.layers.experimental.preprocessing",
    ),
    "FeatureSpace": lambda code: named("FeatureSpace", {"features": {}}, module="keras.utils"),
    "DenseFeatures": lambda code: named("DenseFeatures", {"feature_columns": []}),
    "TensorFlowOpLayer": lambda code: named("TensorFlowOpLayer", {"node_def": code}),
    "ClassMethod": lambda code: named(
        "ClassMethod", {"cls_symbol": "io.gfile.GFile", "method_name": "write"}
    ),
    "InstanceMethod": lambda code: named("InstanceMethod", {"attr_name": "__reduce__"}),
    "TFOpLambda": lambda code: named("TFOpLambda", {"function": "io.write_file"}),
    "TFOpLambda of Python": lambda code: named("TFOpLambda", {"function": "numpy_function"}),
    "TFOpLambda that prints": lambda code: named("TFOpLambda", {"function": "print"}),
    "TFOpLambda of a class": lambda code: named("TFOpLambda", {"function": "Module"}),
    "TFOpLambda of a list": lambda code: named("TFOpLambda", {"function": ["math.add"]}),
    "TFOpLambda without a function": lambda code: named("TFOpLambda"),
    "SlicingOpLambda": lambda code: named("SlicingOpLambda", {"function": "py_function"}),
    "Map": lambda code: named("Map", {"f": lambda_dict(code)}, module="keras.src.ops.core"),
    "WhileLoop": lambda code: named("WhileLoop", {}, module="keras.src.ops.core"),
    # ---- types by name
    "__typespec__": lambda code: dense(
        activation={
            "class_name": "__typespec__",
            "spec_name": "Popen",
            "module": "subprocess",
            "registered_name": None,
            "config": [["id"]],
        }
    ),
    "TypeSpec": lambda code: dense(
        activation={"class_name": "TypeSpec", "type_spec": "tf.TensorSpec", "serialized": []}
    ),
    "CompositeTensor": lambda code: dense(
        activation={"class_name": "CompositeTensor", "spec": {}, "tensors": []}
    ),
    # ---- marks that only one of the two libraries knows, beside what the other imports
    **{
        f"{mark} of shutil": (
            lambda code, mark=mark: dense(
                activation={
                    "class_name": mark,
                    "module": "shutil",
                    "registered_name": "rmtree",
                    "config": {"start": None, "stop": None, "step": None},
                }
            )
        )
        for mark in ("__slice__", "__ellipsis__", "__tuple__", "__keras_tensor__", "TensorShape")
    },
    "a mark as another name": lambda code: dense(
        activation={"class_name": "__slice__", "registered_name": "exec", "config": {}}
    ),
    # ---- names that are none
    "a class named by a number": lambda code: named(7),
    "a class named by null": lambda code: named(None),
    "a class named by a list": lambda code: named(["Lambda"], {"function": [code]}),
    "a class named by a dict": lambda code: named({"Lambda": 1}, {"function": [code]}),
    "a module that is a list": lambda code: named("Dense", {"units": 2}, module=["os"]),
    "a module that is a number": lambda code: named("Dense", {"units": 2}, module=1),
    "a registered name that is a list": lambda code: named(
        "Dense", {"units": 2}, module="keras.layers", registered_name=["Lambda"]
    ),
    "a class with a line break": lambda code: named("Lambda\n", {"function": [code]}),
    "a class with a zero": lambda code: named("Dense\0", {"units": 2}),
    "an empty class": lambda code: named(""),
    "a config that is a text": lambda code: {"class_name": "Dense", "config": code, "name": "x"},
}


def model(layer: Layer) -> dict[str, Any]:
    """A functional model with that layer on its image."""
    image = {
        "class_name": "InputLayer",
        "config": {"batch_input_shape": [None, 16, 16, 3], "name": "image", "dtype": "float32"},
        "name": "image",
        "inbound_nodes": [],
    }
    layer = {"inbound_nodes": [[["image", 0, 0, {}]]], **layer}
    wiring = {"input_layers": [["image", 0, 0]], "output_layers": [["evil", 0, 0]]}
    return {
        "class_name": "Functional",
        "config": {"name": "m", "layers": [image, layer], **wiring},
    }


def written(path: Path, config: dict[str, Any]) -> Path:
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file.attrs["model_config"] = json.dumps(config)
            file.create_group("model_weights")
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps(config))
            archive.writestr("metadata.json", "{}")
    return path


def refused(path: Path) -> str:
    """The message, after it has been seen that nothing ran and that it is one line."""
    for attempt in (check_model, load_embedder):
        with pytest.raises(ModelError) as caught:
            attempt(path, LoadOptions())
    message = str(caught.value)
    assert not list(path.parent.rglob("MARKER*"))
    assert message.isprintable()
    assert len(message) < 1500
    return message


@pytest.mark.parametrize("name", LAYERS)
def test_an_attack_is_refused_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    layer = LAYERS[name](marshalled(tmp_path))
    nested = named("Sequential", {"layers": [model(layer)]})
    for suffix in ("h5", "keras"):
        message = refused(written(tmp_path / f"m.{suffix}", model(layer)))
        assert "not loaded" in message
        assert "--trust" in message
        assert "not loaded" in refused(written(tmp_path / f"n.{suffix}", model(nested)))
        outermost = {key: value for key, value in layer.items() if key != "compile_config"}
        if outermost == layer:
            assert "not loaded" in refused(written(tmp_path / f"o.{suffix}", layer))


def test_the_shared_attack_is_refused(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"ResidualWrapper layer .*takes a Python function"):
        check_model(shared / "cases/security/lambda_in_wrapper.h5", LoadOptions())
    assert not list(tmp_path.iterdir())


def test_the_message_tells_code_from_what_is_not_known(tmp_path: Path) -> None:
    code = refused(written(tmp_path / "m.h5", model(named("Lambda", {"function": ["x"]}))))
    assert "carries code that would run on this machine: Lambda layer 'evil' (runs code)" in code
    assert "--custom" not in code
    unknown = refused(written(tmp_path / "m.h5", model(named("Attention7", module="their.code"))))
    assert "names what is not known to be harmless: their.code.Attention7 layer 'evil'" in unknown
    assert "carries code" not in unknown
    assert "--custom module:Class" in unknown
    files = refused(written(tmp_path / "m.h5", model(named("StringLookup"))))
    assert "StringLookup layer 'evil' (opens files)" in files
    assert "carries code" not in files


def test_a_name_of_any_length_and_kind_is_shown_short_and_printable(tmp_path: Path) -> None:
    name = "\x1b[31m\u202e" + "x" * 100_000
    for layer in (named(name), dense(activation=name), dense(activation=function(name, name))):
        assert "\\x1b[31m" in refused(written(tmp_path / "m.h5", model(layer)))
