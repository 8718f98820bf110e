"""What a model wants pixels to be: profiles by name, and in words where none has a name for it.

Words are joined by "+", as in ``scale=1/255+mean=0.5,0.4,0.4+std=0.25`` and ``whiten+crop=100x90``:
one text, which settings, files and results carry. Imports no NumPy: commands check it first.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from evaluator.errors import InputError, check_choice

# Beyond these a number is a slip: float32 would make it, or what is divided by it, 0 or infinite.
_LEAST, _MOST = 1e-9, 1e9
_NUMBER_WORDS = ("mean", "std", "scale")
_NAMED_WORDS = (*_NUMBER_WORDS, "crop")
_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True)
class Profile:
    """What becomes of pixel levels 0..255: input = (``scale`` x level - ``mean``) / ``std``.

    ``mean`` and ``std`` are one number, or one a channel in the order in which the model takes its
    channels. ``whiten`` takes each image's own instead, over all its n numbers: their mean, and the
    larger of their deviation and 1/sqrt(n) (FaceNet's prewhiten). ``crop`` is cut out first, and
    resized if need be, in pixels of the image: (height, width) of its middle, or (height, width,
    top, left). ``feed`` are boolean inputs beside the image, (name, value); those that are not
    named are False. Raises InputError for what cannot be.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    scale: float = 1.0
    whiten: bool = False
    crop: tuple[int, ...] = ()
    feed: tuple[tuple[str, bool], ...] = ()

    def __post_init__(self) -> None:
        """Refuses numbers that are none, and what does not go together."""
        for name in ("mean", "std"):
            values = tuple(map(float, getattr(self, name)))
            if len(values) not in (1, 3) or not all(abs(each) <= _MOST for each in values):
                raise InputError(f"input {name}: expected 1 or 3 numbers; found {_joined(values)}")
            # Three that are the same are one, so that equal inputs are called the same.
            object.__setattr__(self, name, values[:1] if len(set(values)) == 1 else values)
        if not _LEAST <= self.scale <= _MOST:
            raise InputError(f"input scale: expected a number above 0; found {self.scale:g}")
        if not all(_LEAST <= each <= _MOST for each in (*self.std, *self.divisors)):
            raise InputError(f"input std: expected numbers above 0; found {_joined(self.std)}")
        if self.whiten and (self.mean, self.std, self.scale) != ((0.0,), (1.0,), 1.0):
            raise InputError("input whiten: takes each image's own mean and std, and no others")
        size, place = self.crop[:2], self.crop[2:]
        if len(self.crop) not in (0, 2, 4) or min(size, default=1) < 1 or min(place, default=0) < 0:
            raise InputError(
                "input crop: expected pixels, as 100, 100x90 or 100x90@6,11 (height x width @ top, "
                f"left); found {_crop_text(self.crop)}"
            )

    @property
    def centers(self) -> tuple[float, ...]:
        """What is taken from a level, before it is divided by ``divisors``."""
        return tuple(each / self.scale for each in self.mean)

    @property
    def divisors(self) -> tuple[float, ...]:
        """What a level less ``centers`` is divided by."""
        return tuple(each / self.scale for each in self.std)

    @property
    def values(self) -> Profile:
        """The same for the whole image, with nothing fed beside it."""
        return replace(self, crop=(), feed=())

    def __str__(self) -> str:
        """The text that `profile_of` reads; the name of a profile that gives the same numbers."""
        named = _NAMES.get((self.centers, self.divisors, self.whiten))
        words = [named] if named is not None else []
        if named is None:
            words += [f"scale={_number_text(self.scale)}"] if self.scale != 1 else []
            words += [f"mean={_joined(self.mean)}"] if self.mean != (0.0,) else []
            words += [f"std={_joined(self.std)}"] if self.std != (1.0,) else []
        words += [f"crop={_crop_text(self.crop)}"] if self.crop else []
        return "+".join([*words, *(f"{name}={str(on).lower()}" for name, on in sorted(self.feed))])


PROFILES: dict[str, Profile] = {
    # [0, 1]: the founding Keras systems.
    "unit": Profile(std=(255.0,)),
    # Keras_insightface: (x - 127.5) * 0.0078125.
    "symmetric": Profile(mean=(127.5,), std=(128.0,)),
    # insightface's arcface_torch: ((x / 255) - 0.5) / 0.5.
    "insightface": Profile(mean=(127.5,), std=(127.5,)),
    # 0..255: scaling happens inside the model.
    "raw": Profile(),
    # FaceNet's prewhiten; TensorFlow calls it per_image_standardization.
    "whiten": Profile(whiten=True),
    # torchvision's Normalize, as for ImageNet.
    "imagenet": Profile((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 1 / 255),
}
_NAMES = {(each.centers, each.divisors, each.whiten): name for name, each in PROFILES.items()}


@functools.lru_cache(maxsize=256)
def profile_of(text: str) -> Profile:
    """The Profile of a text: a name of ``PROFILES``, words as ``mean=127.5``, or both, "+" between.

    Without a name, pixels are levels 0..255 to which the words apply; beside a name there can be
    ``crop`` and what is fed alone. Raises InputError.
    """
    first, *rest = re.split(r"\+(?=[^\W\d])", text)
    named = "=" not in first
    if named:
        check_choice("input", first, tuple(PROFILES))
    found: dict[str, str] = {}
    feed: dict[str, bool] = {}
    for word in rest if named else [first, *rest]:
        key, _, value = word.partition("=")
        if key not in _NAMED_WORDS:
            key, _, value = word.rpartition("=")
        if key in found or key in feed:
            raise InputError(f"input {text!r}: {key} stands twice")
        if key in _NAMED_WORDS:
            found[key] = value
        elif key and value in _BOOLEANS:
            feed[key] = _BOOLEANS[value]
        else:
            raise InputError(
                f"input {text!r}: {word!r}: expected mean=, std=, scale= or crop=, or NAME=true or "
                "NAME=false of a boolean input of the model"
            )
    if named and (both := [key for key in _NUMBER_WORDS if key in found]):
        raise InputError(f"input {text!r}: {first} says all of {both[0]}; give one of the two")
    base = PROFILES[first] if named else Profile()
    scale = _numbers(found["scale"], "scale") if "scale" in found else (base.scale,)
    if len(scale) != 1:
        raise InputError(f"input scale: expected one number; found {found['scale']}")
    return Profile(
        mean=_numbers(found["mean"], "mean") if "mean" in found else base.mean,
        std=_numbers(found["std"], "std") if "std" in found else base.std,
        scale=scale[0],
        whiten=base.whiten,
        crop=_crop(found["crop"]) if "crop" in found else (),
        feed=tuple(feed.items()),
    )


def profile_text(text: str) -> str:
    """The same text as all that is stored has it. Raises InputError."""
    return str(profile_of(text))


def _numbers(text: str, what: str) -> tuple[float, ...]:
    return tuple(_number(part, what) for part in text.split(","))


def _number(text: str, what: str) -> float:
    """A number, or a fraction as 1/255."""
    above, stroke, below = text.partition("/")
    try:
        value = float(above) / (float(below) if stroke else 1.0)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"input {what}: expected numbers, as 127.5 or 1/255; found {text!r}")
    return value


def _crop(text: str) -> tuple[int, ...]:
    found = re.fullmatch(r"(-?\d{1,5})(?:x(-?\d{1,5}))?(?:@(-?\d{1,5}),(-?\d{1,5}))?", text)
    if found is None:
        raise InputError(
            "input crop: expected pixels, as 100, 100x90 or 100x90@6,11 (height x width @ top, "
            f"left); found {text!r}"
        )
    height, width, *place = found.groups()
    return tuple(int(each) for each in (height, width or height, *place) if each is not None)


def _crop_text(crop: Sequence[int]) -> str:
    size = "x".join(map(str, crop[:1] if crop[:1] == crop[1:2] else crop[:2]))
    return f"{size}@{','.join(map(str, crop[2:]))}" if crop[2:] else size


def _joined(values: Sequence[float]) -> str:
    return ",".join(map(_number_text, values))


def _number_text(value: float) -> str:
    """A number in the fewest digits that give it again, or as 1/n where it is one."""
    below = round(1 / value) if _LEAST <= value < 1 else 0
    if below > 1 and 1 / below == value and len(repr(value)) > 6:
        return f"1/{below}"
    return repr(value).removesuffix(".0")
