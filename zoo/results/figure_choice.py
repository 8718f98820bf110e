"""The figures that models can be ranked by: what --metric takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from evaluator.errors import InputError, check_choice
from evaluator.metrics.all_figures import FARS

Figures = Mapping[str, Any] | None


@dataclass(frozen=True)
class Figure:
    """A figure of a result. ``read`` takes it out of a result's figures, None where undefined;
    ``influence`` names, with its arguments, the function of `separability` that says what each
    pair adds to it; ``protocol`` is the published one that it is
    comparable with; ``fits_threshold``: whether a threshold fitted to pairs adds to its noise.
    """

    name: str
    words: str
    higher_is_better: bool
    protocol: str | None
    fits_threshold: bool
    decimals: int
    read: Callable[[Figures], float | None]
    influence: tuple[str, Mapping[str, Any]]


def figure_named(name: str) -> Figure:
    """The figure of that name: ``kfold``, ``eer``, ``tar@1e-3`` ... Raises InputError."""
    if name.startswith("tar@"):
        return _tar(name)
    names = (*_FIGURES, *(_tar_name(far) for far in FARS.values()))
    check_choice("--metric", name, names)
    return _FIGURES[name]


def _at(*keys: str) -> Callable[[Figures], float | None]:
    def read(figures: Figures) -> float | None:
        value: Any = figures
        for key in keys:
            if value is None:
                return None
            value = value.get(key)
        return None if value is None else float(value)

    return read


def _tar_name(far: float) -> str:
    return f"tar@{far:.0e}".replace("e-0", "e-")


def _tar(name: str) -> Figure:
    stored = ", ".join(_tar_name(far) for far in FARS.values())
    try:
        far = float(name.removeprefix("tar@"))
    except ValueError:
        raise InputError(f"--metric {name}: expected a number after tar@, as {stored}") from None
    for key, value in FARS.items():
        if far == value:
            return Figure(
                name=_tar_name(far),
                words=f"TAR at FAR {far:g}, %",
                higher_is_better=True,
                protocol=None,
                fits_threshold=False,
                decimals=2,
                read=_at("tar_at_far", key, "tar"),
                influence=("tar", {"far": far}),
            )
    raise InputError(f"--metric {name}: results carry {stored}; no other FAR")


_FIGURES = {
    "kfold": Figure(
        name="kfold",
        words="10-fold accuracy, %",
        higher_is_better=True,
        protocol="kfold",
        fits_threshold=True,
        decimals=2,
        read=_at("kfold", "accuracy"),
        influence=("accuracy", {"held_out": True}),
    ),
    "accuracy": Figure(
        name="accuracy",
        words="best accuracy on these very pairs, %",
        higher_is_better=True,
        protocol="seed",
        fits_threshold=True,
        decimals=2,
        read=_at("accuracy"),
        influence=("accuracy", {"held_out": False}),
    ),
    "insightface": Figure(
        name="insightface",
        words="insightface's 10-fold accuracy, %",
        higher_is_better=True,
        protocol="insightface",
        fits_threshold=True,
        decimals=2,
        read=_at("insightface", "accuracy"),
        influence=("accuracy", {"held_out": True}),
    ),
    "eer": Figure(
        name="eer",
        words="equal error rate, % (lower is better)",
        higher_is_better=False,
        protocol=None,
        fits_threshold=False,
        decimals=2,
        read=_at("eer"),
        influence=("eer", {}),
    ),
    "auc": Figure(
        name="auc",
        words="area under the ROC curve, %",
        higher_is_better=True,
        protocol=None,
        fits_threshold=False,
        decimals=3,
        read=_at("auc"),
        influence=("auc", {}),
    ),
}
