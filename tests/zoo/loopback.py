"""Answers of servers on loopback, and an entry that is pulled from one."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

#: What a server on loopback does with a request.
Handler = Callable[[BaseHTTPRequestHandler], None]


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


def packed(folder: Path, url: str, sha256: str, archive: str, member: str = "far.h5") -> Path:
    """An entry whose file is a member of a zip."""
    target = entry(folder, url, sha256)
    with (folder / "models.yaml").open("a") as file:
        file.write(f"    member: {member}\n    archive_sha256: {archive}\n")
    return target


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def left_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def answers(
    *, code: int = 200, body: bytes = b"", headers: tuple[tuple[str, str], ...] = ()
) -> Handler:
    """Answers with just these headers."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(code)
        for name, value in headers:
            request.send_header(name, value)
        request.end_headers()
        with contextlib.suppress(OSError):
            request.wfile.write(body)

    return answer


def keeps(data: bytes, *, tag: str = "", asked: list[str] | None = None) -> Handler:
    """Has a file, and gives parts of it as HTTP says; notes the headers that ask for them."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        wanted, only = request.headers.get("Range"), request.headers.get("If-Range", tag)
        if asked is not None:
            asked.append(f"{wanted} {request.headers.get('If-Range')}")
        begin = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        headers = [("ETag", tag)] if tag else []
        if not wanted or only != tag:
            headers += [("Content-Length", str(len(data)))]
            answers(body=data, headers=tuple(headers))(request)
        elif begin >= len(data):
            headers += [("Content-Range", f"bytes */{len(data)}"), ("Content-Length", "0")]
            answers(code=416, headers=tuple(headers))(request)
        else:
            stated = f"bytes {begin}-{len(data) - 1}/{len(data)}"
            headers += [("Content-Range", stated), ("Content-Length", str(len(data) - begin))]
            answers(code=206, body=data[begin:], headers=tuple(headers))(request)

    return answer


def breaks_off(data: bytes, *, tag: str = "") -> Handler:
    """Declares a file, sends the first half of it and closes."""
    headers = [("ETag", tag)] if tag else []
    headers += [("Content-Length", str(len(data)))]
    return answers(body=data[: len(data) // 2], headers=tuple(headers))


def in_turn(*handlers: Handler) -> Handler:
    """Answers each request with the next of these, the last one for good."""
    waiting = list(handlers)
    return lambda request: (waiting.pop(0) if len(waiting) > 1 else waiting[0])(request)
