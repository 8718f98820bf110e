"""Names and causes as a terminal may show them."""

from __future__ import annotations

import pytest

from evaluator.errors import cause_of, near_name, plain_name, printable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("arc face_ü", "arc face_ü"),
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("two\nlines\tand a tab", "two lines and a tab"),
        ("\u202efdp.exe", "\\u202efdp.exe"),
        ("\udcff", "\\udcff"),
        ("\x9b31m", "\\x9b31m"),
        ("نیم\u200cفاصله", "نیم\u200cفاصله"),
        (" ", "_"),
    ],
)
def test_a_name_is_one_line_that_moves_no_cursor(name: str, shown: str) -> None:
    assert plain_name(name) == shown


def test_what_is_printable_stays_the_same() -> None:
    assert printable("76.00 ± 9.39 – «é» 准确率") == "76.00 ± 9.39 – «é» 准确率"


def test_a_cause_is_one_printable_line() -> None:
    assert cause_of(ValueError("bad\n\x1b[2Jbyte")) == "bad \\x1b[2Jbyte"
    assert cause_of(ValueError()) == "ValueError"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("fisherfaces", ""),
        ("lfww", "lfw"),
        ("adgedb_30", "agedb_30"),
        ("agedb", "agedb_30"),
        ("cfp", "cfp_fp"),
        ("arc", "arcface"),
        ("ab", ""),
        ("lwf", "lfw"),
        ("nothing", ""),
    ],
)
def test_a_name_is_near_where_it_is_meant_for_certain(name: str, near: str) -> None:
    assert near_name(name, ["sface", "lfw", "agedb_30", "cfp_fp", "arcface"]) == near
