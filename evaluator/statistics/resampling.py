"""Seeded bootstraps of a paired difference, for pairs that may share images or people.

Two pairs that show the same image err together: every model's mistake on that image enters both.
Treating them as independent makes differences look more certain than they are. What is done
depends on how the pairs hang together:

``pairs``     nothing is shared, or it is not known: pairs are drawn with replacement.
``clusters``  the pairs fall into many clusters that share nothing with one another (connected
              components of the graph with a node an image and an edge a pair): clusters are drawn.
``dyads``     reuse chains most pairs into a few clusters, so that there is nothing left to draw.
              Pairs are drawn and the spread is widened to the dyadic cluster-robust variance, in
              which two pairs are dependent exactly when they share an image; a t distribution pays
              for few images.

Weighting a pair by the product of its images' weights (the pigeonhole bootstrap, Owen 2007) is not
offered: where images are mostly used once it triples the variance of independent pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Method = Literal["pairs", "clusters", "dyads"]

# Below this many clusters of equal size, drawing clusters rejects a true null too often.
MINIMUM_CLUSTERS = 50.0


@dataclass(frozen=True, eq=False)
class Sharing:
    """Which pairs share an image (or a person).

    ``left`` and ``right`` number what each pair shows, ``cluster`` the connected component of each
    pair; all have shape (pairs,) and count from 0. The effective counts are Kish's: how many
    equally used ones would weigh the same.
    """

    unit: Literal["image", "person"]
    left: IntArray
    right: IntArray
    cluster: IntArray
    nodes: int
    clusters: int
    effective_nodes: float
    effective_clusters: float

    @property
    def method(self) -> Method:
        """The bootstrap that these pairs ask for."""
        if self.clusters == len(self.cluster):
            return "pairs"
        return "clusters" if self.effective_clusters >= MINIMUM_CLUSTERS else "dyads"


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """A mean difference over pairs with its bootstrap replicates, shape (replicates,), unsorted.

    ``design_effect`` is how many times the sharing of images or people multiplies the variance of
    independent pairs; 1 when nothing is shared.
    """

    estimate: float
    replicates: FloatArray
    method: Method
    design_effect: float


def pair_sharing(
    left: npt.ArrayLike, right: npt.ArrayLike, *, unit: Literal["image", "person"] = "image"
) -> Sharing:
    """How pairs hang together, from the number of the image (or person) on either side.

    Equal numbers mean the same image, on whichever side. ``ValueError`` for other than two
    integer arrays of one shape (pairs,).
    """
    ends = [np.asarray(side) for side in (left, right)]
    if ends[0].ndim != 1 or ends[0].shape != ends[1].shape:
        raise ValueError(
            f"left and right must number one {unit} a pair, equally many; "
            f"got shapes {ends[0].shape} and {ends[1].shape}"
        )
    if not all(np.issubdtype(side.dtype, np.integer) for side in ends):
        raise ValueError(f"{unit} numbers must be integers; got {ends[0].dtype}, {ends[1].dtype}")
    pairs = len(ends[0])
    _, node = np.unique(np.concatenate(ends), return_inverse=True)
    uses = np.bincount(node)
    of_node = _components(node[:pairs], node[pairs:], len(uses))
    cluster = of_node[node[:pairs]]
    return Sharing(
        unit=unit,
        left=node[:pairs].astype(np.int64),
        right=node[pairs:].astype(np.int64),
        cluster=cluster,
        nodes=len(uses),
        clusters=int(of_node.max()) + 1 if pairs else 0,
        effective_nodes=_effective_count(uses),
        effective_clusters=_effective_count(np.bincount(cluster)),
    )


def _components(left: IntArray, right: IntArray, nodes: int) -> IntArray:
    """The number of each node's connected component, from 0 in the order of their first nodes.

    Each round every component that touches one with a lower first node joins it, so that at least
    half of them are gone after two.
    """
    first = np.arange(nodes)
    while True:
        lower = np.minimum(first[left], first[right])
        joined = first.copy()
        np.minimum.at(joined, first[left], lower)
        np.minimum.at(joined, first[right], lower)
        while not np.array_equal(further := joined[joined], joined):
            joined = further
        if np.array_equal(joined, first):
            return np.unique(first, return_inverse=True)[1].astype(np.int64)
        first = joined


def design_effect(contributions: npt.ArrayLike, sharing: Sharing | None) -> float:
    """Times by which sharing multiplies the variance of a mean of per-pair contributions.

    1 without sharing or without variance, and never less: an estimate below 1 is noise or a gain
    that should not be counted on. Clusters: sums over clusters (Liang and Zeger 1986). Dyads: every
    product of two pairs that share an end (Aronow, Samii and Assenova 2015). Both are multiplied by
    G / (G - 1) for the G clusters or images that the mean had to be estimated from.
    """
    values = np.asarray(contributions, dtype=np.float64)
    if sharing is None or sharing.method == "pairs":
        return 1.0
    errors = values - values.mean()
    independent = float(errors @ errors)
    if independent <= 0:
        return 1.0
    if sharing.method == "clusters":
        dependent, units = _square_of_sums(sharing.cluster, errors), sharing.effective_clusters
    else:
        dependent, units = _dyadic_square(errors, sharing), sharing.effective_nodes
    return max(1.0, dependent / independent * units / max(units - 1, 1))


def bootstrap_difference(
    differences: npt.ArrayLike,
    *,
    sharing: Sharing | None = None,
    threshold_luck: float = 1.0,
    replicates: int = 10_000,
    seed: int = 0,
) -> Bootstrap:
    """Bootstrap of the mean of per-pair differences in {-1, 0, 1}, as of two models' decisions.

    Only how many pairs (or clusters) have which difference matters, so those counts are drawn from
    the multinomial distribution: the same as drawing pairs, at a cost that does not grow with them.
    Half a pair is added on either side (Agresti and Min 2005), without which four pairs that all
    speak for one model would be called proof and none at all would be called certainty. The spread
    is widened by the variance that fitted thresholds add to independent pairs, ``threshold_luck``
    times theirs in all (`threshold_luck.py`). Negating the differences negates every
    replicate, unless their sum is 0.
    """
    values = np.asarray(differences)
    if values.ndim != 1 or not len(values) or not np.isin(values, (-1, 0, 1)).all():
        raise ValueError("differences must be one of -1, 0, 1 for each of at least one pair")
    _check_draws(len(values), sharing, replicates)
    generator = np.random.default_rng(seed)
    # Both orders of two models must tell the same story, so the draw is made in one of them.
    sign = -1 if values.sum() < 0 else 1
    oriented = sign * values.astype(np.int64)
    method: Method = sharing.method if sharing is not None else "pairs"
    cluster = sharing.cluster if sharing is not None and method == "clusters" else None
    estimate = float(oriented.mean())
    drawn = _draw_counted_means(oriented, cluster, replicates, generator)
    effect = design_effect(oriented, sharing)
    # Dependence and fitted thresholds add to the variance side by side; drawing clusters has
    # brought the dependence in already, drawing pairs has not.
    wanted = effect + threshold_luck - 1
    widening: float | FloatArray = wanted / effect
    if sharing is not None and method == "dyads":
        freedom = max(1.0, sharing.effective_nodes - 1)
        widening = wanted * freedom / generator.chisquare(freedom, replicates)
    drawn = estimate + (drawn - estimate) * np.sqrt(widening)
    return Bootstrap(sign * estimate, sign * drawn, method, effect)


def percentile_interval(
    replicates: npt.ArrayLike, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval between order statistics of the replicates, with no interpolation.

    It leaves out 0 exactly when `percentile_p_value` is below 1 - confidence.
    """
    ordered = np.sort(np.asarray(replicates, dtype=np.float64))
    # The largest count of replicates beyond 0 for which 2 (count + 1) / (R + 1) < 1 - confidence.
    beyond = int(np.ceil((1 - confidence) / 2 * (len(ordered) + 1) - 1 - 1e-9)) - 1
    if beyond < 0:
        raise ValueError(f"{len(ordered)} replicates are too few for a {confidence:.0%} interval")
    return float(ordered[beyond]), float(ordered[-1 - beyond])


