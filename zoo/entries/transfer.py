"""What a server answers: led by a few redirects, of a length that makes sense, and not for ever."""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTimeError
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import requests
import urllib3.exceptions

from evaluator.errors import InputError, cause_of

_MOST_REDIRECTS = 10
_BLOCK = 1 << 18
# A server that sends less is as good as silent: 100 MB would take twelve days.
_LEAST_BYTES_A_SECOND = 100
_REDIRECTS = (301, 302, 303, 307, 308)

# What requests raises, and what it lets through of the libraries below it.
_BROKEN = (
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    UnicodeError,
)


class DownloadError(InputError):
    """A file could not be downloaded, or is not what was expected."""


@dataclass(frozen=True)
class Answer:
    """Bytes on their way: from ``start`` of the file on, ``length`` of them; None: not declared.

    ``tag`` is the file's ETag where that stands for its every byte.
    """

    url: str
    start: int
    length: int | None
    tag: str | None
    response: requests.Response
    timeout: float

    def blocks(self) -> Iterator[bytes]:
        """The bytes as they come. Raises DownloadError where they stop, crawl, or end early."""
        came, begin, of_period = 0, time.monotonic(), 0
        while self.length != 0:
            try:
                # What has come, as soon as anything has; b"" at the end.
                block: bytes = self.response.raw.read1(_BLOCK)
            except _BROKEN as error:
                raise _broken(self.url, error, self.timeout, (came, self.length)) from None
            if not block:
                break
            came += len(block)
            of_period += len(block)
            yield block
            seconds = time.monotonic() - begin
            if seconds >= self.timeout:
                if of_period < seconds * _LEAST_BYTES_A_SECOND:
                    raise DownloadError(
                        f"{self.url}: the server sends {of_period / seconds:.0f} bytes a second, "
                        f"and {_LEAST_BYTES_A_SECOND} are the least; try again later"
                    )
                begin, of_period = time.monotonic(), 0
        if self.length is not None and came != self.length:
            raise DownloadError(
                f"{self.url}: the download broke off ({came:,} bytes came, "
                f"{self.length - came:,} did not); try again"
            )


class _Session(requests.Session):
    """A session that leaves redirects to `_led`: requests reads their whole content first."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Nowhere."""
        del resp


@contextmanager
def answered(
    url: str, *, start: int, tag: str | None, trusted: bool, timeout: float
) -> Iterator[Answer]:
    """The answer to a request for what is at an address, from byte ``start`` on if the server can.

    From the beginning where the file has another ETag than ``tag`` by now; nothing more where the
    first ``start`` bytes are the whole of it. Redirects are followed to http and https alone, and
    away from https only where the content is ``trusted``, its SHA-256 being known. Raises
    DownloadError.
    """
    headers = {"Range": f"bytes={start}-"} if start else {}
    headers |= {"If-Range": tag} if start and tag is not None else {}
    with _Session() as session:
        response = _led(session, url, headers, trusted=trusted, timeout=timeout)
        if start and response.status_code == 416:
            ends = re.fullmatch(r"bytes \*/(\d{1,15})", response.headers.get("Content-Range", ""))
            if ends is not None and int(ends[1]) == start and tag in (None, _tag(response)):
                response.close()
                yield Answer(url, start, 0, tag, response, timeout)
                return
        # There is no such part, or a part of another file than is here.
        if start and (response.status_code == 416 or _is_of_another(response, tag)):
            response.close()
            start = 0
            response = _led(session, url, {}, trusted=trusted, timeout=timeout)
        with response:
            yield _checked(url, response, start, timeout)


def _is_of_another(response: requests.Response, tag: str | None) -> bool:
    return response.status_code == 206 and tag is not None and tag != _tag(response)


def _tag(response: requests.Response) -> str | None:
    """The ETag of an answer; None for one that stands for what is merely alike (``W/``)."""
    stated = response.headers.get("ETag", "")
    return stated if re.fullmatch(r'"[!#-~]{1,200}"', stated) else None


def _led(
    session: requests.Session,
    url: str,
    headers: Mapping[str, str],
    *,
    trusted: bool,
    timeout: float,
) -> requests.Response:
    """The answer at the end of the redirects."""
    at = url
    for _ in range(_MOST_REDIRECTS + 1):
        response = _asked(session, at, headers, url, timeout)
        if response.status_code not in _REDIRECTS:
            return response
        target = response.headers.get("Location", "")
        response.close()
        at = _next_address(url, at, target, trusted=trusted)
    raise DownloadError(f"{url}: leads on more than {_MOST_REDIRECTS} times; nothing was taken")


