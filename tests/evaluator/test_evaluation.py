"""A model on bins: what an unusable embedding does to a bin, and what it leaves alone."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import roc_auc_score

from evaluator.bins.verification_set import VerificationSet
from evaluator.images.inputs import Embedder, InputSpec
from evaluator.measure.embed import EmbedOptions
from evaluator.measure.evaluation import Measurement, evaluate_bins

SPEC = InputSpec(2, 2, profile="raw")
PAIRS = 40


def picture(level: int) -> bytes:
    """A 2x2 image whose four pixels are four levels that ``level`` determines."""
    pixels = np.random.default_rng(level).integers(1, 255, (2, 2, 3), dtype=np.uint8)
    pixels[0, 0, 0] = level
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def forward(broken: dict[int, float]) -> Embedder:
    """Flattens; an image whose first level is a key of ``broken`` becomes that value throughout."""

    def embed(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = batch.reshape(len(batch), -1) - 128
        for i, level in enumerate(batch[:, 0, 0, 0]):
            if int(level) in broken:
                rows[i] = broken[int(level)]
        return rows

    return Embedder(embed, SPEC)


@pytest.fixture(scope="module")
def levels() -> NDArray[np.intp]:
    return np.random.default_rng(5).permutation(np.arange(2 * PAIRS) % 60)


def bin_of(levels: NDArray[np.intp], name: str = "b") -> VerificationSet:
    genuine = np.arange(len(levels) // 2) % 3 == 0
    images = tuple(picture(int(level)) for level in levels)
    return VerificationSet(name, Path(name), "0" * 64, images, genuine)


def measure(embedder: Embedder, bin_: VerificationSet, nan: str) -> Measurement:
    (found,) = evaluate_bins(embedder, [bin_], options=EmbedOptions(), nan=nan)
    return found


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0])
def test_an_unusable_embedding_scores_nothing(levels: NDArray[np.intp], value: float) -> None:
    found = measure(forward({7: value}), bin_of(levels), "fail")
    assert found.scores is None
    assert found.figures is None
    assert found.unusable.tolist() == np.flatnonzero(levels == 7).tolist()
    assert found.dropped_pairs == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_dropping_leaves_out_the_pairs_with_one(levels: NDArray[np.intp], value: float) -> None:
    bin_ = bin_of(levels)
    found = measure(forward({7: value, 9: value}), bin_, "drop")
    bad = np.isin(levels, (7, 9))
    dropped = bad[0::2] | bad[1::2]
    assert found.scores is not None
    assert found.figures is not None
    assert np.isnan(found.scores).tolist() == dropped.tolist()
    assert found.dropped_pairs == dropped.sum() > 0
    kept = found.scores[~dropped]
    expected = roc_auc_score(bin_.genuine[~dropped], kept)
    assert found.figures.auc == pytest.approx(expected, abs=1e-12)
    # The others' scores are those of the run in which nothing was wrong.
    whole = measure(forward({}), bin_, "fail")
    assert whole.scores is not None
    np.testing.assert_array_equal(whole.scores[~dropped], kept)


@pytest.mark.parametrize("nan", ["fail", "drop"])
def test_a_clean_bin_is_the_same_either_way(levels: NDArray[np.intp], nan: str) -> None:
    found = measure(forward({}), bin_of(levels), nan)
    assert found.scores is not None
    assert len(found.unusable) == found.dropped_pairs == 0
    assert np.isfinite(found.scores).all()


def test_a_bin_with_a_bad_image_leaves_the_next_bin_alone() -> None:
    first, second = bin_of(np.array([7, 1, 2, 3, 4, 5])), bin_of(np.array([1, 2, 3, 4, 5, 6]))
    one, two = evaluate_bins(forward({7: np.nan}), [first, second], options=EmbedOptions())
    assert one.figures is None
    assert two.figures is not None
    assert two.embedded == 1  # only image 6 was new


def test_dropping_every_genuine_pair_leaves_figures_undefined() -> None:
    bin_ = bin_of(np.array([7, 1, 2, 3, 4, 5]))
    found = measure(forward({7: np.nan}), bin_, "drop")
    assert found.figures is not None
    assert found.figures.accuracy is None
    assert found.figures.auc is None


def test_the_cost_counts_new_images_only(levels: NDArray[np.intp]) -> None:
    bin_ = bin_of(levels)
    first, again = evaluate_bins(forward({}), [bin_, bin_], options=EmbedOptions())
    assert first.embedded == len(set(levels.tolist()))
    assert again.embedded == 0
    assert first.seconds > 0
