"""What is measured, a model on a bin, and where its result stands in a folder of results."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from evaluator.results.record import Result, Settings

_USUAL = Settings()


@dataclass(frozen=True)
class Measured:
    """A model on a bin with settings: what a result is asked for by, and stored by.

    ``model`` is (name, identity), ``bin`` (name, SHA-256). ``profile`` and ``channels`` are the
    input's; ``output`` and ``size`` None: the model's own.
    """

    model: tuple[str, str]
    bin: tuple[str, str]
    settings: Settings = _USUAL
    profile: str = "unit"
    channels: str = "rgb"
    output: str | None = None
    size: tuple[int, int] | None = None

    def path_in(self, folder: Path) -> Path:
        """Where the result stands in a folder of results.

        ``<folder>/<model>-<id8>/<bin>-<sha8>.json``, with what is not the default named before
        ``.json``: two settings of one model and bin are two results.
        """
        settings = self.settings
        words = (
            (self.profile != "unit", _input_name(self.profile)),
            (self.channels == "bgr", "bgr"),
            (self.size is not None, f"size-{'x'.join(map(str, self.size or ()))}"),
            (self.output is not None, f"output-{_file_name(self.output or '')}"),
            (settings.flip != _USUAL.flip, f"flip-{settings.flip}"),
            (settings.decoder != _USUAL.decoder, settings.decoder),
            (settings.precision != _USUAL.precision, settings.precision),
            (settings.engine != _USUAL.engine, settings.engine),
            (settings.norm == "unit", "norm-unit"),
            (settings.detector_score == "no", "no-detector-score"),
            (settings.nan != _USUAL.nan, f"nan-{settings.nan}"),
        )
        stem = ".".join([_short(self.bin), *(each for is_said, each in words if is_said)])
        return model_folder(folder, self.model) / f"{stem}.json"


def _input_name(profile: str) -> str:
    """A profile's name; of one in words, which files cannot be called, a digest of them."""
    words = hashlib.sha256(profile.encode()).hexdigest()[:8]
    return profile if profile.isalpha() else f"input-{words}"


def model_folder(folder: Path, model: tuple[str, str]) -> Path:
    """Where all that is stored of a model (name, identity) stands in a folder of results."""
    return folder / _short(model)


def path_of(result: Result, folder: Path) -> Path:
    """Where a result with scores, which was stored in a folder of results, stands in it."""
    stem = (result.scores or "")[: -len(".0123456789ab.h5")]
    return folder / _short((result.model.name, result.model.identity)) / f"{stem}.json"


def is_place_of(path: Path, result: Result) -> bool:
    """Whether a result of that model and bin, with some settings, would stand at a path."""
    model, own = result.model, _short((result.bin.name, result.bin.sha256))
    folder = _short((model.name, model.identity))
    return path.parent.name == folder and path.name.startswith(f"{own}.")


def folders_of_name(folders: Iterable[Path], name: str) -> list[Path]:
    """Those of the folders in which results of models of that name stand, whatever their hash.

    Names are shortened in it: another name's folder may be among them.
    """
    prefix = _short((name, ""))
    return [path for path in folders if path.name[:-8] == prefix]


def _short(called: tuple[str, str]) -> str:
    name, digest = called
    return f"{_file_name(name)}-{digest[:8]}"


def _file_name(name: str) -> str:
    # File systems allow 255 bytes, and settings, hash and a temporary suffix come on top.
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", name).lstrip(".")[:100] or "_"
