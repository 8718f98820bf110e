"""Layers that do what no model may, as they would work: each trips where no guard stops it.

What `keras_attacks` does to names and values hides them; a grammar of noise alone would hardly ever
write one that works.
"""

from __future__ import annotations

import base64
import json
import marshal
import random
from collections.abc import Callable
from typing import Any

from fuzz.keras_layers import Config


def marshalled(draw: random.Random) -> str:
    """A function that leaves a marker, as text; in half of cases with characters that decoding
    passes over.
    """
    source = "lambda *a, **k: (open('MARKER', 'a').write('ran'), a[0])[1]"
    code = compile(source, "<lambda>", "eval")
    inner = next(each for each in code.co_consts if hasattr(each, "co_code"))
    text = base64.b64encode(marshal.dumps(inner)).decode()
    for _ in range(draw.choice((0, 0, 1, 3))):
        at = draw.randrange(len(text))
        text = text[:at] + draw.choice("\n -_.!\u2028") + text[at:]
    return text


def payload(draw: random.Random, version: int) -> Config:
    """A layer, with what it is called with under ``inbound_nodes`` where that is not a tensor."""
    return draw.choice(_PAYLOADS[version])(draw)


def _layer(kind: str, config: Config, module: str | None = None) -> Config:
    found: Config = {"class_name": kind, "config": {"name": "payload", **config}}
    if module is not None:
        found |= {"module": module, "registered_name": None}
    return found


def _tuple(draw: random.Random) -> list[Any]:
    return [marshalled(draw), None, None]


def _lambda_2(draw: random.Random) -> Config:
    kind = draw.choice(("lambda", "raw"))
    code = {"function": _tuple(draw), "function_type": kind, "module": "canary_module"}
    return _layer("Lambda", {**code, "arguments": {}})


def _shape_2(draw: random.Random) -> Config:
    code = {"output_shape": _tuple(draw), "output_shape_type": "lambda"}
    return _layer("Lambda", {"function": "relu", "function_type": "function", **code})


def _wrapped_cell(draw: random.Random) -> Config:
    kind, key = draw.choice((("ResidualWrapper", "residual_fn"), ("DropoutWrapper", "dropout_fn")))
    inner = {"class_name": "SimpleRNNCell", "config": {"units": 3}}
    code = {key: _tuple(draw), f"{key}_type": "lambda", f"{key}_module": None}
    module = draw.choice(
        (
            "tensorflow.python.keras.layers.rnn_cell_wrapper_v2",
            "tf_keras.src.layers.rnn.cell_wrappers",
        )
    )
    cell: Config = {"class_name": kind, "module": module, "registered_name": None}
    cell["config"] = {"cell": inner, **code}
    return _layer("RNN", {"cell": cell, "units": 3})


def _text_lookup(draw: random.Random) -> Config:
    kind = draw.choice(("StringLookup", "IntegerLookup", "TextVectorization"))
    path = draw.choice(("CANARY", "CANARY", "../../CANARY"))
    return _layer(kind, {"vocabulary": path, "max_tokens": None})


def _lookup_3(draw: random.Random) -> Config:
    return {**_text_lookup(draw), "module": "keras.layers", "registered_name": None}


def _call_2(draw: random.Random) -> Config:
    """A TensorFlow function called with constants, when the network is built."""
    function, first, rest = draw.choice(
        (
            ("io.write_file", "MARKER", {"contents": "x"}),
            ("compat.v1.io.write_file", "MARKER", {"contents": "x"}),
            ("raw_ops.WriteFile", "MARKER", {"filename": "MARKER", "contents": "x"}),
            ("io.read_file", "CANARY", {}),
            ("io.matching_files", "CANARY", {}),
            ("io.gfile.remove", "CANARY", {}),
            ("io.gfile.makedirs", "MARKER", {}),
            ("keras.utils.get_file", "MARKER", {"origin": "http://127.0.0.1:1/x"}),
            ("load_op_library", "CANARY", {}),
            ("saved_model.load", "CANARY_MODEL", {}),
            ("print", "x", {"output_stream": "file://MARKER"}),
        )
    )
    found = _layer("TFOpLambda", {"function": function})
    found["inbound_nodes"] = [["_CONSTANT_VALUE", -1, first, rest]]
    return found


def _operation_2(draw: random.Random) -> Config:
    """An operation of a graph, with constants as its inputs."""
    op, values = draw.choice((("WriteFile", ["MARKER", "x"]), ("ReadFile", ["CANARY"])))
    node = {"name": "payload", "op": op, "input": [str(i) for i in range(len(values))]}
    constants = {str(i): value for i, value in enumerate(values)}
    text: Any = draw.choice((json.dumps(node), node))
    return _layer("TensorFlowOpLayer", {"node_def": text, "constants": constants})


def _lambda_3(draw: random.Random) -> Config:
    return _layer("Lambda", {"function": _code_3(draw), "arguments": {}}, "keras.layers")


def _code_3(draw: random.Random) -> Config:
    code = {"code": marshalled(draw), "defaults": None, "closure": None}
    # A Lambda layer reads the first form, whatever else takes a function the second.
    return {"class_name": "__lambda__", "config": {**code, "value": _tuple(draw)}}


def _activation_3(draw: random.Random) -> Config:
    function = draw.choice(
        (
            _code_3(draw),
            _function("canary_module", "run"),
            _function("os", "system"),
            _function("builtins", "exec"),
            _function("canary_module", "relu"),
        )
    )
    return _layer("Activation", {"activation": function}, "keras.layers")


def _function(module: str, name: str) -> Config:
    return {
        "module": module,
        "class_name": "function",
        "config": name,
        "registered_name": name,
    }


def _foreign_3(draw: random.Random) -> Config:
    """A class that is imported for its name."""
    module = draw.choice(("canary_module", "antigravity", "idlelib.idle", "canary_module.inner"))
    return _layer(draw.choice(("Layer", "Dense", "Relu")), {}, module)


def _initializer_3(draw: random.Random) -> Config:
    kernel = {**_layer("Zeros", {}, "canary_module"), "config": {}}
    config = {"units": 3, "kernel_initializer": draw.choice((kernel, _code_3(draw)))}
    return _layer("Dense", config, "keras.layers")


def _saved_model_3(draw: random.Random) -> Config:
    module = draw.choice(("keras.layers", "keras.src.export.tfsm_layer"))
    return _layer("TFSMLayer", {"filepath": "CANARY_MODEL", "call_endpoint": "serve"}, module)


def _map_3(draw: random.Random) -> Config:
    kind = draw.choice(("Map", "Scan", "VectorizedMap", "Cond"))
    return _layer(kind, {"function": _code_3(draw), "f": _code_3(draw)}, "keras.src.ops.core")


_PAYLOADS: dict[int, tuple[Callable[[random.Random], Config], ...]] = {
    2: (_lambda_2, _shape_2, _wrapped_cell, _text_lookup, _call_2, _call_2, _operation_2),
    3: (
        _lambda_3,
        _activation_3,
        _activation_3,
        _foreign_3,
        _initializer_3,
        _saved_model_3,
        _lookup_3,
        _map_3,
    ),
}
