"""Attributes, datasets and archives that no Keras wrote: one line each, and nothing allocated."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from evaluator.errors import ModelError
from evaluator.models.load import check_model, load_embedder
from evaluator.models.options import LoadOptions
from tests.evaluator.models.networks import network

EMPTY = {"class_name": "Sequential", "config": {"name": "m", "layers": []}}


def refusal(path: Path, look: Callable[[Path, LoadOptions], Any] = check_model) -> str:
    with pytest.raises(ModelError) as caught:
        look(path, LoadOptions(profile="unit"))
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.isprintable()
    return message


def reference(file: h5py.File, name: str) -> None:
    file.attrs[name] = file.ref


def compound(file: h5py.File, name: str) -> None:
    file.attrs.create(name, np.zeros(2, dtype=[("a", "i4"), ("b", "f4")]))


def variable(file: h5py.File, name: str) -> None:
    values = np.empty(2, object)
    values[:] = [np.arange(3), np.arange(2)]
    file.attrs.create(name, values, dtype=h5py.vlen_dtype("i4"))


ODD: dict[str, Callable[[h5py.File, str], None]] = {
    "a number": lambda file, name: file.attrs.create(name, 2**40),
    "a small number": lambda file, name: file.attrs.create(name, 7, dtype="u1"),
    "a fraction": lambda file, name: file.attrs.create(name, 1.5),
    "numbers": lambda file, name: file.attrs.create(name, np.arange(100)),
    "a truth": lambda file, name: file.attrs.create(name, True),
    "nothing": lambda file, name: file.attrs.create(name, h5py.Empty("S1")),
    "an empty number": lambda file, name: file.attrs.create(name, h5py.Empty("i8")),
    "no texts": lambda file, name: file.attrs.create(name, np.array([], "S3")),
    "texts": lambda file, name: file.attrs.create(name, np.array([b"a", b"b"])),
    "bytes": lambda file, name: file.attrs.create(name, np.void(b"abc")),
    "a reference": reference,
    "a compound": compound,
    "lists": variable,
}


@pytest.mark.parametrize("kind", ODD)
def test_a_config_that_is_no_text_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        ODD[kind](file, "model_config")
    tracemalloc.start()
    message = refusal(path)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    assert "model_config" in message


def test_a_config_of_fixed_length_or_in_an_array_is_read(tmp_path: Path) -> None:
    text = json.dumps(EMPTY).encode()
    for number, value in enumerate((np.bytes_(text), np.array([text]), text.decode())):
        path = tmp_path / f"{number}.h5"
        with h5py.File(path, "w") as file:
            file.attrs["model_config"] = value
        check_model(path, LoadOptions())


def test_a_config_that_is_no_utf_8_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = np.bytes_(b'{"class_name": "\xff\xfe"}')
    assert "damaged" in refusal(path)


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("keras_version", "model_weights"),
        ("backend", "model_weights"),
        ("layer_names", "model_weights"),
        ("weight_names", "model_weights/embedding"),
    ],
)
def test_an_odd_attribute_beside_the_weights_is_one_line_or_nothing(
    keras: Any, saved: Callable[..., Path], kind: str, name: str, group: str
) -> None:
    path = saved(network(keras))
    with h5py.File(path, "r+") as file:
        file[group].attrs.pop(name, None)
        ODD[kind](file[group], name) if kind != "a reference" else file[group].attrs.create(
            name, file.ref, dtype=h5py.ref_dtype
        )
    try:
        embedder = load_embedder(path, LoadOptions(profile="unit"))
    except ModelError as error:
        message = str(error)
    else:
        message = ""
    assert message.isprintable()
    # Keras makes nothing of these two; the weights are all there.
    assert message or name in ("keras_version", "backend")
    if not message:
        assert embedder.forward(np.zeros((1, 16, 12, 3), np.float32)).shape == (1, 6)


STRANGE: dict[str, Callable[[h5py.Group], Any]] = {
    "texts": lambda group: group.create_dataset("w", data=["a"] * 6),
    "fixed texts": lambda group: group.create_dataset("w", data=np.array([b"a"] * 6)),
    "lists": lambda group: group.create_dataset("w", (6,), dtype=h5py.vlen_dtype("f4")),
    "compound": lambda group: group.create_dataset("w", (6,), dtype=[("a", "f4")]),
    "references": lambda group: group.create_dataset("w", (6,), dtype=h5py.ref_dtype),
    "arrays": lambda group: group.create_dataset("w", (6,), dtype=np.dtype(("f4", (2**20,)))),
    "opaque": lambda group: group.create_dataset("w", (6,), dtype="V100"),
}


@pytest.mark.parametrize("kind", STRANGE)
@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_a_dataset_of_other_things_than_numbers_is_named(
    tmp_path: Path, kind: str, name: str
) -> None:
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        file.attrs["model_config"] = json.dumps(EMPTY)
        STRANGE[kind](file.create_group("model_weights"))
    path = tmp_path / name
    if name == "m.h5":
        path.write_bytes(weights.getvalue())
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps(EMPTY))
            archive.writestr("model.weights.h5", weights.getvalue())
    assert "model_weights/w holds" in refusal(path)


def test_a_chunk_far_larger_than_the_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(EMPTY)
        file.create_dataset("w", (1,), "f4", chunks=(2**29,), maxshape=(None,), compression="gzip")
    assert "declares 2,147,483,648 bytes" in refusal(path)


def test_names_that_move_the_cursor_are_shown_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(EMPTY)
        file.create_group("model_weights").create_dataset("\x1b[2J\n", data=["a"])
    assert "\\x1b[2J" in refusal(path)


def test_a_description_without_its_weights_is_found_when_it_is_loaded(
    keras: Any, saved: Callable[..., Path], tmp_path: Path
) -> None:
    torn = tmp_path / "torn.keras"
    source = saved(network(keras), "m.keras")
    with zipfile.ZipFile(source) as whole, zipfile.ZipFile(torn, "w") as archive:
        for name in ("metadata.json", "config.json"):
            archive.writestr(name, whole.read(name))
    assert refusal(torn, load_embedder)


@pytest.mark.parametrize("size", [0, 1, 3])
def test_weights_of_another_shape_or_type_are_one_line(
    keras: Any, saved: Callable[..., Path], size: int
) -> None:
    for name in ("m.h5", "m.keras"):
        path = saved(network(keras), name)
        if name == "m.h5":
            with h5py.File(path, "r+") as file:
                group = file["model_weights/embedding/embedding"]
                del group["kernel"]
                group["kernel"] = np.zeros((4, size), np.int32)
        else:
            rewrite(path, "model.weights.h5", lambda data, n=size: with_kernel(data, n))
        assert "can" in refusal(path, load_embedder)


def with_kernel(data: bytes, size: int) -> bytes:
    buffer = io.BytesIO(data)
    with h5py.File(buffer, "r+") as file:
        group = file["layers/dense/vars"]
        del group["0"]
        group["0"] = np.zeros((4, size), np.int32)
    return buffer.getvalue()


def rewrite(path: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    members[name] = change(members[name])
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)


# ---- The archive --------------------------------------------------------------------------------


def lying(path: Path, member: str, declared: int) -> None:
    """Has an archive's directory and local header declare another unpacked size."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(member)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, info.header_offset + 22, declared)
    directory = data.rindex(member.encode()) - 46
    assert data[directory : directory + 4] == b"PK\x01\x02"
    struct.pack_into("<I", data, directory + 24, declared)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("member", ["config.json", "model.weights.h5", "metadata.json"])
