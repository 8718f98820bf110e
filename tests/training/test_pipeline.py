"""The input pipeline: split, order, flips, cache, broken images."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluator.errors import InputError
from evaluator.images.inputs import InputSpec
from training.data.batches.augment import OPERATIONS, changed, cut_out, shifted
from training.data.batches.pipeline import (
    Batch,
    TrainingData,
    epoch_order,
    prepare_data,
    split_images,
    train_batches,
    validation_batches,
)
from training.data.sources.faces import FaceSet, open_faces
from training.recipes.parts import Augment, DataRecipe

PLAIN = DataRecipe(validation=0, augment=Augment(flip=False))
SIDE = 8


def png(number: int) -> bytes:
    """An image that says which one it is, and which way round: its left half is black."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[:, SIDE // 2 :] = number + 1
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def face_set(people: int = 5, each: int = 4, broken: frozenset[int] = frozenset()) -> FaceSet:
    images = [b"no image" if i in broken else png(i) for i in range(people * each)]
    return FaceSet(
        source=Path("faces"),
        names=tuple(f"person {i}" for i in range(people)),
        labels=np.repeat(np.arange(people), each),
        fingerprint="",
        read=images.__getitem__,
        origin="image {}".format,
        release=lambda: None,
    )


def data(faces: FaceSet | None = None, recipe: DataRecipe = PLAIN, batch: int = 6) -> TrainingData:
    return prepare_data(faces or face_set(), recipe, InputSpec(SIDE, SIDE, "raw"), batch=batch)


def numbers(batch: Batch) -> list[int]:
    """Which images are in a batch, read off their pixels."""
    return [int(image.max()) - 1 for image in batch.images]


def test_an_epoch_has_each_image_once_and_is_filled_up_with_its_first() -> None:
    batches = list(train_batches(data(), epoch=0))
    seen = [number for batch in batches for number in numbers(batch)]
    assert len(batches) == 4  # 20 images in batches of 6
    assert sorted(seen[:20]) == list(range(20))
    assert seen[20:] == seen[:4]


