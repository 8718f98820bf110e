"""Two processes of one core each beside one process of two cores, and what they hold of memory.

    python benchmarks/processes.py            # 64 images of 112x112, networks of two sizes
    python benchmarks/processes.py --quick    # the small one alone

This is what `zoo eval MODEL --jobs 2` does on two cores. The networks are plain residual ones in
ONNX, made here: iresnet18's blocks and widths, and an eighth of the widths. Both sides embed the
same images and must find the same bits.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from evaluator.isolation.several import SeveralProcesses
from evaluator.measure.embed import EmbedOptions, embed_images
from evaluator.models.options import LoadOptions
from rows import Row, agree, parsed, parser, say
from table import finish
from timing import interleaved, median, ratio

SIDE, BATCH = 112, 8
# Rounds take seconds where the machine is busy.
MOST_ROUNDS = 3


def save_residual(path: Path, widths: Sequence[int]) -> None:
    """An .onnx file of two residual blocks a width, each width at half the resolution."""
    random = np.random.default_rng(0)
    nodes: list[Any] = []
    weights: list[Any] = []

    def weight(*shape: int) -> str:
        name = f"w{len(weights)}"
        values = random.normal(scale=np.prod(shape[1:]) ** -0.5, size=shape).astype(np.float32)
        weights.append(numpy_helper.from_array(values, name))
        return name

    def node(operation: str, *inputs: str, **attributes: Any) -> str:
        name = f"n{len(nodes)}"
        nodes.append(helper.make_node(operation, list(inputs), [name], **attributes))
        return name

    def convolved(x: str, depth: int, width: int, *, size: int, stride: int) -> str:
        pads = [size // 2] * 4
        return node("Conv", x, weight(width, depth, size, size), pads=pads, strides=[stride] * 2)

    depth = widths[0]
    x = node("Relu", convolved("image", 3, depth, size=3, stride=1))
    for width in widths:
        for stride in (2, 1):
            inner = node("Relu", convolved(x, depth, width, size=3, stride=stride))
            inner = convolved(inner, width, width, size=3, stride=1)
            beside = x if stride == 1 else convolved(x, depth, width, size=1, stride=2)
            x, depth = node("Relu", node("Add", inner, beside)), width
    last = SIDE // 2 ** len(widths)
    flat = node("Flatten", x)
    nodes.append(helper.make_node("MatMul", [flat, weight(depth * last**2, 512)], ["embedding"]))
    graph = helper.make_graph(
        nodes,
        "residual",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 512])],
        weights,
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(path))


def main() -> None:
    options = parsed(parser(__doc__))
    sizes = {"small": (8, 16, 32, 64)}
    if not options.quick:
        sizes["iresnet18's size"] = (64, 128, 256, 512)
    random = np.random.default_rng(1)
    images = [encoded(random) for _ in range(16 if options.quick else 64)]
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for number, (name, widths) in enumerate(sizes.items()):
            path = Path(folder) / f"{number}.onnx"
            save_residual(path, widths)
            rows += measured(name, path, images, options=options)
    finish(rows, options)


def encoded(random: np.random.Generator) -> bytes:
    pixels = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def measured(
    name: str, path: Path, images: list[bytes], *, options: argparse.Namespace
) -> list[Row]:
    """The rows of time and memory of one network."""
    rounds = min(options.rounds, MOST_ROUNDS)
    with contextlib.ExitStack() as stack:
        sides: dict[str, Callable[[], Any]] = {}
        memory = {}
        for side, count in (("one", 1), ("two", 2)):
            processes = stack.enter_context(contextlib.closing(SeveralProcesses(count, wall=True)))
            processes.begin_load(path, LoadOptions(profile="unit", threads=2 // count))
            embedder = processes.loaded()
            sides[side] = lambda embedder=embedder: embed_images(
                embedder, images, options=EmbedOptions(batch_size=BATCH)
            )
            memory[side] = processes
        agree("embeddings", float(np.abs(sides["one"]() - sides["two"]()).max()), 0)
        taken = interleaved(sides, rounds, warm_up=False)
        held = {side: held_bytes(processes) for side, processes in memory.items()}
        peaks = {
            side: " + ".join(f"{(each.peak_bytes or 0) / 1e6:.0f}" for each in processes._processes)
            for side, processes in memory.items()
        }
    load = os.getloadavg()[0]
    say(f"{name}: load average {load:.1f} on {os.cpu_count()} processors; " + str(taken))
    rates = {side: len(images) / median(taken, side) for side in sides}
    key = name.split("'")[0]
    return [
        Row(
            f"processes-{key}", f"2 processes of one core, {name}", "1 process of two cores",
            ratio(taken, "one", "two"), "x", None, rounds=rounds,
            detail=f"{rates['two']:.0f} images/s against {rates['one']:.0f}; load {load:.1f}",
        ),
        Row(
            f"processes-memory-{key}", f"the same, their memory ({held['two'][0]})", "the same",
            sum(held["two"][1]) / sum(held["one"][1]), "x", None, rounds=1,
            detail=f"{peaks['two']} MB against {peaks['one']} MB, at most (peak RSS)",
        ),
    ]  # fmt: skip


def held_bytes(processes: SeveralProcesses) -> tuple[str, list[int]]:
    """What each process holds now, pages that it shares counted by their parts (PSS), where the
    system tells; else at most, each with all of them (RSS).
    """
    try:
        told = [
            Path(f"/proc/{each._process.pid}/smaps_rollup").read_text()  # type: ignore[union-attr]
            for each in processes._processes
        ]
        found = [re.search(r"^Pss:\s+(\d+) kB$", each, re.MULTILINE) for each in told]
        return "PSS", [int(each[1]) * 1024 for each in found if each]
    except (OSError, AttributeError):
        return "peak RSS", [each.peak_bytes or 0 for each in processes._processes]


if __name__ == "__main__":
    main()
