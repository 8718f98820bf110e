import hashlib
import io
import pickle
import pickletools
import struct
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from evaluator.bins.verification_set import (
    VerificationSet,
    distinct_images,
    is_pickle,
    read_bin,
    write_bin,
)
from evaluator.errors import BinError


def encoded(shade: int, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 255 - shade, 40)).save(buffer, kind)
    return buffer.getvalue()


A, B, C, D = encoded(10), encoded(90, "PNG"), encoded(170), encoded(250, "BMP")
IMAGES, LABELS = [A, B, C, A, D, B], [True, False, True]


def saved(path: Path, value: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol))
    return path


def as_bytes(image: object) -> bytes:
    return image.tobytes() if isinstance(image, np.ndarray) else image  # type: ignore[return-value]


def assert_holds(found: VerificationSet, images: Sequence[bytes], labels: Sequence[object]) -> None:
    assert list(found.images) == list(images)
    assert all(type(image) is bytes for image in found.images)
    assert found.genuine.dtype == np.bool_
    assert found.genuine.tolist() == [bool(label) for label in labels]


# ---- Real bins -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "pairs", "genuine", "distinct"),
    [("small_lfw", 10, 10, 17), ("lfw_devtest", 1000, 500, 1549)],
)
def test_a_real_bin_is_what_the_standard_unpickler_reads(
    shared: Path, name: str, pairs: int, genuine: int, distinct: int
) -> None:
    path = shared / "bins" / f"{name}.bin"
    found = read_bin(path)
    with path.open("rb") as file:
        images, labels = pickle.load(file, encoding="bytes")
    assert_holds(found, [as_bytes(image) for image in images], labels)
    assert (found.name, found.path) == (name, path)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (found.pairs, found.genuine_pairs) == (pairs, genuine)
    assert found.impostor_pairs == pairs - genuine
    assert len(set(found.images)) == distinct
    assert len({id(image) for image in found.images}) == distinct
    assert not found.genuine.flags.writeable


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bytes", "array"])
def test_a_bin_of_60_mb_and_12000_slots_is_read_and_checked_within_a_second(
    shared: Path, tmp_path: Path, kind: str
) -> None:
    real, _ = distinct_images(read_bin(shared / "bins" / "lfw_devtest.bin").images)
    slots = [real[slot % len(real)] + bytes([slot // len(real)]) for slot in range(12_000)]
    values = [
        slot if kind == "bytes" else np.frombuffer(slot, np.uint8).copy().reshape(-1, 1)
        for slot in slots
    ]
    path = saved(tmp_path / "big.bin", (values, [True] * 6_000), 3)
    assert path.stat().st_size > 55e6
    seconds = []
    for _ in range(3):
        start = time.process_time()  # one thread, and the machine may be busy with others
        found = read_bin(path)
        seconds.append(time.process_time() - start)
    assert list(found.images) == slots
    assert min(seconds) < 1


# ---- Every benign layout -------------------------------------------------------------------------

ELEMENTS = {
    "bytes": bytes,
    "bytearray": bytearray,
    "np.bytes_": np.bytes_,
    "(N,)": lambda image: np.frombuffer(image, np.uint8).copy(),
    "(N,) read-only": lambda image: np.frombuffer(image, np.uint8),
    "(N, 1)": lambda image: np.frombuffer(image, np.uint8).copy().reshape(-1, 1),
    "strided": lambda image: np.repeat(np.frombuffer(image, np.uint8), 2)[::2],
}
LABEL_LISTS = {
    "bool": list,
    "int": lambda labels: [int(label) for label in labels],
    "np.bool_": lambda labels: [np.bool_(label) for label in labels],
    "np.int64": lambda labels: [np.int64(label) for label in labels],
    "bool array": np.array,
    "int array": lambda labels: np.array(labels, np.int64),
    "big-endian array": lambda labels: np.array(labels, ">i4"),
    "column": lambda labels: np.array(labels, np.uint8).reshape(-1, 1),
    "object array": lambda labels: np.array(labels, object),
    "tuple": tuple,
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("labels", LABEL_LISTS)
@pytest.mark.parametrize("element", ELEMENTS)
def test_every_layout_of_python_3_is_read_at_every_protocol(
    tmp_path: Path, element: str, labels: str, protocol: int
) -> None:
    images = [ELEMENTS[element](image) for image in IMAGES]
    value = (images, LABEL_LISTS[labels](LABELS))
    for top in (value, list(value)):
        path = saved(tmp_path / "x.bin", top, protocol)
        assert is_pickle(path)
        assert_holds(read_bin(path), IMAGES, LABELS)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("element", ["bytes", "(N, 1)"])
def test_images_in_an_object_array_are_read(tmp_path: Path, element: str, protocol: int) -> None:
    images = np.empty(len(IMAGES), object)
    for slot, image in enumerate(IMAGES):
        images[slot] = ELEMENTS[element](image)
    path = saved(tmp_path / "x.bin", (images, np.array(LABELS)), protocol)
    assert is_pickle(path)
    assert_holds(read_bin(path), IMAGES, LABELS)


@pytest.mark.parametrize("old", ["numpy.core", "numpy._core"])
def test_arrays_of_numpy_1_and_2_are_read(tmp_path: Path, old: str) -> None:
    value = ([ELEMENTS["(N, 1)"](image) for image in IMAGES], [np.bool_(label) for label in LABELS])
    written = pickle.dumps(value, 2)
    module = next(name for name in (b"numpy._core", b"numpy.core") if b"c" + name in written)
    path = tmp_path / "x.bin"
    path.write_bytes(written.replace(module, old.encode()))
    assert_holds(read_bin(path), IMAGES, LABELS)


def python_2_string(data: bytes, protocol: int) -> bytes:
    """How Python 2 wrote its `str`, from pickletools' description of the instructions."""
    if protocol == 0:
        escaped = "".join(
            chr(b) if 32 <= b < 127 and b not in b"'\\" else f"\\x{b:02x}" for b in data
        )
        return b"S'" + escaped.encode() + b"'\n"
    return (
        b"U" + bytes([len(data)]) + data
        if len(data) < 256
        else b"T" + struct.pack("<i", len(data)) + data
    )


def python_2_array(data: bytes, protocol: int) -> bytes:
    """A uint8 array of shape (N, 1) as NumPy 1 pickled it under Python 2."""
    text = lambda value: python_2_string(value, protocol)  # noqa: E731
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\nt" + text(b"b") + b"tR"
        b"(I1\n(I%d\nI1\ntcnumpy\ndtype\n(" % len(data) + text(b"u1") + b"I0\nI1\ntR"
        b"(I3\n" + text(b"|") + b"NNNI-1\nI-1\nI0\ntbI00\n" + text(data) + b"tb"
    )


@pytest.mark.parametrize("protocol", [0, 1, 2])
@pytest.mark.parametrize("element", [python_2_string, python_2_array])
def test_the_layouts_of_python_2_are_read(tmp_path: Path, element: object, protocol: int) -> None:
    items = [element(image, protocol) for image in IMAGES]
    labels = b"I01\nI00\nI01\n" if protocol < 2 else b"\x88\x89\x88"
    if protocol == 0:
        one_by_one = b"(lp1\n" + b"".join(item + b"a" for item in items)
        written = b"(" + one_by_one + b"(lp9\nI01\naI00\naI01\natp0\n."
    else:
        start = b"\x80\x02" if protocol == 2 else b"("
        end = b"\x86q\x03." if protocol == 2 else b"tq\x03."
        written = start + b"]q\x01(" + b"".join(items) + b"e]q\x02(" + labels + b"e" + end
    path = tmp_path / "x.bin"
    path.write_bytes(written)
    images, _ = pickle.loads(written, encoding="bytes")  # the bytes above are what they claim to be
    assert [as_bytes(image) for image in images] == IMAGES
    assert is_pickle(path)
    assert_holds(read_bin(path), IMAGES, LABELS)


# ---- Writing -------------------------------------------------------------------------------------


@given(st.data())
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    tails = st.binary(max_size=400)
    images = data.draw(
        st.lists(st.tuples(st.sampled_from(IMAGES), tails).map(b"".join), min_size=1, max_size=8)
    )
    images += images
    labels = data.draw(
        st.lists(st.booleans(), min_size=len(images) // 2, max_size=len(images) // 2)
    )
    path = tmp_path_factory.getbasetemp() / "written.bin"
    write_bin(path, images, labels)
    assert_holds(read_bin(path), images, labels)
    assert pickle.loads(path.read_bytes(), encoding="bytes") == (images, labels)


def test_a_written_bin_is_plain_small_and_the_same_every_time(tmp_path: Path) -> None:
    first, second = tmp_path / "a.bin", tmp_path / "b.bin"
    write_bin(first, IMAGES, np.array(LABELS))
    write_bin(second, tuple(bytes(bytearray(image)) for image in IMAGES), [1, 0, 1])
    assert first.read_bytes() == second.read_bytes()
    names = {operation.name for operation, _, _ in pickletools.genops(first.read_bytes())}
    assert not names & {"GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD"}
    assert len(first.read_bytes()) < sum(map(len, {A, B, C, D})) + 200
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.bin", "b.bin"]


def test_a_real_bin_survives_being_written_again(shared: Path, tmp_path: Path) -> None:
    real = read_bin(shared / "bins" / "lfw_devtest.bin")
    path = tmp_path / "again.bin"
    write_bin(path, real.images, real.genuine)
    assert_holds(read_bin(path), real.images, real.genuine)


def test_a_bin_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    write_bin(path, IMAGES, LABELS)
    before = path.read_bytes()
    for images, labels, cause in [
        (IMAGES[:5], LABELS, "odd"),
        (IMAGES, LABELS[:2], "2 labels"),
        (IMAGES, [1, 0, 2], "label 2 is 2"),
        (IMAGES, [0.5, 0, 1], "label 0 is"),
        (IMAGES, True, "1 labels"),
        ([], [], "no images"),
        ([*IMAGES[:5], b"pixels"], LABELS, "image 5"),
        ([*IMAGES[:5], "text"], LABELS, "image 5"),
    ]:
        with pytest.raises(BinError, match=cause):
            write_bin(path, images, labels)  # type: ignore[arg-type]
    assert path.read_bytes() == before
    with pytest.raises(OSError, match="directory"):
        write_bin(tmp_path, IMAGES, LABELS)
    assert [file.name for file in tmp_path.iterdir()] == ["x.bin"]
    assert not list(tmp_path.parent.glob(".*.part"))


# ---- Repeats -------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from([b"a", b"b", b"c", b"dd", b""])))
def test_distinct_images_and_their_index_give_the_slots_back(images: list[bytes]) -> None:
    distinct, index = distinct_images(images)
    assert [distinct[place] for place in index] == images
    assert distinct == sorted(set(images), key=images.index)
    assert index.shape == (len(images),)
    assert index.dtype == np.intp


# ---- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ((IMAGES[:5], LABELS), "holds 5 images, an odd number"),
        ((IMAGES, [*LABELS, True]), "6 images, which are 3 pairs, but 4 labels"),
        (([], []), "holds no images"),
        ((IMAGES, [1, 0, 2]), "label 2 is 2;"),
        ((IMAGES, [1, None, 1]), "label 1 is None;"),
        ((IMAGES, [1, 0, "yes"]), "label 2 is the text 'yes';"),
        ((IMAGES, [True, False, 0.5]), "label 2 is 0.5;"),
        ((IMAGES, np.array([1.0, float("nan"), 1])), "label 1 is nan;"),
        ((IMAGES, np.array([1, 0, 1j])), "'c16'"),
        ((IMAGES, 3), "its labels are 3, not a list"),
        ((IMAGES, np.ones((3, 2), bool)), "its labels are an array of b1 and shape"),
        ((b"abc", LABELS), "its images are the bytes b'abc'"),
        (IMAGES, "a list of 6 values, where"),
        ([IMAGES, LABELS, []], "a list of 3 values, where"),
        (7, "holds 7, where"),
        ({"images": IMAGES}, "EMPTY_DICT"),
        (([*IMAGES[:3], b"GIF8", A, A], LABELS), r"image 3 \(pair 1\) is no JPEG.*b'GIF8'"),
        (([*IMAGES[:5], b""], LABELS), r"image 5 \(pair 2\) is no JPEG.*it is empty"),
        (([None, *IMAGES[1:]], LABELS), r"image 0 \(pair 0\) is None"),
        ((["a.jpg", *IMAGES[1:]], LABELS), r"image 0 \(pair 0\) is the text 'a.jpg'"),
        (
            ([np.ones((4, 4, 3), np.uint8), *IMAGES[1:]], LABELS),
            r"image 0 .*u1 and shape \(4, 4, 3\)",
        ),
        (([np.ones(9, np.int64), *IMAGES[1:]], LABELS), r"image 0 .*array of i8"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_bin_is_refused_with_its_file_index_and_cause(
    tmp_path: Path, value: object, cause: str
) -> None:
    path = saved(tmp_path / "wrong.bin", value)
    with pytest.raises(BinError, match=cause) as refused:
        read_bin(path)
    message = str(refused.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 400


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "is empty"),
        (b"\x89HDF\r\n\x1a\nrest", "HDF5"),
        (b"PK\x03\x04rest", "zip"),
        (b"\x1f\x8brest", "gzip"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "looks like text, starting with '<!DOCTYPE"),
        (b"name\tpair\n", "looks like text"),
        (b"\x93NUMPY\x01", "NumPy array"),
        (b"\xfd7zXZ\0rest", "damaged xz"),
        (A, "JPEG image"),
        (b"\x00\x01\x02\x03", "starts with"),
        (b"\x80\x07K\x01.", "protocol"),
        (b"(let us see)", "is damaged or no bin"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_is_no_pickle_is_refused_by_what_it_looks_like(
    tmp_path: Path, content: bytes, cause: str
) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(content)
    with pytest.raises(BinError, match=cause):
        read_bin(path)
    assert is_pickle(path) is content.startswith(b"(l")


def test_a_folder_and_a_missing_file_are_the_systems_own_errors(tmp_path: Path) -> None:
    assert not is_pickle(tmp_path)
    with pytest.raises(IsADirectoryError):
        read_bin(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_bin(tmp_path / "none.bin")
    with pytest.raises(FileNotFoundError):
        is_pickle(tmp_path / "none.bin")


@pytest.mark.parametrize("protocol", range(6))
def test_a_truncated_bin_is_a_bin_error_wherever_it_ends(tmp_path: Path, protocol: int) -> None:
    values = [ELEMENTS[name](A[:40]) for name in ("bytes", "(N, 1)", "bytearray", "np.bytes_")]
    whole = pickle.dumps((values, [np.bool_(True), False]), protocol)
    path = tmp_path / "cut.bin"
    for end in range(0, len(whole), 3):
        path.write_bytes(whole[:end])
        with pytest.raises(BinError) as refused:
            read_bin(path)
        assert "\n" not in str(refused.value)


def test_a_truncated_real_bin_says_that_it_is_cut_short(shared: Path, tmp_path: Path) -> None:
    whole = (shared / "bins" / "small_lfw.bin").read_bytes()
    path = tmp_path / "cut.bin"
    for end in (3, 1_000, 50_000, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(BinError, match="cut short"):
            read_bin(path)


def test_a_bin_with_code_is_refused_and_the_code_not_run(tmp_path: Path) -> None:
    target = tmp_path / "ran"
    path = tmp_path / "evil.bin"
    path.write_bytes(f"(lp0\ncposix\nsystem\n(S'touch {target}'\ntRa.".encode())
    assert is_pickle(path)
    with pytest.raises(BinError, match=r"evil.bin: asks for 'posix.system'.*nothing was run"):
        read_bin(path)
    assert not target.exists()
