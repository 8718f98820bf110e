"""What the whole suite shares: real data, the command line to try, and a profile of Hypothesis."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from tests.command import Outcome, Zoo, without_processes

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

# Threads of OpenMP spin while they wait for one another: on a machine whose cores are taken, most
# of what t-SNE of 120 points costs. Processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

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
