"""What the whole suite shares: real data, the command line to try, and a profile of Hypothesis."""

import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from tests.command import WITHOUT_TENSORFLOW, Outcome, Zoo, without_processes
from tests.programs import Programs, Server

SHARED = Path(os.environ.get("ZOO_SHARED", Path(__file__).parents[2] / "shared"))

# What JAX has compiled once serves every process of a run of the suite: most of the time of a short
# training is its compiler's. Workers of pytest-xdist inherit the folder.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _COMPILED = tempfile.TemporaryDirectory(prefix="zoo-tests-jax-")
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": _COMPILED.name,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }

# The same of Python's compiler: a third of what collecting 7,000 tests takes, in every worker, and
# of what the hundreds of processes take that tests start.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Threads of OpenMP spin while they wait for one another: on a machine whose cores are taken, most
# of what t-SNE of 120 points costs. Processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Of the files that processes share these take minutes: begun first, so that none is left at the end
# with one process at work and the others idle.
_LONGEST = ("test_docs", "test_benchmarks", "test_hosts", "test_margin_head", "test_jobs")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first."""
    items.sort(key=lambda item: item.path.stem not in _LONGEST)


# The collector of garbage walks over all that lives at every full pass, up to a tenth of what tests
# take that build networks: what libraries and tests are made of need not be looked at again.
def pytest_collection_finish() -> None:
    """Takes what collecting has made out of the collector's sight."""
    gc.freeze()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """The same of what a file has imported, once what it left behind is collected."""
    if nextitem is not None and nextitem.path != item.path:
        gc.collect()
        gc.freeze()


# How long an example takes says how busy the machine is.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")
# For mutation testing (pyproject.toml): a failing example is enough, nobody reads the smallest one;
# and a mutant gets the same examples each time.
settings.register_profile(
    "mutation", database=None, derandomize=True, phases=(Phase.explicit, Phase.generate)
)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real bins, faces, records and a model; tests that need it skip without it."""
    if not (SHARED / "bins").is_dir():
        pytest.skip(f"needs the shared test data, which is not at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That folder or, where it is not there, `stand_in`: the same layout, of faces drawn here."""
    if (SHARED / "bins").is_dir():
        return SHARED
    from tests.stand_in import write_stand_in

    return write_stand_in(tmp_path_factory.mktemp("given") / "stand_in")


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Zoo:
    """Runs a command in this process, in an empty folder; what it leaves on both streams."""
    from zoo.cli import run

    monkeypatch.chdir(tmp_path)
    for name in ("ZOO_DATA", "ZOO_MODELS", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture
def same_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models run in the test's process: to start Keras takes 4 seconds, and is not the subject."""
    without_processes(monkeypatch)


# ---- Programs in processes of their own ----------------------------------------------------------

_IMPORTS = """
import keras, training.api.batches, training.api.callback, training.api.runs, zoo.cli
import training.loop.fit, training.network.margin_head, training.network.backbones
"""
_TWO_DEVICES = """
from training.processes.devices import check_devices
check_devices("cpu:2")
"""


@pytest.fixture(scope="session")
def on_jax() -> Iterator[Programs]:
    """Runs programs on JAX, where TensorFlow is not installed."""
    pytest.importorskip("jax")
    imports = f"{WITHOUT_TENSORFLOW}\nimport jax\n{_IMPORTS}"
    with Server(imports, KERAS_BACKEND="jax") as server:
        yield Programs(server)


@pytest.fixture(scope="session")
def on_two_jax_devices(on_jax: Programs) -> Programs:
    """The same with two devices of the CPU."""
    return Programs(on_jax.server, _TWO_DEVICES)


@pytest.fixture(scope="session")
def on_tensorflow() -> Iterator[Programs]:
    """Runs programs on TensorFlow."""
    with Server(f"import tensorflow\n{_IMPORTS}", KERAS_BACKEND="tensorflow") as server:
        yield Programs(server)


@pytest.fixture(scope="session")
def on_two_devices(on_tensorflow: Programs) -> Programs:
    """The same with two devices, CPU:0 and CPU:1."""
    return Programs(on_tensorflow.server, _TWO_DEVICES)