def percentile_p_value(replicates: npt.ArrayLike) -> float:
    """Two-sided p-value of no difference: twice the share of replicates on the far side of 0.

    A replicate of exactly 0 counts for either side; 2 / (R + 1) is the least that R replicates
    can show (Davison and Hinkley 1997, section 4.2).
    """
    values = np.asarray(replicates, dtype=np.float64)
    far_side = min(int((values <= 0).sum()), int((values >= 0).sum()))
    return min(1.0, 2 * (far_side + 1) / (len(values) + 1))


def _draw_counted_means(
    differences: IntArray,
    cluster: IntArray | None,
    replicates: int,
    generator: np.random.Generator,
) -> FloatArray:
    if cluster is None:
        kinds = np.array([[1, 1], [-1, 1], [0, 1]], dtype=np.float64)
        counts = np.array([(differences == kind).sum() for kind in (1, -1, 0)], dtype=np.float64)
    else:
        sizes = np.bincount(cluster)
        sums = np.bincount(cluster, weights=differences)
        tally = np.column_stack([sums, sizes])[sizes > 0]
        kinds, tallied = np.unique(tally, axis=0, return_counts=True)
        kinds = np.vstack([kinds, [[1, 1], [-1, 1]]])
        counts = np.append(tallied.astype(np.float64), [0.0, 0.0])
    units = round(counts.sum())
    counts[(kinds == (1, 1)).all(axis=1).argmax()] += 0.5
    counts[(kinds == (-1, 1)).all(axis=1).argmax()] += 0.5
    drawn = generator.multinomial(units + 1, counts / counts.sum(), size=replicates)
    totals = drawn @ kinds
    means: FloatArray = totals[:, 0] / totals[:, 1]
    return means


