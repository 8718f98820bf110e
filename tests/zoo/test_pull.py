"""`zoo pull` against servers on loopback that are slow, break off, or lie."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import pytest
from samples import Zoo

Handler = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def weights(tmp_path: Path) -> bytes:
    """A Keras .h5, by its description alone."""
    layers = [{"class_name": "InputLayer", "config": {"batch_shape": [None, 8, 8, 3]}}]
    path = tmp_path / "source.h5"
    with h5py.File(path, "w") as file:
        config = {"class_name": "Functional", "config": {"layers": layers}}
        file.attrs["model_config"] = json.dumps(config)
        file["weights"] = list(range(4000))
    return path.read_bytes()


@pytest.fixture
def serve() -> Iterator[Callable[[Handler], str]]:
    """Starts a server that answers with a function; gives its address."""
    servers = []

    def start(answer: Handler) -> str:
        class Answering(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/model.h5"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def sends(data: bytes, *, length: int | None = None, code: int = 200, pause: float = 0) -> Handler:
    """Answers with ``data`` in four pieces, declaring ``length`` bytes (-1: none declared)."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        if length != -1:
            request.send_header("Content-Length", str(len(data) if length is None else length))
        request.end_headers()
        step = len(data) // 4 + 1
        try:
            for start in range(0, len(data), step):
                request.wfile.write(data[start : start + step])
                request.wfile.flush()
                time.sleep(pause)
        except OSError:
            pass  # the client gave up, as it should

    return answer


def entry(folder: Path, url: str, sha256: str = "") -> Path:
    (folder / "models.yaml").write_text(
        f"models:\n  far:\n    file: weights/far.h5\n    sha256: {sha256}\n    url: {url}\n"
        "    input: {profile: unit}\n    source: a test\n"
    )
    return folder / "weights" / "far.h5"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def left_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


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
    outcome = zoo("pull", "far")
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
def test_a_server_that_fails_leaves_nothing(
    zoo: Zoo,
    tmp_path: Path,
    weights: bytes,
    serve: Callable[[Handler], str],
    name: str,
    cause: str,
    sha256: bool,
) -> None:
    import re

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
    outcome = zoo("pull", "far", "--timeout", 0.3)
    assert outcome.code == 2
    assert len(outcome.error_lines) == 1
    assert re.search(cause, outcome.error_lines[0])
    assert left_in(target.parent) == []


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
    line = zoo("pull", "far").error_lines[0]
    assert f"({len(half):,} bytes came, {len(weights) - len(half):,} did not)" in line
