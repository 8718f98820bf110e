"""A folder laid out as `../shared`, for a clone that has none: what the pages' commands run on.

Its faces are those that `zoo demo` draws where it cannot download any.
"""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import joblib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluator.bins.verification_set import write_bin
from training.data.convert.pack import pack_records
from training.data.sources.shards import open_training_faces
from zoo.demo.faces_and_models import synthetic_faces


def write_stand_in(folder: Path) -> Path:
    """Makes ``folder`` hold scikit-learn's cache, bins, a folder a person, and records.

    All are of the same 40 people, whom other ghosts keep from being there twice.
    """
    drawn, order = synthetic_faces("a test").images, np.random.default_rng(0)

    def shots() -> NDArray[np.float32]:  # each with a ghost of another, so as hard to tell apart
        return 0.55 * drawn + 0.45 * drawn[order.permutation(len(drawn))]

    for name in ("scikit_learn_data", "bins", "faces"):
        (folder / name).mkdir(parents=True)
    # As scikit-learn keeps them: a row an image, columns first.
    turned = shots().transpose(0, 2, 1).reshape(len(drawn), -1)
    joblib.dump(turned, folder / "scikit_learn_data" / "olivetti_py3.pkz")
    encoded = [
        _jpeg(face) for three in zip(shots(), shots(), shots(), strict=True) for face in three
    ]
    write_pairs(folder / "bins" / "lfw_devtest.bin", encoded, folds=10, kind=50)
    write_pairs(folder / "bins" / "small_lfw.bin", encoded, folds=1, kind=5)
    people = [f"{given}_{name}" for given in ("Ann", "Bo", "Cy", "Di") for name in "ABCDEFGHIJ"]
    mirrored = shots()[:, :, ::-1]
    for i, person in enumerate(people):
        home = folder / "faces" / "lfw_train" / person
        home.mkdir(parents=True)
        for shot in range(1, 6):
            path = home / f"{person}_{shot:04d}.jpg"
            path.write_bytes(_jpeg(mirrored[10 * i + shot - 1]))
    lines = [f"1\t{len(people) // 2}", *(f"{person}\t1\t2" for person in people[::2])]
    lines += [f"{a}\t3\t{b}\t4" for a, b in zip(people[::2], people[1::2], strict=True)]
    (folder / "bins" / "lfw_train_pairs.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    pack_records(open_training_faces(folder / "faces" / "lfw_train"), folder / "records")
    return folder


def write_pairs(path: Path, encoded: list[bytes], *, folds: int, kind: int) -> None:
    """A bin of ``folds`` parts of four people each: ``kind`` genuine pairs, then as many others."""
    draw = np.random.default_rng(0)
    slots: list[int] = []
    for fold in range(folds):
        pairs = list(itertools.combinations(range(120 * fold, 120 * fold + 120), 2))
        for same in (True, False):
            fitting = [pair for pair in pairs if (pair[0] // 30 == pair[1] // 30) is same]
            slots += [
                slot for i in draw.choice(len(fitting), kind, replace=False) for slot in fitting[i]
            ]
    genuine = np.tile(np.repeat([True, False], kind), folds)
    write_bin(path, [encoded[slot] for slot in slots], genuine)


def _jpeg(face: NDArray[np.float32]) -> bytes:
    """A gray face in [0, 1] as a JPEG of 112x112 in colour."""
    image = Image.fromarray(np.round(face * 255).astype(np.uint8)).resize((112, 112)).convert("RGB")
    kept = io.BytesIO()
    image.save(kept, "JPEG", quality=90)
    return kept.getvalue()
