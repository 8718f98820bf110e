"""What the fault scripts work on, made in a moment: tiny bins and models, and how zoo is run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "zoo")]

from samples import SIZE, write_pairs  # noqa: E402 - found by the line above

from tests.command import HEED_SIGNALS, zoo_after  # noqa: E402
from tests.small_models import save_projection  # noqa: E402


def make_inputs(folder: Path, *, models: int, bins: int = 2) -> tuple[list[str], list[str]]:
    """Names of that many models and bins, written into a folder."""
    model_names = [f"model{i}.onnx" for i in range(models)]
    bin_names = [f"bin{i}.bin" for i in range(bins)]
    for i, name in enumerate(model_names):
        save_projection(folder / name, side=SIZE, seed=i)
    for i, name in enumerate(bin_names):
        write_pairs(folder / name, first=3 * i)
    return model_names, bin_names


def environment() -> dict[str, str]:
    """This process's, with the checkout's packages first and nothing of a user's own zoo."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ZOO_")}
    return {**kept, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}


def start_zoo(folder: Path, arguments: Sequence[str], **streams: object) -> subprocess.Popen[str]:
    """`zoo` with these arguments, begun in a folder as a process of its own group."""
    return subprocess.Popen(
        [*zoo_after(HEED_SIGNALS), *arguments],
        cwd=folder,
        env=environment(),
        text=True,
        start_new_session=True,
        **streams,  # type: ignore[call-overload]
    )


def run_zoo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`zoo` with these arguments, to its end, with what it said."""
    return subprocess.run(
        [sys.executable, "-m", "zoo", *arguments],
        cwd=folder,
        env=environment(),
        text=True,
        capture_output=True,
        check=False,
    )
