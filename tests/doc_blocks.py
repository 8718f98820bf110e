"""The fenced blocks of a Markdown page: found, run, and their output compared."""

from __future__ import annotations

import contextlib
import doctest
import glob
import io
import os
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]

LANGUAGES = {"sh", "console", "python", "pycon", "yaml", "text"}

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\S*)\s*$")
_MARK = re.compile(r"^ *<!-- (?P<kind>not run|run(?P<only>.*) with): (?P<text>.+) -->$")

# What needs a shell; globs are expanded without one.
_SHELL = re.compile(r"[|<>&;$`]|^(?!zoo )")

# What other faces change: figures, undefined ones among them, and a verdict. Dots are any text.
_FIGURE = re.compile(r"\d|^-$|\.\.\.")
_VERDICT = re.compile(
    r"(\S+ is better|not separable|cannot tell|clear winner|(no difference|differs?) between)\b.*"
)

_HEADER = """
models:
  page:
    file: page.h5
    input: {profile: unit, size: 112}
    embedding_size: 512
    source: this page
    published: {protocol: seed}
"""


@dataclass(frozen=True)
class Block:
    """A fenced block: where it begins, what it is in, its lines, and the mark above it.

    ``not_run`` is the reason why it cannot run here; ``extra`` are arguments that the test appends
    to those of its commands that begin with ``only``.
    """

    page: Path
    line: int
    language: str
    lines: tuple[str, ...]
    not_run: str = ""
    extra: str = ""
    only: str = ""

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    def as_run(self, command: Command) -> str:
        """A command of it, without the comment behind it and with what the test appends."""
        text = command.text.split(" #")[0].rstrip()
        return f"{text} {self.extra * text.startswith(self.only)}".rstrip()


@dataclass(frozen=True)
class Command:
    """A command of a block, its continuation lines joined, and the output shown under it."""

    text: str
    output: tuple[str, ...] = ()


@dataclass
class Session:
    """One page's blocks share a folder, the folder's files, and Python's names.

    ``known`` is what commands printed that ran once for all pages, by their text. ``exact`` is
    false where the faces are others than the page's: then its words count, and no figures.
    """

    folder: Path
    names: dict[str, Any] = field(default_factory=dict)
    known: dict[str, tuple[int, str]] = field(default_factory=dict)
    exact: bool = True

    def run(self, text: str) -> tuple[int, str]:
        """Exit code and output of a command, run in the current folder unless it is known."""
        return self.known.get(text) or run_command(text)


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page. A fence without a language is console where it has prompts."""
    found, lines = [], page.read_text(encoding="utf-8").splitlines()
    start, opening, mark = 0, None, None
    for number, line in enumerate(lines, 1):
        fence = _FENCE.match(line)
        if opening is None:
            if fence:
                start, opening = number, fence
            elif line.strip():
                mark = _MARK.match(line)
        elif fence and not fence["language"]:
            cut = len(opening["indent"])
            content = tuple(each[cut:] for each in lines[start : number - 1])
            prompts = any(each.startswith("$ ") for each in content)
            language = opening["language"] or ("console" if prompts else "text")
            reason, extra, only = "", "", ""
            if mark and mark["kind"] == "not run":
                reason = mark["text"]
            elif mark:
                extra, only = mark["text"], mark["only"].strip()
            found.append(Block(page, start, language, content, reason, extra, only))
            opening, mark = None, None
    assert opening is None, f"{page}: a fence is not closed"
    return found


def commands(block: Block) -> list[Command]:
    """The commands of a sh or console block, without comments."""
    if block.language == "sh":
        joined = block.text.replace("\\\n", " ")
        return [
            Command(line) for line in joined.splitlines() if line.strip() and line.strip()[0] != "#"
        ]
    found: list[Command] = []
    open_line = False
    for line in block.lines:
        if line.startswith("$ "):
            found.append(Command(line[2:]))
        elif open_line:
            found[-1] = Command(found[-1].text + " " + line.strip())
        else:
            assert found, f"{block.where}: output before the first command"
            found[-1] = Command(found[-1].text, (*found[-1].output, line))
        open_line = found[-1].text.endswith("\\")
        if open_line:
            found[-1] = Command(found[-1].text.removesuffix("\\").rstrip())
    return found


def run_block(block: Block, session: Session) -> list[str]:
    """Runs a block in its page's folder; what is wrong, a text a mismatch."""
    wrong: list[str] = []
    with inside(session.folder):
        if block.language in ("sh", "console"):
            for command in commands(block):
                code, printed = session.run(block.as_run(command))
                shown = list(command.output)
                failed = code != 0 and (block.language == "sh" or "error" not in "".join(shown))
                if failed and code != 1:
                    wrong.append(f"{block.where}: $ {command.text}\nexit {code}\n{printed}")
                elif block.language == "console" and not (
                    matches(shown, printed.splitlines())
                    or (not session.exact and same_words(shown, printed.splitlines()))
                ):
                    expected = "\n".join(shown)
                    wrong.append(
                        f"{block.where}: $ {command.text}\n--- on the page\n{expected}\n"
                        f"--- printed\n{printed}"
                    )
        elif block.language == "python":
            exec(compile(block.text, block.where, "exec"), session.names)
        elif block.language == "pycon":
            wrong += _doctest(block, session)
        elif block.language == "yaml":
            _read_yaml(block, session.folder)
    return wrong