def test_labels_are_those_of_their_images() -> None:
    for batch in train_batches(data(), epoch=1):
        assert batch.labels.tolist() == [number // 4 for number in numbers(batch)]
        assert batch.labels.dtype == np.int32


def test_orders_differ_by_epoch_and_seed_and_repeat() -> None:
    first = epoch_order(data(), 0)
    assert np.array_equal(first, epoch_order(data(), 0))
    assert not np.array_equal(first, epoch_order(data(), 1))
    assert not np.array_equal(first, epoch_order(data(recipe=replace(PLAIN, seed=1)), 0))


@pytest.mark.parametrize("cache", ["none", "memory"])
def test_an_epoch_entered_at_a_step_goes_on_as_the_whole_one(cache: str) -> None:
    augment = Augment(flip=True, crop_px=2, cutout_px=3, randaugment_ops=2)
    recipe = DataRecipe(validation=0.2, cache=cache, augment=augment)
    whole = list(train_batches(data(recipe=recipe, batch=3), epoch=2))
    rest = list(train_batches(data(recipe=recipe, batch=3), epoch=2, start=3))
    assert len(rest) == len(whole) - 3 > 0
    for one, other in zip(whole[3:], rest, strict=True):
        assert np.array_equal(one.images, other.images)
        assert np.array_equal(one.labels, other.labels)


def test_about_half_of_the_images_are_mirrored_and_others_in_the_next_epoch() -> None:
    many = data(face_set(20, 10), replace(PLAIN, augment=Augment(flip=True)), batch=200)

    def mirrored(epoch: int) -> dict[int, bool]:
        (batch,) = train_batches(many, epoch)
        return {int(image.max()) - 1: bool(image[0, 0, 0]) for image in batch.images}

    first, second = mirrored(0), mirrored(1)
    assert 70 < sum(first.values()) < 130
    assert 50 < sum(first[i] != second[i] for i in range(200)) < 150


def test_held_back_images_are_of_people_who_also_train() -> None:
    labels = np.repeat(np.arange(10), [1, 1, 2, 2, 3, 3, 5, 5, 9, 9])
    train, held_back = split_images(labels, 0.5, seed=3)
    assert len(held_back) == 20
    assert sorted([*train, *held_back]) == list(range(40))
    assert set(labels[train]) == set(range(10))


def test_a_larger_share_than_there_are_spare_images_holds_back_the_spare_ones() -> None:
    train, held_back = split_images(np.arange(10), 0.5, seed=0)
    assert len(train) == 10
    assert not len(held_back)


def test_validation_sees_the_images_held_back_unchanged() -> None:
    held = data(recipe=DataRecipe(validation=0.4, augment=Augment(flip=True, crop_px=2)), batch=4)
    batches = list(validation_batches(held))
    assert [number for batch in batches for number in numbers(batch)] == held.held_back.tolist()
    assert not any(batch.images[:, :, 0].any() for batch in batches)  # none mirrored


def test_a_broken_image_is_named_and_the_next_in_order_stands_for_it() -> None:
    faces = face_set(broken=frozenset({7}))
    given = data(faces)
    order = epoch_order(given, 0).tolist()
    seen = [number for batch in train_batches(given, 0) for number in numbers(batch)]
    after = order[(order.index(7) + 1) % 20]
    assert seen[:20] == [after if number == 7 else number for number in order]
    assert list(given.broken) == ["image 7"]


def test_nothing_but_broken_images_is_an_error_that_names_one() -> None:
    given = data(face_set(broken=frozenset(range(20))))
    with pytest.raises(InputError, match=r"image \d+: neither this image nor the 64 after it"):
        list(train_batches(given, 0))


def test_balanced_weights_give_each_person_the_same_say() -> None:
    faces = replace(face_set(2, 4), labels=np.array([0, 0, 0, 0, 0, 0, 1, 1]))
    given = data(faces, replace(PLAIN, class_weights="balanced"), batch=8)
    (batch,) = train_batches(given, 0)
    assert batch.weights[batch.labels == 0].sum() == pytest.approx(4)
    assert batch.weights[batch.labels == 1].sum() == pytest.approx(4)


def test_processes_share_a_batch_without_overlap() -> None:
    spec = InputSpec(SIDE, SIDE, "raw")
    whole = list(train_batches(data(batch=4), 0))
    shards = [prepare_data(face_set(), PLAIN, spec, batch=4, shard=(i, 2)) for i in range(2)]
    parts = [list(train_batches(shard, 0)) for shard in shards]
    for batch, left, right in zip(whole, *parts, strict=True):
        assert numbers(left) + numbers(right) == numbers(batch)
    with pytest.raises(InputError, match="multiple of 3 processes"):
        prepare_data(face_set(), PLAIN, spec, batch=4, shard=(0, 3))


def test_pixels_are_those_the_evaluator_gives_the_model(shared: Path) -> None:
    import tensorflow as tf

    faces = open_faces(shared / "faces" / "lfw_train")
    given = prepare_data(faces, PLAIN, InputSpec(112, 112, "symmetric"), batch=16)
    batch = next(train_batches(given, 0))
    for row, number in enumerate(epoch_order(given, 0)[:16]):
        pixels = tf.io.decode_jpeg(faces.read(int(number)), dct_method="INTEGER_ACCURATE").numpy()
        wanted = (pixels.astype(np.float64) - 127.5) / 128
        assert np.abs(batch.images[row] - wanted).max() < 1e-7


def test_a_shift_moves_the_whole_image() -> None:
    pixels = np.arange(SIDE * SIDE * 3, dtype=np.uint8).reshape(SIDE, SIDE, 3)
    wide = np.pad(pixels, ((2, 2), (2, 2), (0, 0)), mode="edge")
    windows = [wide[y : y + SIDE, x : x + SIDE] for y in range(5) for x in range(5)]
    found = set()
    for seed in range(200):
        moved = shifted(pixels, 2, np.random.default_rng(seed))
        found |= {i for i, window in enumerate(windows) if np.array_equal(moved, window)}
    assert found == set(range(25))


@pytest.mark.parametrize("limit", [1, SIDE - 1, SIDE, SIDE + 3])
def test_a_shift_is_the_window_of_the_image_with_its_edge_repeated(limit: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    wide = np.pad(pixels, ((limit, limit), (limit, limit), (0, 0)), mode="edge")
    for seed in range(50):
        down, right = np.random.default_rng(seed).integers(0, 2 * limit + 1, 2)
        moved = shifted(pixels, limit, np.random.default_rng(seed))
        assert np.array_equal(moved, wide[down : down + SIDE, right : right + SIDE])


def test_cutout_grays_a_square_and_leaves_its_argument() -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    sizes = {int((cut_out(pixels, 8, np.random.default_rng(i)) == 128).sum()) for i in range(50)}
    assert max(sizes) == 8 * 8 * 3
    assert not pixels.any()


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("level", [-1.0, 1.0])
def test_every_operation_of_randaugment_keeps_the_size(name: str, level: float) -> None:
    image = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    after = OPERATIONS[name](image, level)
    assert (after.size, after.mode) == (image.size, "RGB")


def test_augmentation_repeats_with_its_generator() -> None:
    pixels = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3)
    augment = Augment(crop_px=3, cutout_px=5, randaugment_ops=3)
    make: Callable[[int], np.ndarray] = lambda seed: changed(  # noqa: E731
        pixels, augment, np.random.default_rng(seed)
    )
    assert np.array_equal(make(1), make(1))
    assert not np.array_equal(make(1), make(2))


def test_a_balanced_epoch_has_each_person_as_often() -> None:
    labels = np.repeat(np.arange(4), [2, 4, 6, 12])
    faces = replace(face_set(4, 6), labels=labels)
    order = epoch_order(data(faces, replace(PLAIN, balance=1.0)), 0)
    assert np.bincount(labels[order]).tolist() == [6, 6, 6, 6]
    assert not np.array_equal(order, epoch_order(data(faces, replace(PLAIN, balance=1.0)), 1))
