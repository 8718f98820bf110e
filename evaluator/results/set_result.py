"""What a measurement of a template set is as parts of a result, and as the scores beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from evaluator.errors import InputError
from evaluator.metrics.all_figures import Figures, to_json
from evaluator.metrics.figure import as_json
from evaluator.metrics.figures.search import SHAPE, SIZES_SHAPE
from evaluator.models.options import LoadOptions
from evaluator.results.external import external_model
from evaluator.results.measured import Measured
from evaluator.results.reading_rules import READING
from evaluator.results.record import (
    NAMED_IMAGES,
    BinRecord,
    Result,
    Scores,
    Settings,
    result_of,
)
from evaluator.results.set_facts import facts_of
from evaluator.templates.evaluation import SetMeasurement
from evaluator.templates.identification import Identification
from evaluator.templates.nearest_far import NearestTar
from evaluator.templates.template_set import TemplateSet


def set_settings(
    held: TemplateSet, settings: Settings, *, norm: str, detector_score: str | None
) -> Settings:
    """The settings of a result on a set: detector scores count where it has some, unless ``no``.

    Raises InputError where they are asked for and the set has none.
    """
    if held.detector_scores is None:
        if detector_score == "yes":
            raise InputError(f"--detector-score yes: {held.path} states no detector scores")
        return replace(settings, norm=norm)
    return replace(settings, norm=norm, detector_score=detector_score or "yes")


def embeddings_of(
    measured: Measured, folder: Path, options: LoadOptions
) -> tuple[Path, dict[str, Any]]:
    """Where the embeddings of a set's images are kept in a folder of results, and what they are of.

    They stay when the result is there: other norms and detector scores need no new ones.
    """
    settings = replace(measured.settings, norm=None, detector_score=None, nan=Settings().nan)
    bare = replace(measured, settings=settings)
    key = {
        "model": measured.model[1],
        "set": measured.bin[1],
        "settings": [settings.flip, settings.decoder, settings.precision, settings.engine],
        "input": [options.profile, options.channels, options.output, list(options.size or ())],
        "reading": READING,
    }
    return bare.path_in(folder).with_suffix(".embeddings.npy"), key


def set_parts(measurement: SetMeasurement) -> dict[str, Any]:
    """What of a result says what was measured and found: ``bin``, ``figures``, ``non_finite``."""
    held, block = measurement.bin, measurement.figures
    genuine = int(measurement.genuine.sum())
    figures = None
    if block is not None:
        figures = set_figures(block, measurement.nearest, measurement.identification)
        if measurement.gallery_sizes is not None:
            figures["gallery_sizes"] = as_json(measurement.gallery_sizes, SIZES_SHAPE)
    unusable = measurement.unusable[:NAMED_IMAGES].tolist()
    return {
        "bin": BinRecord(
            name=held.name,
            path=str(held.path),
            sha256=held.sha256,
            pairs=len(measurement.genuine),
            genuine=genuine,
            impostor=len(measurement.genuine) - genuine,
            images=len(held.images),
            unique_images=measurement.unique_images,
            kind=held.kind,
            templates=held.templates,
            people=len(np.unique(held.person[held.person >= 0])),
            probes=len(held.probes) if held.galleries else 0,
            galleries=len(held.galleries),
        ),
        "figures": figures,
        "non_finite": {
            "count": len(measurement.unusable),
            "images": unusable,
            **_lost(measurement),
            "names": [held.images[i] for i in unusable],
        },
    }


def set_figures(
    block: Figures, nearest: Mapping[str, NearestTar] | None, found: Identification | None
) -> dict[str, Any]:
    """The ``figures`` of a result on a set: of its 1:1 list, and of its searches."""
    figures = to_json(block)
    if nearest is not None:
        figures["tar_nearest_far"] = {
            key: {"tar": each.tar, "far": each.far} for key, each in nearest.items()
        }
    if found is not None:
        figures["identification"] = as_json(found, SHAPE["identification"])
    return figures


def _lost(measurement: SetMeasurement) -> dict[str, int]:
    pairs, probes = measurement.failed_pairs, measurement.failed_probes
    if measurement.nan != "miss" or not (pairs or probes):
        return {"dropped_pairs": pairs, "dropped_probes": probes}
    return {"dropped_pairs": 0, "missed_pairs": pairs, "missed_probes": probes}


def external_set_result(
    measurement: SetMeasurement, *, name: str, path: str, file_sha256: str, settings: Settings
) -> Result:
    """The result of a system of that name, whose embeddings came in a file, on a template set."""
    size = measurement.embedding_size
    model = external_model(
        name, "embeddings", embedding_size=size, path=path, file_sha256=file_sha256
    )
    return result_of(model, settings, set_parts(measurement), seconds=measurement.seconds)


def set_scores(measurement: SetMeasurement) -> Scores | None:
    """The scores of a result on a set as they are stored; None where nothing was scored."""
    if measurement.figures is None:
        return None
    facts = facts_of(measurement.bin)
    scores = np.zeros(0) if measurement.scores is None else measurement.scores
    return Scores(
        scores=scores,
        genuine=facts.genuine,
        images=facts.templates,
        people=facts.people,
        folds=np.zeros(len(scores), np.uint8),
        facts=facts,
        searches=measurement.searches,
    )