def matches(shown: list[str], printed: list[str]) -> bool:
    """Whether a page's lines are the printed ones; ``...`` stands for any text, or any lines."""
    lines = [line.rstrip() for line in shown]
    while lines and not lines[-1]:
        lines.pop()
    text = "\n".join(line.rstrip() for line in printed).rstrip("\n")
    pattern = ""
    for i, line in enumerate(lines):
        if line == "...":
            pattern += r"(?:.*\n)*?.*" if i + 1 == len(lines) else r"(?:.*\n)*?"
            continue
        pattern += ".*?".join(re.escape(part) for part in line.split("..."))
        pattern += "" if i + 1 == len(lines) else "\n"
    return re.fullmatch(pattern, text) is not None


def same_words(shown: list[str], printed: list[str]) -> bool:
    """Whether all words that a page shows are printed, whatever the figures beside them are."""
    return _words(shown) <= _words(printed)


def _words(lines: list[str]) -> set[str]:
    text = _VERDICT.sub("VERDICT", "\n".join(lines))
    return {word for word in text.split() if not _FIGURE.search(word)}


def run_command(text: str) -> tuple[int, str]:
    """Exit code, and both streams as they come, of a command in the current folder.

    `zoo` runs in this process, so that TensorFlow starts once; all else in a shell.
    """
    if _SHELL.search(text.split(" #")[0]):
        done = subprocess.run(
            ["bash", "-c", text],
            env=shell_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout
    from zoo.cli import run

    words = shlex.split(text, comments=True)[1:]
    arguments = []
    for word in words:
        # glob keeps a name that is no pattern as it is written, which Path.glob does not.
        arguments += sorted(glob.glob(word)) or [word]  # noqa: PTH207
    streams = io.StringIO()
    with (
        contextlib.redirect_stdout(streams),
        contextlib.redirect_stderr(streams),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message="__array__ implementation doesn't accept a")
        code = run(arguments)
    return code, streams.getvalue()


def shell_environment() -> dict[str, str]:
    """The environment in which `zoo` is this checkout's."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ZOO_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return {**kept, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


class _SameWords(doctest.OutputChecker):
    """Takes output whose words are the page's."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        same = super().check_output(want, got, optionflags)
        return same or same_words(want.splitlines(), got.splitlines())


def _doctest(block: Block, session: Session) -> list[str]:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    names = session.names
    test = doctest.DocTestParser().get_doctest(block.text, names, block.where, str(block.page), 0)
    report = io.StringIO()
    runner = doctest.DocTestRunner(None if session.exact else _SameWords(), optionflags=flags)
    runner.run(test, out=report.write, clear_globs=False)
    names.update(test.globs)
    return [f"{block.where}:\n{report.getvalue()}"] if runner.failures else []


def _read_yaml(block: Block, folder: Path) -> None:
    """Reads a block as models.yaml, or as the recipe of an entry; a mistake in it is raised."""
    from zoo.entries.registry import read_registry

    value = yaml.safe_load(block.text)
    lines = block.text.splitlines()
    if "models" in value:
        text = block.text
    else:
        if "recipe" not in value:
            model = "  model: {backbone: resnet50v2}" if "model" not in value else ""
            batch = "  batch: 192" if "triplets:" in block.text else ""  # triplets fill it
            lines = ["recipe:", model, batch, *(f"  {line}" for line in lines)]
        text = _HEADER + "\n".join(f"    {line}" for line in lines) + "\n"
    path = folder / "block.yaml"
    path.write_text(text, encoding="utf-8")
    assert read_registry(path), block.where
