"""The words that settings take, for the command line and for Python alike; the first is usual."""

from __future__ import annotations

from typing import Any, Literal, get_args

from evaluator.errors import check_choice
from evaluator.profiles import profile_of

Flip = Literal["none", "sum"]
Decoder = Literal["accurate", "fast"]
Precision = Literal["float32", "bfloat16"]
Engine = Literal["native", "openvino"]
Norm = Literal["raw", "unit"]
DetectorScore = Literal["yes", "no"]
NonFinite = Literal["fail", "drop", "miss"]
Channels = Literal["rgb", "bgr", "gray"]

#: What template sets are pooled with where nothing else is asked for.
NORM: Norm = "raw"
DETECTOR_SCORE: DetectorScore = "yes"

_WORDS: dict[str, Any] = {
    "flip": Flip,
    "decoder": Decoder,
    "precision": Precision,
    "engine": Engine,
    "norm": Norm,
    "detector-score": DetectorScore,
    "nan": NonFinite,
    "channels": Channels,
}


def check_settings(before: str = "", **given: str) -> None:
    """Raises InputError for a setting with a word it does not take, ``before`` its name.

    ``input`` takes what `profile_of` does.
    """
    if "input" in given:
        profile_of(given.pop("input"))
    for name, value in given.items():
        check_choice(before + name, value, get_args(_WORDS[name]))
