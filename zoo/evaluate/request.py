"""What one call of `zoo eval` asks for, and how that says to load each model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from evaluator.bins.verification_set import VerificationSet
from evaluator.choices import NORM
from evaluator.errors import InputError
from evaluator.metrics.figure import Figure
from evaluator.models.identity import ModelIdentity, model_identity
from evaluator.models.input_note import noted_input
from evaluator.models.load import check_model
from evaluator.models.options import NATIVE, LoadOptions
from evaluator.results.record import Settings
from evaluator.results.set_result import set_settings
from evaluator.templates.template_set import TemplateSet
from zoo.entries.lookup import ModelChoice
from zoo.terminal.settings import read_settings


def _usual_input() -> dict[str, str]:
    """``input`` and ``channels`` as zoo.toml has them."""
    values = read_settings().values
    return {key: values[key] for key in ("input", "channels") if key in values}


@dataclass(frozen=True)
class Request:
    """One call of `zoo eval`, its names resolved. ``profile`` and ``channels`` None: the entry's,
    or unit and RGB; ``usual``: the input of files that state none, by zoo.toml; ``detector_score``
    None: where a template set has some. ``tars`` and ``intervals`` are to be shown besides what is
    stored, ``gallery_sizes`` to be measured where they are not; ``jobs`` processes hold models by
    ``backend``, ``processes`` of them each model, with ``threads`` each (None: as many as there are
    cores). Raises InputError where results cannot be a folder, and for a wrong zoo.toml.
    """

    models: list[ModelChoice]
    bins: list[Path]
    flip: str = "none"
    decoder: str = "accurate"
    precision: str = "float32"
    engine: str = NATIVE
    nan: str = "fail"
    norm: str = NORM
    detector_score: str | None = None
    profile: str | None = None
    channels: str | None = None
    size: tuple[int, int] | None = None
    output: str | None = None
    custom: tuple[str, ...] = ()
    batch_size: int = 64
    results: Path = Path("results")
    fresh: bool = False
    trust: bool = False
    tars: tuple[Figure, ...] = ()
    intervals: bool = False
    gallery_sizes: bool = False
    jobs: int = 1
    backend: str = "joblib"
    processes: int = 1
    threads: int | None = None
    usual: Mapping[str, str] = field(default_factory=_usual_input)

    def __post_init__(self) -> None:
        """Refuses a file as the folder of results."""
        if self.results.exists() and not self.results.is_dir():
            raise InputError(f"--results {self.results}: is a file; expected a folder")

    @property
    def settings(self) -> Settings:
        """What of this request results on bins carry as settings."""
        return Settings(self.flip, self.decoder, self.precision, self.nan, self.engine)

    def settings_on(self, bin: VerificationSet | TemplateSet) -> Settings:
        """What of this request a result on this carries. Raises InputError for detector scores that
        a set does not have.
        """
        if not isinstance(bin, TemplateSet):
            return self.settings
        return set_settings(bin, self.settings, norm=self.norm, detector_score=self.detector_score)


def checked_model(
    choice: ModelChoice,
    request: Request,
    *,
    identity: Callable[[], ModelIdentity] | None = None,
    unseen: bool = False,
) -> tuple[ModelIdentity, LoadOptions]:
    """The digests of a model's files and how to load it: as asked, else as its entry says, else as
    is stated beside it, else as zoo.toml has it. Raises InputError for all that can be told without
    TensorFlow; of the file's content, which ``unseen`` leaves to the caller, nothing.

    ``identity`` gives the digests where another thread is taking them already.
    """
    options = _load_options(choice, request)
    if not unseen:
        check_model(choice.path, options)
    found = model_identity(choice.path) if identity is None else identity()
    entry = choice.entry
    if entry is not None and entry.sha256 not in (None, found.sha256):
        raise InputError(
            f"{choice.path}: its SHA-256 is {found.sha256}, but entry {entry.name!r} states "
            f"{entry.sha256}: this is another file than the entry's"
        )
    if options.profile is None and (noted := noted_input(choice.path, found.digest)) is not None:
        profile, channels = noted
        options = replace(options, profile=profile, channels=request.channels or channels)
    elif entry is None and request.usual:
        options = replace(
            options,
            profile=options.profile or request.usual.get("input"),
            channels=request.channels or request.usual.get("channels", options.channels),
        )
    return found, options


def _load_options(choice: ModelChoice, request: Request) -> LoadOptions:
    entry = choice.entry
    custom = request.custom
    if entry is not None and entry.custom and not custom:
        if not request.trust:
            raise InputError(
                f"entry {entry.name!r} imports {', '.join(entry.custom)} to load its model; "
                "if you know that code, repeat with --trust"
            )
        custom = entry.custom
    return LoadOptions(
        profile=request.profile or (entry.profile if entry else None),
        channels=request.channels or (entry.channels if entry else "rgb"),
        size=request.size or (entry.size if entry else None),
        output=request.output or (entry.output if entry else None),
        precision=request.precision,
        engine=request.engine,
        custom=custom,
        trust=request.trust,
        threads=request.threads,
    )
