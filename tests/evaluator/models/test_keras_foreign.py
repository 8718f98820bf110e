"""Code that is not ours, in a file or named with --custom: it works, or is one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from evaluator.errors import ForwardError, ModelError
from evaluator.models.foreign import foreign_errors, reason
from evaluator.models.keras.build import named_objects
from evaluator.models.load import load_embedder
from evaluator.models.options import LoadOptions
from tests.evaluator.models.networks import SIZE, trunk

SUBCLASS = """
import {package} as keras

class Net(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.stem = keras.layers.Conv2D(4, 3)
        self.pool = keras.layers.GlobalAveragePooling2D()
        self.last = keras.layers.Dense(6)

    def call(self, x, training=False):
        vector = self.last(self.pool(self.stem(x)))
        return {result}
"""

LAYERS = """
import keras

class Base(keras.layers.Layer):
    def call(self, x):
        return x * 2.0

class NoArguments(Base):
    def __init__(self):
        super().__init__()
    def get_config(self):
        return {"factor": 3, "name": self.name}

class Raises(Base):
    def __init__(self, **kwargs):
        raise Exception("not today\\nor tomorrow")

class CallRaises(Base):
    def call(self, x):
        raise LookupError("nothing is there")

class NeedsValues(Base):
    def call(self, x):
        return x if float(x[0, 0]) > 0 else -x

class GivesNothing(Base):
    def call(self, x):
        return None

class NoLayer:
    def __init__(self, **kwargs):
        self.name = "scale"

def function(**kwargs):
    return 3

NUMBER = 3
"""


@pytest.fixture
def module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Callable[[str], str]:
    """Writes a module of a name of its own, here; gives its name."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> str:
        name = "m_" + "".join(c if c.isalnum() else "_" for c in request.node.name)
        (tmp_path / f"{name}.py").write_text(text)
        return name

    return write


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        load_embedder(path, LoadOptions(**{"profile": "unit", **options}))
    assert str(caught.value).isprintable()
    return str(caught.value)


# ---- Subclassed models -----------------------------------------------------------------------


@pytest.mark.parametrize("result", ["vector", "{'feat': vector}", "[vector]"])
def test_a_subclassed_model_works_with_its_class(
    package: Any,
    saved: Callable[..., Path],
    images: np.ndarray,
    module: Callable[[str], str],
    result: str,
) -> None:
    name = module(SUBCLASS.format(package=package.__name__, result=result))
    (net,) = named_objects([f"{name}:Net"]).values()
    model = net()
    expected = model(images)
    path = saved(model, "m.keras")
    assert "--trust" in refusal(path)
    embedder = load_embedder(path, LoadOptions(profile="unit", custom=(f"{name}:Net",)))
    while isinstance(expected, dict | list):
        (expected,) = expected.values() if isinstance(expected, dict) else expected
    np.testing.assert_allclose(embedder.forward(images), np.asarray(expected), atol=1e-5)
    assert embedder.fixed_batch is None
    assert embedder.input.batch_shape == (*SIZE, 3)


def test_a_subclassed_model_that_was_never_called_is_one_line(
    keras: Any, saved: Callable[..., Path], module: Callable[[str], str]
) -> None:
    name = module(SUBCLASS.format(package="keras", result="vector"))
    (net,) = named_objects([f"{name}:Net"]).values()
    path = saved(net(), "m.keras")
    assert "call the model on a batch" in refusal(path, custom=(f"{name}:Net",))


# ---- Classes that do not do --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("NoArguments", "unexpected keyword argument"),
        ("Raises", "not today"),
        ("CallRaises", "nothing is there"),
        ("NeedsValues", ""),
        ("GivesNothing", ""),
        ("NoLayer", ""),
        ("function", ""),
    ],
)
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_custom_class_that_fails_is_one_line(
    keras: Any,
    saved: Callable[..., Path],
    module: Callable[[str], str],
    kind: str,
    cause: str,
    suffix: str,
) -> None:
    name = module(LAYERS)
    (base,) = named_objects([f"{name}:Base"]).values()
    image = keras.Input((*SIZE, 3))
    scale = type(kind, (base,), {"__module__": name})
    model = keras.Model(image, scale(name="scale")(trunk(keras, image)))
    path = saved(model, f"m.{suffix}")
    assert cause in refusal(path, custom=(f"{name}:{kind}",))


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("1 / 0", "division by zero"),
        ("def", "invalid syntax"),
        ("raise Exception('a\\nb')", "a"),
        ("import not_there_at_all", "No module named 'not_there_at_all'"),
    ],
)
def test_a_custom_module_that_cannot_be_imported_is_one_line(
    module: Callable[[str], str], text: str, cause: str
) -> None:
    name = module(text)
    with pytest.raises(ModelError, match=f"--custom {name}:X: its module.*{cause}") as caught:
        named_objects([f"{name}:X"])
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["..m:X", ":X", "m:", "m:X.y", "os:sep", "m:X:Y", "os path:X"])
def test_a_custom_name_of_no_class_is_one_line(name: str) -> None:
    with pytest.raises(ModelError, match="--custom"):
        named_objects([name])


