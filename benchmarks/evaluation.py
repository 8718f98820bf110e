"""`zoo eval` beside its limit: the model's own compiled forward pass on the distinct images.

Makes an LFW-shaped bin (6,000 pairs, 7,701 distinct JPEGs) from a bin of real faces: copies of its
JPEGs that differ in bytes after the end of the image, so that each is decoded and embedded.

    python benchmarks/evaluation.py --faces ../shared/bins/lfw_devtest.bin
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from evaluator.bins import VerificationSet, distinct_images, read_bin, write_bin
from evaluator.decode import decode_image
from evaluator.embed import EmbedOptions, embed_images
from evaluator.evaluation import evaluate_bins
from evaluator.inputs import write_model_input
from evaluator.models import LoadOptions, load_embedder
from evaluator.models.runtime import import_keras


def lfw_shaped_bin(source: VerificationSet, path: Path, *, pairs: int, seed: int) -> None:
    """Writes a bin of ``pairs`` pairs whose slots repeat as LFW's do: 7,701 of 12,000 distinct."""
    random = np.random.default_rng(seed)
    images, _ = distinct_images(source.images)
    count = round(pairs * 7701 / 6000)
    copies = [images[i % len(images)] + b"%d.%d" % (seed, i // len(images)) for i in range(count)]
    slots = np.concatenate([np.arange(count), random.integers(count, size=2 * pairs - count)])
    random.shuffle(slots)
    write_bin(path, [copies[slot] for slot in slots], np.arange(pairs) % 2 == 0)


def main() -> None:
    """Prints seconds and ratios; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=6000)
    parser.add_argument("--bins", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a small run, in seconds")
    options = parser.parse_args()
    if options.quick:
        options.pairs, options.rounds = 100, 1
    source = read_bin(options.faces)
    with tempfile.TemporaryDirectory() as folder:
        run(source, Path(folder), options)


def run(source: VerificationSet, folder: Path, options: argparse.Namespace) -> None:
    """Both sides in one process, interleaved."""
    keras = import_keras()
    model_path = folder / "resnet50v2.keras"
    keras.utils.set_random_seed(0)
    backbone = keras.applications.ResNet50V2(
        input_shape=(112, 112, 3), include_top=False, weights=None, pooling="avg"
    )
    embedding = keras.layers.Dense(512, name="embedding")(backbone.output)
    keras.Model(backbone.input, embedding).save(model_path)
    sets = []
    for i in range(options.bins):
        lfw_shaped_bin(source, folder / f"bin{i}.bin", pairs=options.pairs, seed=i)
        start = time.perf_counter()
        sets.append(read_bin(folder / f"bin{i}.bin"))
        megabytes = (folder / f"bin{i}.bin").stat().st_size / 1e6
        print(f"read and check {megabytes:.0f} MB: {time.perf_counter() - start:.3f} s")
    embedder = load_embedder(model_path, LoadOptions(profile="unit"))
    embed_options = EmbedOptions()
    images, _ = distinct_images(sets[0].images)
    share = images[: max(64, len(images) // options.rounds)]
    prepared = np.zeros((len(share), *embedder.input.batch_shape), np.float32)
    for image, out in zip(share, prepared, strict=True):
        write_model_input(decode_image(image), embedder.input, out)
    embed_images(embedder, share[:64], options=embed_options)
    ratios = []
    for _ in range(options.rounds):
        start = time.perf_counter()
        for at in range(0, len(share), embed_options.batch_size):
            embedder.forward(prepared[at : at + embed_options.batch_size])
        limit = time.perf_counter() - start
        start = time.perf_counter()
        embed_images(embedder, share, options=embed_options)
        seconds = time.perf_counter() - start
        ratios.append(limit / seconds)
        print(f"forward alone {len(share) / limit:.1f} images/s, embed {len(share) / seconds:.1f}")
    print(f"embed reaches {statistics.median(ratios):.3f} of the forward pass alone (median)")
    del prepared
    start = time.perf_counter()
    for measured in evaluate_bins(embedder, sets, options=embed_options):
        print(f"{measured.bin.name}: {measured.embedded} images in {measured.seconds:.1f} s")
    print(f"{options.bins} bins in {time.perf_counter() - start:.1f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory {peak:.2f} GiB")


if __name__ == "__main__":
    main()
