"""`zoo eval` beside the founding callback, its own limit, and itself in bfloat16 and by OpenVINO.

    python benchmarks/evaluation.py            # 3,000 pairs, 3,850 distinct JPEGs; 4 minutes
    python benchmarks/evaluation.py --pairs 6000
    python benchmarks/evaluation.py --quick    # 60 pairs on a small network, seconds

The pairs come in as many bins of LFW's shape as there are rounds. In each round every side does one
bin with the model loaded: from the file to figures (the callback restated, and ours, which stores
its result too, also with ``--precision bfloat16`` and ``--engine openvino`` where the machine has
them), and, as the limit, the same compiled forward pass alone over the bin's distinct images,
prepared before. The scores of both must agree as far as their JPEG decoders do.
"""

from __future__ import annotations

import importlib.util
import pickle
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import normalize

from evaluator.bins.verification_set import distinct_images, read_bin
from evaluator.images.decode import decode_image
from evaluator.images.inputs import Embedder, write_model_input
from evaluator.measure.embed import EmbedOptions
from evaluator.measure.evaluation import Measurement, evaluate_bins
from evaluator.metrics.all_figures import figures, to_json
from evaluator.models.load import load_embedder
from evaluator.models.options import LoadOptions
from evaluator.models.runtime import import_keras
from evaluator.results.measured import Measured
from evaluator.results.record import Scores, Settings, make_result
from evaluator.results.store import save_result
from lfw_shaped import lfw_shaped_bin
from rows import Row, agree, parsed, parser, say
from table import finish
from timing import Rounds, Seconds, median, ratio, seconds_of

# The founding callback's decoder is INTEGER_FAST, ours accurate: three of four pixel values differ,
# by up to 15 levels, and cosines by about this much at most.
DECODERS_APART = 0.02
# Two engines add up in another order.
ENGINES_APART = 1e-5


