"""What `zoo demo` makes: a bin of real faces and two classic models, as files like any other.

The network that it trains besides is made in `zoo.demo.network`.
"""

from __future__ import annotations

import itertools
import urllib.error
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.bins.verification_set import write_bin
from evaluator.files import whole_path
from evaluator.images.png import png_bytes
from evaluator.models.runtime import import_keras
from zoo.terminal.progress import waiting
from zoo.terminal.words import warn

# People 0..29 fit the models, 30..39 are the bin: nobody is in both.
_TRAIN_PEOPLE = 30
_SEED = 0
# Whatever the faces are, so that what the guide says next is right where they are synthetic.
_BIN = "held_out.bin"
# Turk and Pentland 1991 drop nothing and keep the leading components; 100 hold 94 % of the
# variance of these 300 images.
_COMPONENTS = 100


@dataclass(frozen=True)
class Faces:
    """Gray faces: ``images`` (n, height, width) in [0, 1], ``people`` (n,), name and origin."""

    name: str
    images: NDArray[np.float32]
    people: NDArray[np.int64]
    origin: str


@dataclass(frozen=True)
class DemoFiles:
    """The files that the demo evaluates, and the faces that its models may learn from."""

    folder: Path
    bin: Path
    models: tuple[Path, ...]
    training: Faces


def prepare(folder: Path) -> DemoFiles:
    """Writes the bin and both models into a folder. Raises OSError."""
    with waiting("reading the Olivetti faces, or downloading them once (4 MB)"):
        faces = load_faces()
    warn(f"faces: {faces.origin}")
    folder.mkdir(parents=True, exist_ok=True)
    training = faces.people < _TRAIN_PEOPLE
    bin_path = folder / _BIN
    images, genuine = verification_pairs(faces.images[~training], faces.people[~training])
    write_bin(bin_path, images, genuine)
    warn(f"bin: {bin_path}, {len(genuine)} pairs of 10 people")

    flat = faces.images[training].reshape(int(training.sum()), -1)
    people = faces.people[training]
    size = faces.images.shape[1:]
    models = []
    with waiting("fitting two models; TensorFlow starts"):
        for name, (mean, projection) in (
            ("eigenfaces", eigenfaces(flat)),
            ("fisherfaces", fisherfaces(flat, people)),
        ):
            path = folder / f"{name}.h5"
            save_linear_model(path, mean, projection, size=(size[0], size[1]))
            warn(f"model: {path}, {projection.shape[1]}-d, fitted on 30 people")
            models.append(path)
    learnt = Faces(faces.name, faces.images[training], people, faces.origin)
    return DemoFiles(folder, bin_path, tuple(models), learnt)


def load_faces() -> Faces:
    """Olivetti faces as scikit-learn has or downloads them; else faces drawn from a PCA space."""
    from sklearn.datasets import fetch_olivetti_faces

    try:
        with warnings.catch_warnings():
            # scikit-learn warns at each retry; the answer is said once, below.
            warnings.simplefilter("ignore", UserWarning)
            data = fetch_olivetti_faces()
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        return synthetic_faces(f"the Olivetti faces could not be downloaded: {reason}")
    return Faces(
        "olivetti",
        data.images.astype(np.float32),
        data.target.astype(np.int64),
        "Olivetti (AT&T Laboratories Cambridge), 40 people x 10 photographs, 64x64",
    )


def synthetic_faces(reason: str) -> Faces:
    """40 x 10 faces drawn from the PCA space of scikit-image's 100 small LFW faces.

    A person is a point in that space, a photograph a smaller step from it, spread like the data.
    """
    from skimage.data import lfw_subset
    from skimage.transform import resize

    real = lfw_subset()[:100].astype(np.float64)  # the first hundred are faces, the rest are not
    flat = real.reshape(len(real), -1)
    mean = flat.mean(axis=0)
    _, spread, axes = np.linalg.svd(flat - mean, full_matrices=False)
    scale = spread[:40] / np.sqrt(len(flat))
    random = np.random.default_rng(_SEED)
    person = random.normal(size=(40, 1, len(scale)))
    step = 0.6 * random.normal(size=(40, 10, len(scale)))
    drawn = mean + ((person + step) * scale).reshape(400, -1) @ axes[:40]
    images = np.stack([resize(face.reshape(25, 25), (64, 64), order=1) for face in drawn])
    return Faces(
        "synthetic",
        np.clip(images, 0, 1).astype(np.float32),
        np.repeat(np.arange(40), 10),
        f"synthetic, drawn from the PCA space of scikit-image's lfw_subset ({reason})",
    )


