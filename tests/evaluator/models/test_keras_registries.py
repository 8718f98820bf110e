"""What either Keras can resolve by name is in a table: known to be harmless, or refused and why.

A new Keras or TensorFlow that brings a class, a function or a text of a layer in neither table
fails here, so that nothing passes and nothing is refused without somebody having looked.
"""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from evaluator.models.keras.allowed import refused, tensorflow, tensorflow_refused
from evaluator.models.keras.allowed.names import (
    ACTIVATION_LAYERS,
    ACTIVATIONS,
    CONSTRAINTS,
    INITIALIZERS,
    MARKERS,
    MODELS,
    OP_LAYERS,
    POLICIES,
    QUANTIZERS,
    REGULARIZERS,
    is_harmless_class,
    is_harmless_function,
)
from evaluator.models.keras.allowed.texts import is_harmless_text, is_known_key
from evaluator.models.keras.allowed.walk import code_in_config
from evaluator.models.keras.training_layers import TRAINING_NAMES, training_layers

pytestmark = pytest.mark.slow

# Public modules of Keras of which a config may name something.
NAMED = (
    "keras.layers",
    "keras.initializers",
    "keras.regularizers",
    "keras.constraints",
    "keras.quantizers",
    "keras.dtype_policies",
    "keras.losses",
    "keras.metrics",
    "keras.optimizers",
    "keras.optimizers.legacy",
    "keras.optimizers.schedules",
)


def undecided(names: Iterator[tuple[str, bool]]) -> list[str]:
    """Those that are in no table, and those that are in both."""
    found = []
    for name, harmless in names:
        if harmless == (refused.why_refused(name) is not None):
            found.append(name)
    return sorted(set(found))


def public(keras: Any) -> dict[str, Any]:
    """What Keras 3 exports: full name -> class or function."""
    del keras
    return dict(importlib.import_module("keras.src.api_export").REGISTERED_NAMES_TO_OBJS)


def subclasses(parent: type) -> Iterator[type]:
    for each in parent.__subclasses__():
        yield each
        yield from subclasses(each)


@pytest.fixture(scope="module")
def operations(keras: Any) -> list[type]:
    """Every Operation of Keras 3, layers and models included, that its sources hold."""
    folders = [importlib.import_module("keras.src")]
    while folders:
        folder = folders.pop()
        for module in pkgutil.iter_modules(folder.__path__, f"{folder.__name__}."):
            # To import another backend is to put it in the place of the one that runs.
            if module.name == "keras.src.backend" or module.name.endswith("_test"):
                continue
            try:
                loaded = importlib.import_module(module.name)
            except ImportError:
                continue  # needs what is not installed, so that no file can reach it either
            if module.ispkg:
                folders.append(loaded)
    return [
        each
        for each in set(subclasses(keras.Operation))
        if each.__module__.startswith("keras.src.")
    ]


def test_every_public_class_of_keras_3_is_decided(keras: Any) -> None:
    def names() -> Iterator[tuple[str, bool]]:
        for full, symbol in public(keras).items():
            module, _, name = full.rpartition(".")
            if module in NAMED and inspect.isclass(symbol):
                yield name, is_harmless_class(module, name)

    assert undecided(names()) == []


def test_every_operation_of_keras_3_is_decided(operations: list[type]) -> None:
    def names() -> Iterator[tuple[str, bool]]:
        for each in operations:
            yield each.__name__, is_harmless_class(each.__module__, each.__name__)

    assert len(operations) > 300
    assert undecided(names()) == []


def test_what_keras_3_looks_up_without_a_module_is_decided(keras: Any) -> None:
    # An .h5 names layers so: whatever lies in the module of layers is found.
    layers = importlib.import_module("keras.src.layers")
    names = (
        (name, is_harmless_class(None, name))
        for name, value in vars(layers).items()
        if callable(value) and not name.startswith("__")
    )
    assert undecided(names) == []


