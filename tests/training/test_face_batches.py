"""Batches for Keras's fit: which images, in which form, and what models learn of them."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import batches_programs
import keras
import numpy as np
import pytest
from face_samples import write_faces

import training
from evaluator.bins.verification_set import read_bin
from evaluator.errors import InputError
from evaluator.images.decode import decode_image
from evaluator.images.inputs import InputSpec
from tests.programs import Programs
from training.data.batches.balance import balanced_by_person
from training.data.batches.pipeline import prepare_data, train_batches
from training.network.mixup import MixupLoss
from training.recipes.parts import Augment, DataRecipe

ROOT = Path(__file__).parents[2]
SIZE = batches_programs.SIZE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("people") / "faces", people=5, each=8)


@pytest.fixture(scope="module")
def faces(folder: Path) -> training.FaceSet:
    return training.open_faces(folder)


def same(one: Any, other: Any) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


# ---- Which images --------------------------------------------------------------------------------


def test_they_are_the_batches_that_recipes_train_on(faces: training.FaceSet) -> None:
    augment = Augment(crop_px=2, cutout_px=4)
    train, _ = training.face_batches(
        faces, batch_size=6, validation=0.2, size=SIZE, input="symmetric", augment=augment, seed=9
    )
    recipe = DataRecipe(validation=0.2, augment=augment, seed=9)
    data = prepare_data(faces, recipe, InputSpec(SIZE, SIZE, "symmetric"), batch=6)
    for epoch in (0, 1):
        train.epoch = epoch
        theirs = list(train_batches(data, epoch))
        assert len(theirs) == len(train) == 6
        # In any order: each is a function of seed, epoch and its number.
        for k in (4, 0, 5, 1, 2, 3):
            assert same(train[k], theirs[k][:2])


def test_an_epoch_begins_where_it_is_told(faces: training.FaceSet) -> None:
    late, _ = training.face_batches(faces, batch_size=8, size=SIZE, initial_epoch=3)
    early, _ = training.face_batches(faces, batch_size=8, size=SIZE)
    assert not same(early[0], late[0])
    early.epoch = 3
    assert same(early[0], late[0])


def test_images_held_back_come_unchanged_and_end_with_a_short_batch(
    faces: training.FaceSet,
) -> None:
    augment = Augment(crop_px=4)
    _, held = training.face_batches(faces, batch_size=4, validation=0.25, size=32, augment=augment)
    assert [len(labels) for _, labels in held] == [4, 4, 2]
    plain = {decode_image(bytes(faces.read(i))).tobytes() for i in range(len(faces))}
    for images, _ in held:
        for image in images:
            assert np.round(image * 255).astype(np.uint8).tobytes() in plain


def test_values_out_of_range_are_refused_by_name(faces: training.FaceSet) -> None:
    for options, message in (
        ({"validation": 1.5}, r"validation: expected a number, 0 to 0.9; found 1.5"),
        ({"augment": Augment(crop_px=-1)}, r"augment.crop_px: expected a whole number"),
        ({"balance": "weight"}, "unknown balance 'weight': expected one of none, weights"),
        ({"batch_size": 0, "initial_epoch": 0}, "batch_size of 1 or more"),
        ({"cache": "disk"}, "cache: expected one of auto, memory, none"),
        ({"input": "imagined"}, "unknown input.* 'imagined': expected one of unit"),
    ):
        with pytest.raises(ValueError, match=message):
            training.face_batches(faces, **options)
    with pytest.raises(IndexError, match="from 0 to 4"):
        training.face_batches(faces, batch_size=8)[0][5]


def test_fewer_people_than_wanted_are_refused(folder: Path) -> None:
    assert training.open_faces(str(folder), min_people=5).people == 5
    with pytest.raises(InputError, match=r"expected 6 people or more; found 5"):
        training.open_faces(folder, min_people=6)


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    root = write_faces(tmp_path / "faces", people=3, each=4)
    (root / "person 1" / "2.png").write_bytes(b"no image")
    train, _ = training.face_batches(training.open_faces(root), batch_size=12, size=SIZE)
    images, _ = train[0]
    assert len(images) == 12
    assert np.isfinite(images).all()
    (name,) = train.skipped
    assert name.endswith("2.png")


# ---- Samplers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_people_come_as_often_as_the_power_says(power: float) -> None:
    counts = np.array([1, 3, 10, 40, 200])
    labels = np.repeat(np.arange(5), counts)
    random = np.random.default_rng(0)
    drawn = [balanced_by_person(labels, power, random) for _ in range(300)]
    # The formula restated: n^(1 - power), scaled to an epoch of as many images.
    wanted = counts ** (1 - power) / (counts ** (1 - power)).sum() * counts.sum()
    found = np.array([np.bincount(labels[each], minlength=5) for each in drawn])
    assert (found.sum(axis=1) == counts.sum()).all()
    assert np.abs(found - wanted).max() < 1 + 1e-9
    assert np.allclose(found.mean(axis=0), wanted, atol=0.1)
    for each in drawn[:20]:
        seen = np.bincount(each, minlength=len(labels))
        for person in range(5):
            own = seen[labels == person]
            assert own.max() - own.min() <= 1  # none again before all have come
    if power == 0:
        assert all(np.array_equal(np.sort(each), np.arange(len(labels))) for each in drawn)


def test_a_batch_of_people_is_as_large_as_the_sampler_says(faces: training.FaceSet) -> None:
    train, _ = training.face_batches(faces, sampler=training.PersonSampler(3, 4), size=SIZE)
    for _, labels in train:
        assert sorted(np.unique(labels, return_counts=True)[1]) == [4, 4, 4]
    with pytest.raises(InputError, match=r"people x images = 12, or nothing; found 128"):
        training.face_batches(faces, sampler=training.PersonSampler(3, 4), batch_size=128)
    with pytest.raises(InputError, match="images: expected 2 or more; found 1"):
        training.PersonSampler(3, 1)
    with pytest.raises(InputError, match="power: expected 0 to 1; found 2"):
        training.BalancedSampler(2)


def test_windows_give_whole_triplets(faces: training.FaceSet) -> None:
    sampler = training.SlidingWindowSampler(rounds=2)
    train, _ = training.face_batches(faces, sampler=sampler, batch_size=9, size=SIZE)
    assert len(train) == -(-2 * 5 * 7 * 3 // 9)
    for _, labels in train:
        anchors, positives, negatives = labels.reshape(3, 3).T
        assert (anchors == positives).all()
        assert (anchors != negatives).all()
    with pytest.raises(InputError, match="triplets fill it"):
        training.face_batches(faces, sampler=sampler, batch_size=8)


def test_mined_triplets_violate_the_margin_and_follow_the_weights(
    faces: training.FaceSet,
) -> None:
    model = batches_programs.small_model()
    sampler = training.MinedSampler(
        embedding=model, people=5, images=8, alpha_cosine=0.3, batches=4
    )
    train, _ = training.face_batches(faces, sampler=sampler, batch_size=9, size=SIZE, augment=None)
    assert len(train) == 4
    images, labels = train[2]
    found = np.array(model(images))
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    anchors, positives, negatives = found.reshape(3, 3, -1).transpose(1, 0, 2)
    gap = (anchors * positives).sum(axis=1) - (anchors * negatives).sum(axis=1)
    assert (gap < 0.3).all()
    assert (labels.reshape(3, 3)[:, 0] == labels.reshape(3, 3)[:, 1]).all()
    model.set_weights([-0.5 * each for each in model.get_weights()])
    assert same(train[2], (images, labels))  # within an epoch they stay
    train.on_epoch_end()
    assert train.epoch == 1
    assert not same(train[2], (images, labels))


# ---- Forms ---------------------------------------------------------------------------------------


def test_weights_are_the_inverse_of_how_many_images_a_person_has(tmp_path: Path) -> None:
    root = write_faces(tmp_path / "faces", people=2, each=6)
    for number in range(3):
        (root / "person 1" / f"{number}.png").unlink()
    train, _ = training.face_batches(
        training.open_faces(root), batch_size=9, size=SIZE, balance="weights"
    )
    _, labels, weights = train[0]
    assert np.allclose(weights, np.where(labels == 0, 9 / (2 * 6), 9 / (2 * 3)))
    with pytest.raises(InputError, match="BalancedSampler"):
        train.with_labels()


def test_labels_are_among_the_inputs(faces: training.FaceSet) -> None:
    train, _ = training.face_batches(faces, batch_size=8, size=SIZE)
    (images, inputs), labels = training.with_labels(train)[1]
    assert same((images, labels), train[1])
    assert inputs is labels


def test_a_strangers_tf_data_gets_its_labels_as_inputs() -> None:
    tf = pytest.importorskip("tensorflow")
    images, labels = np.zeros((6, 4, 4, 3), np.float32), np.arange(6)
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(3)
    ((_, inputs), targets), *_ = training.with_labels(data)
    assert inputs.numpy().tolist() == targets.numpy().tolist() == [0, 1, 2]
    one_hot = tf.data.Dataset.from_tensor_slices((images, np.eye(6))).batch(3)
    with pytest.raises(InputError, match="argmax"):
        training.with_labels(one_hot)
    weighted = tf.data.Dataset.from_tensor_slices((images, labels, labels)).batch(3)
    with pytest.raises(InputError, match=r"\(images, labels\); found 3 parts"):
        training.with_labels(weighted)
    with pytest.raises(InputError, match="got list"):
        training.with_labels([images, labels])


def test_mixed_images_are_two_of_the_batch_in_the_share_that_is_told(
    faces: training.FaceSet,
) -> None:
    train, held = training.face_batches(faces, batch_size=8, size=SIZE, validation=0.2)
    shares = []
    for epoch in range(30):
        train.epoch = epoch
        mixed = train.with_mixup(0.4)
        images, labels = train[1]
        found, targets = mixed[1]
        own, other, share = targets.T
        assert np.array_equal(own, labels)
        assert np.array_equal(other, labels[::-1])
        assert (share == share[0]).all()
        assert np.allclose(found, share[0] * images + (1 - share[0]) * images[::-1], atol=1e-6)
        shares.append(float(share[0]))
    assert min(shares) >= 0.5
    assert same(train.with_mixup(0.4)[1], mixed[1])
    # The larger of Beta(0.4, 0.4)'s two shares has the mean 0.826 (SciPy's, by its density).
    from scipy import integrate, stats

    mean = 2 * integrate.quad(lambda x: x * stats.beta(0.4, 0.4).pdf(x), 0.5, 1)[0]
    assert np.mean(shares) == pytest.approx(mean, abs=4 * np.std(shares) / 30**0.5)
    for refused in (
        lambda: held.with_mixup(0.4),
        lambda: train.with_mixup(0),
        lambda: train.with_labels().with_mixup(0.4),
        lambda: train.with_mixup(0.4).with_labels(),
    ):
        with pytest.raises(InputError):
            refused()


def test_mixups_loss_is_the_cross_entropy_of_mixed_one_hot_labels() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(6, 5)).astype(np.float32)
    own, other = random.integers(0, 5, (2, 6))
    share = random.uniform(0.5, 1, 6).astype(np.float32)
    loss = MixupLoss(training.SoftmaxLoss())
    found = loss(np.stack([own, other, share], 1).astype(np.float32), logits)
    soft = share[:, None] * np.eye(5)[own] + (1 - share[:, None]) * np.eye(5)[other]
    wanted = keras.losses.CategoricalCrossentropy(from_logits=True)(soft, logits)
    assert float(found) == pytest.approx(float(wanted), rel=1e-6)
    plain = training.SoftmaxLoss()(own, logits)
    assert float(loss(own, logits)) == pytest.approx(float(plain), rel=1e-6)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert float(again(own, logits)) == float(loss(own, logits))


def test_as_tf_data_epochs_follow_each_other(faces: training.FaceSet) -> None:
    train, held = training.face_batches(faces, batch_size=9, size=SIZE, validation=0.25)
    rows = list(train.to_tf().take(2 * len(train)))
    assert train.epoch == 0
    for number, row in enumerate(rows):
        train.epoch = number // len(train)
        assert same([each.numpy() for each in row], train[number % len(train)])
    assert [len(labels) for _, labels in held.to_tf()] == [9, 1]
    assert int(held.to_tf().cardinality()) == len(held) == 2


MIRRORED = """
import keras, tensorflow as tf, training
train, held = training.face_batches(
    training.open_faces(folder), batch_size=8, size=16, validation=0.2
)
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    images = keras.Input((16, 16, 3))
    model = keras.Model(images, keras.layers.Dense(5)(keras.layers.Flatten()(images)))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
