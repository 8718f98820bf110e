"""A model in a process of its own: the same embeddings, and whatever it does ends it alone."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from inspect import getsource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluator.errors import ModelError
from evaluator.isolation.process import ModelProcess, Patience, open_model
from evaluator.isolation.same_process import SameProcess
from evaluator.isolation.wall import missing_part
from evaluator.models.load import check_model
from evaluator.models.options import LoadOptions
from tests.small_models import save_projection

ROOT = Path(__file__).parents[3]
SIDE = 8
UNIT = LoadOptions(profile="unit")
TRUSTED = LoadOptions(profile="unit", trust=True)

walled_only = pytest.mark.skipif(missing_part() is not None, reason=str(missing_part()))


def save_lambda(path: Path, function: Callable[[Any], Any]) -> Path:
    """A .keras file that carries a function's code; it runs while a trusting loader builds it."""
    from evaluator.models.runtime import import_keras

    keras = import_keras()
    image = keras.Input((SIDE, SIDE, 3))
    flat = keras.layers.Flatten()(image)
    embedding = keras.layers.Lambda(function, output_shape=(SIDE * SIDE * 3,), name="code")(flat)
    keras.Model(image, embedding).save(path)
    return path


def embed_ones(embedder: Any) -> None:
    embedder.forward(np.ones((2, *embedder.input.batch_shape), np.float32))


def embedded_twice(embedder: Any) -> None:
    for _ in range(2):
        embedder.forward(batch_of(2))


def replace_code(path: Path, function: Callable[[Any], Any]) -> None:
    """Puts a function's code, which is not run here, in the place of a file's Lambda's."""
    import base64
    import json
    import marshal
    import zipfile

    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    (layer,) = [each for each in config["config"]["layers"] if each["class_name"] == "Lambda"]
    code = base64.b64encode(marshal.dumps(function.__code__)).decode()
    layer["config"]["function"]["config"] = {"code": code, "defaults": None, "closure": None}
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def batch_of(images: int) -> Any:
    return np.random.default_rng(1).uniform(size=(images, SIDE, SIDE, 3)).astype(np.float32)


def test_embeddings_are_those_of_the_model_in_this_process(tmp_path: Path) -> None:
    import onnxruntime

    path = tmp_path / "m.onnx"
    save_projection(path)
    session = onnxruntime.InferenceSession(str(path))
    before = set(Path("/tmp").glob("zoo-model-*"))
    with open_model(path, UNIT) as embedder:
        # A larger batch after a small one: the shared memory grows.
        for images in (1, 5, 300, 2):
            batch = batch_of(images)
            (expected,) = session.run(None, {"image": batch})
            assert np.array_equal(embedder.forward(batch), expected)
    assert set(Path("/tmp").glob("zoo-model-*")) <= before


def test_two_models_are_open_at_once(tmp_path: Path) -> None:
    first, second = tmp_path / "1.onnx", tmp_path / "2.onnx"
    save_projection(first, seed=1)
    save_projection(second, seed=2)
    batch = batch_of(4)
    with open_model(first, UNIT) as one, open_model(second, UNIT) as other:
        assert not np.allclose(one.forward(batch), other.forward(batch))


