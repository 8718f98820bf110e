"""Measures face-embedding models on verification bins. Imports neither zoo nor training.

The public names are those of ``__all__``. Each is loaded when it is first used, so that importing
the package costs nothing and TensorFlow is imported only where a model is.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluator.all_figures import Figures, figures
    from evaluator.api import evaluate
    from evaluator.arrays import evaluate_embeddings, evaluate_scores
    from evaluator.bins import VerificationSet, read_bin, write_bin
    from evaluator.comparison import Comparison, Overall
    from evaluator.deployment import DeploymentThreshold, deployment_threshold
    from evaluator.errors import BinError, InputError, ModelError, ResultError
    from evaluator.evaluated import BinEvaluation, Evaluation, save_results
    from evaluator.inputs import Embedder, InputSpec
    from evaluator.paired import PairedComparison, compare

# Public name -> the module that has it.
_HOMES = {
    "BinError": "evaluator.errors",
    "BinEvaluation": "evaluator.evaluated",
    "Comparison": "evaluator.comparison",
    "DeploymentThreshold": "evaluator.deployment",
    "Embedder": "evaluator.inputs",
    "Evaluation": "evaluator.evaluated",
    "Figures": "evaluator.all_figures",
    "InputError": "evaluator.errors",
    "InputSpec": "evaluator.inputs",
    "ModelError": "evaluator.errors",
    "Overall": "evaluator.comparison",
    "PairedComparison": "evaluator.paired",
    "ResultError": "evaluator.errors",
    "VerificationSet": "evaluator.bins",
    "compare": "evaluator.paired",
    "deployment_threshold": "evaluator.deployment",
    "evaluate": "evaluator.api",
    "evaluate_embeddings": "evaluator.arrays",
    "evaluate_scores": "evaluator.arrays",
    "figures": "evaluator.all_figures",
    "read_bin": "evaluator.bins",
    "save_results": "evaluator.evaluated",
    "write_bin": "evaluator.bins",
}

__all__ = [
    "BinError",
    "BinEvaluation",
    "Comparison",
    "DeploymentThreshold",
    "Embedder",
    "Evaluation",
    "Figures",
    "InputError",
    "InputSpec",
    "ModelError",
    "Overall",
    "PairedComparison",
    "ResultError",
    "VerificationSet",
    "compare",
    "deployment_threshold",
    "evaluate",
    "evaluate_embeddings",
    "evaluate_scores",
    "figures",
    "read_bin",
    "save_results",
    "write_bin",
]


if not TYPE_CHECKING:  # else every misspelt name would pass for one of type Any

    def __getattr__(name: str) -> Any:
        """A public name, from the module that has it (PEP 562)."""
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module 'evaluator' has no attribute {name!r}")
        found = getattr(importlib.import_module(home), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
