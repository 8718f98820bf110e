"""Protocol buffers by hand-written bytes: what is read, and each way a message can be damaged."""

import pytest

from evaluator.models.wire import WireError, fields, messages, text


def test_the_four_kinds_of_fields_are_read() -> None:
    data = bytes([0x08, 0x96, 0x01]) + bytes([0x12, 2]) + b"ok"  # 1: 150 and 2: "ok"
    data += bytes([0x19, *range(8)]) + bytes([0x25, *range(4)])  # 3: eight bytes and 4: four
    read = {
        number: value if isinstance(value, int) else bytes(value) for number, value in fields(data)
    }
    assert read == {1: 150, 2: b"ok", 3: bytes(range(8)), 4: bytes(range(4))}
    assert [bytes(found) for found in messages(bytes([0x12, 4, 0x12, 2]) + b"in", 2, 2)] == [b"in"]
    assert text(data, 2) == "ok"
    assert text(data, 9) == ""


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x00\x01", "field number 0"),
        (b"\x0b", "wire type 3"),
        (b"\x12\x05abc", "field 2 ends 2 bytes after the message"),
        (b"\x08\x80", "ends within a number"),
        (b"\x08" + b"\x80" * 10, "more than ten bytes"),
    ],
)
def test_a_damaged_message_says_how(data: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        list(fields(data))
