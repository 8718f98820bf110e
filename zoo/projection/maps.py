"""Where points of many dimensions come to lie in a plane, and how well they part people."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import InputError
from evaluator.models.runtime import native_messages_held

# t-SNE and UMAP begin from so many principal components; what lies beyond is mostly noise.
_COMPONENTS = 50

# van der Maaten and Hinton 2008, sec. 5: between 5 and 50, and below a third of the points.
_PERPLEXITY = 30

Points = NDArray[np.float32]


def principal_components(points: Points, count: int = 2) -> Points:
    """The projection on the ``count`` directions of largest variance, signs as scikit-learn sets
    them; zeros where there are fewer directions.
    """
    from sklearn.decomposition import PCA

    if np.array_equal(points, np.broadcast_to(points[:1], points.shape)):
        return np.zeros((len(points), count), np.float32)  # no direction at all
    possible = min(count, *points.shape)
    solver = "full" if min(points.shape) <= 4 * count else "randomized"
    found = PCA(possible, svd_solver=solver, random_state=0).fit_transform(points)
    filled = np.zeros((len(points), count), np.float32)
    filled[:, :possible] = found
    return filled


def t_sne(points: Points) -> Points:
    """scikit-learn's t-SNE, seeded, from the first principal components."""
    from sklearn.manifold import TSNE

    perplexity = min(_PERPLEXITY, (len(points) - 1) / 3)
    start = principal_components(points, min(_COMPONENTS, *points.shape))
    found: Points = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(start)
    return found


def umap(points: Points) -> Points:
    """umap-learn's UMAP (McInnes et al. 2018), seeded, from the first principal components.

    Raises InputError if it is not installed.
    """
    try:
        # It imports TensorFlow where that is installed.
        with warnings.catch_warnings(), native_messages_held():
            warnings.simplefilter("ignore")
            from umap import UMAP
    except ImportError:
        raise InputError(
            "map umap needs the extra of this name: pip install 'face-zoo[umap]'"
        ) from None
    start = principal_components(points, min(_COMPONENTS, *points.shape))
    neighbours = min(15, len(points) - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a seed means one thread
        found: Points = UMAP(
            n_neighbors=neighbours, init="pca" if len(points) < 10 else "spectral", random_state=0
        ).fit_transform(start)
    return found


MAPS: Mapping[str, Callable[[Points], Points]] = MappingProxyType(
    {"pca": principal_components, "tsne": t_sne, "umap": umap}
)
TITLES: Mapping[str, str] = MappingProxyType({"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"})


def nearest_same_person(points: Points, people: NDArray[np.int64]) -> tuple[int, int]:
    """For how many images the nearest other one, by Euclidean distance in all dimensions, is of the
    same person; and of how many: people with a single image have no chance and do not count.
    """
    from sklearn.neighbors import NearestNeighbors

    counts = np.bincount(people)
    able = np.flatnonzero(counts[people] > 1)
    if not len(able):
        return 0, 0
    # Without points to look for, an image is not its own neighbour.
    nearest = NearestNeighbors(n_neighbors=1).fit(points).kneighbors(return_distance=False)[:, 0]
    return int((people[nearest[able]] == people[able]).sum()), len(able)


def in_unit_square(plane: Points) -> NDArray[np.float64]:
    """The points in [0, 1]², both axes at the same scale, the middle of the longer one kept."""
    wide = plane.astype(np.float64)
    low, high = wide.min(axis=0), wide.max(axis=0)
    size = float((high - low).max()) or 1.0
    square: NDArray[np.float64] = (wide - (low + high) / 2) / size + 0.5
    return square
