"""Stored results by schema: every part of a result's JSON replaced by what it must not be.

What `load_result` passes is then used: an honest result lies beside it, and the commands that read
a folder of results print tables of both. Nothing but an InputError may come out of them.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import random
import shutil
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluator.errors import InputError
from evaluator.results.record import to_dict
from evaluator.results.store import load_result, save_result
from fuzz import stored_seeds
from fuzz.differential import Places
from fuzz.loader import Outcome
from fuzz.targets import must

_HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 0.5, -0.0, 1e308, -1e308, 2**31, 2**53 + 1, 2**63, 10**400, 1.5),
    *("", " ", ".", "..", "/", "../../x", "/etc/passwd", "a/b", "C:\\x", "NUL", "=1+1", "@SUM(A1)"),
    *(
        "\0",
        "a\nb",
        "\x1b[2J",
        "\u202etxt.exe",
        "\ud800",
        "x" * 5000,
        "é" * 300,
        "🙂",
        "<script>",
        "%s%n",
    ),
    *(
        "{0.__class__}",
        "$(touch MARKER)",
        "`touch MARKER`",
        "nan",
        "inf",
        "1e999",
        "none",
        "ok",
        "{}",
    ),
    *([], {}, [[]], [None], [1] * 3, {"a": 1}, {"": ""}, {"__proto__": {}}, [{}], list(range(50))),
    *(
        {"tar": 2.0, "far": -1},
        ["x"] * 2,
        {"size": [8, 8]},
        "sum",
        "bfloat16",
        "openvino",
        "non_finite",
    ),
)
_RAW = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-0",
    "9" * 5000,
    '"\\ud800"',
    "[" * 200 + "]" * 200,
)
_MARK = "\ufffd here \ufffd"


class ResultFormat:
    """JSON of stored results."""

    name = "results"

    def __init__(self, folder: Path, places: Places) -> None:
        del places
        self._folder = folder / "results"
        honest = replace(
            stored_seeds.result(), figures={**stored_seeds.result().figures, "auc": 0.9}
        )  # type: ignore[dict-item]
        save_result(self._folder / "arc-aaaaaaaa" / "lfw-bbbbbbbb.json", honest, None)
        self._path = self._folder / "other-aaaaaaaa" / "lfw-bbbbbbbb.json"
        self._path.parent.mkdir()
        second = {**to_dict(honest), "status": "non_finite", "figures": None}
        scored = to_dict(stored_seeds.result(stored_seeds.SCORES_NAME))
        self._seeds = [json.dumps(each) for each in (to_dict(honest), second, scored)]

    def draw(self, draw: random.Random) -> bytes:
        """A result with one to four of its parts replaced, removed, renamed or said twice."""
        stored = json.loads(draw.choice(self._seeds))
        stored["model"]["name"] = draw.choice(("other", "arc"))
        for _ in range(draw.choice((0, 1, 1, 1, 1, 2, 2, 4))):
            _change(draw, stored)
        text = json.dumps(stored)
        if draw.random() < 0.06:
            places = list(_places(stored))
            if places:
                holder, key = draw.choice(places)
                holder[key] = _MARK
            text = json.dumps(stored).replace(json.dumps(_MARK), draw.choice(_RAW))
        if draw.random() < 0.1:
            text = _twice(draw, text)
        return text.encode("utf-8", "surrogatepass")

    def scan(self, case: bytes) -> None:
        """Raises ResultError for what is no result."""
        self._path.write_bytes(case)
        result = load_result(self._path)
        must(isinstance(result.model.name, str) and result.bin.pairs >= 0, "wrong parts")
        json.dumps(to_dict(result), allow_nan=False)

    def write(self, case: bytes) -> Path:
        """The folder in which the result lies beside an honest one."""
        self._path.write_bytes(case)
        return self._folder

    def kept(self, case: bytes) -> bytes:
        """The JSON."""
        return case


def use(folder: Path) -> Outcome:
    """What becomes of a folder of results under the commands that read it."""
    from zoo.cli import run

    out = folder.with_name("page.html")
    commands = [["leaderboard", "--results", str(folder), "--format", form] for form in _FORMS]
    commands += [["report", "--results", str(folder), "--out", str(out)]]
    for arguments in commands:
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                code = run(arguments)
        except (InputError, SystemExit) as error:
            return Outcome("escaped", f"{arguments[0]} raised {type(error).__name__}: {error}")
        except Exception:  # noqa: BLE001 - every escape is what is looked for
            return Outcome("escaped", traceback.format_exc()[-6000:])
        text = said.getvalue()
        if any(not (char.isprintable() or char == "\n") for char in text):
            return Outcome("loaded", "", (f"{arguments[0]} prints what moves a terminal",))
        if code not in (0, 1, 2):
            return Outcome("escaped", f"{arguments[0]} ended with {code}: {text[-300:]}")
    strange = [path for path in folder.rglob("*") if path.is_file() and not _is_own(path)]
    for path in strange:
        path.unlink()
    shutil.rmtree(folder / ".zoo", ignore_errors=True)
    return Outcome("loaded", "", tuple(f"{path.name} was made" for path in strange))


_FORMS = ("table", "csv", "json", "latex", "markdown")


def _is_own(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return path.suffix in (".json", ".h5") or hidden


def _places(part: object) -> Iterator[tuple[Any, Any]]:
    """Every place of a JSON as the dict or list that has it, and the key or index."""
    stack = [part]
    while stack:
        each = stack.pop()
        items = each.items() if isinstance(each, dict) else enumerate(each)  # type: ignore[arg-type]
        for key, value in list(items):
            yield each, key
            if isinstance(value, dict | list):
                stack.append(value)


def _change(draw: random.Random, stored: dict[str, Any]) -> None:
    places = list(_places(stored))
    holder, key = draw.choice(places)
    how = draw.randrange(10)
    if how < 6:
        holder[key] = copy.deepcopy(draw.choice(_HOSTILE))
    elif how == 6:
        del holder[key]
    elif how == 7:
        other, name = draw.choice(places)
        with contextlib.suppress(KeyError, IndexError):
            holder[key] = copy.deepcopy(other[name])
    elif isinstance(holder, dict):
        new = draw.choice((f"{key}_", "", "\x1b[2J", "__class__", "x" * 300, str(draw.random())))
        if how == 8:
            holder[new] = holder.pop(key)
        else:
            holder[new] = copy.deepcopy(draw.choice(_HOSTILE))


def _twice(draw: random.Random, text: str) -> str:
    """A key a second time, with another value."""
    at = text.find('"', draw.randrange(len(text)))
    end = text.find('": ', at + 1)
    if at < 0 or end < 0 or "{" in text[at:end] or "," in text[at:end]:
        return text
    value = json.dumps(draw.choice(_HOSTILE))
    return f"{text[:at]}{text[at : end + 1]}: {value}, {text[at:]}"
