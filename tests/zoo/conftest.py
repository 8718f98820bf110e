"""Small bins and tiny models, each made once a session."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import pytest
from loopback import Handler
from samples import SIZE, save_dense, write_pairs

from tests.small_models import save_dark_is_nan, save_projection


@pytest.fixture(scope="session")
def bins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with easy.bin and other.bin, 60 pairs of 10 people each."""
    folder = tmp_path_factory.mktemp("bins")
    write_pairs(folder / "easy.bin")
    write_pairs(folder / "other.bin", first=5)
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tiny .onnx models: a and b (finite), small (4x4 input), nan, and dark, which is
    NaN where the first pixel is black.
    """
    folder = tmp_path_factory.mktemp("models")
    save_projection(folder / "a.onnx", side=SIZE, seed=1)
    save_projection(folder / "b.onnx", side=SIZE, seed=2)
    save_projection(folder / "small.onnx", side=4)
    save_projection(folder / "nan.onnx", side=SIZE, bias=float("nan"))
    save_dark_is_nan(folder / "dark.onnx", side=SIZE)
    return folder


@pytest.fixture(scope="session")
def keras_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a model that takes TensorFlow, c.keras."""
    folder = tmp_path_factory.mktemp("keras_models")
    save_dense(folder / "c.keras", seed=1)
    return folder


@pytest.fixture
def weights(tmp_path: Path) -> bytes:
    """A Keras .h5, by its description alone."""
    layers = [{"class_name": "InputLayer", "config": {"batch_shape": [None, 8, 8, 3]}}]
    path = tmp_path / "source.h5"
    with h5py.File(path, "w") as file:
        config = {"class_name": "Functional", "config": {"layers": layers}}
        file.attrs["model_config"] = json.dumps(config)
        file["weights"] = list(range(4000))
    return path.read_bytes()


@pytest.fixture
def serve() -> Iterator[Callable[[Handler], str]]:
    """Starts a server that answers with a function; gives its address."""
    servers = []

    def start(answer: Handler) -> str:
        class Answering(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        server.daemon_threads = True
        # It looks that often whether it is to end.
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/model.h5"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def nothing_published(
    zoo: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A zoo of no entries: bins of any name are columns of the stored models alone."""
    (tmp_path / "none.yaml").write_text("models: {}\n")
    monkeypatch.setenv("ZOO_MODELS", str(tmp_path / "none.yaml"))