found = model.fit(
    train.to_tf(), steps_per_epoch=len(train), validation_data=held.to_tf(), epochs=4, verbose=0
).history
"""


@pytest.mark.slow
def test_two_replicas_train_on_them_as_tf_data(folder: Path, on_two_devices: Programs) -> None:
    history = on_two_devices.found(MIRRORED, folder=str(folder))
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    assert np.isfinite(history["val_loss"]).all()


# ---- What models learn, on both backends ---------------------------------------------------------


@pytest.fixture(scope="module", params=["tensorflow", "jax"])
def found(
    request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """What `batches_programs` finds on each backend."""
    shared = Path(os.environ.get("ZOO_SHARED", ROOT.parent / "shared"))
    teacher = shared / "models" / "mobileface_v3.onnx"
    cache = tmp_path_factory.mktemp("cache")
    names = str(folder), str(teacher) if teacher.exists() else "", str(cache)
    programs: Programs = request.getfixturevalue(f"on_{request.param}")
    look = "import batches_programs\nfound = batches_programs.findings(*names)"
    return programs.found(look, names=names) | {"wanted": request.param}


@pytest.mark.slow
def test_fit_sees_each_epochs_own_images_in_two_fits(found: Any) -> None:
    assert found["backend"] == found["wanted"]
    levels = found["levels"]
    assert levels["seen"] == pytest.approx(levels["own"], rel=1e-5)
    assert len({round(each, 5) for each in levels["own"]}) == 3
    assert levels["epoch"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("program", ["center", "stranger", "mixup"])
def test_losses_fall(found: Any, program: str) -> None:
    losses = found[program]
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.slow
def test_triplets_train(found: Any) -> None:
    for losses in found["triplets"].values():
        assert len(losses) == 3
        assert np.isfinite(losses).all()


@pytest.mark.slow
def test_an_onnx_teacher_is_learnt_from(found: Any) -> None:
    if "distilled" not in found:
        pytest.skip("needs the shared models")
    losses = found["distilled"]["loss"]
    assert found["distilled"]["size"] == 256
    # Ten times the cosine, from near 0 towards 10, less the margin's loss.
    assert losses[-1] < losses[0] - 3


# ---- Teachers ------------------------------------------------------------------------------------


class Counted:
    """An embedding of four means, and how many images it has seen."""

    def __init__(self) -> None:
        self.images = 0

    def __call__(self, batch: Any) -> Any:
        self.images += len(batch)
        halves = batch.reshape(len(batch), batch.shape[1], 2, -1, 3).mean(axis=(1, 3))
        return np.concatenate([halves[:, 0], halves[:, 1]], axis=1)


def test_a_teacher_embeds_as_zoo_eval_does(shared: Path) -> None:
    from evaluator.api.sources import source_of
    from evaluator.measure.embed import EmbedOptions, embed_images
    from evaluator.models.options import LoadOptions

    path = shared / "models" / "mobileface_v3.onnx"
    images = read_bin(shared / "bins" / "small_lfw.bin").images[:5]
    teacher = training.Teacher(path, input="raw")
    source = source_of(path, LoadOptions(profile="raw"), name=None, layout=None)
    with source.open() as embedder:
        wanted = embed_images(embedder, images, options=EmbedOptions())
    found = teacher.embed([decode_image(each) for each in images])
    assert found.shape == (5, teacher.embedding_size)
    assert np.allclose(found, wanted, atol=1e-4)
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(teacher)
    with pytest.raises(InputError, match=r"expected uint8 .* found float32"):
        teacher.embed(np.zeros((1, 8, 8, 3), np.float32))
    teacher.close()


def test_a_teacher_sees_the_students_image(faces: training.FaceSet) -> None:
    teacher = training.Teacher(Counted(), input="unit", size=SIZE)
    train, _ = training.face_batches(
        faces, batch_size=8, size=SIZE, augment=Augment(crop_px=8, cutout_px=8)
    )
    images, targets = train.with_teacher(teacher, embedding="e", labels="l")[1]
    assert targets["e"].shape == (8, teacher.embedding_size) == (8, 6)
    assert np.allclose(targets["e"], Counted()(images), atol=1e-5)
    assert same((images, targets["l"]), train[1])


def test_both_views_of_an_image_are_embedded_once(faces: training.FaceSet, tmp_path: Path) -> None:
    def epochs(model: Counted, count: int, **options: Any) -> list[Any]:
        teacher = training.Teacher(model, input="unit", size=SIZE, cache=tmp_path)
        train, _ = training.face_batches(faces, batch_size=8, size=SIZE, **options)
        batches = train.with_teacher(teacher)
        rows = []
        for epoch in range(count):
            batches.epoch = epoch
            rows += list(batches)
        return rows

    counted = Counted()
    for images, targets in epochs(counted, 8):
        assert np.allclose(targets["embedding"], Counted()(images), atol=1e-5)
    # 40 images, as they are and mirrored, and the one that tells the size.
    assert counted.images <= 81
    again = Counted()
    for images, targets in epochs(again, 8):
        assert np.allclose(targets["embedding"], Counted()(images), atol=1e-5)
    assert again.images == 1
    other = Counted()
    epochs(other, 1, augment=Augment(crop_px=1))
    assert other.images == 41  # nothing of it is kept


def test_a_teacher_does_not_go_with_mixing(faces: training.FaceSet) -> None:
    train, _ = training.face_batches(faces, batch_size=8, size=SIZE)
    with pytest.raises(InputError, match="does not go with a teacher"):
        train.with_mixup(1.0).with_teacher(training.Teacher(Counted(), input="unit", size=SIZE))


# ---- Rates ---------------------------------------------------------------------------------------


def test_the_founding_rate_goes_through_keras_scheduler(faces: training.FaceSet) -> None:
    rate = training.warm_up(training.founding_schedule(0.002, hold=3, rate=0.5), 2)
    scheduler = keras.callbacks.LearningRateScheduler(rate)
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    found = model.fit(
        np.zeros((4, 2)), np.zeros(4), epochs=6, verbose=0, callbacks=[scheduler]
    ).history["learning_rate"]
    # Warm-up: the middle of each epoch on the line to 0.002; then the formula.
    wanted = [0.0005, 0.0015, 0.002, 0.002, 0.002 * np.exp(-0.5), 0.002 * np.exp(-1.0)]
    assert found == pytest.approx(wanted, rel=1e-6)
    with pytest.raises(InputError, match="learning_rate"):
        training.founding_schedule(0)