def _dyadic_square(errors: FloatArray, sharing: Sharing) -> float:
    """Sum of products of errors over all ordered couples of pairs that share an end or both."""
    two_ended, ends, dyad = dyads(sharing)
    by_end = _square_of_sums(ends, np.concatenate([errors, errors[two_ended]]))
    return by_end - _square_of_sums(dyad, errors[two_ended])


def dyads(sharing: Sharing) -> tuple[npt.NDArray[np.bool_], IntArray, IntArray]:
    """Which pairs have two ends, what each pair shows and then what these show at the right, and
    the number of the two ends of these: couples that share both were counted at either end.
    """
    two_ended = sharing.left != sharing.right
    low = np.minimum(sharing.left, sharing.right)[two_ended]
    high = np.maximum(sharing.left, sharing.right)[two_ended]
    _, dyad = np.unique(low * sharing.nodes + high, return_inverse=True)
    return two_ended, np.concatenate([sharing.left, sharing.right[two_ended]]), dyad


def _square_of_sums(group: IntArray, errors: FloatArray) -> float:
    sums = np.bincount(group, weights=errors)
    return float(sums @ sums)


def _effective_count(sizes: npt.NDArray[np.int64]) -> float:
    return float(sizes.sum()) ** 2 / float(sizes.astype(np.float64) @ sizes) if len(sizes) else 0.0


def _check_draws(pairs: int, sharing: Sharing | None, replicates: int) -> None:
    if sharing is not None and len(sharing.cluster) != pairs:
        raise ValueError(f"sharing is of {len(sharing.cluster)} pairs, differences of {pairs}")
    if replicates < 100:
        raise ValueError(f"replicates must be at least 100; got {replicates}")
