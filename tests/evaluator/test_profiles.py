"""Inputs in words: what of a picture reaches the network, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluator import InputSpec, Profile
from evaluator.errors import BinError, InputError, ModelError
from evaluator.measure.embed import EmbedOptions, embed_images
from evaluator.models.input_note import noted_input, sidecar_path, write_sidecar
from evaluator.models.load import load_embedder
from evaluator.models.options import LoadOptions
from evaluator.profiles import PROFILES, profile_of, profile_text
from evaluator.results.measured import Measured
from tests.small_models import save_graph
from tests.zoo.samples import png

SIDE = 8
FACES = [
    np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    for seed in (1, 2)
]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose embedding is what it was given, of any size."""
    path = tmp_path_factory.mktemp("profiles") / "seeing.onnx"
    return save_graph(path, [("Flatten", ["image"], "embedding")], {}, side=None)


def seen(model: Path, text: str, *, channels: str = "rgb", size: int = SIDE) -> np.ndarray:
    """(images, size, size, 3) of what reaches the network."""
    options = LoadOptions(profile=text, channels=channels, size=(size, size))
    embedder = load_embedder(model, options)
    found = embed_images(embedder, [png(each) for each in FACES], options=EmbedOptions())
    return found.reshape(len(FACES), size, size, 3)


def levels() -> np.ndarray:
    return np.stack(FACES).astype(np.float64)


def whitened(images: np.ndarray) -> np.ndarray:
    """FaceNet's prewhiten, restated."""
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    std = images.std(axis=(1, 2, 3), keepdims=True)
    return (images - mean) / np.maximum(std, 1 / np.sqrt(images[0].size))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("imagenet", lambda x: (x / 255 - MEAN) / STD),
        (
            "scale=1/255+mean=0.485,0.456,0.406+std=0.229,0.224,0.225",
            lambda x: (x / 255 - MEAN) / STD,
        ),
        ("mean=104,117,123", lambda x: x - [104, 117, 123]),
        ("std=10,20,40", lambda x: x / [10, 20, 40]),
        ("mean=127.5+scale=0.5+std=3", lambda x: (x * 0.5 - 127.5) / 3),
        ("whiten", whitened),
        ("raw+crop=4x6", lambda x: x[:, 2:6, 1:7]),
        ("raw+crop=3@5,0", lambda x: x[:, 5:8, 0:3]),
        ("unit+crop=8x6", lambda x: x[:, :, 1:7] / 255),
    ],
)
def test_what_reaches_the_network_is_the_rule(seeing: Path, text: str, rule) -> None:
    expected = rule(levels())
    options = LoadOptions(profile=text, size=expected.shape[1:3])
    embedder = load_embedder(seeing, options)
    got = embed_images(embedder, [png(each) for each in FACES], options=EmbedOptions())
    np.testing.assert_allclose(got, expected.reshape(2, -1), rtol=2e-6, atol=1e-5)


def test_means_are_in_the_order_of_the_models_channels(seeing: Path) -> None:
    got = seen(seeing, "mean=104,117,123+std=1,2,3", channels="bgr")
    expected = (levels()[..., ::-1] - [104, 117, 123]) / [1, 2, 3]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_crop_is_resized_and_whitened_as_it_is_seen(seeing: Path) -> None:
    middle = [np.asarray(Image.fromarray(face[2:6, 2:6, i].astype(np.float32)).resize((8, 8), 2))
              for face in FACES for i in range(3)]  # fmt: skip
    resized = np.stack(middle).reshape(2, 3, 8, 8).transpose(0, 2, 3, 1).astype(np.float64)
    np.testing.assert_allclose(seen(seeing, "raw+crop=4"), resized, atol=1e-3)
    np.testing.assert_allclose(seen(seeing, "whiten+crop=4"), whitened(resized), atol=1e-4)


def test_an_image_of_one_level_is_whitened_to_nothing() -> None:
    from evaluator.images.inputs import write_model_input

    out = np.empty((4, 4, 3), np.float32)
    write_model_input(np.full((4, 4, 3), 77, np.uint8), InputSpec(4, 4, "whiten"), out)
    np.testing.assert_array_equal(out, 0)


def test_a_crop_that_the_image_does_not_have_names_both(seeing: Path) -> None:
    with pytest.raises(BinError, match=r"image 0: an image of 8x8, of which a crop of 9x4 cannot"):
        seen(seeing, "raw+crop=9x4")
    with pytest.raises(BinError, match="crop of 4x4"):
        seen(seeing, "raw+crop=4@0,5")


# ---- Words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        *((name, name) for name in PROFILES),
        ("scale=1/255", "unit"),
        ("scale=0.00392156862745098", "unit"),
        ("mean=0.5+std=0.5+scale=1/255", "insightface"),
        ("mean=127.5,127.5,127.5+std=128", "symmetric"),
        ("std=1+mean=0", "raw"),
        ("std=58.395,57.12,57.375+mean=123.675,116.28,103.53",
         "mean=123.675,116.28,103.53+std=58.395,57.12,57.375"),
        ("crop=100x100+phase_train:0=false+std=255", "unit+crop=100+phase_train:0=false"),
        ("whiten+b=true+a=false", "whiten+a=false+b=true"),
        ("scale=1e+2+mean=-4", "scale=100+mean=-4"),
        ("imagenet+crop=100x90@6,11", "imagenet+crop=100x90@6,11"),
    ],
)  # fmt: skip
def test_one_input_has_one_text(text: str, canonical: str) -> None:
    assert profile_text(text) == canonical
    assert profile_of(canonical) == profile_of(profile_text(canonical))
    assert InputSpec(8, 8, text).profile == canonical


