"""A template set of 40 made-up people, for which peers' code was run: what it gave stands in tests.

Each person has four templates of 1 to 9 images in 1 to 3 media: the first is a gallery's, of the
first 20 people or of the others; the three others are probes.
"""

from pathlib import Path

import numpy as np
from template_samples import fixture

from evaluator.templates.template_set import Gallery, TemplatePairs, TemplateSet


def made() -> tuple[TemplateSet, np.ndarray]:
    """The set, with a list of all pairs of templates, and the embeddings of its images."""
    drawn = fixture()
    held = template_set(drawn.template, drawn.medium, drawn.subject, drawn.detector_scores)
    return held, drawn.embeddings


def template_set(template, media, people, detector=None, pairs=None) -> TemplateSet:
    """A set from arrays; without ``pairs``, those of all two templates."""
    templates = len(people)
    if pairs is None:
        pairs = np.triu_indices(templates, 1)
    left, right = (np.asarray(side, np.int32) for side in pairs)
    gallery = np.arange(0, templates, 4)
    halves = gallery[: len(gallery) // 2], gallery[len(gallery) // 2 :]
    return TemplateSet(
        name="made-up",
        path=Path("made-up"),
        kind="ijb",
        sha256="0" * 64,
        folder=None,
        images=tuple(f"{i}.jpg" for i in range(len(template))),
        template=np.asarray(template, np.intp),
        media=np.asarray(media, np.int64),
        detector_scores=detector,
        points=None,
        names=tuple(str(i) for i in range(templates)),
        person=np.asarray(people, np.int64),
        pairs=TemplatePairs(left, right, people[left] == people[right]),
        galleries=(Gallery("G1", halves[0]), Gallery("G2", halves[1])),
        probes=np.setdiff1d(np.arange(templates), gallery),
    )
