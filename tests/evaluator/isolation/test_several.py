"""A model in several processes: the embeddings of one, whichever of them is killed."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from evaluator.errors import ForwardError, ModelError
from evaluator.images.inputs import Embedder, InputSpec
from evaluator.isolation.process import KilledError
from evaluator.isolation.several import SeveralProcesses
from evaluator.measure.embed import EmbedOptions, embed_images
from evaluator.models.options import LoadOptions
from tests.small_models import save_projection

SIDE = 8
UNIT = LoadOptions(profile="unit")
SUM_OF_SEVEN = EmbedOptions(flip="sum", batch_size=7)


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


PICTURES = [picture(seed) for seed in range(60)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m.onnx"
    save_projection(path)
    return path


def loaded(processes: SeveralProcesses, path: Path) -> Embedder:
    processes.begin_load(path, UNIT)
    return processes.loaded()


def kill(processes: SeveralProcesses, place: int) -> None:
    process = processes._processes[place]._process  # type: ignore[union-attr]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def test_batches_of_several_processes_are_those_of_one_bit_by_bit(model: Path) -> None:
    done: list[tuple[int, threading.Thread]] = []
    with (
        closing(SeveralProcesses(1, wall=True)) as one,
        closing(SeveralProcesses(3, wall=True)) as three,
    ):
        alone = embed_images(loaded(one, model), PICTURES, options=SUM_OF_SEVEN)
        embedder = loaded(three, model)
        assert embedder.at_once == 3
        together = embed_images(
            embedder,
            PICTURES,
            options=SUM_OF_SEVEN,
            on_progress=lambda count: done.append((count, threading.current_thread())),
        )
    assert together.tobytes() == alone.tobytes()
    assert done == [(count, threading.current_thread()) for count in (*[7] * 8, 4)]


def test_the_batch_of_a_killed_process_is_done_again(model: Path) -> None:
    with closing(SeveralProcesses(2, wall=True)) as processes:
        processes.begin_load(model, UNIT)
        kill(processes, 0)  # while it loads
        embedder = processes.loaded()
        expected = embed_images(embedder, PICTURES, options=SUM_OF_SEVEN)
        for place in (0, 1):
            kill(processes, place)
        found = embed_images(embedder, PICTURES, options=SUM_OF_SEVEN)
        assert found.tobytes() == expected.tobytes()
        assert len(processes._killed) == 3


def test_a_batch_that_is_killed_three_times_fails(model: Path) -> None:
    with closing(SeveralProcesses(1, wall=True)) as processes:
        loaded(processes, model)
        killed: list[int] = []

        def asked(_embedder: Embedder) -> None:
            killed.append(0)
            kill(processes, 0)
            processes._embedders[0].forward(np.zeros((1, SIDE, SIDE, 3), np.float32))

        with pytest.raises(KilledError, match="was ended by the system"):
            processes._tried(0, asked)
        assert len(killed) == 3


def test_another_file_is_not_loaded_in_a_killed_ones_place(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save_projection(path)
    with closing(SeveralProcesses(2, wall=True)) as processes:
        embedder = loaded(processes, path)
        save_projection(path, seed=1, units=20)
        kill(processes, 0)
        kill(processes, 1)
        with pytest.raises(ModelError, match=r"m\.onnx: was changed while it was evaluated"):
            embed_images(embedder, PICTURES, options=SUM_OF_SEVEN)


def test_batches_are_in_forward_passes_at_once_and_the_first_error_is_told() -> None:
    both = threading.Barrier(2, timeout=30)
    calls: list[int] = []

    def forward(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        calls.append(len(calls))
        if len(calls) > 1:
            both.wait()  # passes only where another batch is here too
        if batch[0, 0, 0, 0] in marked:
            time.sleep(0.1 if batch[0, 0, 0, 0] == marked[0] else 0)
            raise ForwardError("no")
        return batch.reshape(len(batch), -1)

    spec = InputSpec(SIDE, SIDE, profile="raw")
    firsts = [np.asarray(Image.open(io.BytesIO(each)))[0, 0, 0] for each in PICTURES]
    marked = [firsts[7], firsts[14]]  # of the second batch and the third
    with pytest.raises(ForwardError, match="fails on the batch of image 7 to image 13: no"):
        embed_images(
            Embedder(forward, spec, at_once=2),
            PICTURES[:21],
            options=EmbedOptions(batch_size=7),
        )
    assert len(calls) == 3


def test_an_interruption_ends_batches_that_are_at_work(model: Path) -> None:
    def stop(_count: int) -> None:
        raise KeyboardInterrupt

    with closing(SeveralProcesses(2, wall=True)) as processes:
        embedder = loaded(processes, model)
        with pytest.raises(KeyboardInterrupt):
            embed_images(embedder, PICTURES, options=SUM_OF_SEVEN, on_progress=stop)
    assert processes._free.qsize() == 0  # nobody has a place that might be asked
    assert not any(Path(f"/proc/{each._process.pid}").exists() for each in processes._processes)  # type: ignore[union-attr]
