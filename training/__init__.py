"""Trains face-embedding models: a callback, layers, losses and data for Keras's own `fit`, and
recipes. May import evaluator.

The public names are those of ``__all__``. Each is loaded when it is first used, so that importing
the package imports no Keras; the first one that is Keras's kind makes all of them known to Keras's
`load_model`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluator.errors import InputError
    from training.api.batches import FaceBatches, face_batches, with_labels
    from training.api.callback import VerificationCallback, VerificationRecord
    from training.api.faces import open_faces
    from training.api.models import (
        copy_head,
        embedding_model,
        embedding_of,
        load_model,
        whole_model,
    )
    from training.api.runs import Checkpoint, Run, load_run, train
    from training.api.teacher import Teacher
    from training.data.sources.faces import FaceSet
    from training.loop.callbacks import DivergedError
    from training.network.centers import CenterLoss
    from training.network.distillation import EmbeddingDistillation, LogitDistillation
    from training.network.heads import NormDense
    from training.network.losses import MarginLoss, SoftmaxLoss, logits_accuracy
    from training.network.margin_head import MarginHead
    from training.network.margins import (
        AdaFace,
        ArcFace,
        CombinedMargin,
        CosFace,
        CurricularFace,
        ElasticFace,
        MagFace,
    )
    from training.network.mixup import MixupLoss
    from training.network.optimizers import SGD
    from training.network.triplet_losses import (
        ActiveTriplets,
        TripletBatchAll,
        TripletBatchHard,
        TripletMined,
        TripletSemiHard,
    )
    from training.recipes.parts import Augment, RecipeError
    from training.recipes.registry import register_backbone, register_loss, register_optimizer
    from training.recipes.schedules import founding_schedule, warm_up
    from training.run.checkpoints import CheckpointError
    from training.run.runs import RunError
    from training.triplets.mining import mine_triplets
    from training.triplets.samplers import (
        BalancedSampler,
        MinedSampler,
        PersonSampler,
        SlidingWindowSampler,
    )

# Public name -> the module that has it.
_HOMES = {
    name: home
    for home, names in {
        "evaluator.errors": "InputError",
        "training.api.batches": "FaceBatches face_batches with_labels",
        "training.api.callback": "VerificationCallback VerificationRecord",
        "training.api.faces": "open_faces",
        "training.api.models": "copy_head embedding_model embedding_of load_model whole_model",
        "training.api.runs": "Checkpoint Run load_run train",
        "training.api.teacher": "Teacher",
        "training.data.sources.faces": "FaceSet",
        "training.loop.callbacks": "DivergedError",
        "training.network.centers": "CenterLoss",
        "training.network.distillation": "EmbeddingDistillation LogitDistillation",
        "training.network.heads": "NormDense",
        "training.network.losses": "MarginLoss SoftmaxLoss logits_accuracy",
        "training.network.margin_head": "MarginHead",
        "training.network.margins": (
            "AdaFace ArcFace CombinedMargin CosFace CurricularFace ElasticFace MagFace"
        ),
        "training.network.mixup": "MixupLoss",
        "training.network.optimizers": "SGD",
        "training.network.triplet_losses": (
            "ActiveTriplets TripletBatchAll TripletBatchHard TripletMined TripletSemiHard"
        ),
        "training.recipes.parts": "Augment RecipeError",
        "training.recipes.registry": "register_backbone register_loss register_optimizer",
        "training.recipes.schedules": "founding_schedule warm_up",
        "training.run.checkpoints": "CheckpointError",
        "training.run.runs": "RunError",
        "training.triplets.mining": "mine_triplets",
        "training.triplets.samplers": (
            "BalancedSampler MinedSampler PersonSampler SlidingWindowSampler"
        ),
    }.items()
    for name in names.split()
}

__all__ = [
    "SGD",
    "ActiveTriplets",
    "AdaFace",
    "ArcFace",
    "Augment",
    "BalancedSampler",
    "CenterLoss",
    "Checkpoint",
    "CheckpointError",
    "CombinedMargin",
    "CosFace",
    "CurricularFace",
    "DivergedError",
    "ElasticFace",
    "EmbeddingDistillation",
    "FaceBatches",
    "FaceSet",
    "InputError",
    "LogitDistillation",
    "MagFace",
    "MarginHead",
    "MarginLoss",
    "MinedSampler",
    "MixupLoss",
    "NormDense",
    "PersonSampler",
    "RecipeError",
    "Run",
    "RunError",
    "SlidingWindowSampler",
    "SoftmaxLoss",
    "Teacher",
    "TripletBatchAll",
    "TripletBatchHard",
    "TripletMined",
    "TripletSemiHard",
    "VerificationCallback",
    "VerificationRecord",
    "copy_head",
    "embedding_model",
    "embedding_of",
    "face_batches",
    "founding_schedule",
    "load_model",
    "load_run",
    "logits_accuracy",
    "mine_triplets",
    "open_faces",
    "register_backbone",
    "register_loss",
    "register_optimizer",
    "train",
    "warm_up",
    "whole_model",
    "with_labels",
]


if not TYPE_CHECKING:  # else every misspelt name would pass for one of type Any

    def __getattr__(name: str) -> Any:
        """A public name, from the module that has it (PEP 562)."""
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module 'training' has no attribute {name!r}")
        found = getattr(importlib.import_module(home), name)
        if home.startswith("training.network."):
            importlib.import_module("training.network.registered")
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