def _next_address(url: str, at: str, target: str, *, trusted: bool) -> str:
    """Where a redirect leads. Raises DownloadError for what is no address of http or https."""
    shown = cause_of(target)[:80] if target else "nowhere"
    try:
        found = urljoin(at, target)
        parts = urlsplit(found)
        whole = bool(target) and parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port  # no number, or one too large
    except ValueError:
        whole = False
    if not whole:
        raise DownloadError(f"{url}: leads on to {shown}, which is no address of http or https")
    if parts.scheme == "http" and urlsplit(at).scheme == "https" and not trusted:
        raise DownloadError(
            f"{url}: leads on to {shown}, where anyone on the way may change what comes; state "
            "its sha256 in the entry"
        )
    return found


def _asked(
    session: requests.Session, at: str, headers: Mapping[str, str], url: str, timeout: float
) -> requests.Response:
    headers = {"Accept-Encoding": "identity", **headers}
    answer: Future[requests.Response] = Future()

    def ask() -> None:
        try:
            answer.set_result(
                session.get(
                    at, stream=True, timeout=timeout, headers=headers, allow_redirects=False
                )
            )
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            # Without its frames, which hold the connection, and this one, which holds the answer.
            answer.set_exception(error.with_traceback(None))

    # Headers may come by the byte: the thread that goes on asking then ends with the process.
    threading.Thread(target=ask, daemon=True).start()
    try:
        return answer.result(3 * timeout + 1)
    except NotInTimeError:
        raise DownloadError(
            f"{url}: the server did not answer in {3 * timeout + 1:g} s; try again later"
        ) from None
    except _BROKEN as error:
        raise _broken(url, error, timeout, None) from None


def _checked(url: str, response: requests.Response, start: int, timeout: float) -> Answer:
    """The answer, its headers found to make sense. Raises DownloadError."""
    status = response.status_code
    if status not in (200, 206) or (status == 206 and not start):
        reason = cause_of(response.reason or "")[:80]
        raise DownloadError(f"{url}: the server answers {status} {reason}".rstrip())
    if status == 206:
        stated = response.headers.get("Content-Range", "")
        if re.match(rf"bytes {start}-\d", stated) is None:
            raise DownloadError(
                f"{url}: asked for bytes from {start:,} on, and the server sends "
                f"{cause_of(stated)[:80]!r}; remove the .part file and pull again"
            )
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() not in ("identity", ""):
        raise DownloadError(f"{url}: sends the file packed as {cause_of(encoding)[:40]!r}")
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise DownloadError(f"{url}: sends a web page, and no model file (a page to log in?)")
    first = start if status == 206 else 0
    return Answer(url, first, _length(url, response), _tag(response), response, timeout)


def _length(url: str, response: requests.Response) -> int | None:
    stated = response.headers.get("Content-Length")
    if stated is None or "chunked" in response.headers.get("Transfer-Encoding", "").lower():
        return None
    if re.fullmatch(r"[0-9]{1,15}", stated.strip(), re.ASCII) is None:
        raise DownloadError(
            f"{url}: declares a Content-Length of {cause_of(stated)[:40]!r}; expected a number "
            "of bytes"
        )
    return int(stated)


def _broken(
    url: str, error: Exception, timeout: float, came: tuple[int, int | None] | None
) -> DownloadError:
    """What ended a download, in words; requests nests the causes of urllib3."""
    cause: object = error.args[0] if error.args else error
    silent = (requests.exceptions.Timeout, urllib3.exceptions.ReadTimeoutError)
    # requests has one class for a server that does not answer and none for one that stops.
    if isinstance(error, silent) or isinstance(cause, silent):
        return DownloadError(f"{url}: the server said nothing for {timeout:g} s; try again later")
    inner = cause.args[-1] if isinstance(cause, Exception) and cause.args else cause
    words = cause_of(str(inner))
    if came is not None and came[1] is not None:
        words = f"{came[0]:,} bytes came, {came[1] - came[0]:,} did not"
    return DownloadError(f"{url}: the download broke off ({words}); try again")