def test_what_tf_keras_looks_up_without_a_module_is_decided(tf_keras: Any) -> None:
    serialization = importlib.import_module("tf_keras.src.layers.serialization")
    serialization.populate_deserializable_objects()
    names = ((name, is_harmless_class(None, name)) for name in serialization.LOCAL.ALL_OBJECTS)
    assert undecided(names) == []


def test_every_public_layer_of_tf_keras_is_decided(tf_keras: Any) -> None:
    def names() -> Iterator[tuple[str, bool]]:
        for full, symbol in tensorflow_symbols().items():
            module, _, name = full.rpartition(".")
            if inspect.isclass(symbol) and (module in NAMED or module.startswith("keras.layers.")):
                yield name, is_harmless_class(module, name)

    assert undecided(names()) == []


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        ("initializers", INITIALIZERS),
        ("regularizers", REGULARIZERS),
        ("constraints", CONSTRAINTS),
        ("quantizers", QUANTIZERS),
        ("dtype_policies", POLICIES),
        ("activations", ACTIVATIONS),
    ],
)
def test_what_keras_3_finds_for_a_text_is_decided(
    keras: Any, kind: str, table: frozenset[str]
) -> None:
    names = importlib.import_module(f"keras.src.{kind}").ALL_OBJECTS_DICT
    assert undecided((name, name in table) for name in names) == []


@pytest.mark.parametrize(
    ("kind", "table"), [("regularizers", REGULARIZERS), ("constraints", CONSTRAINTS)]
)
def test_what_tf_keras_finds_among_globals_is_decided(
    tf_keras: Any, kind: str, table: frozenset[str]
) -> None:
    # Its own imports are among them: `tf`, `math`, `warnings`. Only what is listed passes.
    module = importlib.import_module(f"tf_keras.src.{kind}")
    base = {"regularizers": "Regularizer", "constraints": "Constraint"}[kind]
    for name, value in vars(module).items():
        harmless = inspect.isclass(value) and issubclass(value, getattr(module, base))
        if harmless or name == "l1_l2":
            assert name in table, name
        else:
            assert name not in table, name
            assert not is_harmless_class(None, name), name
            assert not is_harmless_text(kind[:-1], name), name


def test_what_tf_keras_finds_for_an_activation_is_decided(tf_keras: Any) -> None:
    # As tf_keras.activations.deserialize does.
    found: dict[str, Any] = {}
    importlib.import_module("tf_keras.src.utils.generic_utils").populate_dict_with_module_objects(
        found,
        (
            importlib.import_module("tf_keras.src.layers.activation"),
            importlib.import_module("tf_keras.src.activations"),
        ),
        obj_filter=callable,
    )
    table = ACTIVATIONS | ACTIVATION_LAYERS
    assert undecided((name, name in table) for name in found) == []


def test_what_tf_keras_finds_for_an_initializer_is_decided(tf_keras: Any) -> None:
    initializers = importlib.import_module("tf_keras.src.initializers")
    initializers.populate_deserializable_objects()
    names = initializers.LOCAL.ALL_OBJECTS
    assert undecided((name, name in INITIALIZERS) for name in names) == []


def test_what_tf_keras_has_registered_is_decided(tf_keras: Any) -> None:
    registered = importlib.import_module(
        "tf_keras.src.saving.object_registration"
    )._GLOBAL_CUSTOM_OBJECTS
    layers = importlib.import_module("tf_keras.src.engine.base_layer").Layer
    for name, symbol in registered.items():
        if symbol.__module__.startswith("tf_keras.") and issubclass(symbol, layers):
            harmless = code_in_config({"class_name": name, "config": {}}) == []
            assert harmless or refused.why_refused(name) is not None, name


def test_a_source_module_is_taken_only_for_what_it_holds(operations: list[type]) -> None:
    for each in operations:
        name, module = each.__name__, each.__module__
        if is_harmless_class(module, name):
            assert not is_harmless_class(f"{module}.x", name)
            assert not is_harmless_class("os", name)
            assert not is_harmless_class("tensorflow.python." + module, name)
    assert is_harmless_class("keras.src.layers.core.dense", "Dense")
    assert not is_harmless_class("keras.src.layers.core.lambda_layer", "Dense")
    assert not is_harmless_class("keras.src.saving.serialization_lib", "Dense")