def verification_pairs(
    images: NDArray[np.float32], people: NDArray[np.int64]
) -> tuple[list[bytes], NDArray[np.bool_]]:
    """Encoded images and labels of a bin in ten folds, one person's genuine pairs in each.

    Every genuine pair of a person, and as many impostor pairs of that person with the others.
    """
    random = np.random.default_rng(_SEED)
    encoded = [png(image) for image in images]
    slots: list[int] = []
    genuine: list[bool] = []
    for person in np.unique(people):
        own = np.flatnonzero(people == person)
        others = np.flatnonzero(people != person)
        same = list(itertools.combinations(own.tolist(), 2))
        crossed = [(int(a), int(b)) for a in own for b in others]
        different = [crossed[i] for i in random.choice(len(crossed), len(same), replace=False)]
        for pair in (*same, *different):
            slots += pair
        genuine += [True] * len(same) + [False] * len(different)
    return [encoded[slot] for slot in slots], np.array(genuine)


def png(image: NDArray[np.float32]) -> bytes:
    """A gray image (height, width) in [0, 1] as PNG of 8 bits."""
    return png_bytes(np.round(image * 255).astype(np.uint8))


Projection = tuple[NDArray[np.float64], NDArray[np.float64]]


def eigenfaces(flat: NDArray[np.float32]) -> Projection:
    """Mean (pixels,) and projection (pixels, components): PCA, Turk and Pentland 1991."""
    from sklearn.decomposition import PCA

    pca = PCA(_COMPONENTS, svd_solver="full").fit(flat)
    return pca.mean_.astype(np.float64), pca.components_.T.astype(np.float64)


def fisherfaces(flat: NDArray[np.float32], people: NDArray[np.int64]) -> Projection:
    """Mean and projection: PCA, then linear discriminants, Belhumeur, Hespanha, Kriegman 1997."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    mean, components = eigenfaces(flat)
    codes = (flat - mean) @ components
    lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto").fit(codes, people)
    directions = lda.scalings_[:, : len(np.unique(people)) - 1]
    # The training codes have zero mean, so the discriminants need no centre of their own.
    return mean, components @ directions


def save_linear_model(
    path: Path,
    mean: NDArray[np.float64],
    projection: NDArray[np.float64],
    *,
    size: tuple[int, int],
) -> None:
    """Saves x -> (gray(x) - mean) @ projection as a Keras .h5 with a colour image input.

    The input is RGB in [0, 1]; the demo's images are gray, so any channel is the gray value.
    """
    import absl.logging

    keras = import_keras()

    image = keras.Input((*size, 3), name="image")
    gray = keras.layers.Conv2D(1, 1, use_bias=False, name="gray")
    embedding = keras.layers.Dense(projection.shape[1], name="embedding")
    flat = keras.layers.Flatten(name="pixels")(gray(image))
    model = keras.Model(image, embedding(flat), name=path.stem)
    gray.set_weights([np.full((1, 1, 3, 1), 1 / 3, np.float32)])
    embedding.set_weights([projection.astype(np.float32), (-mean @ projection).astype(np.float32)])
    # .h5 is the format that users bring, so the demo shows it; Keras warns that it is old.
    absl.logging.set_verbosity(absl.logging.ERROR)
    with whole_path(path) as temporary:
        model.save(str(temporary))


def next_commands(made: DemoFiles, *, run: Path | None) -> str:
    """Commands to try on the demo's files, one a line; ``run`` is the network's folder."""
    folder = made.folder
    of_run = (
        f"  zoo list --runs --folder {run.parent}\n"
        f"  zoo project {run} --bins {made.bin} -o {folder}/faces.html\n"
        if run is not None
        else ""
    )
    return f"""
next, try:
  open {folder}/report.html in a browser
  zoo eval {folder}/*.h5 --bins {made.bin} --flip sum --results {folder}/flipped
  zoo threshold {folder}/fisherfaces.h5 --bins {made.bin} --far 0.01 --results {folder}/results
{of_run}  zoo list
"""
