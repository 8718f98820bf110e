"""Texts and tables as markdown, LaTeX and spreadsheets show them: what these take for their own is
escaped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    "|": r"\textbar{}",
    "–": r"\textendash{}",
    "…": r"\dots{}",
    "±": r"$\pm$",
    "†": r"$\dagger$",
    "×": r"$\times$",
    "µ": r"$\mu$",
    "μ": r"$\mu$",
}
# pdfLaTeX with T1 fonts has the letters up to here, but for these.
_LAST_LATIN, _NOT_LATIN = "\u017f", "ĦħĸĿŀŉŦŧſ"


def markdown(text: str) -> str:
    """A text in a cell of a markdown table, or in a line."""
    for character in "\\|_*[]<`~$":
        text = text.replace(character, f"\\{character}")
    return text


def latex(text: str) -> str:
    """A text in a cell of a LaTeX table: no dashes are joined but in ranks such as 1-3, a number's
    is a minus, and none is taken for an option of the line before, as * and [ are.
    """
    if re.fullmatch(r"\d+-\d+", text):
        return text.replace("-", "--")
    if number := re.fullmatch(r"([-~])([\d.,]+)", text):
        return {"-": "$-$", "~": r"$\sim$"}[number[1]] + number[2]
    found = "".join(_LATEX.get(character, character) for character in text)
    found = re.sub(r"([-'`,<>])(?=\1)", r"\1{}", found)
    return "{}" + found if found.startswith(("*", "[")) else found


def latex_table(lines: Sequence[str]) -> str:
    """Lines of LaTeX, below a comment on what compiles the letters of names, where it takes more
    than the usual.
    """
    code = "\n".join(line for line in lines if not line.startswith("%"))
    letters = sorted({each for each in code if not each.isascii()})
    beyond = [each for each in letters if each > _LAST_LATIN or each in _NOT_LATIN]
    needs = []
    if beyond:
        needs = [f"% for XeLaTeX or LuaLaTeX, with a font that has {' '.join(beyond[:20])}"]
    elif letters:
        needs = [rf"% for \usepackage[T1]{{fontenc}}, which has {' '.join(letters[:20])}"]
    return "\n".join([*needs, *lines]) + "\n"


@dataclass(frozen=True)
class Form:
    """How a paper's table is written: ``escape`` for texts, ``bold`` around the best of some,
    ``tied`` behind what may be the best, too.
    """

    escape: Callable[[str], str]
    bold: tuple[str, str]
    tied: str

    def written(self, text: str, *, strong: bool = False, tied: bool = False) -> str:
        """A text in a cell."""
        before, behind = self.bold if strong else ("", "")
        return before + self.escape(text) + behind + self.tied * tied


MARKDOWN = Form(markdown, ("**", "**"), "†")
LATEX = Form(latex, (r"\textbf{", "}"), r"$^{\dagger}$")


def markdown_rows(rows: Sequence[Sequence[str]], align: str) -> list[str]:
    """Lines of a table from a header and rows of cells that are written; ``align`` is l or r for
    each column.
    """
    rule = "|" + "".join("---|" if each == "l" else "---:|" for each in align)
    header, *lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [header, rule, *lines]


def latex_rows(rows: Sequence[Sequence[str]], align: str) -> list[str]:
    r"""The same for LaTeX with \\usepackage{booktabs}; a row without cells is a rule."""
    header, *lines = [" & ".join(row) + r" \\" if row else r"\midrule" for row in rows]
    begin, end = rf"\begin{{tabular}}{{{align}}}", r"\end{tabular}"
    return [begin, r"\toprule", header, r"\midrule", *lines, r"\bottomrule", end]


def no_formula(name: str) -> str:
    """A name as a spreadsheet shows it and does not compute it: behind a quote where it must."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name
