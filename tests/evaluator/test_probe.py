"""The probe finds the profile that a model was made for, and says where it cannot."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluator.bins.verification_set import VerificationSet, read_bin, write_bin
from evaluator.images.inputs import Embedder, InputSpec
from evaluator.measure.collapse import impostor_spread, looks_collapsed
from evaluator.probe import Trial, find_winner, probe_inputs, sample_pairs
from evaluator.profiles import PROFILES
from tests.small_models import save_graph
from tests.zoo.samples import face, png

SIZE = 8


def red_face(person: int, shot: int) -> bytes:
    """A photograph whose red carries the person, and whose blue says nothing."""
    pixels = face(person, shot, SIZE)
    pixels[..., 2] = np.random.default_rng((person, shot, 7)).integers(0, 256, (SIZE, SIZE))
    return png(pixels)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> VerificationSet:
    """120 pairs of 20 people; a person is a pattern of colour, a photograph adds noise."""
    images, genuine = [], []
    for person in range(20):
        for shot in range(3):
            images += [red_face(person, shot), red_face(person, (shot + 1) % 3)]
            images += [red_face(person, shot), red_face((person + 1) % 20, shot)]
            genuine += [True, False]
    path = tmp_path_factory.mktemp("probe") / "faces.bin"
    write_bin(path, images, genuine)
    return read_bin(path)


def trained_for(profile: str, channels: str) -> Embedder:
    """An embedder that works for one way to prepare images: it looks at red, and what is no level
    of a pixel then is noise to it.
    """
    (center,), (divisor,) = PROFILES[profile].centers, PROFILES[profile].divisors

    def forward(batch: np.ndarray) -> np.ndarray:
        levels = (
            batch[..., 0 if channels == "rgb" else 2].reshape(len(batch), -1) * divisor + center
        )
        known = (np.abs(levels - np.rint(levels)) < 0.01) & (np.abs(levels - 127.5) < 128)
        return np.where(known, levels - 128, 99 * np.sin(1e3 * levels)).astype(np.float32)

    return Embedder(forward, InputSpec(SIZE, SIZE))


@pytest.mark.parametrize("profile", ["unit", "raw", "symmetric"])
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_the_profile_of_a_model_is_found(
    faces: VerificationSet, profile: str, channels: str
) -> None:
    seen: list[int] = []
    finding = probe_inputs(
        trained_for(profile, channels),
        faces,
        on_round=lambda pairs, inputs, images: nullcontext(seen.append),
    )
    best = finding.trials[0]
    twins = {"symmetric", "insightface"}
    assert best.profile == profile or {best.profile, profile} == twins
    assert finding.recommended is not None
    assert finding.recommended.channels == channels
    assert len(finding.trials) == 12
    assert sum(seen) == 12 * 2 * len(set(faces.images))


def test_a_model_that_does_not_mind_the_scale_cannot_be_told(faces: VerificationSet) -> None:
    embedder = Embedder(lambda batch: batch.reshape(len(batch), -1) + 0.0, InputSpec(SIZE, SIZE))
    finding = probe_inputs(embedder, faces)
    assert not finding.clear
    assert {"unit", "raw"} <= {trial.profile for trial in finding.alike}


def test_a_gray_model_is_tried_without_channel_orders(faces: VerificationSet) -> None:
    spec = InputSpec(SIZE, SIZE, channels="gray")
    finding = probe_inputs(Embedder(lambda b: b.reshape(len(b), -1) + 1, spec), faces)
    # ImageNet's means are of three channels.
    assert [trial.channels for trial in finding.trials] == ["gray"] * 5


def test_profiles_without_finite_embeddings_lose(faces: VerificationSet) -> None:
    def forward(batch: np.ndarray) -> np.ndarray:
        flat = batch.reshape(len(batch), -1)
        return np.where(flat.max() > 2, np.nan, flat).astype(np.float32)

    finding = probe_inputs(Embedder(forward, InputSpec(SIZE, SIZE)), faces)
    lost = {trial.profile for trial in finding.trials if trial.flipped is None}
    assert "raw" in lost
    assert "unit" not in lost
    assert all(trial.flipped is None for trial in finding.trials[-2 * len(lost) :])


def trial(profile: str, scores: np.ndarray, genuine: np.ndarray, channels: str = "rgb") -> Trial:
    return Trial(profile, channels, scores, scores, genuine)


def test_the_winner_is_the_highest_auc_and_close_ones_are_named_with_it() -> None:
    random = np.random.default_rng(1)
    genuine = np.arange(200) % 2 == 0
    signal = np.where(genuine, 1.0, -1.0)
    good = np.clip(0.2 * signal + random.normal(scale=0.1, size=200), -1, 1)
    nearly = np.clip(good + random.normal(scale=0.01, size=200), -1, 1)
    bad = np.clip(0.02 * signal + random.normal(scale=0.1, size=200), -1, 1)
    found = find_winner(
        [trial("unit", bad, genuine), trial("raw", good, genuine), trial("unit", nearly, genuine)],
        genuine,
    )
    assert [each.profile for each in found.alike] in (["raw", "unit"], ["unit", "raw"])
    assert not found.clear
    alone = find_winner([trial("unit", bad, genuine), trial("raw", good, genuine)], genuine)
    assert alone.clear
    assert alone.profiles == ("raw",)


def test_the_twins_count_as_one_profile() -> None:
    genuine = np.arange(100) % 2 == 0
    scores = np.where(genuine, 0.5, 0.1) + np.linspace(0, 0.2, 100)
    found = find_winner(
        [trial("symmetric", scores, genuine), trial("insightface", scores, genuine)], genuine
    )
    assert found.clear


def test_a_sample_is_half_genuine_spread_over_the_file_and_repeatable(
    faces: VerificationSet,
) -> None:
    sample = sample_pairs(faces, 40)
    assert (sample.pairs, sample.genuine_pairs) == (40, 20)
    assert sample_pairs(faces, 40).images == sample.images
    whole = sample_pairs(faces, 10_000)
    assert whole.images == faces.images
    np.testing.assert_array_equal(whole.genuine, faces.genuine)
    # Each sampled pair stands in the file with the same label.
    pairs = {
        (faces.images[2 * i], faces.images[2 * i + 1], bool(faces.genuine[i]))
        for i in range(faces.pairs)
    }
    for i in range(sample.pairs):
        pair = (sample.images[2 * i], sample.images[2 * i + 1], bool(sample.genuine[i]))
        assert pair in pairs


# ---- Collapsed embeddings -----------------------------------------------------------------------


def test_the_spread_is_the_middle_ninety_percent_of_impostors() -> None:
    scores = np.concatenate([np.linspace(0, 1, 101), np.full(50, 0.99), [np.nan]])
    genuine = np.concatenate([np.zeros(101, bool), np.ones(50, bool), [False]])
    assert impostor_spread(scores, genuine) == pytest.approx(0.9)
    assert impostor_spread(scores[100:], genuine[100:]) is None


def test_alike_impostors_are_a_collapse_and_working_models_are_none() -> None:
    random = np.random.default_rng(0)
    genuine = np.arange(2000) % 2 == 0
    assert looks_collapsed(np.ones(2000), genuine)
    assert looks_collapsed(1 - 1e-3 * random.random(2000), genuine)
    for dimensions in (64, 128, 512, 2048):
        a, b = random.normal(size=(2, 2000, dimensions))
        cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        assert not looks_collapsed(cosines, genuine)


# ---- How much is tried ---------------------------------------------------------------------------


def noisy_people(count: int) -> VerificationSet:
    """Pairs of distinct gray images, two a pair, that share a level and little else."""
    random = np.random.default_rng(5)
    images, genuine = [], []
    for pair in range(count):
        own = random.normal(128, 40, (SIZE, SIZE))
        other = own if pair % 2 else random.normal(128, 40, (SIZE, SIZE))
        for each in (own, other):
            levels = np.clip(each + random.normal(0, 40, (SIZE, SIZE)), 0, 255).astype(np.uint8)
            images.append(png(np.repeat(levels[..., None], 3, axis=2)))
        genuine.append(bool(pair % 2))
    return VerificationSet("noisy", Path("noisy.bin"), "0" * 64, tuple(images), np.array(genuine))


def test_a_dead_network_is_told_from_the_first_pairs(faces: VerificationSet) -> None:
    random = np.random.default_rng(0)

    def chance(batch: np.ndarray) -> np.ndarray:
        return random.normal(size=(len(batch), 64)).astype(np.float32)

    def constant(batch: np.ndarray) -> np.ndarray:
        return np.full((len(batch), 16), 3, np.float32)

    for forward, collapsed in ((chance, False), (constant, True)):
        finding = probe_inputs(Embedder(forward, InputSpec(SIZE, SIZE)), faces, pairs=100)
        assert not finding.works
        assert finding.recommended is None
        assert finding.collapsed == collapsed
        assert abs(finding.trials[0].auc - 0.5) < 0.2
    assert finding.pairs == 100  # of the constant one; all are chance, and more would not help


def test_the_sample_grows_until_the_winner_is_real() -> None:
    whole = noisy_people(300)
    seen = []

    def forward(batch: np.ndarray) -> np.ndarray:
        # A little noise where levels are no levels: worse, as a thousand pairs show and forty not.
        flat = batch.reshape(len(batch), -1)
        if flat.max() > 3:
            return flat - 128
        flat = flat - flat.mean()
        return (flat + 2 * flat.std() * np.sin(flat * 1e5)).astype(np.float32)

    def on_round(pairs: int, inputs: int, images: int) -> AbstractContextManager[Callable]:
        seen.append((pairs, inputs, images))
        return nullcontext(lambda _: None)

    finding = probe_inputs(
        Embedder(forward, InputSpec(SIZE, SIZE)), whole, pairs=40, on_round=on_round
    )
    assert [pairs for pairs, _, _ in seen] == [min(40 * 2**i, 300) for i in range(len(seen))]
    assert len(seen) > 1
    # No image is embedded twice under one input, and what was shown to be worse is not tried on.
    inputs = [number for _, number, _ in seen]
    assert inputs == sorted(inputs, reverse=True)
    assert seen[1][2] == 2 * seen[1][1] * 2 * 40
    assert finding.trials[0].profile == "raw"
    assert {each.pairs for each in finding.alike} == {finding.pairs}
    assert finding.profiles == ("raw",)


def test_what_all_pairs_do_not_part_is_not_separable() -> None:
    random = np.random.default_rng(1)

    def forward(batch: np.ndarray) -> np.ndarray:
        flat = batch.reshape(len(batch), -1)
        flat = flat - flat.mean(axis=1, keepdims=True)
        flat /= flat.std(axis=1, keepdims=True)
        return (flat + random.normal(0, 0.2, flat.shape)).astype(np.float32)

    finding = probe_inputs(Embedder(forward, InputSpec(SIZE, SIZE)), noisy_people(150), pairs=40)
    assert (finding.pairs, finding.all_pairs) == (150, True)
    assert not finding.clear
    assert finding.works
    limited = probe_inputs(
        Embedder(forward, InputSpec(SIZE, SIZE)), noisy_people(150), pairs=40, most=100
    )
    assert (limited.pairs, limited.all_pairs) == (100, False)


def test_inputs_of_equal_cosines_are_no_reason_for_more_pairs() -> None:
    # Of gray faces RGB is BGR, and what the network does first undoes every normalisation.
    def forward(batch: np.ndarray) -> np.ndarray:
        wide = batch.astype(np.float64)
        wide -= wide.mean(axis=(1, 2), keepdims=True)
        wide /= wide.std(axis=(1, 2), keepdims=True)
        return wide.reshape(len(batch), -1).astype(np.float32)

    finding = probe_inputs(Embedder(forward, InputSpec(SIZE, SIZE)), noisy_people(200), pairs=100)
    assert finding.same
    assert finding.pairs == 100
    assert finding.recommended is not None
    assert finding.recommended.channels == "rgb"


def test_of_rgb_and_bgr_that_tie_rgb_is_recommended() -> None:
    random = np.random.default_rng(3)
    genuine = np.arange(400) % 2 == 0
    good = np.where(genuine, 0.4, 0.1) + random.normal(scale=0.1, size=400)
    spoilt = good + random.normal(scale=0.01, size=400)
    # Whichever is ahead: BGR first in one, RGB in the other.
    for scores in ({"rgb": good, "bgr": spoilt}, {"rgb": spoilt, "bgr": good}):
        found = find_winner([trial("raw", own, genuine, c) for c, own in scores.items()], genuine)
        assert found.channels in (("bgr", "rgb"), ("rgb", "bgr"))
        assert found.recommended is not None
        assert found.recommended.channels == "rgb"
    bad = np.where(genuine, 0.3, 0.1) + random.normal(scale=0.2, size=400)
    found = find_winner(
        [trial("raw", bad, genuine, "rgb"), trial("raw", good, genuine, "bgr")], genuine
    )
    assert found.recommended is not None
    assert found.recommended.channels == "bgr"


def test_more_looks_ask_for_more_evidence() -> None:
    random = np.random.default_rng(6)
    genuine = np.arange(300) % 2 == 0
    good = np.where(genuine, 0.35, 0.1) + random.normal(scale=0.1, size=300)
    tested = [
        (found.clear, looks)
        for looks in (1, 10**12)
        for worse in [good + random.normal(scale=0.12, size=300)]
        for found in [
            find_winner(
                [trial("raw", good, genuine), trial("unit", worse, genuine)], genuine, looks=looks
            )
        ]
    ]
    assert tested == [(True, 1), (False, 10**12)]


# ---- Networks of a known normalisation -----------------------------------------------------------


def save_normalising(path: Path, mean: Sequence[float], std: Sequence[float]) -> Path:
    """An .onnx file that undoes a normalisation; what is no level of a pixel then is noise."""
    nodes = [
        ("Mul", ["image", "std"], "scaled"),
        ("Add", ["scaled", "mean"], "levels"),
        ("Add", ["levels", "half"], "above"),
        ("Floor", ["above"], "rounded"),
        ("Sub", ["levels", "rounded"], "off"),
        ("Abs", ["off"], "distance"),
        ("Less", ["distance", "near"], "known"),
        ("Mul", ["levels", "many"], "wild"),
        ("Sin", ["wild"], "noise"),
        ("Mul", ["noise", "loud"], "louder"),
        ("Sub", ["levels", "middle"], "centred"),
        ("Where", ["known", "centred", "louder"], "kept"),
        ("Mul", ["kept", "weights"], "weighted"),
        ("Flatten", ["weighted"], "embedding"),
    ]
    weights = {
        "mean": 255 * np.array(mean, np.float32),
        "std": 255 * np.array(std, np.float32),
        "half": np.full(1, 0.5, np.float32),
        "near": np.full(1, 0.01, np.float32),
        "many": np.full(1, 1e3, np.float32),
        "loud": np.full(1, 99, np.float32),
        "middle": np.full(1, 128, np.float32),
        "weights": np.array([1, 0.5, 0], np.float32),  # blue says nothing
    }
    return save_graph(path, nodes, weights, side=SIZE, width=SIZE * SIZE * 3)


def save_contrast(path: Path) -> Path:
    """An .onnx file that sees what is much lighter and much darker than 0, and no more than 3."""
    nodes = [
        ("Clip", ["image", "low", "high"], "held"),
        ("Sub", ["held", "light"], "over"),
        ("Relu", ["over"], "bright"),
        ("Add", ["held", "light"], "under"),
        ("Neg", ["under"], "below"),
        ("Relu", ["below"], "dim"),
        ("Concat", ["bright", "dim"], "both", {"axis": 3}),
        ("Mul", ["both", "weights"], "weighted"),
        ("Flatten", ["weighted"], "embedding"),
    ]
    weights = {
        "low": np.array(-3, np.float32),
        "high": np.array(3, np.float32),
        "light": np.full(1, 0.3, np.float32),
        "weights": np.array([1, 0.5, 0, 1, 0.5, 0], np.float32),
    }
    return save_graph(path, nodes, weights, side=SIZE, width=SIZE * SIZE * 6)


def exposed(faces: VerificationSet) -> VerificationSet:
    """The same faces, each image darker or lighter than the next."""
    from evaluator.images.decode import decode_image

    random = np.random.default_rng(8)
    made = {}
    for each in dict.fromkeys(faces.images):
        gain = random.uniform(0.4, 1.0)
        made[each] = png(np.round(gain * decode_image(each)).astype(np.uint8))
    return replace(faces, images=tuple(made[each] for each in faces.images))


@pytest.mark.parametrize(
    ("mean", "std", "profile"),
    [
        ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], "imagenet"),
        ([0.5] * 3, [0.5] * 3, "insightface"),
        ([0.1, 0.5, 0.4], [0.9, 0.3, 0.6], "scale=1/255+mean=0.1,0.5,0.4+std=0.9,0.3,0.6"),
        (None, None, "whiten"),
    ],
)
def test_the_normalisation_of_a_network_is_found(
    faces: VerificationSet,
    tmp_path: Path,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    profile: str,
) -> None:
    from evaluator.models.load import load_embedder
    from evaluator.models.options import LoadOptions

    path = tmp_path / "m.onnx"
    model = save_normalising(path, mean, std) if mean and std else save_contrast(path)
    shown = faces if mean else exposed(faces)
    finding = probe_inputs(load_embedder(model, LoadOptions(profile=profile)), shown)
    assert finding.recommended is not None
    assert (finding.recommended.profile, finding.recommended.channels) == (profile, "rgb")
    assert finding.trials[0].auc > 0.9


def test_a_crop_goes_with_every_input_that_is_tried(faces: VerificationSet) -> None:
    embedder = Embedder(lambda b: b.reshape(len(b), -1) + 1.0, InputSpec(4, 4, "raw+crop=6"))
    finding = probe_inputs(embedder, faces)
    assert {each.profile for each in finding.trials} == {f"{name}+crop=6" for name in PROFILES}
    twins = find_winner(
        [
            trial(f"{name}+crop=6", np.linspace(0, 1, 40), np.arange(40) % 2 == 0)
            for name in ("symmetric", "insightface")
        ],
        np.arange(40) % 2 == 0,
    )
    assert twins.clear


@pytest.mark.slow
def test_the_published_network_was_trained_on_raw_pixels(shared: Path) -> None:
    from evaluator.models.load import load_embedder
    from evaluator.models.options import LoadOptions

    embedder = load_embedder(shared / "models" / "faceapi_resnet.h5", LoadOptions(profile="unit"))
    finding = probe_inputs(embedder, read_bin(shared / "bins" / "lfw_devtest.bin"), most=60)
    assert finding.profiles == ("raw",)
