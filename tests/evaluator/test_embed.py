"""Embedding distinct images, and cosines of pairs, with functions in the place of models."""

from __future__ import annotations

import io
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from evaluator.bins.verification_set import VerificationSet
from evaluator.errors import BinError, ForwardError, OutOfMemoryError
from evaluator.images.inputs import Embedder, Forward, InputSpec
from evaluator.measure.embed import EmbedOptions, embed_images, pair_scores, unusable_rows
from evaluator.measure.evaluation import evaluate_bins
from evaluator.measure.memory import in_smaller_batches

SPEC = InputSpec(6, 5, profile="raw")


def pixels_of(seed: int, height: int = 6, width: int = 5) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pictures(count: int, first: int = 0) -> list[bytes]:
    return [encoded(pixels_of(seed)) for seed in range(first, first + count)]


class Recorder:
    """A model that flattens its input, and what it was asked."""

    def __init__(self) -> None:
        self.batches: list[NDArray[np.float32]] = []

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.batches.append(batch.copy())
        return batch.reshape(len(batch), -1)


def verification_set(images: list[bytes], name: str = "b") -> VerificationSet:
    genuine = np.arange(len(images) // 2) % 2 == 0
    return VerificationSet(name, Path(f"{name}.bin"), "0" * 64, tuple(images), genuine)


@pytest.mark.parametrize("batch_size", [1, 3, 10, 11, 64])
def test_rows_are_the_images_in_order(batch_size: int) -> None:
    embedder = Embedder(Recorder(), SPEC)
    found = embed_images(embedder, pictures(11), options=EmbedOptions(batch_size=batch_size))
    expected = np.stack([pixels_of(seed).reshape(-1) for seed in range(11)])
    np.testing.assert_array_equal(found, expected)


def test_a_fixed_batch_is_filled_with_zeros_and_cut() -> None:
    model = Recorder()
    embedder = Embedder(model, SPEC, fixed_batch=4)
    found = embed_images(embedder, pictures(6), options=EmbedOptions(batch_size=64))
    assert [batch.shape for batch in model.batches] == [(4, 6, 5, 3)] * 2
    assert not model.batches[1][2:].any()
    assert found.shape == (6, 90)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_flip_sum_adds_the_embedding_of_the_mirrored_image(layout: str) -> None:
    spec = InputSpec(6, 5, profile="raw", layout=layout)
    random = np.random.default_rng(0).normal(size=(90, 7)).astype(np.float32)
    embedder = Embedder(lambda batch: np.tanh(batch.reshape(len(batch), -1) / 255 @ random), spec)
    found = embed_images(embedder, pictures(5), options=EmbedOptions(flip="sum", batch_size=2))
    for seed in range(5):
        both = [pixels_of(seed), pixels_of(seed)[:, ::-1]]
        if layout == "NCHW":
            both = [image.transpose(2, 0, 1) for image in both]
        expected = sum(np.tanh(image.reshape(-1) / 255 @ random) for image in both)
        np.testing.assert_allclose(found[seed], expected, atol=2e-5)


def test_progress_adds_up_to_the_images() -> None:
    done: list[int] = []
    embed_images(
        Embedder(Recorder(), SPEC, fixed_batch=4),
        pictures(10),
        options=EmbedOptions(),
        on_progress=done.append,
    )
    assert done == [4, 4, 2]


def test_each_other_size_is_told_once_and_by_the_caller() -> None:
    images = [encoded(pixels_of(1, 8, 5)), *pictures(2), encoded(pixels_of(2, 6, 9))] * 3
    told: list[tuple[tuple[int, int], threading.Thread]] = []
    embed_images(
        Embedder(Recorder(), SPEC),
        images,
        options=EmbedOptions(batch_size=2),
        on_resize=lambda size: told.append((size, threading.current_thread())),
    )
    assert told == [((8, 5), threading.current_thread()), ((6, 9), threading.current_thread())]


def test_an_image_that_does_not_decode_names_bin_slot_and_pair() -> None:
    images = [*pictures(4), pictures(1)[0][:60], pictures(1, 5)[0]]
    embedder = Embedder(Recorder(), SPEC)
    with pytest.raises(BinError, match=r"^b\.bin: image 4 \(pair 2\): ?.*PNG"):
        list(evaluate_bins(embedder, [verification_set(images)], options=EmbedOptions()))


def test_equal_bytes_are_embedded_once_across_bins() -> None:
    model = Recorder()
    a, b, c, d = pictures(4)
    sets = [verification_set([a, b, a, a], "x"), verification_set([b, c, d, a], "y")]
    first, second = evaluate_bins(Embedder(model, SPEC), sets, options=EmbedOptions())
    assert [len(batch) for batch in model.batches] == [2, 2]
    assert (first.embedded, second.embedded) == (2, 2)
    assert first.images.tolist() == [0, 1, 0, 0]
    assert second.images.tolist() == [0, 1, 2, 3]
    flat = [pixels_of(seed).reshape(-1).astype(float) for seed in range(4)]

    def cosine(i: int, j: int) -> float:
        return float(flat[i] @ flat[j] / np.linalg.norm(flat[i]) / np.linalg.norm(flat[j]))

    assert first.scores is not None
    assert second.scores is not None
    np.testing.assert_allclose(first.scores, [cosine(0, 1), 1], atol=1e-12)
    np.testing.assert_allclose(second.scores, [cosine(1, 2), cosine(3, 0)], atol=1e-12)


def test_decoding_holds_a_few_batches_whatever_the_number_of_images() -> None:
    spec = InputSpec(64, 64, profile="raw")
    images = [encoded(pixels_of(seed, 64, 64)) for seed in range(10)] * 60
    embedder = Embedder(lambda batch: batch[:, :2, 0, 0], spec)
    batch_bytes = 8 * 64 * 64 * 3 * 4

    def peak(count: int) -> int:
        tracemalloc.start()
        embed_images(embedder, images[:count], options=EmbedOptions(batch_size=8))
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(8)
    # All 600 images as input would be 75 batches.
    assert peak(600) < 12 * batch_bytes


def flat_rows(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    return batch.reshape(len(batch), -1)


# Networks that give a row for one image, and another number of rows than images for a batch.
ONE_AT_A_TIME = {
    "the first row": lambda batch: flat_rows(batch)[:1],
    "one long row": lambda batch: batch.reshape(1, -1),
    "a row more": lambda batch: flat_rows(batch)[: max(1, len(batch) - 1)],
    "rows for two": lambda batch: np.repeat(flat_rows(batch), 1 if len(batch) == 1 else 2, axis=0),
    "no batch axis": lambda batch: batch.reshape(-1) if len(batch) > 1 else flat_rows(batch),
}


@pytest.mark.parametrize("flip", ["none", "sum"])
@pytest.mark.parametrize("name", ONE_AT_A_TIME)
def test_a_model_of_one_image_gets_one_at_a_time_and_that_is_told_once(
    name: str, flip: str
) -> None:
    told: list[str] = []
    found = embed_images(
        Embedder(ONE_AT_A_TIME[name], SPEC),
        pictures(7),
        options=EmbedOptions(flip=flip, batch_size=3),
        on_single=lambda: told.append("single"),
    )
    one = embed_images(
        Embedder(flat_rows, SPEC), pictures(7), options=EmbedOptions(flip=flip, batch_size=1)
    )
    np.testing.assert_array_equal(found, one)
    assert told == ["single"]


def test_a_last_batch_of_other_rows_is_not_spread() -> None:
    """A network with the batch size it was exported with written into a reshape."""
    found = embed_images(
        Embedder(
            lambda batch: flat_rows(batch) if len(batch) in (1, 4) else batch[:1, :, 0, 0], SPEC
        ),
        pictures(6),
        options=EmbedOptions(batch_size=4),
    )
    np.testing.assert_array_equal(found, [pixels_of(seed).reshape(-1) for seed in range(6)])


def reshaped_to(rows: int) -> Forward:
    """A network that makes so many rows of whatever it is given, where that can be."""

    def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        if batch.size % rows:
            raise ForwardError("cannot reshape")
        return batch.reshape(rows, -1)

    return forward


@pytest.mark.parametrize(
    ("forward", "batch_size", "message"),
    [
        (reshaped_to(8), 4, "it gave 8 rows for 4 images; with --batch-size 8"),
        (reshaped_to(2), 1, "it gave 2 rows for 1 image; with --batch-size 2"),
        (lambda batch: batch[:, :0].reshape(0, 5), 4, "0 rows for 4 images; no size of batch"),
        (lambda batch: np.float32(1), 4, "it gave one number for 4 images; no size"),
        (lambda batch: batch[:, 0], 4, r"shape \(4, 5, 3\); expected one embedding"),
    ],
)
def test_a_wrong_number_of_rows_says_which_and_what_works(
    forward: Forward, batch_size: int, message: str
) -> None:
    embedder = Embedder(forward, SPEC)
    with pytest.raises(ForwardError, match=f"image 0 to image {batch_size - 1}: .*{message}"):
        embed_images(embedder, pictures(8), options=EmbedOptions(batch_size=batch_size))


def test_an_error_that_is_kept_keeps_no_thread() -> None:
    def failing(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        raise ForwardError("no embedding")

    before = set(threading.enumerate())
    with pytest.raises(ForwardError) as kept:
        embed_images(Embedder(failing, SPEC), pictures(9), options=EmbedOptions(batch_size=2))
    assert set(threading.enumerate()) <= before
    assert "no embedding" in str(kept.value)  # and its traceback is alive


def test_a_fixed_batch_that_gives_one_row_is_an_error() -> None:
    embedder = Embedder(lambda batch: flat_rows(batch)[:1], SPEC, fixed_batch=4)
    with pytest.raises(ForwardError, match=r"it gave 1 row for 4 images$"):
        embed_images(embedder, pictures(6), options=EmbedOptions())


def test_embeddings_of_another_size_in_a_later_batch_are_an_error() -> None:
    embedder = Embedder(lambda batch: flat_rows(batch)[:, : len(batch) + 1], SPEC)
    with pytest.raises(ForwardError, match=r"image 4 to image 5: .* of 3 numbers, and of 5 before"):
        embed_images(embedder, pictures(6), options=EmbedOptions(batch_size=4))


@pytest.mark.parametrize("shape", [(90, 1, 1), (1, 1, 90), (1, 90), (90, 1, 1, 1, 1)])
def test_axes_of_one_are_flattened(shape: tuple[int, ...]) -> None:
    embedder = Embedder(lambda batch: batch.reshape(len(batch), *shape), SPEC)
    found = embed_images(embedder, pictures(5), options=EmbedOptions(batch_size=2))
    np.testing.assert_array_equal(found, [pixels_of(seed).reshape(-1) for seed in range(5)])


def test_pieces_of_a_batch_that_memory_does_not_hold_are_counted_too() -> None:
    def first_row_of_at_most_two(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(batch) > 2:
            raise OutOfMemoryError("too large")
        # Two pieces of two images, three rows and one, would join to four.
        rows = flat_rows(batch)
        return (
            rows if len(rows) == 1 else np.concatenate([rows, rows[:1]])[: 3 if rows[0, 0] else 1]
        )

    forward = in_smaller_batches(first_row_of_at_most_two, lambda _: None)
    found = embed_images(Embedder(forward, SPEC), pictures(6), options=EmbedOptions(batch_size=4))
    np.testing.assert_array_equal(found, [pixels_of(seed).reshape(-1) for seed in range(6)])


def test_no_images_are_no_embeddings() -> None:
    assert len(embed_images(Embedder(Recorder(), SPEC), [], options=EmbedOptions())) == 0


@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e30])
def test_pair_scores_are_the_cosines_of_scikit_learn_and_scipy(scale: float) -> None:
    from scipy.spatial.distance import cosine
    from sklearn.metrics.pairwise import cosine_similarity

    random = np.random.default_rng(1)
    embeddings = (random.normal(size=(40, 16)) * scale).astype(np.float32)
    left, right = random.integers(0, 40, (2, 200))
    found = pair_scores(embeddings, left, right)
    exact = embeddings.astype(np.float64)
    np.testing.assert_allclose(found, cosine_similarity(exact)[left, right], atol=1e-14)
    by_scipy = [1 - cosine(exact[i], exact[j]) for i, j in zip(left, right, strict=True)]
    np.testing.assert_allclose(found, by_scipy, atol=1e-14)


def test_pair_scores_of_tiny_embeddings_are_their_directions() -> None:
    # scikit-learn takes norms below 2e-15 for zero, so the witness is the same rows, larger.
    wide = np.random.default_rng(4).normal(size=(10, 8)).astype(np.float32)
    left, right = np.arange(5), np.arange(5, 10)
    tiny = pair_scores(wide * np.float32(2.0**-100), left, right)
    np.testing.assert_allclose(tiny, pair_scores(wide, left, right), atol=1e-14)


def test_pair_scores_do_not_leave_the_range_of_a_cosine() -> None:
    embeddings = np.random.default_rng(2).normal(size=(500, 3)).astype(np.float32)
    embeddings = np.concatenate([embeddings, -embeddings])
    index = np.arange(500)
    assert pair_scores(embeddings, index, index).max() <= 1
    assert pair_scores(embeddings, index, index + 500).min() >= -1


def test_many_pairs_are_scored_in_pieces_that_join() -> None:
    embeddings = np.random.default_rng(3).normal(size=(1000, 4)).astype(np.float32)
    left = np.arange(70_000) % 1000
    right = (left * 7 + 3) % 1000
    found = pair_scores(embeddings, left, right)
    assert found.shape == (70_000,)
    np.testing.assert_allclose(found[-1000:], found[68_000:69_000], atol=0)
    a, b = embeddings[left[69_999]].astype(float), embeddings[right[69_999]].astype(float)
    assert found[-1] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-14)


def test_unusable_rows_are_those_without_a_finite_direction() -> None:
    rows = np.ones((6, 3), np.float32)
    rows[1, 2] = np.nan
    rows[2, 0] = np.inf
    rows[3, 1] = -np.inf
    rows[4] = 0
    rows[5] = [1e-45, 0, 0]  # the smallest float32 still points somewhere
    assert unusable_rows(rows).tolist() == [False, True, True, True, True, False]
    assert pair_scores(rows, np.array([5]), np.array([5])) == pytest.approx([1.0])