# ---- Lambdas under --trust ---------------------------------------------------------------------


def with_lambda(package: Any, function: Any) -> Any:
    image = package.Input((*SIZE, 3))
    plain = package.layers.Lambda(function, output_shape=(6,), name="odd")
    return package.Model(image, plain(trunk(package, image)))


# The names are this module's while the networks are made, as they are an author's.
def test_a_lambda_finds_the_usual_modules(
    package: Any, saved: Callable[..., Path], images: np.ndarray
) -> None:
    import tensorflow as tf

    codes = [
        "lambda t: K.l2_normalize(t, axis=1)",
        "lambda t: K.backend.l2_normalize(t, axis=1)",
        "lambda t: tf.math.l2_normalize(t, axis=1)",
        "lambda t: t / tf.sqrt(tf.reduce_sum(t * t, axis=np.ndim([0]), keepdims=True))",
        "lambda t: keras.activations.linear(tf.nn.l2_normalize(t, 1))",
    ]
    for number, code in enumerate(codes):
        names = {"tf": tf, "np": np, "keras": package, "__name__": "__main__"}
        # An author's own, where it has the function; Keras 3 has it for tf.keras only.
        backend = SimpleNamespace(l2_normalize=tf.math.l2_normalize)
        names["K"] = SimpleNamespace(backend=backend, l2_normalize=tf.math.l2_normalize)
        model = with_lambda(package, eval(code, names))
        for suffix in ("h5", "keras"):
            path = saved(model, f"{number}.{suffix}")
            assert "Lambda" in refusal(path)
            found = load_embedder(path, LoadOptions(profile="unit", trust=True))
            got = found.forward(images)
            np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-5)


def test_a_lambda_that_misses_a_name_is_named_with_it(
    package: Any, saved: Callable[..., Path]
) -> None:
    model = with_lambda(package, eval("lambda t: t * my_scale", {"my_scale": 2.0}))
    for suffix in ("h5", "keras"):
        message = refusal(saved(model, f"m.{suffix}"), trust=True)
        assert "a Lambda layer ('odd') uses the global 'my_scale'" in message


@pytest.mark.parametrize(
    "code",
    [
        "lambda t: (_ for _ in ()).throw(Exception('a\\nb'))",
        "lambda t: [][3]",
        "lambda t: 1 / 0",
        "lambda t: {'x': t}['y']",
        "lambda t: None",
        "lambda t: t.no_such_thing",
        "lambda: 3",
    ],
)
def test_a_lambda_that_raises_is_one_line(
    keras: Any, saved: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    model = with_lambda(keras, eval("lambda t: t * 1.0"))
    model.get_layer("odd").function = eval(code)
    for suffix in ("h5", "keras"):
        refusal(saved(model, f"m.{suffix}"), trust=True)


@pytest.mark.parametrize(
    "code",
    [
        "lambda t: tf.ensure_shape(tf.numpy_function(lambda x: x[[99]], [t], 'float32'), (1, 6))",
        "lambda t: 'text'",
        "lambda t: tf.ensure_shape(t, (3, 6))",
    ],
)
def test_what_fails_on_a_batch_only_is_a_forward_error(
    keras: Any, saved: Callable[..., Path], images: np.ndarray, code: str
) -> None:
    import tensorflow as tf

    model = with_lambda(keras, eval("lambda t: t * 1.0"))
    model.get_layer("odd").function = eval(code, {"tf": tf})
    path = saved(model, "m.keras")
    embedder = load_embedder(path, LoadOptions(profile="unit", trust=True))
    with pytest.raises(ForwardError) as caught:
        embedder.forward(images)
    assert str(caught.value).isprintable()


# ---- The border --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("\x1b[1mred\x1b[0m\nmore"), "red"),
        (KeyError("x"), "KeyError: 'x'"),
        (MemoryError(), "more memory"),
        (RecursionError("maximum"), "nested too deeply"),
        (StopIteration(), "StopIteration"),
        (
            RuntimeError("Exception encountered when calling A.call().\n\nno\n\nArguments"),
            "no",
        ),
        (
            TypeError(
                "Error when deserializing class 'A' using config={'a': 1}.\n\n"
                "Exception encountered: Unknown a"
            ),
            "Unknown a",
        ),
    ],
)
def test_an_error_of_any_kind_is_told_in_one_line(error: Exception, said: str) -> None:
    with pytest.raises(ModelError, match=r"^what"), foreign_errors("what"):
        raise error
    assert said in reason(error)
    assert reason(error).isprintable()


def test_our_own_refusals_and_an_interrupt_go_through() -> None:
    with pytest.raises(ForwardError, match=r"^own$"), foreign_errors("what"):
        raise ForwardError("own")
    with pytest.raises(KeyboardInterrupt), foreign_errors("what"):
        raise KeyboardInterrupt
