"""Measures face-embedding models on verification bins. Imports neither zoo nor training.

The public names are those of ``__all__``. Each is loaded when it is first used, so that importing
the package costs nothing and TensorFlow is imported only where a model is.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluator.api.arrays import evaluate_embeddings, evaluate_scores
    from evaluator.api.compare import ManyComparisons, PairedComparison, compare
    from evaluator.api.evaluate import evaluate
    from evaluator.api.evaluated import (
        BinEvaluation,
        Evaluation,
        save_results,
        to_dataframe,
        verification_line,
    )
    from evaluator.api.loaded import Results, load_results
    from evaluator.bins.verification_set import VerificationSet, read_bin, write_bin
    from evaluator.errors import BinError, InputError, ModelError, ResultError
    from evaluator.images.inputs import Embedder, InputSpec
    from evaluator.metrics.all_figures import Figures, figures
    from evaluator.metrics.deployment import DeploymentThreshold, deployment_threshold
    from evaluator.metrics.rates import Rates, rates_at_threshold
    from evaluator.profiles import Profile
    from evaluator.statistics.comparison import Comparison, Overall

# Public name -> the module that has it.
_HOMES = {
    "BinError": "evaluator.errors",
    "BinEvaluation": "evaluator.api.evaluated",
    "Comparison": "evaluator.statistics.comparison",
    "DeploymentThreshold": "evaluator.metrics.deployment",
    "Embedder": "evaluator.images.inputs",
    "Evaluation": "evaluator.api.evaluated",
    "Figures": "evaluator.metrics.all_figures",
    "InputError": "evaluator.errors",
    "InputSpec": "evaluator.images.inputs",
    "ManyComparisons": "evaluator.api.compare",
    "ModelError": "evaluator.errors",
    "Overall": "evaluator.statistics.comparison",
    "PairedComparison": "evaluator.api.compare",
    "Profile": "evaluator.profiles",
    "Rates": "evaluator.metrics.rates",
    "ResultError": "evaluator.errors",
    "Results": "evaluator.api.loaded",
    "VerificationSet": "evaluator.bins.verification_set",
    "compare": "evaluator.api.compare",
    "deployment_threshold": "evaluator.metrics.deployment",
    "evaluate": "evaluator.api.evaluate",
    "evaluate_embeddings": "evaluator.api.arrays",
    "evaluate_scores": "evaluator.api.arrays",
    "figures": "evaluator.metrics.all_figures",
    "load_results": "evaluator.api.loaded",
    "rates_at_threshold": "evaluator.metrics.rates",
    "read_bin": "evaluator.bins.verification_set",
    "save_results": "evaluator.api.evaluated",
    "to_dataframe": "evaluator.api.evaluated",
    "verification_line": "evaluator.api.evaluated",
    "write_bin": "evaluator.bins.verification_set",
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
    "ManyComparisons",
    "ModelError",
    "Overall",
    "PairedComparison",
    "Profile",
    "Rates",
    "ResultError",
    "Results",
    "VerificationSet",
    "compare",
    "deployment_threshold",
    "evaluate",
    "evaluate_embeddings",
    "evaluate_scores",
    "figures",
    "load_results",
    "rates_at_threshold",
    "read_bin",
    "save_results",
    "to_dataframe",
    "verification_line",
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