def test_a_profile_from_python_is_its_text() -> None:
    given = Profile(mean=(1.0, 2.0, 3.0), std=(255.0,), crop=(100, 90), feed=(("train", False),))
    assert str(given) == "mean=1,2,3+std=255+crop=100x90+train=false"
    assert profile_of(str(given)) == given


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("units", "did you mean 'unit'"),
        ("", "expected one of unit"),
        ("mean=1,2", "expected 1 or 3 numbers; found 1,2"),
        ("mean=1,2,3,4", "expected 1 or 3 numbers"),
        ("std=0", "std: expected numbers above 0; found 0"),
        ("std=1,0,2", "std: expected numbers above 0"),
        ("std=-1", "above 0"),
        ("std=1e-300", "above 0"),
        ("mean=nan", "expected numbers, as 127.5 or 1/255; found 'nan'"),
        ("mean=inf", "found 'inf'"),
        ("std=1/0", "found '1/0'"),
        ("mean=a", "found 'a'"),
        ("mean=", "found ''"),
        ("scale=0", "scale: expected a number above 0"),
        ("scale=1,2,3", "scale: expected one number"),
        ("crop=-3", "crop: expected pixels, as 100, 100x90 or 100x90@6,11"),
        ("crop=0", "crop: expected pixels"),
        ("crop=4@-1,0", "crop: expected pixels"),
        ("crop=1.5", "crop: expected pixels"),
        ("unit+mean=4", "unit says all of mean"),
        ("whiten+std=4", "whiten says all of std"),
        ("std=4+std=5", "std stands twice"),
        ("raw+phase_train=maybe", "expected mean=, std=, scale= or crop="),
        ("raw+whiten", "'whiten': expected mean="),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        profile_of(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_whitening_takes_no_other_numbers() -> None:
    with pytest.raises(InputError, match="each image's own"):
        Profile(whiten=True, std=(2.0,))
    with pytest.raises(InputError, match="expected 1 or 3 numbers"):
        Profile(mean=(float("nan"),))


def test_three_means_are_refused_for_one_channel() -> None:
    with pytest.raises(InputError, match="3 numbers for 1 channel; expected one"):
        InputSpec(8, 8, "imagenet", channels="gray")
    assert InputSpec(8, 8, "mean=4,4,4", channels="gray").profile == "mean=4"


# ---- What is stored ------------------------------------------------------------------------------


def stored_as(profile: str) -> str:
    return Measured(("m", "a" * 64), ("b", "b" * 64), profile=profile).path_in(Path()).name


def test_named_inputs_are_stored_where_they_were_and_others_apart() -> None:
    assert stored_as("unit") == "b-bbbbbbbb.json"
    assert stored_as("symmetric") == "b-bbbbbbbb.symmetric.json"
    assert stored_as("insightface") == "b-bbbbbbbb.insightface.json"
    assert stored_as("raw") == "b-bbbbbbbb.raw.json"
    texts = [*PROFILES, "mean=1", "mean=1.0000001", "raw+crop=100", "raw+crop=101", "raw+a=true"]
    assert len({stored_as(each) for each in texts}) == len(texts)


def test_a_note_beside_a_model_holds_it_all(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    write_sidecar(model, InputSpec(8, 8, "mean=1,2,3+crop=100", "bgr"), "a" * 64)
    assert noted_input(model, "a" * 64) == ("mean=1,2,3+crop=100", "bgr")
    note = json.loads(sidecar_path(model).read_text())
    sidecar_path(model).write_text(json.dumps({**note, "profile": "std=255"}))
    assert noted_input(model, "a" * 64) == ("unit", "bgr")
    sidecar_path(model).write_text(json.dumps({**note, "profile": "std=0"}))
    with pytest.raises(
        ModelError, match=r"m\.onnx\.input\.json: input std: expected numbers above"
    ):
        noted_input(model, "a" * 64)


# ---- Boolean inputs ------------------------------------------------------------------------------


def save_switched(path: Path, shape: tuple[int, ...] = ()) -> Path:
    """A network as FaceNet's old graphs: what it gives while it trains is something else."""
    import onnx
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("Neg", ["flat"], ["other"]),
        helper.make_node("Where", ["phase_train:0", "other", "flat"], ["embedding"]),
    ]
    graph = helper.make_graph(
        nodes,
        "switched",
        [
            helper.make_tensor_value_info("phase_train:0", TensorProto.BOOL, shape),
            helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", SIDE, SIDE, 3]),
        ],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", SIDE * SIDE * 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_boolean_input_is_fed_false_unless_said(tmp_path: Path, shape: tuple[int, ...]) -> None:
    model = save_switched(tmp_path / "m.onnx", shape)
    np.testing.assert_allclose(seen(model, "raw"), levels())
    np.testing.assert_allclose(seen(model, "raw+phase_train:0=false"), levels())
    np.testing.assert_allclose(seen(model, "raw+phase_train:0=true"), -levels())
    notes = load_embedder(model, LoadOptions(profile="raw")).notes
    assert "its boolean input 'phase_train:0' is fed False" in notes
    said = load_embedder(model, LoadOptions(profile="raw+phase_train:0=false")).notes
    assert not [each for each in said if "fed" in each]


def test_a_boolean_input_that_is_not_there_is_named(seeing: Path, tmp_path: Path) -> None:
    model = save_switched(tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="no boolean input is named 'phase'; it has phase_train:0"):
        load_embedder(model, LoadOptions(profile="raw+phase=false"))
    with pytest.raises(ModelError, match="it has none that can be fed"):
        load_embedder(seeing, LoadOptions(profile="raw+phase=false"))
