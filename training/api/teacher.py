"""A trained model whose embeddings another one learns."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from evaluator.api.sources import source_of
from evaluator.choices import check_settings
from evaluator.errors import InputError
from evaluator.files import write_whole
from evaluator.measure.embed import EmbedOptions, embed_images
from evaluator.models.options import LoadOptions
from evaluator.profiles import profile_text
from training.data.sources.faces import FaceSet

Pixels = NDArray[np.uint8]


class Teacher:
    """A model file of any format that `zoo eval` reads, in a process of its own behind a wall; or a
    function, Embedder or keras.Model, as `evaluator.evaluate` takes them, in this process.

    ``input``, ``channels``, ``size`` and ``precision`` are `evaluator.evaluate`'s. ``cache`` is a
    folder for the embeddings of images that are no more than mirrored: by model, settings and data
    (people, labels and the images' names; not their bytes), 8 bytes a feature and image.
    ``embedding_size`` is the embeddings' length, ``notes`` what was assumed, a sentence each.

    It lives until it is closed or forgotten, cannot be pickled and is in no saved model. Several
    threads may use it. Raises InputError and OSError as `evaluator.evaluate` does.
    """

    def __init__(
        self,
        model: Any,
        *,
        input: str | None = None,
        channels: str = "rgb",
        size: int | tuple[int, int] | None = None,
        precision: str = "float32",
        cache: str | Path | None = None,
    ) -> None:
        check_settings(channels=channels, precision=precision)
        options = LoadOptions(
            profile=None if input is None else profile_text(input),
            channels=channels,
            size=(size, size) if isinstance(size, int) else size,
            precision=precision,
        )
        self._source = source_of(model, options, name=None, layout=None)
        self._cache = None if cache is None else Path(cache)
        self._lock = threading.Lock()
        process = ExitStack()
        self.close = weakref.finalize(self, process.close)
        self._embedder = process.enter_context(self._source.open())
        self.notes = self._embedder.notes
        spec = self._embedder.input
        gray = np.full((1, spec.height, spec.width, 3), 128, np.uint8)
        self.embedding_size = int(self.embed(gray).shape[1])

    def embed(self, images: Sequence[Pixels] | Pixels) -> NDArray[np.float32]:
        """Embeddings (images, embedding_size), as the model gives them, of RGB images, uint8
        (height, width, 3), of any size: they are resized to the model's.

        Raises ForwardError (an InputError) where the model fails, InputError for other images.
        """
        for image in images:
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise InputError(
                    "a teacher's image: expected uint8 of shape (height, width, 3); found "
                    f"{image.dtype} of shape {image.shape}"
                )
        # A batch of one at least, whatever the model's own is.
        options = EmbedOptions(batch_size=max(len(images), 1))
        with self._lock:
            return embed_images(
                self._embedder, [b""] * len(images), options=options, pixels=lambda i: images[i]
            )

    def rows(self, faces: FaceSet, *, kept: bool) -> TeacherRows:
        """The embeddings of a FaceSet's images; ``kept`` in the cache, if there is one."""
        if self._cache is None or not kept:
            return TeacherRows(self.embed)
        key = {
            "model": self._source.identity,
            "options": asdict(self._source.options),
            "faces": faces.fingerprint,
            "images": len(faces),
            "embedding_size": self.embedding_size,
        }
        text = json.dumps(key, indent=2, sort_keys=True)
        folder = self._cache / hashlib.sha256(text.encode()).hexdigest()[:32]
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "key.json", text)
        views = 2 * len(faces)
        return TeacherRows(
            self.embed,
            _mapped(folder / "embeddings.float32", np.float32, (views, self.embedding_size)),
            _mapped(folder / "there.uint8", np.uint8, (views,)),
        )

    def __reduce__(self) -> NoReturn:
        """Raises TypeError: what it holds is a process."""
        raise TypeError("a Teacher holds a process: it can be neither pickled nor copied")


@dataclass(frozen=True)
class TeacherRows:
    """A teacher's embeddings of numbered images. ``held`` (2 x images, size) has those of each as
    it is, then those of each mirrored, where ``there`` (2 x images,) is 1.
    """

    embed: Callable[[Sequence[Pixels]], NDArray[np.float32]]
    held: NDArray[np.float32] | None = None
    there: NDArray[np.uint8] | None = None

    def of(
        self, images: Sequence[tuple[int, Pixels]], flips: Sequence[bool]
    ) -> NDArray[np.float32]:
        """Embeddings of images, given by number and pixels, of which some are ``flips``."""
        if self.held is None or self.there is None:
            return self.embed([pixels for _, pixels in images])
        half = len(self.held) // 2
        pairs = zip(images, flips, strict=True)
        places = np.array([number + half * flip for (number, _), flip in pairs])
        missing = np.flatnonzero(self.there[places] == 0).tolist()
        if missing:
            self.held[places[missing]] = self.embed([images[i][1] for i in missing])
            # After the embeddings: what is killed in between does them again.
            self.there[places[missing]] = 1
        return np.array(self.held[places])


def _mapped(path: Path, kind: Any, shape: tuple[int, ...]) -> Any:
    """An array in a file, zeros where nothing was written yet."""
    with path.open("ab") as file:
        os.truncate(file.fileno(), int(np.prod(shape)) * np.dtype(kind).itemsize)
    return np.memmap(path, kind, "r+", shape=shape)
