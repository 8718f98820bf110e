"""The probe finds the profile that a model was made for, and says where it cannot."""

from pathlib import Path

import numpy as np
import pytest

from evaluator.bins.verification_set import VerificationSet, read_bin, write_bin
from evaluator.images.inputs import PROFILES, Embedder, InputSpec
from evaluator.measure.collapse import impostor_spread, looks_collapsed
from evaluator.probe import Trial, find_winner, probe_inputs, sample_pairs
from tests.zoo.samples import face, png

SIZE = 8


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> VerificationSet:
    """120 pairs of 20 people; a person is a pattern of colour, a photograph adds noise."""
    images, genuine = [], []
    for person in range(20):
        for shot in range(3):
            images += [png(face(person, shot, SIZE)), png(face(person, (shot + 1) % 3, SIZE))]
            images += [png(face(person, shot, SIZE)), png(face((person + 1) % 20, shot, SIZE))]
            genuine += [True, False]
    path = tmp_path_factory.mktemp("probe") / "faces.bin"
    write_bin(path, images, genuine)
    return read_bin(path)


def trained_for(profile: str, channels: str) -> Embedder:
    """An embedder that works for one way to prepare images: far from the values it was made for
    it saturates, and it looks at the three channels differently.
    """
    low, high = (
        (level - PROFILES[profile].center) / PROFILES[profile].width for level in (0.0, 255.0)
    )
    random = np.random.default_rng(0)
    order = (0, 1, 2) if channels == "rgb" else (2, 1, 0)
    # Red carries the person; blue, scrambled, carries none.
    scramble = random.normal(size=(SIZE * SIZE, 32))

    def forward(batch: np.ndarray) -> np.ndarray:
        red = (batch[..., order[0]] - low) / (high - low) * 2 - 1
        blue = (batch[..., order[2]] - low) / (high - low) * 2 - 1
        kept = np.where(np.abs(red) <= 1.001, red, np.sign(red)).reshape(len(batch), -1)
        noise = np.sign(np.sin(1e4 * blue.reshape(len(batch), -1))) @ scramble / 8
        return np.concatenate([kept, noise], axis=1).astype(np.float32)

    return Embedder(forward, InputSpec(SIZE, SIZE))


@pytest.mark.parametrize("profile", ["unit", "raw", "symmetric"])
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_the_profile_of_a_model_is_found(
    faces: VerificationSet, profile: str, channels: str
) -> None:
    seen = []
    finding = probe_inputs(trained_for(profile, channels), faces, on_progress=seen.append)
    best = finding.trials[0]
    twins = {"symmetric", "insightface"}
    assert best.profile == profile or {best.profile, profile} == twins
    assert len(finding.trials) == 8
    assert sum(seen) == 8 * 2 * len(set(faces.images))


def test_a_model_that_does_not_mind_the_scale_cannot_be_told(faces: VerificationSet) -> None:
    embedder = Embedder(lambda batch: batch.reshape(len(batch), -1) + 0.0, InputSpec(SIZE, SIZE))
    finding = probe_inputs(embedder, faces)
    assert not finding.clear
    assert {"unit", "raw"} <= {trial.profile for trial in finding.alike}


def test_a_gray_model_is_tried_without_channel_orders(faces: VerificationSet) -> None:
    spec = InputSpec(SIZE, SIZE, channels="gray")
    finding = probe_inputs(Embedder(lambda b: b.reshape(len(b), -1) + 1, spec), faces)
    assert [trial.channels for trial in finding.trials] == ["gray"] * 4


def test_profiles_without_finite_embeddings_lose(faces: VerificationSet) -> None:
    def forward(batch: np.ndarray) -> np.ndarray:
        flat = batch.reshape(len(batch), -1)
        return np.where(flat.max() > 2, np.nan, flat).astype(np.float32)

    finding = probe_inputs(Embedder(forward, InputSpec(SIZE, SIZE)), faces)
    assert [trial.scores is None for trial in finding.trials].count(True) == 2
    assert all(trial.profile == "raw" for trial in finding.trials[-2:])


def trial(profile: str, scores: np.ndarray, genuine: np.ndarray, channels: str = "rgb") -> Trial:
    from evaluator.metrics.all_figures import figures

    found = figures(scores, genuine)
    return Trial(profile, channels, scores, found, found)


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


@pytest.mark.slow
def test_the_published_network_was_trained_on_raw_pixels(shared: Path) -> None:
    from evaluator.models.load import load_embedder
    from evaluator.models.options import LoadOptions

    embedder = load_embedder(shared / "models" / "faceapi_resnet.h5", LoadOptions(profile="unit"))
    sample = sample_pairs(read_bin(shared / "bins" / "lfw_devtest.bin"), 60)
    finding = probe_inputs(embedder, sample)
    assert finding.profiles == ("raw",)
