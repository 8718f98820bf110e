import os
import pickle
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluator.bins.pickle_reader import load_plain
from evaluator.bins.pickle_values import PickledArray, PickleError

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.binary(max_size=300)
    | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=5) | st.lists(inner, max_size=5).map(tuple),
    max_leaves=20,
)


def assert_value_or_one_line(data: bytes) -> None:
    cause = ""
    try:
        load_plain(data)
    except PickleError as error:
        cause = str(error)
    assert "\n" not in cause
    assert len(cause) < 300


@given(PLAIN, st.integers(0, 5))
def test_plain_values_are_those_of_the_standard_unpickler(value: object, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    assert load_plain(data) == pickle.loads(data) == value


@given(st.binary(max_size=80))
def test_any_bytes_end_in_a_value_or_a_pickle_error(data: bytes) -> None:
    assert_value_or_one_line(data)


@settings(max_examples=300)
@given(st.data())
def test_any_change_of_a_real_layout_ends_in_a_value_or_a_pickle_error(data: st.DataObject) -> None:
    protocol = data.draw(st.integers(0, 5))
    image = np.frombuffer(b"\xff\xd8\xff\xe0abc'\\\n", np.uint8).reshape(-1, 1)
    labels = data.draw(st.sampled_from([[np.bool_(True)], np.array([1], np.int64), [True]]))
    changed = bytearray(pickle.dumps(([image, b"a", bytearray(b"b")], labels), protocol))
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    assert_value_or_one_line(bytes(changed))


def test_text_outside_utf8_and_empty_values_survive_every_protocol() -> None:
    for protocol in range(6):
        value = [
            "",
            b"",
            (),
            [],
            "\ud800",
            "é\n\\",
            b"\xff\n'\"\\",
            bytearray(),
            bytearray(b"\xff"),
        ]
        assert load_plain(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(6))
def test_numpy_scalars_come_back_as_python_values(protocol: int) -> None:
    scalars = [np.bool_(True), np.bool_(False), np.int64(-3), np.uint8(200), np.bytes_(b"a\xff")]
    scalars += [np.dtype(">i4").type(7), np.array(5, ">i2")[()]]
    value = load_plain(pickle.dumps(scalars, protocol))
    assert value == [True, False, -3, 200, b"a\xff", 7, 5]
    assert isinstance(value, list)
    assert [type(item) for item in value[:3]] == [bool, bool, int]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.uint8).reshape(6, 1),
        np.arange(6, dtype=">i4"),
        np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        np.arange(12, dtype=np.uint8)[::2],
        np.array([b"ab", b"c"]),
        np.empty(0, np.bool_),
    ],
    ids=str,
)
def test_an_array_keeps_its_type_shape_and_memory(array: np.ndarray, protocol: int) -> None:
    value = load_plain(pickle.dumps(array, protocol))
    assert isinstance(value, PickledArray)
    assert isinstance(value.content, bytes)
    restored = np.frombuffer(value.content, value.dtype)
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    np.testing.assert_array_equal(restored.reshape(value.shape, order=order), array)


def test_bytes_after_the_end_are_ignored_as_the_standard_unpickler_does() -> None:
    data = pickle.dumps([1, 2]) + b"rest"
    assert load_plain(data) == pickle.loads(data)


def array_program(shape: bytes, dtype: bytes, content: bytes) -> bytes:
    """An array as protocol 1 has it, every part of its state as given."""
    start = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tS'b'\ntR"
    return start + b"(K\x01" + shape + dtype + b"I00\n" + content + b"tb."


BYTE = b"cnumpy\ndtype\n(S'u1'\ntR"


@pytest.mark.parametrize(
    ("shape", "dtype", "content", "cause"),
    [
        (b"(K\x03t", BYTE, b"S'ab'\n", r"declares the shape \[3\]"),
        (b"(K\x01t", BYTE, b"S'ab'\n", r"declares the shape \[1\]"),
        (b"(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ft", BYTE, b"S'ab'\n", "declares the shape"),
        (b"(J\xff\xff\xff\xffJ\xfe\xff\xff\xfft", BYTE, b"S'ab'\n", "no proper shape"),
        (b"(S'2'\nt", BYTE, b"S'ab'\n", "no proper shape"),
        (b"(" + b"K\x01" * 40 + b"t", BYTE, b"S'a'\n", "no proper shape"),
        (b"(K\x02t", b"cnumpy\ndtype\n(S'u4'\ntR", b"S'ab'\n", "declares the shape"),
        (b"(K\x02t", b"cnumpy\ndtype\n(S'O8'\ntR", b"S'ab'\n", "does not fit its type"),
        (b"(K\x02t", b"cnumpy\ndtype\n(S'O8'\ntR", b"(K\x01l", "declares the shape"),
        (b"(K\x01t", BYTE, b"(K\x01l", "does not fit its type"),
        (b"(K\x01t", b"N", b"S'a'\n", "no shape, type and content"),
        (b"(K\x01t", BYTE + b"(K\x03S'|'\nN(S'a'\ntNtb", b"S'a'\n", "structured"),
    ],
)
def test_an_array_that_does_not_agree_with_itself_is_refused(
    shape: bytes, dtype: bytes, content: bytes, cause: str
) -> None:
    proper = load_plain(array_program(b"(K\x02t", BYTE, b"S'ab'\n"))
    assert proper == PickledArray("|u1", (2,), b"ab")
    with pytest.raises(PickleError, match=cause):
        load_plain(array_program(shape, dtype, content))


