"""A hostile Keras file leaves no trace, and `trust` is what lets its code run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluator.errors import ModelError
from evaluator.models.load import load_embedder
from evaluator.models.options import LoadOptions
from tests.evaluator.models.networks import SIZE, trunk


def hostile(package: Any, trace: Path, *, nested: bool = False) -> Any:
    """A model whose Lambda writes a file each time it is built or called."""
    # The path is a constant of the code: Keras 3 does not bring defaults and closures back.
    leave_trace = eval(f"lambda x: (open({str(trace)!r}, 'a').close(), x * 1.0)[1]")
    image = package.Input((*SIZE, 3))
    evil = package.layers.Lambda(leave_trace, output_shape=(*SIZE, 3), name="evil")
    if nested:
        inside = package.Input((*SIZE, 3))
        evil = package.Model(inside, evil(inside), name="inner")
    model = package.Model(image, trunk(package, evil(image)))
    trace.unlink(missing_ok=True)  # building wrote it
    return model


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("name", ["model.h5", "model.keras", "lies.h5"])
def test_a_hostile_lambda_leaves_no_trace(
    package: Any, saved: Callable[..., Path], tmp_path: Path, name: str, nested: bool
) -> None:
    trace = tmp_path / "trace"
    path = saved(hostile(package, trace, nested=nested), name.replace("lies.h5", "m.keras"))
    path = path.rename(path.with_name(name))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ModelError, match=r"Lambda layer 'evil'.*--trust"):
        load_embedder(path, LoadOptions())
    assert sorted(tmp_path.iterdir()) == before
    assert not trace.exists()


@pytest.mark.parametrize("name", ["model.h5", "model.keras"])
def test_trust_runs_the_code(
    package: Any, saved: Callable[..., Path], tmp_path: Path, images: np.ndarray, name: str
) -> None:
    trace = tmp_path / "trace"
    model = hostile(package, trace)
    path = saved(model, name)
    embedder = load_embedder(path, LoadOptions(profile="unit", trust=True))
    np.testing.assert_allclose(
        embedder.forward(images), model(images, training=False).numpy(), atol=1e-6
    )
    assert trace.exists()