def main() -> None:
    """Prints the rows of the end-to-end evaluation."""
    made = parser(__doc__)
    made.add_argument("--pairs", type=int, help="pairs of all rounds together (default 3,000)")
    options = parsed(made)
    pairs = options.pairs or (60 if options.quick else 3000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bins = []
        for number in range(options.rounds):
            bins.append(folder / f"lfw_{number}.bin")
            lfw_shaped_bin(options.shared, bins[-1], pairs=pairs // options.rounds, seed=number)
        model = save_model(folder, quick=options.quick)
        rows = compared(model, bins, folder)
        if not options.quick:
            say_bfloat16_figures(options.shared, batch_size=64)
    finish(rows, options)


def save_model(folder: Path, *, quick: bool) -> Path:
    """ResNet50V2 at 112x112 with a 512-d embedding, fresh weights; a small network if ``quick``."""
    keras = import_keras()
    keras.utils.set_random_seed(0)
    layers = keras.layers
    if quick:
        image = keras.Input((112, 112, 3))
        features = layers.Conv2D(8, 7, strides=4, activation="relu")(image)
        features = layers.GlobalAveragePooling2D()(features)
    else:
        backbone = keras.applications.ResNet50V2(
            input_shape=(112, 112, 3), include_top=False, weights=None, pooling="avg"
        )
        image, features = backbone.input, backbone.output
    model = keras.Model(image, layers.Dense(512, name="embedding")(features))
    model.save(folder / "model.keras")
    return folder / "model.keras"


@dataclass(frozen=True)
class Side:
    """What one side of a round found: pair scores, and the accuracy it printed."""

    scores: NDArray[np.float64]
    accuracy: float


def compared(model: Path, bins: list[Path], folder: Path) -> list[Row]:
    """Every side in every round, and the rows read off their times."""
    settings = {"float32": Settings()}
    if has_bfloat16():
        settings["bfloat16"] = Settings(precision="bfloat16")
    if importlib.util.find_spec("openvino") is not None:
        settings["openvino"] = Settings(engine="openvino")
    embedders = {
        name: load_embedder(
            model, LoadOptions(profile="unit", precision=each.precision, engine=each.engine)
        )
        for name, each in settings.items()
    }
    keras_model = import_keras().models.load_model(model)
    keras_model.predict(np.zeros((128, 112, 112, 3), np.float32), verbose=0)
    rounds: Rounds = []
    found: list[dict[str, Side]] = []
    for number, path in enumerate(bins):
        sides: dict[str, Callable[[], Any]] = {"seed": lambda p=path: seed_callback(keras_model, p)}
        for name, embedder in embedders.items():
            sides[name] = lambda p=path, e=embedder, s=settings[name]: ours(model, e, p, folder, s)
        prepared = prepared_images(embedders["float32"], path)
        sides["limit"] = lambda p=prepared: forward_alone(embedders["float32"], p)
        if not number:  # compiled, and every cache filled
            for embedder in embedders.values():
                forward_alone(embedder, prepared[:128])
        times, results = one_round(sides, backwards=number % 2 == 1)
        rounds.append(times)
        found.append(results)
        apart = np.abs(results["seed"].scores - results["float32"].scores).max()
        agree(f"{path.name}: scores of both sides", apart, DECODERS_APART)
        if "openvino" in results:
            apart = np.abs(results["openvino"].scores - results["float32"].scores).max()
            agree(f"{path.name}: scores of both engines", apart, ENGINES_APART)
        say(f"round {number}: " + ", ".join(f"{k} {v.wall:.2f} s" for k, v in times.items()))
    if "bfloat16" in embedders:
        say_changes("random ResNet50V2", changes(bins, found))
    return rows_of(rounds, sum(len(each["seed"].scores) for each in found))


def one_round(
    sides: Mapping[str, Callable[[], Any]], *, backwards: bool
) -> tuple[dict[str, Seconds], dict[str, Any]]:
    """Each side once, with its seconds and what it returned."""
    times, results = {}, {}
    for name in reversed(sides) if backwards else sides:
        kept: list[Any] = []
        times[name] = seconds_of(lambda side=sides[name], kept=kept: kept.append(side()))
        (results[name],) = kept
    return times, results


def rows_of(rounds: Rounds, size: int) -> list[Row]:
    """The rows; rates are of all rounds together."""

    def row(key: str, what: str, against: str, slow: str, fast: str, wanted: float) -> Row:
        share = key == "eval-limit"
        value = ratio(rounds, slow, fast) * (100 if share else 1)
        sides = f"{median(rounds, slow):.2f} s against {median(rounds, fast):.2f} s a round"
        return Row(
            key, what, against, value, "%" if share else "x", wanted,
            rounds=len(rounds), detail=sides,
        )  # fmt: skip

    name = f"zoo eval, ResNet50V2, {size:,} pairs"
    rows = [
        row("eval-seed", name, "the seed's callback", "seed", "float32", 2.5),
        row("eval-limit", name, "compiled forward pass alone", "limit", "float32", 92),
    ]
    if "bfloat16" in rounds[0]:
        rows.append(row("eval-bf16", f"{name}, bfloat16", "float32", "float32", "bfloat16", 1.35))
    if "openvino" in rounds[0]:
        by = f"{name}, --engine openvino"
        rows.append(row("eval-openvino", by, "the seed's callback", "seed", "openvino", 2.5))
    return rows


# ---- The sides -----------------------------------------------------------------------------------


def seed_callback(model: Any, path: Path) -> Side:
    """The founding callback: decode one by one, predict a batch, extend a list, try 300 thresholds.

    Its progress bar is left out.
    """
    import tensorflow as tf

    images, same = pickle.loads(path.read_bytes(), encoding="bytes")  # noqa: S301 - made here
    rows = tf.data.Dataset.from_tensor_slices(images)
    rows = rows.map(
        lambda each: tf.image.convert_image_dtype(tf.image.decode_jpeg(each), "float32")
    )
    embeddings: list[Any] = []
    for batch in rows.batch(128):
        embeddings.extend(model.predict(batch, verbose=0))
    unit = normalize(np.array(embeddings))
    scores = (unit[::2] * unit[1::2]).sum(1)
    genuine = np.array(same)
    matches, others = np.sort(scores[genuine]), np.sort(scores[~genuine])
    best = 0.0
    for threshold in reversed(others[-300:]):
        best = max(best, ((matches > threshold).sum() + (others <= threshold).sum()) / len(scores))
    return Side(scores, float(best))


def ours(model: Path, embedder: Embedder, path: Path, folder: Path, settings: Settings) -> Side:
    """What `zoo eval` does once the model is loaded, storing its result."""
    (found,) = evaluate_bins(embedder, [read_bin(path)], options=EmbedOptions())
    store(found, model, embedder, folder, settings)
    if found.scores is None or found.figures is None:
        raise SystemExit(f"{path}: embeddings that cannot be scored")
    return Side(found.scores, float(to_json(found.figures)["accuracy"]))


def store(
    found: Measurement, model: Path, embedder: Embedder, folder: Path, settings: Settings
) -> None:
    """The result with its scores, as `zoo eval` stores it."""
    result = make_result(
        found,
        name="model",
        path=model,
        sha256="0" * 64,
        model_format=embedder.format,
        input_spec=embedder.input,
        settings=settings,
    )
    target = Measured(("model", "0" * 64), (found.bin.name, found.bin.sha256), settings).path_in(
        folder / "results"
    )
    if found.scores is not None:
        save_result(target, result, Scores(found.scores, found.genuine, found.images))


def prepared_images(embedder: Embedder, path: Path) -> NDArray[np.float32]:
    """The bin's distinct images as the model takes them."""
    images, _ = distinct_images(read_bin(path).images)
    prepared = np.empty((len(images), *embedder.input.batch_shape), np.float32)
    for image, out in zip(images, prepared, strict=True):
        write_model_input(decode_image(image), embedder.input, out)
    return prepared


def forward_alone(embedder: Embedder, prepared: NDArray[np.float32]) -> None:
    """The limit: the compiled graph on batches that lie ready."""
    size = EmbedOptions().batch_size
    for at in range(0, len(prepared), size):
        embedder.forward(prepared[at : at + size])


# ---- bfloat16 ------------------------------------------------------------------------------------


def has_bfloat16() -> bool:
    """Whether this CPU computes in bfloat16 (AVX-512 BF16 or AMX)."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def changes(bins: list[Path], found: list[dict[str, Side]]) -> list[tuple[str, float, float]]:
    """(figure, in float32, in bfloat16) of all rounds' pairs together."""
    genuine = np.concatenate([read_bin(path).genuine for path in bins])
    both = [
        to_json(figures(np.concatenate([each[name].scores for each in found]), genuine))
        for name in ("float32", "bfloat16")
    ]
    return [(key, a, b) for (key, a), (_, b) in zip(*map(numbers, both), strict=True)]


def say_bfloat16_figures(shared: Path, *, batch_size: int) -> None:
    """The same for a published network on real pairs, whose figures mean something."""
    if not has_bfloat16():
        say("this CPU has no bfloat16")
        return
    verification_set = read_bin(shared / "bins" / "lfw_devtest.bin")
    both = []
    for precision in ("float32", "bfloat16"):
        embedder = load_embedder(
            shared / "models" / "faceapi_resnet.h5", LoadOptions("raw", precision=precision)
        )
        options = EmbedOptions(batch_size=batch_size)
        (found,) = evaluate_bins(embedder, [verification_set], options=options)
        if found.figures is None:
            raise SystemExit("faceapi_resnet.h5: embeddings that cannot be scored")
        both.append(to_json(found.figures))
    pairs = zip(*map(numbers, both), strict=True)
    say_changes("faceapi_resnet on lfw_devtest", [(key, a, b) for (key, a), (_, b) in pairs])


def say_changes(name: str, changed: list[tuple[str, float, float]]) -> None:
    """One line a figure."""
    say(f"{name}: figure, float32, bfloat16, change")
    for key, before, after in changed:
        say(f"  {key:32} {before:10.6f} {after:10.6f} {after - before:+.6f}")


def numbers(value: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a result's figures by their path; intervals and folds are left out."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from numbers(each, f"{key}.{name}" if key else name)
    elif isinstance(value, int | float):
        yield key, float(value)


if __name__ == "__main__":
    main()
