"""`zoo pull` of a file in a zip, from zips that are whole and zips that were made to harm."""

from __future__ import annotations

import io
import re
import stat
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from loopback import Handler, breaks_off, digest, in_turn, keeps, left_in, packed, sends
from samples import Zoo

Serve = Callable[[Handler], str]
Members = dict[str, bytes]


def zipped(members: Members, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def twice(weights: bytes) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("far.h5", weights)
        archive.writestr("far.h5", weights)
    return buffer.getvalue()


def link(_: bytes) -> bytes:
    buffer = io.BytesIO()
    info = zipfile.ZipInfo("far.h5")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


def with_directory(data: bytes, offset: int, kind: str, value: int) -> bytes:
    """The zip with another value in the central directory's record of its one file."""
    changed = bytearray(data)
    struct.pack_into(kind, changed, data.index(b"PK\x01\x02") + offset, value)
    return bytes(changed)


@pytest.mark.parametrize("where", ["far.h5", "antelopev2/far.h5", "../../far.h5", "/far.h5"])
def test_a_file_in_a_zip_is_put_where_the_entry_says(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Serve, where: str
) -> None:
    archive = zipped({"detector.onnx": bytes(90), where: weights})
    target = packed(tmp_path, serve(sends(archive)), digest(weights), digest(archive))
    outcome = zoo("pull", "far")
    assert (outcome.code, outcome.out, outcome.err) == (0, "weights/far.h5\n", "")
    assert target.read_bytes() == weights
    assert left_in(target.parent) == ["far.h5"]
    written = {path.name for path in tmp_path.rglob("*")} - {"source.h5"}
    assert written == {"models.yaml", "weights", "far.h5"}


HOSTILE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "absent": (lambda w: zipped({"other.h5": w}), "no file called far.h5"),
    "only like it": (lambda w: zipped({"xfar.h5": w, "far.h5/x": w}), "no file called far.h5"),
    "twice": (twice, "2 files called far.h5"),
    "in two folders": (lambda w: zipped({"a/far.h5": w, "far.h5": w}), "2 files called far.h5"),
    "link": (link, "is a link"),
    # Bit 0 of the flags, 8 bytes into the record; the size unpacked is at 24, the method at 10.
    "encrypted": (lambda w: with_directory(zipped({"far.h5": w}), 8, "<H", 1), "is encrypted"),
    "larger than said": (
        lambda w: with_directory(zipped({"far.h5": w}), 24, "<I", len(w) - 9),
        "the zip is damaged",
    ),
    "smaller than said": (
        lambda w: with_directory(zipped({"far.h5": w}), 24, "<I", len(w) + 9),
        "is said to have|the zip is damaged",
    ),
    "bomb": (lambda _: zipped({"far.h5": bytes(5 << 20)}), "as no weights do"),
    "bzip2": (lambda w: zipped({"far.h5": w}, zipfile.ZIP_BZIP2), "packed by method 12"),
    "other bytes": (
        lambda w: zipped({"far.h5": w}, 0).replace(w[-40:], w[-40:-1] + b"!"),
        "the zip is damaged: Bad CRC",
    ),
    "cut": (lambda w: zipped({"far.h5": w})[:-30], "the zip is damaged"),
    "no zip": (lambda w: w, "the zip is damaged: File is not a zip file"),
    "a zip in it": (lambda w: zipped({"far.h5": zipped({"far.h5": w})}), "another SHA|no model"),
    "another model": (lambda w: zipped({"far.h5": w + b"."}), "another SHA|$"),
}


@pytest.mark.parametrize("known", [True, False], ids=["hash known", "hash not known"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_zip_that_is_not_what_was_expected_leaves_nothing(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Serve, name: str, known: bool
) -> None:
    make, cause = HOSTILE[name]
    archive = make(weights)
    hashes = (digest(weights), digest(archive)) if known else ("", "")
    target = packed(tmp_path, serve(sends(archive)), *hashes)
    outcome = zoo("pull", "far", "--unverified")
    if name == "another model" and not known:  # nothing tells it from the right one
        assert outcome.code == 0
        return
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert re.search(cause, outcome.error_lines[0])
    assert left_in(target.parent) == []


def test_a_zip_of_another_hash_is_not_opened(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Serve
) -> None:
    archive = zipped({"far.h5": weights})
    target = packed(tmp_path, serve(sends(archive)), digest(weights), "f" * 64)
    line = zoo("pull", "far").error_lines[0]
    assert f"another SHA-256 than the {'f' * 64} expected, {digest(archive)}" in line
    assert left_in(target.parent) == []


def test_a_zip_that_broke_off_is_gone_on_with(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Serve
) -> None:
    archive = zipped({"far.h5": weights}, zipfile.ZIP_STORED)
    asked: list[str] = []
    url = serve(in_turn(breaks_off(archive), keeps(archive, asked=asked)))
    target = packed(tmp_path, url, digest(weights), digest(archive))
    assert zoo("pull", "far").code == 2
    assert left_in(target.parent) == ["far.h5.part"]
    assert zoo("pull", "far").code == 0
    assert asked == [f"bytes={len(archive) // 2}- None"]
    assert left_in(target.parent) == ["far.h5"]


def test_a_zip_that_the_disk_has_no_room_to_unpack_is_kept(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = zipped({"far.h5": weights}, zipfile.ZIP_STORED)
    target = packed(tmp_path, serve(keeps(archive)), digest(weights), digest(archive))
    rooms = [len(archive), 100]
    monkeypatch.setattr("zoo.entries.download._room", lambda _: rooms.pop(0) if rooms else 10**9)
    outcome = zoo("pull", "far")
    assert outcome.code == 2
    assert "has no room for far.h5" in outcome.error_lines[0]
    assert left_in(target.parent) == ["far.h5.part"]
    assert zoo("pull", "far").code == 0
    assert left_in(target.parent) == ["far.h5"]
