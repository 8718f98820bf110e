"""`evaluate`: a model on bins from Python, with what `zoo eval` does and says.

Public names are imported from `evaluator` itself, which loads this module when one is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.api.evaluated import BinEvaluation, Evaluation, evaluated_on
from evaluator.api.sources import Source, source_of
from evaluator.bins.named import bin_path
from evaluator.bins.pairs_file import slot_people
from evaluator.bins.verification_set import VerificationSet, read_bin
from evaluator.choices import NORM, check_settings
from evaluator.errors import InputError
from evaluator.images.inputs import Embedder
from evaluator.measure.collapse import looks_collapsed
from evaluator.measure.embed import ONE_AT_A_TIME, EmbedOptions
from evaluator.measure.evaluation import Measurement, evaluate_bins
from evaluator.models.options import LoadOptions
from evaluator.profiles import Profile, profile_text
from evaluator.results.measured import Measured
from evaluator.results.record import Settings, make_result
from evaluator.results.set_result import set_parts, set_scores, set_settings
from evaluator.templates.evaluation import SetMeasurement, embed_set, evaluate_set
from evaluator.templates.layouts import read_template_set
from evaluator.templates.template_set import TemplateSet

Bin = str | Path | VerificationSet | TemplateSet


def evaluate(
    model: Any,
    bins: Bin | Sequence[Bin],
    *,
    input: str | Profile | None = None,
    channels: str | None = None,
    size: int | tuple[int, int] | None = None,
    layout: str | None = None,
    flip: str = "none",
    decoder: str = "accurate",
    precision: str = "float32",
    engine: str = "native",
    nan: str = "fail",
    norm: str = NORM,
    detector_score: str | None = None,
    batch_size: int = 64,
    output: str | None = None,
    custom: Sequence[str] = (),
    trust: bool = False,
    name: str | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """A model's figures and pair scores on one bin or several; nothing is stored.

    ``model`` is the path of a model file of any format `zoo eval` takes, a ``keras.Model`` in
    memory, an ``Embedder``, or any function from a batch of images, float32 (n, height, width, 3),
    to embeddings (n, size). ``bins`` are paths, of template sets too, names (``"lfw"``, looked
    for in $ZOO_DATA, ./datasets and here), or sets that ``read_bin`` gave.

    ``input`` says what pixels the model was trained with: ``unit`` [0, 1] (assumed where nothing is
    said, and noted), ``symmetric`` (x - 127.5) / 128, ``insightface`` (x / 255 - 0.5) / 0.5,
    ``raw`` 0..255, ``whiten`` or ``imagenet``, or a `Profile` of other numbers, or its text;
    ``channels`` is ``rgb`` or ``bgr``. ``size``, pixels or (height, width), is for
    models that take any, and for functions, which get 112x112 without it; ``layout``, ``NHWC`` or
    ``NCHW``, is for functions. ``flip="sum"`` adds the embedding of the mirrored image;
    ``nan="drop"`` leaves pairs out whose embedding is not finite or has no length, ``nan="miss"``
    takes them as rejected at every threshold (score -inf); otherwise the bin has no figures.
    ``norm`` and ``detector_score`` are for template sets. ``output``, ``custom``, ``trust``,
    ``precision`` and ``engine`` are `zoo eval`'s.
    ``on_progress`` is called with the number of images done since the last call.

    Raises InputError (BinError and ModelError among them) with one line that says what was
    expected and found, before TensorFlow is imported where it can be told; OSError for files.
    """
    request = requested(
        input=input,
        channels=channels,
        size=size,
        flip=flip,
        decoder=decoder,
        precision=precision,
        engine=engine,
        nan=nan,
        norm=norm,
        detector_score=detector_score,
        batch_size=batch_size,
        output=output,
        custom=tuple(custom),
        trust=trust,
    )
    source = source_of(model, request.options, name=name, layout=layout)
    return _evaluation(source, bins_read(bins), request, on_progress)


@dataclass(frozen=True)
class Request:
    """How models are evaluated: the words of `evaluate`, checked."""

    settings: Settings
    options: LoadOptions
    norm: str
    detector_score: str | None
    batch_size: int


def requested(
    *,
    input: str | Profile | None = None,
    channels: str | None = None,
    size: int | tuple[int, int] | None = None,
    flip: str = "none",
    decoder: str = "accurate",
    precision: str = "float32",
    engine: str = "native",
    nan: str = "fail",
    norm: str = NORM,
    detector_score: str | None = None,
    batch_size: int = 64,
    output: str | None = None,
    custom: tuple[str, ...] = (),
    trust: bool = False,
) -> Request:
    """The words of `evaluate`, checked. Raises InputError."""
    check_settings(
        flip=flip, decoder=decoder, precision=precision, nan=nan, engine=engine, norm=norm
    )
    if detector_score is not None:
        check_settings(**{"detector-score": detector_score})
    if not isinstance(batch_size, int) or batch_size < 1:
        raise InputError(f"batch_size must be at least 1; got {batch_size!r}")
    if channels is not None:
        check_settings(channels=channels)
    options = LoadOptions(
        profile=None if input is None else profile_text(str(input)),
        channels=channels or "rgb",
        size=_sides(size),
        output=output,
        precision=precision,
        engine=engine,
        custom=custom,
        trust=trust,
    )
    settings = Settings(flip, decoder, precision, nan, engine)
    return Request(settings, options, norm, detector_score, batch_size)


def repeated(
    model: Any, bins: Sequence[VerificationSet], request: Request, *, name: str | None = None
) -> Callable[[], Evaluation]:
    """A function that evaluates a model, a network in memory with the weights it has when it is
    called; its graph is built once, here. Raises as `evaluate` does.
    """
    source = source_of(model, request.options, name=name, layout=None)
    return lambda: _evaluation(source.now(), bins, request)


def _evaluation(
    source: Source,
    sets: Sequence[VerificationSet | TemplateSet],
    request: Request,
    on_progress: Callable[[int], None] | None = None,
) -> Evaluation:
    settings, nan = request.settings, request.settings.nan
    pair_sets = [each for each in sets if isinstance(each, VerificationSet)]
    # Refuses another bin's pairs file at once, and detector scores that a set does not have.
    people = [slot_people(each) for each in pair_sets]
    set_options = {
        each.sha256: set_settings(
            each, settings, norm=request.norm, detector_score=request.detector_score
        )
        for each in sets
        if isinstance(each, TemplateSet)
    }
    found: dict[str, BinEvaluation] = {}
    with source.open() as embedder:
        notes = list(embedder.notes)

        def note_resized(size: tuple[int, int]) -> None:
            wanted = f"{embedder.input.height}x{embedder.input.width}"
            notes.append(
                f"images of {size[0]}x{size[1]} are resized to {wanted}, the model's input"
            )

        how: dict[str, Any] = {
            "options": EmbedOptions(settings.flip, settings.decoder, request.batch_size),
            "on_progress": on_progress,
            "on_resize": note_resized,
            "on_single": lambda: notes.append(ONE_AT_A_TIME),
        }
        measured = evaluate_bins(embedder, pair_sets, nan=nan, **how)
        for measurement, of_bin in zip(measured, people, strict=True):
            found[measurement.bin.sha256] = _evaluated(
                measurement, of_bin, source=source, embedder=embedder, settings=settings
            )
        for each in sets:
            if isinstance(each, TemplateSet):
                own = set_options[each.sha256]
                on_set = evaluate_set(
                    each,
                    embed_set(embedder, each, **how),
                    norm="unit" if request.norm == "unit" else "raw",
                    detector_score=own.detector_score == "yes",
                    nan=nan,
                )
                found[each.sha256] = _evaluated(
                    on_set, None, source=source, embedder=embedder, settings=own
                )
    evaluations = [found[each.sha256] for each in sets]
    notes += [line for each in evaluations for line in _collapse_notes(each)]
    return Evaluation(
        evaluations[0].result.model,
        tuple(evaluations),
        tuple(dict.fromkeys(notes)),
        source.named,
    )


def _sides(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """Height and width. Raises InputError for what is no size."""
    sides = (size, size) if isinstance(size, int) else size
    if sides is not None and (len(sides) != 2 or min(sides) < 1):
        raise InputError(f"size must be pixels, or (height, width), at least 1; got {size!r}")
    return sides


def bins_read(bins: Bin | Sequence[Bin]) -> list[VerificationSet | TemplateSet]:
    """The bins, read. Raises InputError for none, or for what is no bin."""
    kinds = (str, Path, VerificationSet, TemplateSet)
    given = [bins] if isinstance(bins, kinds) else list(bins or ())
    if not given:
        raise InputError("no bins: give the path of one, or a VerificationSet, or several")
    sets: list[VerificationSet | TemplateSet] = []
    for each in given:
        if not isinstance(each, kinds):
            raise InputError(
                f"a bin must be a path or a VerificationSet; got {type(each).__name__}"
            )
        if isinstance(each, (VerificationSet, TemplateSet)):
            sets.append(each)
        else:
            path = bin_path(each)
            sets.append(read_template_set(path) if path.is_dir() else read_bin(path))
    return sets


def _evaluated(
    measurement: Measurement | SetMeasurement,
    people: NDArray[np.int64] | None,
    *,
    source: Source,
    embedder: Embedder,
    settings: Settings,
) -> BinEvaluation:
    result = make_result(
        measurement,
        name=source.name,
        path=Path(source.path),
        sha256=source.sha256,
        data_sha256=source.data_sha256,
        model_format=embedder.format,
        input_spec=embedder.input,
        settings=settings,
        parts=set_parts(measurement) if isinstance(measurement, SetMeasurement) else None,
    )
    if not source.path:  # Path("") reads "."
        result = replace(result, model=replace(result.model, path=""))
    measured = Measured(
        model=(source.name, source.identity),
        bin=(result.bin.name, result.bin.sha256),
        settings=settings,
        profile=source.options.profile or "unit",
        channels=source.options.channels,
        output=source.options.output,
        size=source.options.size,
    )
    stored_as = measured.path_in(Path())
    if isinstance(measurement, SetMeasurement):
        return evaluated_on(result, measurement.figures, set_scores(measurement), stored_as)
    return BinEvaluation(
        result=result,
        figures=measurement.figures,
        scores=measurement.scores,
        genuine=measurement.genuine,
        images=measurement.images.astype(np.int64),
        people=people,
        stored_as=stored_as,
        digests=measurement.digests,
        norms=measurement.norms,
    )


def _collapse_notes(found: BinEvaluation) -> list[str]:
    """A note where embeddings look as if the input were prepared wrongly."""
    if found.scores is None or not looks_collapsed(found.scores, found.genuine):
        return []
    return [
        f"{found.name}: impostors' cosines are almost all alike: the embeddings look collapsed. "
        "Is input= what the model was trained with? `zoo probe` tries them all"
    ]
