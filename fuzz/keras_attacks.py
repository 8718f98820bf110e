"""What an attacker writes into a Keras config: names, texts, code and odd values, anywhere.

Names come from the tables of what is harmless, from those that are refused, and from the sources of
both libraries; code is marshalled, as both libraries have it.
"""

from __future__ import annotations

import copy
import importlib.util
import random
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from evaluator.models.keras.allowed import names as keras_names
from fuzz.differential import Places
from fuzz.keras_layers import Config, Words
from fuzz.keras_payloads import marshalled, payload

_EXPORT = re.compile(r"^(?:class|def) ([A-Za-z]\w*)", re.MULTILINE)


@cache
def registry() -> tuple[tuple[str, str], ...]:
    """Module and name of every class and function in the sources of both Kerases."""
    found: list[tuple[str, str]] = []
    for package in ("keras", "tf_keras"):
        spec = importlib.util.find_spec(package)
        root = Path(((spec and spec.submodule_search_locations) or [""])[0])
        for path in sorted((root / "src").rglob("*.py")):
            if path.name.endswith("_test.py") or "backend" in path.parts:
                continue
            module = ".".join((package, *path.relative_to(root).with_suffix("").parts))
            names = _EXPORT.findall(path.read_text(encoding="utf-8", errors="replace"))
            found += [(module.removesuffix(".__init__"), name) for name in names]
    return tuple(found)


_ALLOWED = tuple(
    sorted(
        keras_names.LAYERS
        | keras_names.MODELS
        | keras_names.INITIALIZERS
        | keras_names.REGULARIZERS
        | keras_names.CONSTRAINTS
        | keras_names.QUANTIZERS
        | keras_names.POLICIES
        | keras_names.ACTIVATIONS
        | keras_names.MARKERS
    )
)
_DANGEROUS = """
    Lambda __lambda__ ResidualWrapper DropoutWrapper DeviceWrapper TorchModuleWrapper TFSMLayer
    JaxLayer FlaxLayer StringLookup IntegerLookup IndexLookup TextVectorization FeatureSpace
    DenseFeatures TensorFlowOpLayer TFOpLambda SlicingOpLambda ClassMethod InstanceProperty
    InstanceMethod Map Scan WhileLoop Cond CompositeTensor __typespec__ TypeSpec function
    get_file load_model Operation Function RandomFourierFeatures Layer Model
""".split()
_MODULES = """
    keras keras.layers keras.models keras.src.models.functional keras.src.layers.core.lambda_layer
    tf_keras.layers tf_keras.src.layers.core.lambda_layer tensorflow.keras.layers
    tensorflow.python.keras.layers tensorflow.python.keras.layers.rnn_cell_wrapper_v2
    tensorflow.python.ops.io_ops tensorflow keras.api.layers keras.saving keras.utils
    keras.src.saving.serialization_lib keras.src.utils.file_utils builtins __main__ os subprocess
    canary_module antigravity numpy pickle keras.ops keras.src.ops.numpy keras.src.ops.core
    keras_insightface training.heads models layers keras.activations keras.initializers
    keras.src.export.tfsm_layer keras.src.utils.jax_layer
""".split()
_KEYS = """
    activation recurrent_activation kernel_initializer bias_regularizer kernel_constraint
    kernel_quantizer quantization_config dtype compute_dtype residual_fn_type dropout_fn_type
    residual_fn residual_fn_module function function_type output_shape output_shape_type mask
    module arguments vocabulary idf_weights filepath call_endpoint cell cells layer merge_layer
    backward_layer standardize split custom_fn node_def constants call_name query_initializer
    input_dictionary name class_name registered_name config inbound_nodes build_config
    compile_config fn code defaults closure url path spec strategy data_format quantization_mode
    equation pattern method bounding_box_format shared_object_id dtype_policy alpha_initializer
""".split()
_WRAPPERS = """
    Wrapper TimeDistributed Bidirectional RNN ResidualWrapper SpectralNormalization DropoutWrapper
    Pipeline Sequential
""".split()
_TF_FUNCTIONS = """
    math.add math.multiply nn.relu nn.l2_normalize image.rgb_to_grayscale compat.v1.norm
    compat.v1.pad one_hot concat reshape py_function numpy_function io.write_file io.read_file
    raw_ops.WriteFile raw_ops.ReadFile saved_model.load load_op_library load_library
    io.gfile.remove io.gfile.GFile function map_fn while_loop cond print keras.utils.get_file
    keras.models.load_model compat.v1.py_func compat.v1.Print io.matching_files
    strings.join constant audio.encode_wav train.load_checkpoint summary.create_file_writer
    debugging.experimental.enable_dump_debug_info math.__class__ nn.__dict__ identity
    compat.v1.gfile.FastGFile compat.v1.train.write_graph data.TextLineDataset
    __internal__.tracking.AutoTrackable random.uniform quantization.quantize
    types.experimental.Callable autograph.to_code test.main distribute.Server
    ..os.system math..os.system compat.v2.io.write_file compat.v1.io.write_file
""".split()


