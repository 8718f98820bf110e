"""Multiplications of a network, each with its addition (MACs): formulas that all formats share.

Counted are convolutions and matrix products, as fvcore, ptflops and published tables count them;
sums, normalisation, pooling and activations are not. What has no formula here has no count: a
guess would look like one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from evaluator.errors import ModelError, cause_of
from evaluator.images.inputs import Counts

Sizes = tuple[int, ...]

# Names, in any format, of operations that multiply, or that run others we do not know how often.
_MULTIPLY = re.compile(
    r"attention|conv(?!ert|_state)|dot_general|einsum|gemm|gru|lstm|matmul|rnn|svdf"
    r"|^(stateless)?(if|while|case|loop|scan|sequencemap|stablehlo_composite|enter|switch)$"
    r"|partitionedcall",
    re.IGNORECASE,
)
_TERM = re.compile(r"[A-Za-z]+")


class UncountedError(ModelError):
    """An operation whose multiplications cannot be told from the graph; the message says which."""


def counts(parameters: Callable[[], int], macs: Callable[[], int]) -> Counts:
    """Both numbers; None, and why, for one that raises UncountedError."""
    found: list[int | None] = []
    reasons = []
    for name, count in (("parameters", parameters), ("MACs", macs)):
        try:
            found.append(count())
        except UncountedError as error:
            found.append(None)
            reasons.append(f"{name} are not counted: {error}")
    return Counts(found[0], found[1], tuple(reasons))


def check_counted(operation: str, name: str) -> None:
    """Raises UncountedError for an operation without a formula that would need one."""
    if _MULTIPLY.search(operation):
        raise UncountedError(f"it has {operation} {cause_of(name)[:80]!r}, for which no formula is")


def known(operation: str, *shapes: Sequence[int | None] | None) -> list[Sizes]:
    """Shapes of which every size is known. Raises UncountedError."""
    found = []
    for shape in shapes:
        sizes = [] if shape is None else [size for size in shape if size is not None and size >= 0]
        if shape is None or len(sizes) != len(shape):
            raise UncountedError(f"the graph does not tell the sizes of a {operation}")
        found.append(tuple(sizes))
    return found


@dataclass(frozen=True)
class Operands:
    """What an operation takes and gives: the sizes of its inputs and of its output, None where they
    are not known; whether its first matrix is ``turned``, and what an einsum says.
    """

    inputs: Sequence[Sequence[int | None] | None]
    output: Sequence[int | None] | None
    turned: bool = False
    equation: str = ""


#: From the name of an operation and what it takes, its multiplications. Raises UncountedError.
Formula = Callable[[str, Operands], int]


def kernel(sizes: slice, *, at: int = 1, counted: int | None = None) -> Formula:
    """Of each number that comes out, one for each of the kernel's places and of its group's inputs,
    which are these ``sizes`` of the input ``at``. Of a transposed convolution, each number of the
    input ``counted``, which goes in.
    """

    def formula(operation: str, given: Operands) -> int:
        numbers = given.output if counted is None else given.inputs[counted]
        whole, weights = known(operation, numbers, given.inputs[at])
        return prod(whole) * prod(weights[sizes])

    return formula


def product(operation: str, given: Operands) -> int:
    """Of a matrix product: of each number that comes out, one for each that is summed."""
    left, output = known(operation, given.inputs[0], given.output)
    return prod(output) * prod(left[-2:-1] if given.turned and len(left) > 1 else left[-1:])


def named_einsum(operation: str, given: Operands) -> int:
    """Of an einsum as an operation."""
    return einsum(given.equation, known(operation, *given.inputs))


def multiplications(
    operation: str, name: str, formulas: Mapping[str, Formula], given: Callable[[], Operands]
) -> int:
    """The MACs of an operation of a graph. Raises UncountedError where they cannot be told."""
    if operation in formulas:
        return formulas[operation](operation, given())
    check_counted(operation, name)
    return 0


def einsum(equation: str, shapes: Sequence[Sizes]) -> int:
    """Of an einsum of two: one for each combination of all its indices. Raises UncountedError."""
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    if len(terms) != 2 or len(shapes) != 2:
        raise UncountedError(f"an einsum of {len(terms)} operands, {cause_of(equation)[:40]!r}")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        before, dots, after = term.partition("...")
        if not all(part == "" or _TERM.fullmatch(part) for part in (before, after)):
            raise UncountedError(f"an einsum of {cause_of(equation)[:40]!r}")
        spare = len(shape) - len(before) - len(after)
        if spare < 0 or (spare and not dots):
            raise UncountedError(f"an einsum of {cause_of(equation)[:40]!r}")
        # Axes that the dots stand for are counted from the last, as they are broadcast.
        named = [*before, *(f".{spare - i}" for i in range(spare)), *after]
        if any(count > 1 for count in Counter(named).values()):
            raise UncountedError(f"an einsum of {cause_of(equation)[:40]!r}")
        for index, size in zip(named, shape, strict=True):
            sizes[index] = max(size, sizes.get(index, 1))
    return prod(sizes.values())