def test_no_harmless_name_is_another_thing_to_tf_keras(tf_keras: Any) -> None:
    """tf_keras imports any module and takes what it finds there: a class of Keras it must be."""
    parents = tuple(
        getattr(importlib.import_module(f"tf_keras.src.{module}"), name)
        for module, name in (
            ("engine.base_layer", "Layer"),
            ("initializers", "Initializer"),
            ("regularizers", "Regularizer"),
            ("constraints", "Constraint"),
            ("mixed_precision.policy", "Policy"),
        )
    )
    source = importlib.import_module("tf_keras.src")
    seen = 0
    for module in pkgutil.walk_packages(source.__path__, "tf_keras.src."):
        if "_test" in module.name or ".testing" in module.name or "distribute" in module.name:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                loaded = importlib.import_module(module.name)
        except ImportError:
            continue
        for name, value in vars(loaded).items():
            if is_harmless_class(module.name, name):
                seen += 1
                if not (inspect.isclass(value) and issubclass(value, parents)):
                    assert (module.name, name) == ("tf_keras.src.regularizers", "l1_l2")
    assert seen > 150


def test_functions_are_those_that_compute(keras: Any) -> None:
    for name in ACTIVATIONS:
        assert is_harmless_function("keras.activations", name)
    for full, symbol in public(keras).items():
        module, _, name = full.rpartition(".")
        if not inspect.isclass(symbol) and is_harmless_function(module, name):
            assert module.split(".")[1] in ("activations", "ops", "losses", "metrics"), full


def tensorflow_symbols() -> dict[str, Any]:
    """What tf_keras finds by name for a TFOpLambda."""
    from tensorflow.python.util import tf_export

    return dict(tf_export._NAME_TO_SYMBOL_MAPPING)


def test_every_function_of_tensorflow_is_decided(tf_keras: Any) -> None:
    symbols = tensorflow_symbols()
    assert len(symbols) > 5000
    undecided = []
    for name, symbol in symbols.items():
        harmless = tensorflow.only_computes(name)
        if inspect.isclass(symbol):
            assert not harmless, name
        elif harmless == (tensorflow_refused.why_refused(name) is not None):
            undecided.append(name)
    assert undecided == []


@pytest.mark.parametrize(
    "name",
    """
    io.write_file io.read_file print py_function numpy_function map_fn while_loop cond raw_ops.Add
    load_op_library nn.fixed_unigram_candidate_sampler compat.v1.py_func compat.v1.Print
    image.decode_jpeg keras.utils.get_file keras.backend.function math.os.system compat.v1
    saved_model.load Module Variable function math math. .abs compat.v1.compat.v1.abs tf.abs
    """.split(),
)
def test_what_does_more_than_compute_is_not_called(name: str) -> None:
    assert not tensorflow.only_computes(name)


def arguments(each: type) -> Iterator[str]:
    """What a config of the class may hold: the arguments of it and its parents."""
    for parent in inspect.getmro(each):
        if parent is object:
            continue
        try:
            parameters = inspect.signature(parent.__init__).parameters.values()
        except (TypeError, ValueError):
            continue
        for each_parameter in parameters:
            if isinstance(each_parameter.default, str):
                yield each_parameter.name


def test_where_a_layer_takes_a_text_its_key_is_known(operations: list[type], tf_keras: Any) -> None:
    serialization = importlib.import_module("tf_keras.src.layers.serialization")
    serialization.populate_deserializable_objects()
    classes = [each for each in operations if is_harmless_class(each.__module__, each.__name__)]
    classes += [
        each
        for name, each in serialization.LOCAL.ALL_OBJECTS.items()
        if inspect.isclass(each) and is_harmless_class(None, name) and name not in OP_LAYERS
    ]
    unknown = {(each.__name__, key) for each in classes for key in arguments(each)}
    assert {pair for pair in unknown if not is_known_key(pair[1])} == set()


