"""Seeded bootstraps of a paired difference, for pairs that may share images or people.

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

import numpy as np
import numpy.typing as npt

from evaluator.metrics.sharing import Method, Sharing, design_effect

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


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


def _check_draws(pairs: int, sharing: Sharing | None, replicates: int) -> None:
    if sharing is not None and len(sharing.cluster) != pairs:
        raise ValueError(f"sharing is of {len(sharing.cluster)} pairs, differences of {pairs}")
    if replicates < 100:
        raise ValueError(f"replicates must be at least 100; got {replicates}")
