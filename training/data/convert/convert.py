"""What every conversion of labelled faces shares: reading ahead, checking, and the manifest."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from evaluator.ahead import ahead
from evaluator.errors import InputError
from evaluator.files import file_sha256, write_whole
from evaluator.images.image_format import BEGINNING, FORMATS, image_format
from training.data.sources.faces import MANIFEST, FaceSet, open_faces

Progress = Callable[[int], None]
Item = TypeVar("Item")
Answer = TypeVar("Answer")
_CHUNK = 32  # images a thread takes at a time
_STRETCH = 512  # and a process, to which sending them costs more
_TASKS_A_JOB = 4  # how many of these are under way


@dataclass(frozen=True)
class Converted:
    """What a conversion has left at ``out``; ``kept`` images were there from an earlier run."""

    out: Path
    images: int
    classes: int
    kept: int


def in_order(
    function: Callable[[Item], Answer], items: Sequence[Item], progress: Progress | None = None
) -> Iterator[Answer]:
    """``function`` of every item, in order, computed in threads a bounded stretch ahead; each is
    reported to ``progress`` as one image.
    """
    workers = max(2, os.cpu_count() or 1)

    def part(start: int) -> list[Answer]:
        return [function(item) for item in items[start : start + _CHUNK]]

    with ThreadPoolExecutor(workers) as pool:
        parts = (pool.submit(part, start) for start in range(0, len(items), _CHUNK))
        for done in ahead(parts, 2 * workers + 1):
            for answer in done.result():
                if progress:
                    progress(1)
                yield answer


def by_processes(
    function: Callable[[Item], Answer], items: Sequence[Item], jobs: int
) -> Iterator[Answer]:
    """``function`` of every item, in order, by so many processes; both are sent there.

    Raises InputError where one of them is killed, and what the function raises.
    """
    import joblib
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    window = _TASKS_A_JOB * jobs  # what waits for a slow disk
    with joblib.parallel_config(backend="loky"):
        for start in range(0, len(items), window):
            calls = [joblib.delayed(function)(each) for each in items[start : start + window]]
            try:
                yield from joblib.Parallel(jobs, batch_size=1)(calls)
            except TerminatedWorkerError:
                raise InputError(
                    "a process was killed, perhaps for want of memory: the same command goes on "
                    "from there, and with fewer --jobs takes less"
                ) from None


@functools.lru_cache(maxsize=1)
def faces_again(source: Path, fingerprint: str) -> FaceSet:
    """The faces of a set's ``source`` in another process. Raises InputError for other ones."""
    faces = open_faces(source)
    if faces.fingerprint != fingerprint:
        raise InputError(f"{source}: was changed while it was read; run the command again")
    return faces


def stretches(first: int, last: int) -> list[range]:
    """The numbers from ``first`` to before ``last`` as processes take them."""
    return [range(at, min(at + _STRETCH, last)) for at in range(first, last, _STRETCH)]


def checked_digest(faces: FaceSet, written: Callable[[int], bytes | memoryview]) -> str:
    """The set's ``images_digest``, after comparing both sides byte for byte.

    Raises InputError naming the first image whose written bytes differ from the source's.
    """
    digests = np.empty((len(faces), 32), dtype=np.uint8)
    compare = functools.partial(equal_digest, faces, written)
    for number, one in enumerate(in_order(compare, range(len(faces)))):
        digests[number] = np.frombuffer(one, dtype=np.uint8)
        if number % 4096 == 4095:
            faces.release()
    return images_digest(digests, faces.labels)


def equal_digest(
    faces: FaceSet, written: Callable[[int], bytes | memoryview], number: int
) -> bytes:
    """The SHA-256 of an image that was written as it is. Raises InputError where it was not."""
    source = faces.read(number)
    if source != written(number):
        raise changed(faces, number)
    return hashlib.sha256(source).digest()


def images_digest(digests: NDArray[np.uint8], labels: NDArray[np.int64]) -> str:
    """SHA-256 over the images' own SHA-256, shape (n, 32), person after person.

    The same images give the same digest in every layout, whatever order it stores people in.
    """
    return hashlib.sha256(digests[np.argsort(labels, kind="stable")].tobytes()).hexdigest()


def changed(faces: FaceSet, number: int) -> InputError:
    """The error for an image that does not read back as its source has it."""
    return InputError(
        f"{faces.origin(number)}: what was written differs from it; did it change since an "
        "unfinished run? Remove the .partial folder beside the output and run again"
    )


def encoded_image(faces: FaceSet, number: int) -> tuple[bytes | memoryview, str]:
    """An image's bytes and their format. Raises InputError if it is none that we know."""
    image = faces.read(number)
    kind = image_format(bytes(image[:BEGINNING]))
    if kind is None:
        raise InputError(
            f"{faces.origin(number)}: expected a {FORMATS} image, found "
            f"{len(image)} bytes that begin with {bytes(image[:4]).hex(' ') or 'nothing'}"
        )
    return image, kind.lower()


def image_size(image: bytes | memoryview, origin: str) -> tuple[int, int]:
    """Height and width in pixels, from the image's own header. Raises InputError without one."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(image)) as opened:
            return opened.height, opened.width
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise InputError(f"{origin}: no image that can be opened: {error}") from None


def write_manifest(
    stage: Path,
    faces: FaceSet,
    plan: dict[str, Any],
    kind: str,
    digest: str,
    *,
    size: tuple[int, int] | None = None,
) -> None:
    """Notes beside the data what it is: counts, names in the ids' order, and digests.

    ``digest`` is the set's ``images_digest``; ``size`` is height and width where all share one.
    """
    files = [path for path in sorted(stage.iterdir()) if path.is_file() and path.name[0] != "."]
    manifest = {
        "schema": 1,
        "kind": kind,
        "classes": len(faces.names),
        "images": len(faces),
        "size": size,
        "images_sha256": digest,
        "files": {
            path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
            for path in files
            if path.name != MANIFEST
        },
        "plan": plan,
        "names": list(faces.names),
    }
    write_whole(stage / MANIFEST, json.dumps(manifest, indent=1) + "\n")


def check_files(out: Path, manifest: dict[str, Any]) -> None:
    """Raises InputError if a file that the manifest of ``out`` lists is gone or has changed."""
    for name, noted in manifest["files"].items():
        path = out / name
        if not path.exists() or file_sha256(path) != noted["sha256"]:
            raise InputError(
                f"{path}: expected it as an earlier run wrote it, found it "
                f"{'changed' if path.exists() else 'gone'}; pass --force to write all again"
            )
