"""Models that change, fail or do not fit while `zoo eval` is at work on them."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import SIZE, Zoo, face, png, write_pairs

from evaluator.bins.verification_set import read_bin, write_bin
from evaluator.errors import OutOfMemoryError
from evaluator.measure.memory import in_smaller_batches
from zoo.evaluate.loading import ModelProcesses


def while_loading(monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], Any]) -> None:
    """Has each model changed by somebody else while it is loaded; the loader is the real one."""
    loaded = ModelProcesses.loaded

    def change_and_load(processes: Any, choice: Any, options: Any, **known: Any) -> Any:
        change(choice.path)
        return loaded(processes, choice, options, **known)

    monkeypatch.setattr("zoo.evaluate.loading.ModelProcesses.loaded", change_and_load)


@pytest.mark.parametrize("how", ["replaced", "truncated", "removed"])
def test_a_model_that_changes_while_it_is_read_stores_nothing(
    zoo: Zoo, models: Path, bins: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    shutil.copy(models / "a.onnx", "m.onnx")
    changes: dict[str, Callable[[Path], Any]] = {
        "replaced": lambda path: shutil.copy(models / "b.onnx", path),
        "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
        "removed": lambda path: path.unlink(),
    }
    while_loading(monkeypatch, changes[how])
    done = zoo("eval", "m.onnx", "--input", "unit", "--bins", bins / "easy.bin")
    assert done.code == 2
    assert done.err.splitlines() == [
        "zoo: error: m.onnx: was changed while it was read, so nothing is stored of it; "
        "repeat the command when the file is complete"
    ]
    assert list(Path("results").glob("*/*")) == []


def test_a_model_that_is_merely_touched_is_the_same(
    zoo: Zoo, models: Path, bins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(models / "a.onnx", "m.onnx")
    while_loading(monkeypatch, lambda path: os.utime(path, (1, 1)))
    assert zoo("eval", "m.onnx", "--input", "unit", "--bins", bins / "easy.bin").code == 0


def test_a_bin_that_changes_while_it_is_read_is_refused(
    zoo: Zoo, models: Path, bins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(bins / "easy.bin", "b.bin")
    read = Path.read_bytes

    def read_and_change(path: Path) -> bytes:
        data = read(path)
        if path.name == "b.bin":
            shutil.copy(bins / "other.bin", path)
        return data

    monkeypatch.setattr(Path, "read_bytes", read_and_change)
    done = zoo("eval", models / "a.onnx", "--input", "unit", "--bins", "b.bin")
    assert done.code == 2
    assert done.err.splitlines() == [
        "zoo: error: b.bin: was changed while it was read; repeat when the file is complete"
    ]
    assert not Path("results").exists()


@pytest.mark.parametrize("how", ["replaced", "removed"])
def test_a_bin_that_is_replaced_after_it_was_read_changes_nothing(
    zoo: Zoo, models: Path, bins: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    shutil.copy(bins / "easy.bin", "b.bin")
    sha256 = read_bin(Path("b.bin")).sha256
    expected = zoo(
        "eval", models / "a.onnx", "--input", "unit", "--bins", "b.bin", "--results", "before"
    )
    shutil.copy(bins / "other.bin", "other.bin")
    changes: dict[str, Callable[[Path], Any]] = {
        "replaced": lambda _: Path("other.bin").replace("b.bin"),
        "removed": lambda _: Path("b.bin").unlink(),
    }
    while_loading(monkeypatch, changes[how])
    done = zoo("eval", models / "a.onnx", "--input", "unit", "--bins", "b.bin")
    assert (done.code, done.out) == (0, expected.out)
    assert [path.name for path in Path("results").glob("*/*.json")] == [f"b-{sha256[:8]}.json"]


@pytest.mark.parametrize("how", ["overwritten", "truncated", "one byte"])
def test_a_bin_that_is_written_to_after_it_was_read_is_an_error_and_stores_nothing(
    zoo: Zoo, models: Path, bins: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    shutil.copy(bins / "easy.bin", "b.bin")
    whole = Path("b.bin").read_bytes()
    # The last byte but one of the last distinct image: far behind what decides its format.
    last = max(whole.index(image) + len(image) for image in set(read_bin(Path("b.bin")).images))
    other = bytearray(whole)
    other[last - 2] ^= 1
    changes: dict[str, Callable[[Path], Any]] = {
        "overwritten": lambda _: Path("b.bin").write_bytes(b"gone"),
        "truncated": lambda _: os.truncate("b.bin", len(whole) // 2),
        "one byte": lambda _: Path("b.bin").write_bytes(other),
    }
    while_loading(monkeypatch, changes[how])
    done = zoo("eval", models / "a.onnx", "--input", "unit", "--bins", "b.bin", bins / "other.bin")
    assert done.code == 2
    assert done.error_lines == [
        "zoo: error: b.bin: was changed while it was evaluated, so nothing is stored of it; "
        "repeat the command when the file is complete"
    ]
    assert [path.name[:1] for path in Path("results").glob("*/*.json")] in ([], ["o"])


def save_refusing_bright(folder: Path) -> None:
    """A SavedModel whose graph asserts that the first pixel is not white."""
    from evaluator.models.runtime import import_keras

    import_keras()
    import tensorflow as tf

    class Refusing(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32, "image")])
        def __call__(self, image: Any) -> Any:
            dark = tf.debugging.assert_less(image[:, 0, 0, 0], 1.0, message="a white first pixel")
            with tf.control_dependencies([dark]):
                return {"embedding": tf.reshape(image, (-1, SIZE * SIZE * 3))}

    module = Refusing()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.__call__})


def test_a_forward_pass_that_fails_names_its_batch_and_spares_the_rest(
    zoo: Zoo, models: Path, bins: Path
) -> None:
    save_refusing_bright(Path("refusing"))
    images = [png(np.clip(face(person, 0), 0, 250)) for person in range(20)]
    white = face(50, 0)
    white[0, 0] = 255
    images[13] = png(white)
    write_bin(Path("white.bin"), images, [True, False] * 5)
    write_bin(Path("dark.bin"), images[:12], [True, False] * 3)
    done = zoo(
        "eval", "refusing", models / "a.onnx", "--input", "unit", "--batch-size", "4",
        "--bins", "dark.bin", "white.bin",
    )  # fmt: skip
    assert done.code == 2
    (line,) = done.error_lines
    assert "refusing: fails on the batch of white.bin: image 12 (pair 6)" in line
    assert "image 15 (pair 7)" in line
    assert "a white first pixel" in line
    stored = sorted(path.parent.name[:8] for path in Path("results").glob("*/*.json"))
    assert len(stored) == 3  # refusing on dark.bin, and the other model on both
    assert "Traceback" not in done.err


def test_batches_are_halved_until_memory_holds_them() -> None:
    sizes = []

    def forward(batch: Any) -> Any:
        sizes.append(len(batch))
        if len(batch) > 3:
            raise OutOfMemoryError("too large")
        return batch * 2

    said: list[int] = []
    whole = in_smaller_batches(forward, said.append)
    batch = np.arange(20, dtype=np.float32).reshape(10, 2)
    assert np.array_equal(whole(batch), batch * 2)
    assert sizes == [10, 5, 3, 3, 3, 1]
    whole(batch[:7])
    assert sizes[6:] == [3, 3, 1]
    assert said == [3]


def test_an_image_that_does_not_fit_alone_is_an_error() -> None:
    def forward(batch: Any) -> Any:
        raise OutOfMemoryError("too large")

    with pytest.raises(OutOfMemoryError, match="too large"):
        in_smaller_batches(forward, lambda _: None)(np.zeros((8, 2), np.float32))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_DATA as Linux has it")
def test_a_batch_that_memory_does_not_hold_is_made_smaller_and_said_once(
    zoo: Zoo, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evaluator.models.runtime import import_keras

    keras = import_keras()
    image = keras.Input((SIZE, SIZE, 3))
    # 2048 x 2048 x 3 floats an image: 48 MiB, so 1.4 GiB for the bin's 30 distinct images.
    wide = keras.layers.MaxPooling2D(512)(keras.layers.UpSampling2D(256)(image))
    keras.Model(image, keras.layers.Flatten()(wide)).save("wide.keras")
    write_pairs(Path("easy.bin"))
    write_pairs(Path("other.bin"), first=20)
    monkeypatch.setattr("evaluator.isolation.process.available_bytes", lambda: 1_700_000_000)
    done = zoo("eval", "wide.keras", "--input", "unit", "--bins", "easy.bin", "other.bin")
    assert done.code == 0, done.err
    said = [line for line in done.err.splitlines() if "memory does not hold" in line]
    assert said == [
        "wide: memory does not hold the batch: going on with 15 images at once; "
        "--batch-size 15 begins with that"
    ]
    assert len(list(Path().glob("results/*/*.json"))) == 2


def test_leftovers_of_dead_writers_are_removed_when_they_are_old(
    zoo: Zoo, models: Path, bins: Path
) -> None:
    command = ("eval", models / "a.onnx", "--input", "unit", "--bins", bins / "easy.bin")
    zoo(*command)
    (folder,) = (path for path in Path("results").iterdir() if path.is_dir())
    (stem,) = [path.stem for path in folder.glob("*.json")]
    old = [folder / f".{stem}.json.abcd_123", folder / f"{stem}.0123456789ab.h5"]
    young = [folder / f".{stem}.json.zzzzzzzz", folder / f"{stem}.ba9876543210.h5"]
    others = [folder / "notes.h5", folder / ".hidden"]
    for path in (*old, *young, *others):
        path.write_bytes(b"half")
    for path in (*old, *others):
        os.utime(path, (1_000_000, 1_000_000))
    zoo(*command, "--fresh")
    assert [path.exists() for path in old] == [False, False]
    assert all(path.exists() for path in (*young, *others))
    assert "answered from the store" in zoo(*command).err


@pytest.mark.parametrize(
    ("command", "option", "name"),
    [
        (("report", "--results", "results"), "-o", "model.keras"),
        (("project", "{models}/a.onnx", "--bins", "{bins}/easy.bin"), "-o", "model.keras"),
        (("eval", "{models}/a.onnx", "--bins", "{bins}/easy.bin"), "--json", "model.keras"),
        (("bins", "info", "easy.bin"), "--faces", "easy.bin"),
    ],
)
def test_a_file_of_another_kind_is_not_overwritten(
    zoo: Zoo, models: Path, bins: Path, command: tuple[str, ...], option: str, name: str
) -> None:
    shutil.copy(models / "a.onnx", "model.keras")
    shutil.copy(bins / "easy.bin", "easy.bin")
    before = Path(name).read_bytes()
    done = zoo(*(part.format(models=models, bins=bins) for part in command), option, name)
    assert done.code == 2
    assert f"{option} {name}: is a file of another kind" in done.err
    assert Path(name).read_bytes() == before


def test_results_that_are_a_file_are_told(zoo: Zoo, models: Path, bins: Path) -> None:
    Path("results").write_text("mine")
    done = zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin")
    assert (done.code, done.out) == (2, "")
    assert done.err == "zoo: error: --results results: is a file; expected a folder\n"
    assert Path("results").read_text() == "mine"


def test_json_goes_through_a_pipe_that_stays_one(zoo: Zoo, models: Path, bins: Path) -> None:
    zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin", "--input", "unit")
    os.mkfifo("pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(Path("pipe").read_bytes()))
    reader.start()
    done = zoo("eval", models / "a.onnx", "--bins", bins / "easy.bin", "--json", "pipe")
    reader.join()
    assert done.code == 0
    assert json.loads(read[0])[0]["model"]["name"] == "a"
    assert Path("pipe").is_fifo()
