"""What `zoo eval` says on stderr while it works."""

from __future__ import annotations

from collections.abc import Sequence

from evaluator.bins.verification_set import VerificationSet
from evaluator.images.inputs import InputSpec
from evaluator.measure.collapse import looks_collapsed
from evaluator.measure.embed import ONE_AT_A_TIME
from evaluator.measure.evaluation import Measurement
from evaluator.models.identity import ModelIdentity
from evaluator.templates.evaluation import SetMeasurement
from evaluator.templates.template_set import TemplateSet
from zoo.entries.lookup import ModelChoice
from zoo.evaluate.request import Request
from zoo.terminal.words import detail, note, warn


class Remarks:
    """What a run says once, however many models and bins it is true of."""

    def __init__(self) -> None:
        self._said: set[str] = set()
        self._collapsed: list[str] = []

    def _is_new(self, remark: str) -> bool:
        known = remark in self._said
        self._said.add(remark)
        return not known

    def resized(self, size: tuple[int, int], spec: InputSpec) -> None:
        """That the network sees interpolated pixels."""
        if self._is_new("resized"):
            wanted = f"{spec.height}x{spec.width}"
            note(f"images of {size[0]}x{size[1]} are resized to {wanted}, the model's input")

    def single(self, name: str) -> None:
        """That a model gets one image at a time; once a model."""
        if self._is_new(f"single {name}"):
            note(f"{name}: {ONE_AT_A_TIME}")

    def collapsed(self, model: ModelChoice, measurement: Measurement | SetMeasurement) -> None:
        """Says where embeddings look as if the input were prepared wrongly; of others
        `say_collapsed` does.
        """
        if len(measurement.unusable):
            cause = "some embeddings cannot be scored"
        elif measurement.scores is not None and looks_collapsed(
            measurement.scores, measurement.genuine
        ):
            cause = "impostors' cosines are almost all alike: the embeddings look collapsed"
        else:
            return
        which = f"{model.name} on {measurement.bin.name}"
        if not self._is_new(cause):
            self._collapsed.append(which)
            return
        bin = "BIN" if isinstance(measurement, SetMeasurement) else measurement.bin.path
        warn(
            f"{which}: {cause}. If the input profile may be wrong: "
            f"zoo probe {model.entry.name if model.entry else model.path} --bins {bin}"
        )

    def say_collapsed(self) -> None:
        """Names the others of which that is true, in a line."""
        if self._collapsed:
            shown, more = self._collapsed[:3], len(self._collapsed) - 3
            warn(f"so it is with {', '.join(shown)}" + (f" and {more} more" if more > 0 else ""))

    def smaller(self, name: str, size: int) -> None:
        """That batches are halved."""
        if self._is_new("smaller"):
            images = "1 image" if size == 1 else f"{size} images"
            warn(
                f"{name}: memory does not hold the batch: going on with {images} at once; "
                f"--batch-size {size} begins with that"
            )


def say_files(
    models: Sequence[tuple[ModelChoice, ModelIdentity]],
    bins: Sequence[VerificationSet | TemplateSet],
) -> None:
    """Says, where much is said, which files are used."""
    for model, identity in models:
        detail(f"model {model.name}: {model.path}, SHA-256 {identity.sha256}")
        if identity.data_sha256 is not None:
            detail(f"data of {model.name}: SHA-256 {identity.data_sha256}")
    for each in bins:
        if isinstance(each, TemplateSet):
            holds = f"{len(each.images):,} images, {each.templates:,} templates"
            detail(f"template set {each.name}: {each.path}, {holds}, SHA-256 {each.sha256}")
        else:
            detail(f"bin {each.name}: {each.path}, {each.pairs:,} pairs, SHA-256 {each.sha256}")


def say_stored(found: int, asked: int) -> None:
    """Says how many of the results are not measured, if any."""
    if found:
        which = "all results" if found == asked else f"{found} of {asked} results"
        note(f"{which} answered from the store; --fresh measures again")


def left_to_do(done: int, asked: int, request: Request) -> str:
    """What an interrupted evaluation has left to do, and how to go on."""
    how = "the same command without --fresh" if request.fresh else "the same command"
    return (
        f"{done} of {asked} results are stored in {request.results}/, {asked - done} left: "
        f"{how} goes on with the rest"
    )
