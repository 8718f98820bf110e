"""`zoo pull` against servers on loopback that are slow, break off, or lie."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import re
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from loopback import Handler, answers, digest, entry, left_in, sends
from samples import Zoo


def test_what_comes_is_checked_and_put_in_place(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Callable[[Handler], str]
) -> None:
    target = entry(tmp_path, serve(sends(weights)), digest(weights))
    outcome = zoo("pull", "far")
    assert (outcome.code, outcome.out) == (0, "weights/far.h5\n")
    assert target.read_bytes() == weights
    assert left_in(target.parent) == ["far.h5"]


def test_what_is_there_is_not_asked_for_again(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Callable[[Handler], str]
) -> None:
    asked = []
    answer = sends(weights)
    url = serve(lambda request: (asked.append(1), answer(request))[1])
    entry(tmp_path, url, digest(weights))
    assert [zoo("pull", "far").code for _ in range(2)] == [0, 0]
    assert asked == [1]


def test_a_hash_that_is_not_known_is_shown_with_the_line_to_add(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Callable[[Handler], str]
) -> None:
    entry(tmp_path, serve(sends(weights)))
    outcome = zoo("pull", "far", "--unverified")
    assert outcome.code == 0
    assert f"    sha256: {digest(weights)}\n" in outcome.err


def test_a_slow_server_is_waited_for(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Callable[[Handler], str]
) -> None:
    target = entry(tmp_path, serve(sends(weights, pause=0.3)), digest(weights))
    assert zoo("pull", "far", "--timeout", 5).code == 0
    assert target.read_bytes() == weights


@pytest.mark.parametrize("sha256", [True, False], ids=["hash known", "hash not known"])
@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("silent", "said nothing for 0.3 s"),
        ("breaks off", "broke off"),
        ("ends early", "another SHA-256|damaged or truncated"),
        ("other file", "another SHA-256|no model file"),
        ("not found", "404"),
        ("nobody there", "broke off"),
    ],
)
def test_a_server_that_fails_leaves_no_model(
    zoo: Zoo,
    tmp_path: Path,
    weights: bytes,
    serve: Callable[[Handler], str],
    name: str,
    cause: str,
    sha256: bool,
) -> None:
    half = weights[: len(weights) // 2]
    answers = {
        "silent": sends(half, pause=3),
        "breaks off": sends(half, length=len(weights)),
        "ends early": sends(half, length=-1),
        "other file": sends(b"<html>please log in</html>"),
        "not found": sends(b"gone", code=404),
    }
    url = serve(answers[name]) if name in answers else "http://127.0.0.1:9/model.h5"
    target = entry(tmp_path, url, digest(weights) if sha256 else "")
    outcome = zoo("pull", "far", "--unverified", "--timeout", 0.3 if name == "silent" else 20)
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert re.search(cause, outcome.error_lines[0])
    # What can be gone on with, as its hash will tell whether it was right.
    resumable = sha256 and name in ("silent", "breaks off")
    assert left_in(target.parent) == (["far.h5.part"] if resumable else [])


def test_another_file_in_place_is_not_replaced(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Callable[[Handler], str]
) -> None:
    target = entry(tmp_path, serve(sends(weights)), digest(weights))
    target.parent.mkdir()
    target.write_bytes(b"mine")
    outcome = zoo("pull", "far")
    assert outcome.code == 2
    assert "move it away" in outcome.err
    assert target.read_bytes() == b"mine"


def test_an_entry_without_an_address_names_its_source(zoo: Zoo, tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(
        "models:\n  near:\n    file: a.h5\n    input: {profile: unit}\n    source: a drive\n"
    )
    outcome = zoo("pull", "near")
    assert outcome.code == 2
    assert "a drive" in outcome.err
    assert "did you mean 'near'" in zoo("pull", "neat").err


def test_an_address_of_another_kind_is_refused(zoo: Zoo, tmp_path: Path) -> None:
    entry(tmp_path, "file:///etc/passwd")
    outcome = zoo("pull", "far")
    assert outcome.code == 2
    assert "starts with http" in outcome.err


def test_a_download_that_breaks_off_says_how_much_came(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Callable[[Handler], str]
) -> None:
    half = weights[: len(weights) // 2]
    entry(tmp_path, serve(sends(half, length=len(weights))))
    line = zoo("pull", "far", "--unverified").error_lines[0]
    assert f"({len(half):,} bytes came, {len(weights) - len(half):,} did not)" in line


# urllib3 leaves a socket to the garbage collector where it refuses a header, and who still waits
# for headers ends with the process: here both end with the test.
_LEFT_SOCKET = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def over() -> Iterator[threading.Event]:
    """Set as a test is over; then those who wait end, and what they leave is collected."""
    event = threading.Event()
    yield event
    event.set()
    for each in threading.enumerate():
        if each.name.endswith("(ask)"):
            each.join(60)
    gc.collect()


@_LEFT_SOCKET
@pytest.mark.usefixtures("over")
@pytest.mark.parametrize("sha256", [True, False], ids=["hash known", "hash not known"])
@pytest.mark.parametrize(
    ("name", "value", "cause"),
    [
        ("Content-Length", "abc", "declares a Content-Length of 'abc'"),
        ("Content-Length", "-5", "declares a Content-Length of '-5'"),
        ("Content-Length", "9" * 400, "declares a Content-Length of '9999"),
        ("Content-Length", "1e3", "declares a Content-Length of '1e3'"),
        ("Content-Length", "", "declares a Content-Length of"),
        ("Content-Length", "5, 6", "Content-Length|broke off"),
        ("Content-Length", str(10**14), "has room for"),
        ("Content-Encoding", "gzip", "packed as 'gzip'"),
    ],
)
def test_headers_that_make_no_sense_are_one_line(
    zoo: Zoo,
    tmp_path: Path,
    weights: bytes,
    serve: Callable[[Handler], str],
    name: str,
    value: str,
    cause: str,
    sha256: bool,
) -> None:
    url = serve(answers(body=weights, headers=((name, value),)))
    target = entry(tmp_path, url, digest(weights) if sha256 else "")
    outcome = zoo("pull", "far", "--unverified", "--timeout", 2)
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert re.search(cause, outcome.error_lines[0])
    assert left_in(target.parent) == []


@_LEFT_SOCKET
@pytest.mark.usefixtures("over")
@pytest.mark.parametrize(
    ("location", "cause"),
    [
        ("file:///etc/passwd", "no address of http"),
        ("ftp://127.0.0.1/x", "no address of http"),
        ("http://[::1", "no address of http"),
        ("http://", "no address of http|more than 10 times"),
        ("http://host:99999999/", "no address of http"),
        ("", "leads on to nowhere"),
        ("/model.h5", "leads on more than 10 times"),
        ("http://\x1b[31m\xff/", "no address of http|broke off"),
        ("http://" + "a" * 300 + "/", "broke off"),
        ("//" + "." * 5, "broke off|no address"),
    ],
)
def test_redirects_to_nowhere_are_one_line(
    zoo: Zoo, tmp_path: Path, serve: Callable[[Handler], str], location: str, cause: str
) -> None:
    headers = (("Location", location),) if location else ()
    target = entry(tmp_path, serve(answers(code=302, headers=headers)))
    outcome = zoo("pull", "far", "--unverified", "--timeout", 2)
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert re.search(cause, outcome.error_lines[0])
    assert outcome.error_lines[0].isprintable()
    assert left_in(target.parent) == []


def test_a_redirect_is_followed(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Callable[[Handler], str]
) -> None:
    there = serve(sends(weights))
    target = entry(tmp_path, serve(answers(code=301, headers=(("Location", there),))))
    assert zoo("pull", "far", "--unverified").code == 0
    assert target.read_bytes() == weights


def drips(request: BaseHTTPRequestHandler, data: bytes, over: threading.Event) -> None:
    with contextlib.suppress(OSError):
        for byte in data:
            request.wfile.write(bytes([byte]))
            request.wfile.flush()
            if over.wait(0.05):
                return


@_LEFT_SOCKET
@pytest.mark.parametrize("where", ["body", "headers", "first line"])
def test_a_server_that_drips_is_left(
    zoo: Zoo,
    tmp_path: Path,
    weights: bytes,
    serve: Callable[[Handler], str],
    over: threading.Event,
    where: str,
) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        if where == "body":
            answers(headers=(("Content-Length", str(len(weights))),))(request)
            drips(request, weights, over)
        elif where == "headers":
            drips(request, b"HTTP/1.0 200 OK\r\n" + b"X-Slow: yes\r\n" * 80, over)
        else:
            drips(request, b"HTTP/1.0 200 " + b"O" * 1000, over)

    target = entry(tmp_path, serve(answer))
    begin = time.monotonic()
    outcome = zoo("pull", "far", "--unverified", "--timeout", 0.5)
    assert time.monotonic() - begin < 30  # of the 50 that it would take
    assert outcome.code == 2
    assert re.search("bytes a second|did not answer", outcome.error_lines[0])
    assert left_in(target.parent) == []


def test_without_a_declared_length_no_more_is_taken_than_is_stated(
    zoo: Zoo,
    tmp_path: Path,
    weights: bytes,
    serve: Callable[[Handler], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zoo.entries.download.LARGEST_UNDECLARED", 1000)
    target = entry(tmp_path, serve(sends(weights, length=-1)))
    outcome = zoo("pull", "far", "--unverified")
    assert outcome.code == 2
    assert "sends more than the 1,000 bytes" in outcome.error_lines[0]
    assert left_in(target.parent) == []


def test_a_download_goes_on_where_it_broke_off(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Callable[[Handler], str]
) -> None:
    asked: list[str | None] = []
    half = len(weights) // 2

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.headers.get("Range"))
        if len(asked) == 1:
            sends(weights[:half], length=len(weights))(request)
            return
        stated = ("Content-Range", f"bytes {half}-{len(weights) - 1}/{len(weights)}")
        length = ("Content-Length", str(len(weights) - half))
        answers(code=206, body=weights[half:], headers=(stated, length))(request)

    target = entry(tmp_path, serve(answer), digest(weights))
    assert zoo("pull", "far").code == 2
    assert left_in(target.parent) == ["far.h5.part"]
    assert zoo("pull", "far").code == 0
    assert asked == [None, f"bytes={half}-"]
    assert target.read_bytes() == weights
    assert left_in(target.parent) == ["far.h5"]


@pytest.mark.parametrize("name", ["all anew", "no such part", "wrong part", "other bytes"])
def test_what_was_here_of_another_file_is_not_believed(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Callable[[Handler], str], name: str
) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        if asked is None or name == "all anew":
            sends(weights)(request)
        elif name == "no such part":
            answers(code=416)(request)
        elif name == "wrong part":
            answers(code=206, headers=(("Content-Range", "bytes 7-9/10"),))(request)
        else:
            rest = weights[9:]
            stated = ("Content-Range", f"bytes 9-{len(weights)}/{len(weights)}")
            answers(code=206, body=rest, headers=(stated,))(request)

    target = entry(tmp_path, serve(answer), digest(weights))
    target.parent.mkdir()
    part = target.with_name("far.h5.part")
    part.write_bytes(b"9 bytes..")
    outcome = zoo("pull", "far", "--timeout", 5)
    if name in ("all anew", "no such part"):
        assert outcome.code == 0, outcome.err
        assert target.read_bytes() == weights
        return
    assert outcome.code == 2
    assert not target.exists()
    # Bytes that have the wrong hash are gone: the next call begins anew.
    assert part.exists() == (name == "wrong part")


def test_a_part_that_nobody_here_wrote_is_not_written_through(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Callable[[Handler], str]
) -> None:
    target = entry(tmp_path, serve(sends(weights)), digest(weights))
    target.parent.mkdir()
    part = target.with_name("far.h5.part")
    (tmp_path / "mine").write_text("mine")
    for make in (
        lambda at: at.symlink_to(tmp_path / "mine"),
        lambda at: at.hardlink_to(tmp_path / "mine"),
        os.mkfifo,
        Path.mkdir,
    ):
        make(part)
        outcome = zoo("pull", "far")
        assert outcome.code == 2
        assert "far.h5.part" in outcome.error_lines[0]
        assert (tmp_path / "mine").read_text() == "mine"
        assert os.path.lexists(part)
        part.rmdir() if part.is_dir() else part.unlink()


def test_a_whole_zip_cut_short_is_no_model(
    zoo: Zoo, tmp_path: Path, serve: Callable[[Handler], str]
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", bytes(5000))
    target = entry(tmp_path, serve(sends(buffer.getvalue()[:-60], length=-1)))
    outcome = zoo("pull", "far", "--unverified")
    assert outcome.code == 2
    assert "damaged or truncated: a zip without its end" in outcome.error_lines[0]
    assert left_in(target.parent) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such locks")
def test_of_two_downloads_of_one_file_the_second_is_refused(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Callable[[Handler], str]
) -> None:
    import fcntl

    target = entry(tmp_path, serve(sends(weights)), digest(weights))
    target.parent.mkdir()
    with target.with_name("far.h5.part").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        outcome = zoo("pull", "far")
        assert outcome.code == 2
        assert "another process is downloading it" in outcome.error_lines[0]
        assert left_in(target.parent) == ["far.h5.part"]
    assert zoo("pull", "far").code == 0
    assert left_in(target.parent) == ["far.h5"]
