"""How to load a model: what a user may say of it."""

from __future__ import annotations

from dataclasses import dataclass

#: What computes: each format's own runtime, or another one for all of them.
NATIVE = "native"


@dataclass(frozen=True)
class LoadOptions:
    """How to load a model: input ``profile``, a text as `evaluator.profiles` has it (None:
    ``unit``, with a note), and ``channels``,
    ``size`` (height, width) for models that leave it free, ``output``, the name of the output to
    use, ``precision`` (float32 or bfloat16), ``engine``, one of `choices.Engine`, ``custom``,
    ``module:Class`` names of Keras layers, ``trust``, which lets code inside the file run, and
    ``threads`` that compute (None: as many as the runtime likes).
    """

    profile: str | None = None
    channels: str = "rgb"
    size: tuple[int, int] | None = None
    output: str | None = None
    precision: str = "float32"
    engine: str = NATIVE
    custom: tuple[str, ...] = ()
    trust: bool = False
    threads: int | None = None

    @property
    def trusted(self) -> bool:
        """Whether code may run: asked for, or implied by naming a class to be imported."""
        return self.trust or bool(self.custom)
