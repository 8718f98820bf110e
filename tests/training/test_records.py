"""Record files against the layout restated by hand, and against files that mxnet 1.9.1 wrote."""

import random
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from training.data.sources.recordio import (
    MAGIC_BYTES,
    RecordError,
    complete_records,
    framed,
    map_file,
    payload_at,
    record_offsets,
)
from training.data.sources.records import (
    FLOAT_EXACT,
    _first_bare,
    image_labels,
    image_record,
    open_records,
    person_ranges,
    range_record,
    read_image,
    read_record,
    store_index,
)

JPEG = b"\xff\xd8\xff\xe0 not much of an image"


def written(folder: Path, *records: bytes, index: bool = True) -> Path:
    """A record file of these framed records and, unless told not to, its index."""
    rec = folder / "train.rec"
    rec.write_bytes(b"".join(records))
    if index:
        ends = np.cumsum([0, *map(len, records)]).tolist()
        lines = (f"{key}\t{offset}\n" for key, offset in enumerate(ends[:-1]))
        rec.with_suffix(".idx").write_text("".join(lines))
    return rec


def labelled(flag: int, label: float, *labels: float, image: bytes = JPEG) -> bytes:
    """A whole record by hand: magic, length, IRHeader, labels, image, zeros up to four."""
    payload = struct.pack("<IfQQ", flag, label, 7, 9) + struct.pack(f"<{len(labels)}f", *labels)
    payload += image
    return struct.pack("<II", 0xCED7230A, len(payload)) + payload + bytes(-len(payload) % 4)


def rejoined(data: bytes) -> list[bytes]:
    """dmlc-core's RecordIOReader::NextRecord, restated: all payloads of a file."""
    payloads, here = [], 0
    while here < len(data):
        payload = b""
        while True:
            magic, word = struct.unpack("<II", data[here : here + 8])
            assert magic == 0xCED7230A
            flag, length = (word >> 29) & 7, word & (2**29 - 1)
            payload += data[here + 8 : here + 8 + length]
            here += 8 + ((length + 3) >> 2 << 2)
            if flag in (0, 3):
                break
            payload += struct.pack("<I", 0xCED7230A)
        payloads.append(payload)
    return payloads


