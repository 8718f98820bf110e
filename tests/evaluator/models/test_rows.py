"""Models that do not give one row for each image of a batch, and what is made of them."""

from pathlib import Path

import pytest

from evaluator import evaluate


@pytest.mark.parametrize("name", ["first_only", "reshape_1_m1", "out_64_1_1"])
@pytest.mark.parametrize("batch_size", [64, 1, 7])
def test_one_row_is_never_spread_over_a_batch(shared: Path, name: str, batch_size: int) -> None:
    """55.00 and an AUC of 0.529444 by onnxruntime, one image at a time, and scikit-learn."""
    pytest.importorskip("onnxruntime")
    cases = shared / "cases"
    found = evaluate(
        cases / f"models/{name}.onnx",
        cases / "data/base.bin",
        input="insightface",
        batch_size=batch_size,
    ).figures
    assert found.accuracy == pytest.approx(0.55, abs=1e-12)
    assert found.auc == pytest.approx(0.529444, abs=5e-7)
