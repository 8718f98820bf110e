"""Texts as markdown, LaTeX and spreadsheets show them: what these take for their own is escaped."""

from __future__ import annotations

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
}


def markdown(text: str) -> str:
    """A text in a cell of a markdown table, or in a line."""
    for character in "\\|_*[]<`~$":
        text = text.replace(character, f"\\{character}")
    return text


def latex(text: str) -> str:
    """A text in a LaTeX table."""
    return "".join(_LATEX.get(character, character) for character in text)


def no_formula(name: str) -> str:
    """A name as a spreadsheet shows it and does not compute it: behind a quote where it must."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name