def restated_frame(payload: bytes) -> bytes:
    """dmlc-core's RecordIOWriter::WriteRecord, restated word by word."""
    out, start = b"", 0
    for i in range(0, len(payload) // 4 * 4, 4):
        if payload[i : i + 4] == struct.pack("<I", 0xCED7230A):
            flag = 1 if start == 0 else 2
            out += struct.pack("<II", 0xCED7230A, flag << 29 | (i - start)) + payload[start:i]
            start = i + 4
    flag = 3 if start else 0
    out += struct.pack("<II", 0xCED7230A, flag << 29 | (len(payload) - start)) + payload[start:]
    return out + bytes((4 - len(payload) % 4) % 4)


HOSTILE = [
    b"",
    b"abc",
    b"abcd",
    MAGIC_BYTES,
    MAGIC_BYTES * 3,
    b"ab" + MAGIC_BYTES + b"cd",
    b"abcd" + MAGIC_BYTES,
    b"abcd" + MAGIC_BYTES + b"e",
    b"a" + MAGIC_BYTES + b"abc" + MAGIC_BYTES,
    MAGIC_BYTES[1:] + MAGIC_BYTES + MAGIC_BYTES,
]


@pytest.mark.parametrize("payload", HOSTILE, ids=lambda p: p.hex() or "empty")
def test_frame_is_mxnets_byte_for_byte(payload: bytes) -> None:
    assert framed(payload) == restated_frame(payload)


def test_frames_of_random_words_and_magics_read_back() -> None:
    draw = random.Random(5)
    pieces = [MAGIC_BYTES, b"wxyz", b"\0", b"12"]
    payloads = [b"".join(draw.choices(pieces, k=draw.randrange(9))) for _ in range(500)]
    data = b"".join(framed(payload) for payload in payloads)
    assert data == b"".join(restated_frame(payload) for payload in payloads)
    assert rejoined(data) == payloads
    here, found = 0, []
    for _ in payloads:
        payload, here = payload_at(memoryview(data), here, path=Path("x"), name="record")
        found.append(bytes(payload))
    assert found == payloads
    assert here == len(data)


def test_a_record_of_half_a_gigabyte_is_refused() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return 1 << 29

    with pytest.raises(RecordError, match="less than 536870912 bytes"):
        framed(Huge())


def test_mxnets_own_file_opens_with_its_people_and_images(shared: Path) -> None:
    records = open_records(shared / "records" / "train.rec")
    labels = image_labels(records)
    ranges = person_ranges(records)
    assert (len(records.keys), len(records), len(ranges)) == (853, 732, 120)
    assert set(labels.tolist()) == set(range(120))
    for person, (first, last) in enumerate(ranges.tolist()):
        assert set(labels[first - 1 : last - 1].tolist()) == {person}
    assert records.declared is not None
    assert (records.declared.people, records.declared.height, records.declared.width) == (
        120,
        112,
        112,
    )


def test_every_payload_of_mxnets_file_is_what_the_restated_reader_finds(shared: Path) -> None:
    path = shared / "records" / "train.rec"
    payloads = rejoined(path.read_bytes())
    records = open_records(path)
    for place, payload in enumerate(payloads):
        flag, label, first_id, second_id = struct.unpack_from("<IfQQ", payload)
        record = read_record(records, place)
        assert (record.id, record.id2) == (first_id, second_id)
        assert record.image == payload[24 + 4 * flag :]
        if flag == 0:
            assert record.labels == (label,)
    assert [bytes(read_image(records, n).image) for n in range(732)] == [
        p[24:] for p in payloads[1:733]
    ]


def test_a_missing_index_is_rebuilt_as_mxnet_wrote_it(shared: Path, tmp_path: Path) -> None:
    rec = tmp_path / "train.rec"
    rec.write_bytes((shared / "records" / "train.rec").read_bytes())
    rebuilt = open_records(rec)
    assert rebuilt.index is None
    assert not rec.with_suffix(".idx").exists()
    store_index(rec.with_suffix(".idx"), rebuilt.keys, rebuilt.offsets)
    assert rec.with_suffix(".idx").read_bytes() == (shared / "records/train.idx").read_bytes()
    assert len(rebuilt) == 732


def test_an_unsplit_image_is_a_view_and_a_split_one_is_joined(tmp_path: Path) -> None:
    image = b"\xff\xd8\xff\xe0" + MAGIC_BYTES + b"rest"
    path = written(tmp_path, image_record(0, 3, JPEG), image_record(1, 4, image))
    records = open_records(path)
    whole, split = read_image(records, 0), read_image(records, 1)
    assert isinstance(whole.image, memoryview)
    assert whole.image == JPEG
    assert isinstance(split.image, bytes)
    assert split.image == image
    assert split.labels == (4.0,)
    assert rejoined(path.read_bytes())[1][24:] == image


def test_labels_come_from_the_header_or_the_array(tmp_path: Path) -> None:
    split = MAGIC_BYTES + b"abcd"  # the id's place: cut before the labels end
    odd = restated_frame(struct.pack("<If", 0, 11) + split + bytes(8) + JPEG)
    path = written(
        tmp_path,
        labelled(0, 5),
        labelled(2, 0, 6, 1),
        labelled(1, 0, 7),
        odd,
        labelled(0, 8, image=b""),
    )
    records = open_records(path)
    assert image_labels(records).tolist() == [5, 6, 7, 11, 8]
    assert read_image(records, 1).labels == (6.0, 1.0)
    assert (read_image(records, 1).id, read_image(records, 1).id2) == (7, 9)


def test_a_label_that_is_no_integer_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, labelled(0, 1), labelled(0, 0.5))
    with pytest.raises(RecordError, match=r"record 1 at byte 60: expected an integer label.*0\.5"):
        image_labels(open_records(path))


def test_keys_without_gaps_are_not_assumed(tmp_path: Path) -> None:
    path = written(tmp_path, labelled(0, 1), labelled(0, 2), index=False)
    path.with_suffix(".idx").write_text("900\t60\n17\t0\n")
    records = open_records(path)
    read = [read_image(records, number) for number in range(2)]
    assert [(r.key, r.labels) for r in read] == [(17, (1.0,)), (900, (2.0,))]


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (0, "empty file"),
        (3, "record 0 at byte 0: its header goes beyond the end, byte 3"),
        (40, "record 0 at byte 0: needs 49 bytes, the file has 32 more"),
        (62, "record 1 at byte 60: its header goes beyond the end, byte 62"),
        (100, "record 1 at byte 60: needs 49 bytes, the file has 32 more"),
        (119, "record 1 at byte 60: padding up to a multiple of 4 is missing"),
    ],
)
def test_a_truncated_file_says_at_which_record(size: int, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, labelled(0, 1), labelled(0, 2), index=False)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(RecordError, match=message):
        open_records(path)


def test_with_an_index_a_truncated_file_is_noticed_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, labelled(0, 1), labelled(0, 2))
    path.write_bytes(path.read_bytes()[:56])
    with pytest.raises(RecordError, match=r"record 1 at byte 60, says train\.idx.*56 bytes"):
        open_records(path)


def test_a_foreign_file_is_refused_by_its_first_bytes(tmp_path: Path) -> None:
    path = tmp_path / "train.rec"
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(RecordError, match="record 0 at byte 0: expected the magic 0a 23 d7 ce"):
        open_records(path)


