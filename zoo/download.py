"""Files from the network: whole, checked, and with a bar on stderr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pooch
import requests
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
from rich.progress import Progress as RichProgress
from urllib3.exceptions import IncompleteRead, ProtocolError, ReadTimeoutError

from evaluator.errors import InputError, ModelError
from evaluator.models import model_format, model_sha256
from evaluator.models.keras_config import check_weights, read_config
from zoo.words import shows_progress


class DownloadError(InputError):
    """A file could not be downloaded, or is not what was expected."""


def download(url: str, target: Path, sha256: str | None, *, timeout: float = 30.0) -> str:
    """Brings a model to ``target`` unless it is there, and returns its SHA-256.

    Nothing is left at ``target`` but a whole file of that hash; without one, a file that is a
    model by its content. ``timeout`` is how many seconds the server may be silent. Raises
    DownloadError, or OSError.
    """
    if target.exists():
        found = model_sha256(target)
        if sha256 not in (None, found):
            raise DownloadError(
                f"{target}: is there already, with SHA-256 {found} instead of {sha256}; "
                "move it away, then pull again"
            )
        return found
    target.parent.mkdir(parents=True, exist_ok=True)
    store = pooch.create(
        path=target.parent,
        base_url="",
        registry={target.name: sha256 if sha256 is None else f"sha256:{sha256}"},
        urls={target.name: url},
    )
    pooch.get_logger().setLevel("ERROR")
    try:
        with _Bar(target.name) as bar:
            store.fetch(
                target.name,
                downloader=pooch.HTTPDownloader(
                    progressbar=bar, timeout=timeout, headers={"Accept-Encoding": "identity"}
                ),
            )
    except requests.exceptions.HTTPError as error:
        raise DownloadError(str(error)) from None
    except requests.exceptions.RequestException as error:
        cause = error.args[0] if error.args else error
        # requests has one class for a server that does not answer and none for one that stops.
        if isinstance(error, requests.exceptions.Timeout) or isinstance(cause, ReadTimeoutError):
            raise DownloadError(
                f"{url}: the server said nothing for {timeout:g} s; try again later"
            ) from None
        raise DownloadError(
            f"{url}: the download broke off ({_broken(cause)}); try again"
        ) from None
    except ValueError as error:
        if "hash" not in str(error):
            raise
        raise DownloadError(
            f"{url}: what came has another SHA-256 than the {sha256} expected, and was removed: "
            "the file was changed, or damaged on the way"
        ) from None
    try:
        _check_whole(target)
    except ModelError as error:
        target.unlink()
        raise DownloadError(f"{url}: what came was removed: {error}") from None
    return model_sha256(target)


def _broken(cause: object) -> str:
    """What ended a download, in words; requests nests the causes of urllib3."""
    inner = cause.args[-1] if isinstance(cause, ProtocolError) and cause.args else cause
    if isinstance(inner, IncompleteRead) and inner.partial is not None:
        return f"{inner.partial:,} bytes came, {inner.expected:,} did not"
    return str(inner)


def _check_whole(path: Path) -> None:
    """Raises ModelError for a file that is no model, or the beginning of one."""
    found = model_format(path)
    if found is None:
        raise ModelError("it is no model file (a page to log in?)")
    if found in ("keras", "keras-h5"):
        check_weights(path, found, read_config(path, found))


class _Bar:
    """What pooch tells of a download, as a Rich bar; silent where stderr is no terminal."""

    def __init__(self, title: str) -> None:
        console = Console(stderr=True)
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=console,
            transient=True,
            disable=not shows_progress(),
        )
        self._task = self._bar.add_task(title, total=None)
        self.total = 0

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.stop()

    def update(self, count: int) -> None:
        """Adds bytes to what is there."""
        self._bar.update(self._task, advance=count, total=self.total or None)

    def reset(self) -> None:
        """Called by pooch at the end, before it counts to the total once more."""
        self._bar.update(self._task, completed=0)

    def close(self) -> None:
        """Called by pooch when all is there."""