# ---- What an attacker writes ---------------------------------------------------------------------


class Attack:
    """Changes of a config in place, drawn by what stands where."""

    def __init__(self, draw: random.Random, version: int, places: Places) -> None:
        self.draw, self.version, self.places = draw, version, places

    def change(self, config: Config) -> None:
        """One change somewhere in a config."""
        self.draw.choice(_CHANGES)(self, config)

    # Values

    def text(self) -> str:
        """A text that some loader decodes, imports, looks up or opens."""
        draw = self.draw
        return draw.choice(
            (
                lambda: marshalled(draw),
                lambda: draw.choice(_TF_FUNCTIONS),
                lambda: draw.choice(_DANGEROUS),
                lambda: draw.choice(_ALLOWED),
                lambda: self.class_name(),
                lambda: draw.choice(_MODULES),
                lambda: ".".join(draw.choice(registry())),
                lambda: draw.choice((self.places.canary, "CANARY", "../CANARY", "MARKER")),
                lambda: f"file://{self.places.canary}",
                lambda: "canary_module.Layer",
                lambda: "__import__('os').system('touch MARKER')",
                lambda: draw.choice(("lambda", "raw", "relu", "float32", "mixed_float16", "int8")),
                lambda: draw.choice(("float32_from_float32", "string", "_infer", "\0", "x" * 300)),
            )
        )()

    def class_name(self) -> str:
        """A class's name, plain, dotted, or registered below a package."""
        draw = self.draw
        name = draw.choice(
            (draw.choice(_DANGEROUS), draw.choice(_ALLOWED), draw.choice(registry())[1])
        )
        form = draw.randrange(8)
        prefixes = ("layers.", "keras.layers.", "Custom>", "keras_insightface>", "Addons>", "tf.")
        return draw.choice(prefixes) + name if form == 0 else name

    def function(self) -> Any:
        """A Python function as configs give one."""
        draw = self.draw
        name = draw.choice((draw.choice(registry())[1], draw.choice(_ALLOWED), "system", "relu"))
        return draw.choice(
            (
                lambda: [marshalled(draw), None, None],
                lambda: {"class_name": "__lambda__", "config": self._code()},
                lambda: {
                    "module": draw.choice(_MODULES),
                    "class_name": "function",
                    "config": name,
                    "registered_name": draw.choice((None, name, "function", "Custom>f")),
                },
                lambda: {"class_name": "function", "config": self._code()},
            )
        )()

    def _code(self) -> Config:
        return {"code": marshalled(self.draw), "defaults": None, "closure": None}

    def object(self) -> Config:
        """An object of some class, harmless or not, with a config that might fit it."""
        draw = self.draw
        kind = self.class_name()
        settings: Config = {"name": f"drawn_{draw.randrange(100)}"}
        for _ in range(draw.randrange(3)):
            settings[draw.choice(_KEYS)] = draw.choice(
                (self.text, self.function, self.odd, lambda: self.text())
            )()
        if kind.endswith(("Wrapper", "RNN", "TimeDistributed", "Bidirectional", "StackedRNNCells")):
            inner = draw.choice((self.object, self._dense))()
            settings |= {"layer": inner, "cell": inner, "cells": [inner]}
        found: Config = {"class_name": kind, "config": settings}
        if self.version == 3 or draw.random() < 0.3:
            module, _ = draw.choice(registry())
            registered = draw.choice(
                (None, None, kind, f"Custom>{kind}", "keras_insightface>NormDense")
            )
            found["module"] = draw.choice((module, draw.choice(_MODULES), None, "keras.layers"))
            found["registered_name"] = registered
        return found

    def _dense(self) -> Config:
        return {"class_name": "Dense", "module": "keras.layers", "config": {"units": 2}}

    def odd(self) -> Any:
        """A value of a type that does not belong there."""
        return self.draw.choice(
            (
                *(None, True, 0, -1, 2**31, 2**63, 2**70, 1e400, -0.5, "", [], {}, [[]], [None]),
                {"class_name": None},
                {"class_name": ["Dense"], "config": {}},
                {"class_name": "Dense"},
                {"class_name": {"class_name": "Lambda"}, "config": []},
                {"class_name": "__bytes__", "config": {"value": "CANARY"}},
                {"class_name": "__tuple__", "items": [1, "x"]},
                {"class_name": "__numpy__", "config": {"value": [1.0], "dtype": "float32"}},
                {"class_name": "__tensor__", "config": {"value": "CANARY", "dtype": "string"}},
                {
                    "class_name": "TypeSpec",
                    "type_spec": "tf.TensorSpec",
                    "serialized": [[1], "int8"],
                },
                {"class_name": "__keras_tensor__", "config": {"keras_history": ["image", 0, 0]}},
                {"class_name": "__slice__", "config": {"start": 0, "stop": None, "step": 1}},
                {"class_name": "__ellipsis__"},
            )
        )

    # Places

    def layers(self, config: Config) -> list[Any]:
        """A list of layers in a config, at any depth."""
        lists = [
            each["layers"]
            for each in dicts(config)
            if isinstance(each.get("layers"), list) and each["layers"]
        ]
        return self.draw.choice(lists) if lists else []

    def rename_class(self, config: Config) -> None:
        """Another class, by another spelling, for an object."""
        found = [each for each in dicts(config) if "class_name" in each]
        if found:
            each = self.draw.choice(found)
            key = self.draw.choice(("class_name", "class_name", "module", "registered_name"))
            each[key] = self.class_name() if key != "module" else self.draw.choice(_MODULES)

    def respell(self, config: Config) -> None:
        """The same class under another module or name that libraries have for it."""
        found = [each for each in dicts(config) if isinstance(each.get("class_name"), str)]
        each = self.draw.choice(found) if found else {}
        kind = each.get("class_name", "")
        same = [module for module, name in registry() if name == kind]
        same += ["keras.layers", "tf_keras.layers", "tensorflow.keras.layers", "keras.api.layers"]
        each["module"] = self.draw.choice(same)
        each.setdefault("registered_name", self.draw.choice((None, kind)))

    def set_value(self, config: Config) -> None:
        """Another value in place of one that is there, or under a key that is new."""
        each = self.draw.choice(list(dicts(config)))
        old = self.draw.random() < 0.5 and bool(each)
        key = self.draw.choice(list(each)) if old else self.draw.choice(_KEYS)
        each[key] = self.draw.choice((self.text, self.text, self.function, self.object, self.odd))()

    def set_harmless(self, config: Config) -> None:
        """Another harmless word, of the kind that the key wants."""
        words = Words(self.draw, self.version)
        for each in self.draw.sample(list(dicts(config)), 1):
            for key in list(each):
                if key.endswith("activation"):
                    each[key] = words.activation()
                elif key.endswith("initializer"):
                    each[key] = words.initializer()
                elif key == "dtype":
                    each[key] = self.draw.choice((words.dtype(), "float16", "mixed_bfloat16"))

    def insert_layer(self, config: Config) -> None:
        """A further layer somewhere in a list of layers."""
        layers = self.layers(config)
        new = self.object()
        if layers and isinstance(layers[-1], dict) and "inbound_nodes" in layers[-1]:
            like = self.draw.choice(layers)
            new["name"] = new["config"].get("name")
            new["inbound_nodes"] = copy.deepcopy(like.get("inbound_nodes", []))
        layers.insert(self.draw.randint(0, len(layers)), new)

    def insert_payload(self, config: Config) -> None:
        """A layer that would work, behind one of the layers, in half of cases disguised."""
        layers = self.layers(config)
        at = self.draw.randint(1, max(1, len(layers)))
        new = payload(self.draw, self.version)
        before = layers[at - 1] if layers else {}
        if isinstance(before, dict) and "inbound_nodes" in before:
            new["name"] = new["config"]["name"]
            behind = layers[at] if at < len(layers) and isinstance(layers[at], dict) else {}
            like = copy.deepcopy(behind.get("inbound_nodes") or before["inbound_nodes"])
            new.setdefault("inbound_nodes", like)
        layers.insert(at, new)
        for _ in range(self.draw.choice((0, 0, 1, 2))):
            self.draw.choice((Attack.rename_class, Attack.respell, Attack.set_value))(self, new)

    def wrap_layer(self, config: Config) -> None:
        """A layer inside a wrapper, in its place."""
        layers = self.layers(config)
        if layers:
            at = self.draw.randrange(len(layers))
            outer = self.object()
            outer["class_name"] = self.draw.choice(_WRAPPERS)
            inner = layers[at]
            outer["config"] |= {"layer": inner, "cell": inner, "layers": [inner]}
            for key in ("name", "inbound_nodes"):
                if isinstance(inner, dict) and key in inner:
                    outer[key] = inner[key]
            layers[at] = outer

    def call_function(self, config: Config) -> None:
        """A layer that calls a TensorFlow function by name."""
        calls = [each for each in dicts(config) if "function" in each]
        for each in calls[:1] or [None]:
            if each is not None:
                each["function"] = self.draw.choice(_TF_FUNCTIONS)
                return
        layers = self.layers(config)
        if layers and isinstance(layers[-1], dict):
            layers[-1]["class_name"] = self.draw.choice(("TFOpLambda", "SlicingOpLambda"))
            layers[-1]["config"] = {"name": "call", "function": self.draw.choice(_TF_FUNCTIONS)}

    def call_argument(self, config: Config) -> None:
        """An argument of a call between layers."""
        nodes = [each["inbound_nodes"] for each in dicts(config) if each.get("inbound_nodes")]
        if not nodes:
            return
        node = self.draw.choice(nodes)
        value = self.draw.choice((self.text, self.object, self.function, self.odd))()
        if isinstance(node, list) and node and isinstance(node[0], dict):
            arguments = node[0].setdefault("args", [])
            if isinstance(arguments, list) and self.draw.random() < 0.5:
                arguments.append(value)
            elif isinstance(node[0].get("kwargs"), dict):
                node[0]["kwargs"][self.draw.choice(_KEYS)] = value
        elif isinstance(node, list):
            node[0] = self.draw.choice(
                (["image", 0, 0, {"y": value}], [["image", 0, 0, {"y": value}]], value)
            )

    def swap(self, config: Config) -> None:
        """One part of the config in the place of another, which nests it."""
        parts = list(dicts(config))
        into, part = self.draw.choice(parts), self.draw.choice(parts)
        if into and len(parts) < 200:
            into[self.draw.choice(list(into))] = copy.deepcopy(part)

    def drop(self, config: Config) -> None:
        """A key less."""
        each = self.draw.choice(list(dicts(config)))
        if each and each is not config:
            del each[self.draw.choice(list(each))]


_CHANGES: tuple[Callable[[Attack, Config], None], ...] = (
    Attack.rename_class,
    Attack.rename_class,
    Attack.respell,
    Attack.respell,
    Attack.set_value,
    Attack.set_value,
    Attack.set_harmless,
    Attack.set_harmless,
    Attack.insert_layer,
    Attack.insert_payload,
    Attack.insert_payload,
    Attack.insert_payload,
    Attack.wrap_layer,
    Attack.call_function,
    Attack.call_argument,
    Attack.call_argument,
    Attack.swap,
    Attack.drop,
)


def dicts(config: object) -> Iterator[Config]:
    """Every dict in a config, itself first."""
    stack = [config]
    while stack:
        part = stack.pop()
        if isinstance(part, dict):
            yield part
            stack.extend(part.values())
        elif isinstance(part, list):
            stack.extend(part)