def test_a_scalar_that_does_not_fit_its_type_is_refused() -> None:
    program = b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'i4'\ntRS'%s'\ntR."
    assert load_plain(program % b"\\x01\\x00\\x00\\x00") == 1
    for content in (b"", b"abc", b"abcde"):
        with pytest.raises(PickleError, match="scalar in it does not fit"):
            load_plain(program % content)


# ---- Programs that are attacks -------------------------------------------------------------------


class Runs:
    """Pickles as a call: the classic attack."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call  # type: ignore[return-value]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ["system", "eval", "open", "load", "memmap"])
def test_a_call_of_any_other_function_is_refused_by_name_and_not_made(
    name: str, protocol: int, tmp_path: Path
) -> None:
    target = tmp_path / "ran"
    attack = {
        "system": Runs(os.system, f"touch {target}"),
        "eval": Runs(eval, f"open({str(target)!r}, 'w')"),
        "open": Runs(open, str(target), "w"),
        "load": Runs(np.load, str(target)),
        "memmap": Runs(np.memmap, str(target), "u1", "w+", 0, (4,)),
    }[name]
    for value in (attack, [attack], ([b"x", attack], [True]), np.array([attack, 1], object)):
        with pytest.raises(PickleError, match=rf"\.{name}'.*nothing was run"):
            load_plain(pickle.dumps(value, protocol))
        assert not target.exists()


def test_the_attacks_of_these_tests_do_run_in_the_standard_unpickler(tmp_path: Path) -> None:
    target = tmp_path / "ran"
    pickle.loads(pickle.dumps(Runs(os.system, f"touch {target}")))
    assert target.exists()


@pytest.mark.parametrize(
    ("program", "cause"),
    [
        (b"cos\nsystem\n(S'x'\ntR.", "'os.system'"),
        (b"(S'x'\nios\nsystem\n.", "INST"),
        (b"(cos\nsystem\nS'x'\no.", "'os.system'"),
        (b"(cnumpy\ndtype\nS'u1'\no.", "OBJ"),
        (b"cnumpy\nndarray\n)\x81.", "NEWOBJ"),
        (b"ccopy_reg\n_reconstructor\n(tR.", "'copy_reg._reconstructor'"),
        (b"ccopyreg\n__newobj__\n(tR.", "'copyreg.__newobj__'"),
        (b"cnumpy.core.multiarray\nfromfile\n.", "'numpy.core.multiarray.fromfile'"),
        (b"\x80\x04\x8c\x05numpy\x8c\x0cndarray.dump\x93.", "'numpy.ndarray.dump'"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"Psomewhere\n.", "PERSID"),
        (b"K\x01Q.", "BINPERSID"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        (b"}.", "EMPTY_DICT"),
        # filling in a stand-in, so that a later call of it would do something else
        (b"cnumpy\nndarray\n(NK\x01tb.", "fills in a Global"),
        (b"cnumpy\nndarray\n)R.", "cannot be called"),
        (b"cnumpy.core.multiarray\n_reconstruct\n(K\x01tR.", "no numpy.ndarray"),
        (b"cnumpy\ndtype\n(S'V8'\ntR.", "'V8'"),
        (b"cnumpy\ndtype\n(" + b"]" * 3000 + b"tR.", "has no name"),
        (b"c_codecs\nencode\n(Vabc\nS'rot13'\ntR.", "unknown way"),
        (b"cbuiltins\nbytearray\n(J\xff\xff\xff\x7ftR.", "unknown way"),
        (b"\x80\x09K\x01.", "protocol 9"),
        (b".", "takes a value"),
        (b"t.", "never opened"),
        (b"h\x05.", "never stored"),
        (b"K\x01K\x02a.", "appends to a int"),
        (b"I" + b"9" * 5000 + b"\n.", "whole number"),
        (b"S'\\q'\n.", "quoted string"),
        (b"S'" + b"\\x41" * 2000 + b"\\q'\n.", "quoted string"),
        (b"\x8c\x01\xff.", "UTF-8"),
        (b"", "cut short"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_program_that_is_no_data_says_why(program: bytes, cause: str) -> None:
    with pytest.raises(PickleError) as refused:
        load_plain(program)
    assert cause in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02K\x01r\xff\xff\xff\x7f.",  # memo slot 2**31 - 1
        b"\x80\x04\x8e" + struct.pack("<Q", 10 * 2**30) + b"abc.",
        b"\x80\x05\x96" + struct.pack("<Q", 2**63) + b"abc.",
        b"T\xff\xff\xff\xffabc.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(J\xff\xff\xff\x7ftS'b'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tS'b'\ntR"
        b"(K\x01(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ftcnumpy\ndtype\n(S'u1'\ntRI00\nS'x'\ntb.",
        b"cnumpy\ndtype\n(S'S999999999'\ntR.",
        b"\x80\x02X\x10\x27\x00\x00" + b"a" * 10_000 + b"q\x01X\x06\x00\x00\x00latin1q\x02"
        b"c_codecs\nencode\nq\x030(" + b"h\x03h\x01h\x02\x86R" * 20_000 + b"l.",
        b"]q\x01" + b"h\x01h\x01\x86q\x01" * 5_000 + b".",  # doubling: 2**5000 leaves
        b"](" + b"K\x01" * 100 + b"e" + b"2" * 1_000 + b".",
    ],
    ids=lambda value: repr(value[:40]),
)
def test_a_short_program_takes_no_more_than_a_few_megabytes(program: bytes) -> None:
    tracemalloc.start()
    try:
        load_plain(program)
    except PickleError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 2_000_000 + 60 * len(program)


def test_deep_nesting_is_a_value_and_not_a_crash() -> None:
    depth = 200_000
    for program in (b"]" * depth + b"a" * (depth - 1), b")" + b"\x85" * depth, b"(" * depth):
        load_plain(program + b"N.")