def test_records_of_something_else_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, framed(b"short"))
    with pytest.raises(RecordError, match="record 0 at byte 0: expected an image record's header"):
        open_records(path)


def test_damage_in_the_middle_is_named_with_its_byte(tmp_path: Path) -> None:
    path = written(tmp_path, labelled(0, 1), labelled(0, 2), labelled(0, 3))
    data = bytearray(path.read_bytes())
    data[60:64] = b"oops"
    path.write_bytes(data)
    with pytest.raises(RecordError, match=r"record 1 at byte 60: .*found 6f 6f 70 73"):
        image_labels(open_records(path))
    path.with_suffix(".idx").unlink()
    with pytest.raises(RecordError, match="record 1 at byte 60"):
        open_records(path)


@pytest.mark.parametrize("flag", [2, 3, 5])
def test_a_part_that_cannot_stand_there_is_refused(flag: int, tmp_path: Path) -> None:
    lone = struct.pack("<II", 0xCED7230A, flag << 29 | 4) + b"abcd"
    path = written(tmp_path, labelled(0, 1), lone, index=False)
    with pytest.raises(RecordError, match=f"record 1 at byte 60.*flag {flag}"):
        open_records(path)


def test_a_cut_record_without_its_end_is_refused(tmp_path: Path) -> None:
    start = struct.pack("<II", 0xCED7230A, 1 << 29 | 4) + b"abcd"
    path = written(tmp_path, start, labelled(0, 1), index=False)
    with pytest.raises(RecordError, match="expected the rest of a record that was cut"):
        open_records(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found none"),
        ("0\t0\n1 x\n", "line 2: expected 'key<TAB>offset'"),
        ("0\t0\n1\t60.5\n", "line 2"),
        ("0\t0\t0\n", "line 1"),
        ("0\t0\n0\t60\n", "key 0 stands there twice"),
        ("0\t0\n1\t61\n", "record 1 at byte 61"),
        ("0\t0\n1\t99999999999999999999\n", "too large"),
    ],
)
def test_an_index_that_does_not_fit_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, labelled(0, 1), labelled(0, 2), index=False)
    path.with_suffix(".idx").write_text(text)
    with pytest.raises(RecordError, match=message):
        open_records(path)


@pytest.mark.parametrize("text", ["", "120,112", "a,b,c", "1,2,3,4"])
def test_a_property_that_cannot_be_read_is_named(text: str, tmp_path: Path) -> None:
    path = written(tmp_path, labelled(0, 1))
    path.with_name("property").write_text(text)
    with pytest.raises(RecordError, match="property: expected 'people,height,width'"):
        open_records(path)


def test_header_ranges_beyond_the_index_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, range_record(0, 2, 5), labelled(0, 0), range_record(2, 1, 2))
    with pytest.raises(RecordError, match=r"records 2 to 4 describe people.*3 records up to 2"):
        open_records(path)


def test_beyond_float32_the_images_are_told_from_people_by_their_size() -> None:
    # Glint360K has more images than float32 can count, so record 0 cannot be exact.
    sizes = [40, 5000, 4000, 40, 40]
    offsets = np.cumsum([0, *sizes[:-1]])
    assert _first_bare(offsets, sum(sizes)) == 3
    assert len(range_record(3, 1, 2)) == 40
    with pytest.raises(RecordError, match="float32"):
        range_record(0, FLOAT_EXACT + 1, FLOAT_EXACT + 2)


PEAK = """
import resource, sys
from pathlib import Path
from training.data.sources.faces import open_faces
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
faces = open_faces(Path(sys.argv[1]))
total = 0
for number in range(len(faces)):
    total += len(faces.read(number))
    if number % 1000 == 0:
        faces.release()
assert total > 250e6
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss in kilobytes, MADV_DONTNEED")
def test_reading_a_file_of_256_mb_takes_far_less_memory(tmp_path: Path) -> None:
    path = tmp_path / "train.rec"
    image = JPEG * 200
    with path.open("wb") as file:
        for key in range((256 << 20) // len(image)):
            file.write(image_record(key, 0, image))
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 100


def test_complete_records_stop_before_the_one_that_was_cut(tmp_path: Path) -> None:
    split = framed(b"abcd" + MAGIC_BYTES + b"efgh")
    data = labelled(0, 1) + split + labelled(0, 2)
    path = tmp_path / "train.rec"
    for size in range(1, len(data) + 1):
        path.write_bytes(data[:size])
        offsets, stop = complete_records(map_file(path), path)
        ends = [end for end in (60, 60 + len(split), len(data)) if end <= size]
        assert stop == (ends[-1] if ends else 0)
        assert offsets.tolist() == [0, *ends][: len(ends)]
    assert record_offsets(map_file(path), path).tolist() == [0, 60, 60 + len(split)]