def test_a_member_that_unpacks_to_more_than_it_declares_is_named(
    tmp_path: Path, member: str
) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        contents = {"config.json": json.dumps(EMPTY).encode(), "metadata.json": b"{}"}
        for name, data in {**contents, member: b" " * 2**28}.items():
            archive.writestr(name, data)
    lying(path, member, 1000)
    tracemalloc.start()
    message = refusal(path)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    assert "more than the 1,000 bytes it declares" in message


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("member", ["config.json", "model.weights.h5"])
def test_a_member_compressed_by_another_method_is_refused(
    tmp_path: Path, compression: int, member: str
) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json" if member != "config.json" else "x", json.dumps(EMPTY))
        archive.writestr(member, json.dumps(EMPTY), compression)
    assert "by a method that Keras does not write" in refusal(path)


def test_arrays_of_an_npz_are_what_they_declare(tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }"
    entry = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n"
    objects = io.BytesIO()
    np.save(objects, np.array([{}], object), allow_pickle=True)
    for name, data in (("huge", entry), ("objects", objects.getvalue()), ("text", b"hello")):
        weights = io.BytesIO()
        with zipfile.ZipFile(weights, "w") as arrays:
            arrays.writestr("a.npy", data)
        path = tmp_path / f"{name}.keras"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps(EMPTY))
            archive.writestr("model.weights.npz", weights.getvalue())
        assert ("damaged" if name == "text" else "array 'a.npy' declares") in refusal(path)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"class_name": ' * 50_000,
        '{"class_name": "Sequential", "config": ' + "9" * 10_000 + "}",
        '{"class_name": "Sequential", "config": "\\ud800"}',
        '{"class_name": "\\u001b[31m\\n", "config": {}}',
        '{"class_name": "Sequential", "config": {"layers": [NaN, Infinity, -Infinity]}}',
        '{"class_name": null, "config": null}',
        '{"class_name": "Sequential", "config": {"name": ["x"], "layers": {}}}',
        '{"class_name": "Functional", "config": {"layers": [], "input_layers": NaN}}',
        '{"class_name": "Dense", "config": {"units": 3}}',
        '{"class_name": "Zeros", "module": "keras.initializers", "config": {}}',
    ],
)
def test_a_config_of_any_text_is_one_line(keras: Any, tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", text)
        archive.writestr("metadata.json", "{}")
    refusal(path, load_embedder)
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["model_config"] = text.encode("utf-8", "surrogatepass")
        file.create_group("model_weights")
    refusal(tmp_path / "m.h5", load_embedder)


def test_a_config_deeper_than_keras_reads_is_one_line(keras: Any, tmp_path: Path) -> None:
    config: dict[str, Any] = EMPTY
    for _ in range(150):
        config = {"class_name": "Sequential", "config": {"name": "m", "layers": [config]}}
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    refusal(path, load_embedder)
