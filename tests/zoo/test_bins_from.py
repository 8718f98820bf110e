"""`zoo bins fetch --from`: a bin that others made, held to what came the first time."""

from __future__ import annotations

import hashlib
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from samples import Zoo, write_pairs


class Server:
    """What a loopback address answers: ``data``, of which ``asked`` counts the requests."""

    def __init__(self) -> None:
        self.data, self.asked, self.length = b"", 0, 0


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that stands where the public lfw.bin is."""
    from zoo.entries.public_bins import PUBLIC

    said = Server()

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            said.asked += 1
            self.send_response(200)
            self.send_header("Content-Length", str(said.length or len(said.data)))
            self.end_headers()
            self.wfile.write(said.data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/lfw.bin"
    monkeypatch.setitem(PUBLIC, "lfw", replace(PUBLIC["lfw"], url=url))
    yield said
    server.shutdown()
    server.server_close()


@pytest.fixture
def bins(tmp_path: Path) -> tuple[bytes, bytes]:
    """The bytes of two bins."""
    paths = [write_pairs(tmp_path / f"{first}.bin", people=2, first=first) for first in (0, 7)]
    one, other = (path.read_bytes() for path in paths)
    return one, other


def test_what_came_first_is_pinned(
    zoo: Zoo, tmp_path: Path, far: Server, bins: tuple[bytes, bytes]
) -> None:
    far.data, digest = bins[0], hashlib.sha256(bins[0]).hexdigest()
    done = zoo("bins", "fetch", "lfw", "--from", "public")
    assert (done.code, done.out) == (
        0, f"datasets/lfw.bin: 12 pairs (6 genuine)\nsha256 {digest}\n",
    )  # fmt: skip
    got = tmp_path / "datasets" / "lfw.bin"
    assert got.read_bytes() == bins[0]
    # As coreutils read it.
    subprocess.run(["sha256sum", "-c", "lfw.bin.sha256"], cwd=got.parent, check=True)
    assert zoo("bins", "info", got).out.split("known as")[1].split()[0].startswith("http://127")
    again = zoo("bins", "fetch", "lfw", "--from", "public")
    assert (again.code, "is there already" in again.out, far.asked) == (0, True, 1)
    # The pin outlives the bin.
    got.unlink()
    far.data = bins[1]
    refused = zoo("bins", "fetch", "lfw", "--from", "public")
    (line,) = refused.error_lines
    other = hashlib.sha256(bins[1]).hexdigest()
    assert refused.code == 2
    assert f"has SHA-256 {other}, and the first time it had {digest}" in line
    assert [path.name for path in got.parent.iterdir()] == ["lfw.bin.sha256"]
    assert zoo("bins", "fetch", "lfw", "--from", "public", "--force").code == 0
    assert got.read_bytes() == bins[1]
    far.data = bins[0]
    assert zoo("bins", "fetch", "lfw", "--from", "public", "--force").code == 0
    assert got.read_bytes() == bins[0]


@pytest.mark.parametrize("kind", ["page", "short", "code"])
def test_what_is_no_whole_bin_leaves_nothing(
    zoo: Zoo, tmp_path: Path, far: Server, bins: tuple[bytes, bytes], kind: str
) -> None:
    far.data = {
        "page": b"<html>log in</html>",
        "short": bins[0],
        "code": b"cos\nsystem\n(S'touch ran'\ntR.",
    }[kind]
    far.length = len(bins[0]) + 10 if kind == "short" else 0
    done = zoo("bins", "fetch", "lfw", "--from", "public")
    words = "broke off" if kind == "short" else "what came is no bin, and was removed"
    assert (done.code, words in done.error_lines[0], len(done.error_lines)) == (2, True, 1)
    assert not list((tmp_path / "datasets").iterdir())
    assert not (tmp_path / "ran").exists()


def test_a_bin_of_ones_own_is_not_replaced(
    zoo: Zoo, tmp_path: Path, far: Server, bins: tuple[bytes, bytes]
) -> None:
    far.data = bins[0]
    own = tmp_path / "own.bin"
    own.write_bytes(bins[1])
    done = zoo("bins", "fetch", "lfw", "--from", "public", "-o", own)
    assert (done.code, "is already there" in done.error_lines[0], far.asked) == (2, True, 0)
    assert own.read_bytes() == bins[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("olivetti", "--from", "public"), "nobody is known to publish olivetti.bin"),
        (("lfw", "--from", "ftp://example.org/a"), "expected public, or an address"),
        (("lfw", "--from", "public", "--missing", "skip"), "is aligned already"),
    ],
)
def test_what_does_not_go_together_is_said(zoo: Zoo, arguments: tuple[str], words: str) -> None:
    done = zoo("bins", "fetch", *arguments)
    assert (done.code, words in done.error_lines[0]) == (2, True)