def test_the_caller_imports_no_framework(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save_projection(path)
    code = (
        "import sys, numpy; from pathlib import Path\n"
        "from evaluator.isolation.process import open_model\n"
        "from evaluator.models.options import LoadOptions\n"
        f"with open_model(Path({str(path)!r}), LoadOptions('unit')) as model:\n"
        "    print(model.forward(numpy.ones((2, 8, 8, 3), 'f4')).shape)\n"
        "print({'tensorflow', 'keras', 'onnxruntime', 'onnx'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split("\n")[:2] == ["(2, 16)", "set()"]
    assert done.stderr == ""


def test_an_error_of_the_loader_is_its_own_line(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save_projection(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ModelError, match=re.escape(str(path))), open_model(path, UNIT):
        pass


# Its first four embedding values say which of four attacks succeeded.
ATTACK = """
def code(flat):
    import os, socket, subprocess
    import keras
    done = []
    for act in (
        lambda: open(FOLDER + "/MARKER", "w").close(),
        lambda: subprocess.run(
            ["/bin/sh", "-c", "echo x > " + FOLDER + "/MARKER_BY_SHELL"], check=True, stderr=-3
        ),
        lambda: os.mkdir(FOLDER + "/MARKER_MADE"),
        lambda: socket.create_connection(("127.0.0.1", PORT)).close(),
    ):
        try:
            act()
            done.append(1.0)
        except FileExistsError:  # built a second time
            done.append(1.0)
        except (OSError, subprocess.CalledProcessError):
            done.append(0.0)
    return 0 * flat + keras.ops.convert_to_tensor(done + [1.0] * 188)
"""


def writes_and_connects(folder: Path, port: int) -> Callable[[Any], Any]:
    """Code with its settings as constants: a file has nothing else of a function."""
    found: dict[str, Any] = {}
    exec(ATTACK.replace("FOLDER", repr(str(folder))).replace("PORT", str(port)), found)
    return found["code"]  # type: ignore[no-any-return]


@pytest.mark.slow
@walled_only
def test_code_of_a_model_writes_and_connects_without_the_wall_and_not_behind_it(
    tmp_path: Path,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        path = save_lambda(tmp_path / "attack.keras", lambda flat: flat)
        replace_code(path, writes_and_connects(tmp_path, port))
        with ModelProcess(wall=True) as process:
            embedder = process.load(path, TRUSTED)
            assert embedder.forward(batch_of(1))[0, :4].tolist() == [0, 0, 0, 0]
        assert list(tmp_path.glob("MARKER*")) == []
        with open_model(path, TRUSTED) as embedder:  # --trust lifts the wall: the same code runs
            assert embedder.forward(batch_of(1))[0, :4].tolist() == [1, 1, 1, 1]
        assert len(list(tmp_path.glob("MARKER*"))) == 3
    with pytest.raises(ModelError, match="carries code"):
        check_model(path, UNIT)


@pytest.mark.slow
@walled_only
def test_the_wall_alone_stops_both_attacks(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with ModelProcess(wall=True) as process:
        for name in ("lambda_in_wrapper.h5", "writefile_hidden_by_wire_type"):
            with pytest.raises(ModelError):
                embed_ones(process.load(shared / "cases" / "security" / name, TRUSTED))
            assert list(tmp_path.iterdir()) == []


def ends() -> None:
    import os

    os.abort()


def never_ends() -> None:
    while True:
        pass


def lies() -> None:
    from evaluator.isolation import child

    child._ACTIONS["forward"] = lambda *_: {"shape": [10**6, 10**9]}


def babbles() -> None:
    import os

    for descriptor in range(3, 30):
        try:
            os.write(descriptor, b"\x1b[31mnonsense\n")
        except OSError:
            continue


def closes() -> None:
    import os
    import time

    os.closerange(0, 100)
    time.sleep(1000)


def lies_of_nothing() -> None:
    from evaluator.isolation import child

    child._ACTIONS["forward"] = lambda *_: {"shape": [0, 10**30]}


def answers_ahead() -> None:
    import os
    import time

    from evaluator.isolation import child

    def answer(_state: Any, message: Any) -> Any:
        for descriptor in range(3, 30):
            try:
                os.write(descriptor, b'{"ok": {"shape": [2, 4]}}\n' * 3)
            except OSError:
                continue
        time.sleep(1000)

    child._ACTIONS["forward"] = answer


# Stands in the way of the package that computes an .onnx: runs a function in the model's process
# while a model is loaded, as a model's own code does, and then lets the package through.
IN_THE_WAY = """
from __future__ import annotations
import importlib, sys
{source}
{name}()
sys.path.remove({folder!r})
del sys.modules["onnxruntime"]
importlib.import_module("onnxruntime")
"""


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (closes, "closed its channel and was ended"),
        (lies_of_nothing, "gives embeddings of a shape that cannot be"),
        (answers_ahead, "answers what was not asked"),
        (ends, "ended by SIGABRT"),
        (never_ends, "has given no answer for 2 seconds and was ended"),
        (lies, "gives embeddings of a shape that cannot be"),
        (babbles, "answers with a line that is no JSON"),
    ],
)
def test_a_model_that_misbehaves_ends_its_process_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: Callable[[], None], words: str
) -> None:
    path, folder = tmp_path / "m.onnx", tmp_path / "in the way"
    save_projection(path)
    folder.mkdir()
    text = IN_THE_WAY.format(source=getsource(code), name=code.__name__, folder=str(folder))
    (folder / "onnxruntime.py").write_text(text)
    monkeypatch.syspath_prepend(folder)  # the process imports from where its caller does
    patience = Patience(load=2) if code is never_ends else Patience()
    with (
        ModelProcess(wall=True, patience=patience) as process,
        pytest.raises(ModelError) as caught,
    ):
        embedded_twice(process.load(path, UNIT))
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()


@pytest.mark.skipif(sys.platform != "linux", reason="the system ends it on Linux")
def test_a_process_does_not_outlive_its_caller(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save_projection(path)
    code = (
        "import os, sys, time; from pathlib import Path\n"
        "from evaluator.isolation.process import ModelProcess\n"
        "from evaluator.models.options import LoadOptions\n"
        "process = ModelProcess()\n"
        f"process.load(Path({str(path)!r}), LoadOptions('unit'))\n"
        "print(process._process.pid, flush=True); time.sleep(60)"
    )
    caller = subprocess.Popen(
        [sys.executable, "-c", code], stdout=-1, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert caller.stdout is not None
    number = int(caller.stdout.readline())
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    caller.stdout.close()
    for _ in range(200):
        if not Path(f"/proc/{number}").exists():
            return
        time.sleep(0.05)
    pytest.fail("the model's process outlived its caller")


def test_what_is_begun_goes_on_while_the_caller_does_other_work(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save_projection(path)
    with ModelProcess() as process:
        process.prepare("onnx")
        process.begin_load(path, UNIT)
        assert process.loaded().forward(batch_of(3)).shape == (3, 16)


def test_where_there_are_no_such_processes_models_are_loaded_in_this_one(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    weights = save_projection(path)
    batch = batch_of(3)
    with SameProcess(wall=True) as here:
        here.prepare("onnx")
        embedder = here.load(path, UNIT)
        assert np.allclose(embedder.forward(batch), batch.reshape(3, -1) @ weights, atol=1e-4)
        with ModelProcess() as process:
            assert process.load(path, UNIT).notes == embedder.notes


def test_windows_which_has_none_can_import_all_that_evaluates() -> None:
    code = (
        "import numpy, h5py, json, subprocess, tempfile, asyncio, socket, multiprocessing\n"
        "import concurrent.futures, zipfile, yaml, sys\n"
        "sys.modules['fcntl'] = sys.modules['resource'] = None\n"
        "sys.platform = 'win32'\n"
        "import evaluator.api.evaluate, evaluator.results.store\n"
        "import zoo.evaluate.evaluation, zoo.evaluate.export, training.run.runs\n"
        "from evaluator.isolation.process import model_process\n"
        "from evaluator.isolation.wall import missing_part\n"
        "with model_process(wall=True) as found:\n"
        "    print(type(found).__name__, missing_part())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "numpy"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    expected = "SameProcess no wall around models: win32 has no Landlock\n"
    assert (done.stdout, done.stderr) == (expected, "")