# What the layers cannot do without.
ARGUMENTS: dict[str, Any] = {
    "activation": "relu",
    "aggregation": "mean",
    "axes": 1,
    "bin_boundaries": [0.1, 0.2],
    "dims": (1,),
    "dtype": "float32",
    "equation": "ab,bc->ac",
    "metric_name": "distance",
    "mode": "int8",
    "name": None,
    "output_shape": 4,
    "source_name": "float32",
    "target_shape": (2,),
    "unconditional": False,
}


def made(package: Any, each: type) -> Any:
    """An object of a class of Keras with the least that it needs. Raises what the class raises."""
    layers = package.layers
    inner = {
        "Bidirectional": lambda: layers.LSTM(3),
        "RNN": lambda: layers.GRUCell(3),
        "StackedRNNCells": lambda: [layers.GRUCell(3), layers.LSTMCell(4)],
        "Pipeline": lambda: [layers.Rescaling(2.0)],
        "SpectralNormalization": lambda: layers.Dense(3),
        "TimeDistributed": lambda: layers.Dense(3),
        "Wrapper": lambda: layers.Dense(3),
    }
    if each.__name__ in inner:
        return each(inner[each.__name__]())
    needed = [
        name
        for name, parameter in inspect.signature(each.__init__).parameters.items()
        if parameter.default is inspect.Parameter.empty
        and parameter.kind is not inspect.Parameter.VAR_POSITIONAL
        and parameter.kind is not inspect.Parameter.VAR_KEYWORD
        and name != "self"
    ]
    return each(**{name: ARGUMENTS.get(name, 2) for name in needed})


def own_configs(package: Any, classes: list[type]) -> Iterator[tuple[str, Any]]:
    writers = (
        package.saving.serialize_keras_object,
        importlib.import_module(
            f"{package.__name__}.src."
            + ("legacy.saving" if package.__name__ == "keras" else "saving.legacy")
            + ".serialization"
        ).serialize_keras_object,
    )
    for each in classes:
        try:
            # What cannot be made of twos is left out, and counted below.
            found = [write(made(package, each)) for write in writers]
        except (ValueError, TypeError, NotImplementedError, AttributeError):
            continue
        for config in found:
            plain = json.dumps(config, default=lambda held: np.asarray(held).tolist())
            yield each.__name__, json.loads(plain)


@pytest.mark.filterwarnings("ignore")
def test_what_either_library_writes_of_a_harmless_class_passes(keras: Any, tf_keras: Any) -> None:
    of_three = [
        symbol
        for full, symbol in sorted(public(keras).items())
        if inspect.isclass(symbol)
        and is_harmless_class(*full.rpartition(".")[::2])
        and not full.startswith(("keras.losses.", "keras.metrics.", "keras.optimizers."))
    ]
    serialization = importlib.import_module("tf_keras.src.layers.serialization")
    serialization.populate_deserializable_objects()
    of_two = [
        symbol
        for name, symbol in sorted(serialization.LOCAL.ALL_OBJECTS.items())
        if inspect.isclass(symbol)
        and is_harmless_class(None, name)
        and name not in OP_LAYERS | MODELS
    ]
    count = 0
    for package, classes in ((keras, of_three), (tf_keras, of_two)):
        for name, config in own_configs(package, classes):
            count += 1
            whole = {"class_name": "Sequential", "config": {"name": "s", "layers": [config]}}
            assert code_in_config(whole) == [], name
    assert count > 400


def test_the_tables_do_not_contradict_each_other() -> None:
    for name in sorted(MARKERS | TRAINING_NAMES):
        assert refused.why_refused(name) is None, name


def test_every_training_name_is_a_layer(package: Any) -> None:
    layers = training_layers(package)
    assert set(layers) == TRAINING_NAMES
    assert all(issubclass(each, package.layers.Layer) for each in layers.values())
