"""What the drawings of a report share: the grid, what stands beside it, and the SVG around all."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from evaluator.axes import Axis

#: Values of an axis that have a line, each with its text.
Marks = Sequence[tuple[float, str]]


def svg(
    kind: str, size: tuple[float, float], name: str, parts: Sequence[str], *, focused: bool = False
) -> Markup:
    """A drawing of that width and height, called ``name`` for who cannot see it; ``focused`` is one
    that keys reach. Its parts are numbers, our own words, and names that are escaped already.
    """
    reached = ' tabindex="0"' if focused else ""
    return Markup(  # as the parts are, and the name is escaped here
        f'<svg class="{kind}" viewBox="0 0 {size[0]:.0f} {size[1]:.0f}" role="img"{reached} '
        f'aria-label="{escape(name)}">{"".join(parts)}</svg>'
    )


def grid(
    x: Axis, y: Axis, marks: tuple[Marks, Marks], titles: tuple[str, str] = ("", ""), *, below: int
) -> str:
    """Lines across at the marks of both axes, with their texts; the axes' titles where they have
    one, that of x so far ``below`` the drawing.
    """
    lines, words = [], []
    for value, text in marks[0]:
        at = x.at(value)
        lines.append(f"M{at:.1f},{y.end:.0f}V{y.start:.0f}")
        words.append(
            f'<text x="{at:.1f}" y="{y.start + 16:.0f}" text-anchor="middle">{text}</text>'
        )
    for value, text in marks[1]:
        at = y.at(value)
        lines.append(f"M{x.start:.0f},{at:.1f}H{x.end:.0f}")
        words.append(
            f'<text x="{x.start - 6:.0f}" y="{at + 4:.1f}" text-anchor="end">{text}</text>'
        )
    places = (
        f'x="{(x.start + x.end) / 2:.0f}" y="{y.start + below:.0f}"',
        f'transform="translate(12 {(y.start + y.end) / 2:.0f}) rotate(-90)"',
    )
    words += [
        f'<text class="title" {place} text-anchor="middle">{escape(title)}</text>'
        for place, title in zip(places, titles, strict=True)
        if title
    ]
    return f'<path class="grid" d="{"".join(lines)}"/>{"".join(words)}'
