"""PyTorch's files read without PyTorch, and what damaged and hostile ones do."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluator.errors import InputError, ModelError
from evaluator.files import NotRegularError
from evaluator.models import formats
from evaluator.models.torch_weights.read import read_weights, weights_kind
from fuzz.torch_seeds import (
    few,
    legacy_file,
    pickled,
    safetensors_file,
    state_dict,
    tensor,
    text,
    zip_file,
)

WRITERS: dict[str, Callable[[Any], bytes]] = {
    "zip": zip_file,
    "legacy": legacy_file,
    "safetensors": safetensors_file,
}


def written(folder: Path, data: bytes) -> Path:
    path = folder / "weights.pth"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", WRITERS)
def test_each_layout_gives_the_arrays_that_went_in(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path, WRITERS[kind](few()))
    assert weights_kind(path) == kind
    found = read_weights(path)
    assert found.keys() == few().keys()
    for name, value in few().items():
        assert found[name].dtype == value.dtype
        assert np.array_equal(found[name], value)
    assert formats.model_format(path) is None
    assert "hold weights and no network" in formats.refusal(path)


def of_pickle(folder: Path, instructions: bytes) -> Path:
    return written(folder, zip_file(few(), pickle=pickled(instructions)))


def test_views_of_a_storage_are_what_their_strides_say(tmp_path: Path) -> None:
    numbers = few()["conv1.weight"].ravel()
    push = b"}" + text("turned") + tensor("0", "f4", (3, 2), (1, 3), count=54, offset=6) + b"s"
    push += text("one") + tensor("0", "f4", (), (), count=54, offset=53) + b"s"
    push += text("none") + tensor("0", "f4", (0, 7), (7, 1), count=54) + b"s"
    found = read_weights(of_pickle(tmp_path, push))
    assert np.array_equal(found["turned"], numbers[6:12].reshape(2, 3).T)
    assert found["one"].shape == ()
    assert found["one"] == numbers[53]
    assert found["none"].size == 0


def test_bfloat16_is_the_upper_half_of_a_float(tmp_path: Path) -> None:
    exact = np.array([1.5, -0.25, 3e38, 0.0], "<f4")
    halves = (exact.view("<u4") >> 16).astype("<u2")
    listed = json.dumps({"x": {"dtype": "BF16", "shape": [4], "data_offsets": [0, 8]}}).encode()
    data = struct.pack("<Q", len(listed)) + listed + halves.tobytes()
    expected = (halves.astype("<u4") << 16).view("<f4")
    assert np.array_equal(read_weights(written(tmp_path, data))["x"], expected)
    assert expected[:2].tolist() == [1.5, -0.25]


def test_dicts_in_dicts_give_names_and_what_a_training_keeps_is_passed_over(tmp_path: Path) -> None:
    push = b"}(" + text("state_dict") + state_dict(few())
    push += text("callbacks") + b"}cpytorch_lightning.callbacks\nModelCheckpoint\n}s"
    push += text("settings") + b"cargparse\nNamespace\n)\x81}" + text("lr") + b"K\x01sb"
    push += text("steps") + b"ccollections\nCounter\n}K\x01K\x02s\x85R" + b"u"
    assert set(read_weights(of_pickle(tmp_path, push))) == {f"state_dict.{name}" for name in few()}


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_weights(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


class Attack:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> object:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("layout", ["zip", "legacy"])
def test_nothing_that_a_pickle_asks_for_is_run(layout: str, tmp_path: Path) -> None:
    marker = tmp_path / "owned"
    attack = pickle.dumps({"w": Attack(marker)}, protocol=2)
    if layout == "zip":
        data = zip_file({}, pickle=attack)
    else:
        whole = legacy_file({})
        data = whole.replace(pickled(state_dict({}, legacy=True)), attack)
        assert data != whole
    message = refusal(written(tmp_path, data))
    assert "asks for 'posix.system', which is code and not weights" in message
    assert not marker.exists()


HUGE = tensor("0", "f4", (2**31 - 1, 2**31 - 1), (0, 0), count=54)
HOSTILE = {
    "strides of 0 repeat one number": (HUGE, "lies outside its numbers"),
    "a stride below 0": (tensor("0", "f4", (2, 2), (-1, 1), count=54), "has the shape"),
    "a size below 0": (tensor("0", "f4", (-2,), (1,), count=54), "has the shape"),
    "behind the end": (tensor("0", "f4", (3,), (27,), count=54), "lies outside"),
    "an offset behind the end": (tensor("0", "f4", (1,), (1,), count=54, offset=54), "outside"),
    "fewer strides": (tensor("0", "f4", (2, 2), (1,), count=54), "has the shape"),
    "more numbers than the file": (tensor("0", "f4", (1,), (1,), count=2**31 - 1), "declares more"),
    "fewer than there are": (tensor("0", "f4", (1,), (1,), count=53), "compressed, or too large"),
    "more than there are": (tensor("1", "f4", (1,), (1,), count=54), "not as many as declared"),
    "no such storage": (tensor("9", "f4", (1,), (1,), count=1), "there is no 'archive/data/9'"),
    "another folder": (tensor("../data.pkl", "f4", (1,), (1,), count=1), "there is no"),
    "no storage": (b"N\x85Q", "no storage"),
    "a call of a tensor type": (b"ctorch\nFloatStorage\n)R", "cannot be called"),
    "items of a number": (b"K\x01(K\x01K\x02u", "where there is no dict"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_tensor_that_lies_is_one_line(name: str, tmp_path: Path) -> None:
    push, said = HOSTILE[name]
    assert said in refusal(of_pickle(tmp_path, b"}" + text("x") + push + b"s"))


def test_dicts_that_hold_each_other_end(tmp_path: Path) -> None:
    # Each holds the one before twice over: 2**40 ways lead to the last.
    push = b"}"
    for level in range(40):
        push += b"q" + bytes([level]) + b"0}" + text("a") + b"h" + bytes([level]) + b"s"
        push += text("b") + b"h" + bytes([level]) + b"s"
    assert read_weights(of_pickle(tmp_path, push)) == {}
    wide = b"}(" + b"".join(text(str(each)) + b"h\x00" for each in range(400)) + b"u"
    push = b"}q\x000" + wide
    for _ in range(3):
        push += b"q\x000" + wide
    assert "more than 100,000 values" in refusal(of_pickle(tmp_path, push))


def test_a_compressed_or_damaged_archive_is_one_line(tmp_path: Path) -> None:
    packed = zip_file(few(), compression=zipfile.ZIP_DEFLATED)
    assert "compressed" in refusal(written(tmp_path, packed))
    whole = bytearray(zip_file(few()))
    place = bytes(whole).index(few()["conv1.weight"].tobytes())
    whole[place] ^= 1
    assert "damaged: Bad CRC-32" in refusal(written(tmp_path, bytes(whole)))


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_that_is_cut_short_is_one_line_wherever_it_ends(kind: str, tmp_path: Path) -> None:
    whole = WRITERS[kind](few())
    for end in {*range(0, len(whole) - 1, 37), len(whole) - 1}:
        path = written(tmp_path, whole[:end])
        assert refusal(path)


def test_a_torchscript_program_and_another_byte_order_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, zip_file(few()))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/constants.pkl", b"")
    assert "a TorchScript program, which is code" in refusal(path)
    data = zip_file(few()).replace(b"little", b"big---")
    assert refusal(written(tmp_path, data))


SAFE = {
    "overlong": {"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 8]}},
    "negative": {"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 8]}},
    "backwards": {"x": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
    "behind the end": {"x": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}},
    "unknown": {"x": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}},
    "no sizes": {"x": {"dtype": "F32", "data_offsets": [0, 8]}},
    "overlapping": {
        str(each): {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for each in range(2)
    },
}


@pytest.mark.parametrize("name", SAFE)
def test_a_safetensors_header_that_lies_is_one_line(name: str, tmp_path: Path) -> None:
    listed = json.dumps(SAFE[name]).encode()
    data = struct.pack("<Q", len(listed)) + listed + bytes(8)
    assert "does not fit its numbers" in refusal(written(tmp_path, data))


def test_what_is_no_file_of_weights_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights: expected"):
        read_weights(written(tmp_path, b"hello"))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotRegularError):
        read_weights(tmp_path / "pipe")
