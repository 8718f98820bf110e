"""Every code block of README and docs runs, and prints what the page says it prints.

A block that cannot run here has a reason above it, ``<!-- not run: REASON -->``, and is checked for
names of commands, options, extras and files alone. ``<!-- run with: ARGUMENTS -->`` appends to the
commands of the next block, as ``--plan`` to a training of days, ``<!-- run COMMAND with: ... -->``
to those that begin so. To put new output on the pages: ``ZOO_DOCS_WRITE=1 pytest
tests/test_docs.py``, and read the diff.

Where the real faces of `../shared` are not, the pages run on drawn ones (`stand_in.py`): each of
their words has to be printed then, and figures and verdicts may be others.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from doc_blocks import (
    LANGUAGES,
    ROOT,
    Block,
    Command,
    Session,
    blocks,
    commands,
    inside,
    matches,
    run_block,
    run_command,
    same_words,
)

from tests.command import ended, started, without_processes

# Pages whose models run as a user's do, each in a process behind the wall. Those of the others run
# in the test's own, as where systems have none: starting Keras is most of what they take.
WALLED = ("README",)

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BLOCKS = [block for page in PAGES for block in blocks(page)]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, given: Path) -> Path:
    """A folder with what the pages speak of: faces, the demo, and two models measured."""
    folder = tmp_path_factory.mktemp("docs") / "prepared"
    folder.mkdir()
    patch = pytest.MonkeyPatch()
    patch.setenv("SCIKIT_LEARN_DATA", str(given / "scikit_learn_data"))
    for name in ("ZOO_DATA", "ZOO_MODELS", "FORCE_COLOR"):
        patch.delenv(name, raising=False)
    patch.setenv("COLUMNS", "100")
    without_processes(patch)
    try:
        with inside(folder):
            code, said = run_command("zoo demo --no-train")
            assert code == 0, said
            (folder / "demo.txt").write_text(said, encoding="utf-8")
            models_and_bins(folder, given)
            training_faces(folder, given)
            code, said = run_command("zoo eval old.h5 new.h5 --bins lfw agedb_30 cfp_fp")
            assert code == 0, said
    finally:
        patch.undo()
    return folder


def models_and_bins(folder: Path, given: Path) -> None:
    """Three bins of 200 pairs each, and models under the names that the pages use."""
    from evaluator.bins.verification_set import read_bin, write_bin

    whole = read_bin(given / "bins" / "lfw_devtest.bin")
    for i, name in enumerate(("lfw", "agedb_30", "cfp_fp")):
        # The bin's folds hold 50 genuine pairs and 50 impostor pairs in turn.
        pairs = [p for p in range(whole.pairs) if p % 50 // 10 == i]
        images = [whole.images[slot] for p in pairs for slot in (2 * p, 2 * p + 1)]
        write_bin(folder / f"{name}.bin", images, whole.genuine[pairs])
    for name, source in (("old", "eigenfaces"), ("new", "fisherfaces"), ("model", "fisherfaces")):
        shutil.copy(folder / "demo" / f"{source}.h5", folder / f"{name}.h5")


def training_faces(folder: Path, given: Path) -> None:
    """Photos of 30 people, a folder each, the same as a template set, `door`, and insightface's
    records as `faces_emore`.
    """
    people = sorted(path for path in (given / "faces" / "lfw_train").iterdir() if path.is_dir())
    for person in people[:30]:
        shutil.copytree(person, folder / "photos" / person.name)
    for i, person in enumerate(people[:30]):
        for shot, path in enumerate(sorted(person.iterdir())):
            part = "unknown" if i >= 20 else "probe" if shot > 1 else "gallery"
            target = folder / "door" / part / person.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)
    (folder / "faces_emore").mkdir()
    for name in ("train.rec", "train.idx", "property"):
        (folder / "faces_emore" / name).symlink_to(given / "records" / name)
        (folder / name).symlink_to(given / "records" / name)


@pytest.fixture
def session(
    request: pytest.FixtureRequest,
    prepared: Path,
    given: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Session:
    """The page's own copy of the folder, beside `../shared` as a checkout has it."""
    monkeypatch.setenv("SCIKIT_LEARN_DATA", "../shared/scikit_learn_data")
    for name in ("ZOO_DATA", "ZOO_MODELS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "shared").symlink_to(given)
    shutil.copytree(prepared, tmp_path / "checkout", symlinks=True)
    (tmp_path / "checkout" / "benchmarks").symlink_to(ROOT / "benchmarks")
    demo = (prepared / "demo.txt").read_text(encoding="utf-8")
    return Session(
        tmp_path / "checkout",
        {"__name__": "__main__"},
        {"zoo demo --no-train": (0, demo)},
        exact=given.name != "stand_in",
    )


@pytest.mark.slow  # the commands of a whole page
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_a_page_runs_and_prints_what_it_shows(
    page: Path, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    if page.stem not in WALLED:
        without_processes(monkeypatch)
    own = [block for block in BLOCKS if block.page == page and not block.not_run]
    if os.environ.get("ZOO_DOCS_WRITE"):
        write_output(page, session)
        return
    wrong = [each for block in own for each in run_block(block, session)]
    assert not wrong, "\n\n".join(wrong)


JAX_PAGE = """
import sys
from pathlib import Path
from doc_blocks import ROOT, Session, blocks, run_block
session = Session(Path(), {"__name__": "__main__"})
own = [each for each in blocks(ROOT / "docs" / sys.argv[1]) if each.language in ("python", "pycon")]
wrong = [line for block in own for line in run_block(block, session)]
sys.exit("\\n".join(wrong) or 0)
"""


# XLA compiles in half the time what it does not optimise.
@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs jax")
def test_the_founding_page_runs_on_jax_too(session: Session) -> None:
    done = ended(
        started("founding.md", cwd=session.folder, code=JAX_PAGE, path=ROOT / "tests",
                KERAS_BACKEND="jax", XLA_FLAGS="--xla_backend_optimization_level=0")
    )  # fmt: skip
    assert done.code == 0, done.err[-3000:]
    assert ">>>> lfw evaluation max accuracy: " in done.out


def write_output(page: Path, session: Session) -> None:
    """Puts what console blocks print on the page, where it is not what the page shows."""
    text = page.read_text(encoding="utf-8")
    for block in blocks(page):
        if block.not_run:
            continue
        if block.language != "console":
            run_block(block, session)
            continue
        lines = []
        with inside(session.folder):
            for command in commands(block):
                _, printed = session.run(block.as_run(command))
                shown = list(command.output)
                same = matches(shown, printed.splitlines())
                lines += [f"$ {command.text}", *(shown if same else printed.splitlines())]
        text = text.replace("```console\n" + block.text, "```console\n" + "\n".join(lines) + "\n")
    page.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (["a 1"], ["a 1"], True),
        (["a 1"], ["a 2"], False),
        (["a ..."], ["a 2"], True),
        (["a ... c"], ["a b d"], False),
        (["a"], ["a", "b"], False),
        (["a", "..."], ["a", "b", "c"], True),
        (["a", "...", "c"], ["a", "b1", "b2", "c"], True),
        (["a", "...", "c"], ["a", "b1", "b2"], False),
        (["...", "c"], ["c"], True),
        ([], ["a"], False),
    ],
)
def test_dots_stand_for_any_text_and_nothing_else_does(
    shown: list[str], printed: list[str], same: bool
) -> None:
    assert matches(shown, printed) is same


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (["lfw 90.1 ± 2.0"], ["lfw - ± 3", "a note"], True),
        (["lfw 90.1"], ["cfp_fp 90.1"], False),
        (["# lfw: new is better: +2 points [1, 3]"], ["# lfw: not separable: 9 pairs"], True),
        (["# lfw: new is better: +2 points [1, 3]"], ["# lfw: 9 pairs"], False),
        (["(here) ...", "- 3"], ["(here)"], True),
    ],
)
def test_other_faces_change_figures_and_verdicts_and_no_words(
    shown: list[str], printed: list[str], same: bool
) -> None:
    assert same_words(shown, printed) is same


def test_a_mark_appends_to_commands_that_begin_as_it_says(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- run zoo a with: --b -->\n```sh\nzoo a 1  # c\nzoo d\n```\n")
    (block,) = blocks(page)
    assert [block.as_run(each) for each in commands(block)] == ["zoo a 1 --b", "zoo d"]


@pytest.mark.parametrize(
    ("language", "lines"),
    [
        ("console", ("$ zoo list", "entry")),
        ("sh", ("zoo list --nothing",)),
        ("pycon", (">>> 1 + 1", "3")),
    ],
)
def test_a_block_that_shows_what_is_not_so_is_found(
    language: str, lines: tuple[str, ...], tmp_path: Path
) -> None:
    assert run_block(Block(ROOT / "README.md", 1, language, lines), Session(tmp_path))


def test_every_block_is_in_a_language_that_is_run() -> None:
    assert BLOCKS
    for block in BLOCKS:
        assert block.language in LANGUAGES, f"{block.where}: ```{block.language}"


# ---- What cannot run here ------------------------------------------------------------------------

NOT_RUN = [
    (block, command)
    for block in BLOCKS
    if block.not_run and block.language in ("sh", "console")
    for command in commands(block)
]


@pytest.mark.parametrize(
    ("block", "command"), NOT_RUN, ids=[f"{b.where} {c.text[:40]}" for b, c in NOT_RUN]
)
def test_what_is_not_run_names_what_there_is(block: Block, command: Command) -> None:
    assert len(block.not_run) > 10, f"{block.where}: say why it is not run"
    text = command.text.split(" #")[0]
    words = [word for word in shlex.split(text) if not re.fullmatch(r"[A-Z_]+=.*", word)]
    if not words:  # a variable of the shell and nothing else
        return
    name = Path(words[0]).name
    if words[:3] == ["python", "-m", "zoo"]:
        words, name = words[2:], "zoo"
    if name == "zoo":
        check_zoo(block, words[1:])
    elif name == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets), f"{block.where}: {text}"
    elif name == "pip":
        check_extras(block, text)
    elif name in ("python", "python3") and words[1].endswith(".py"):
        assert (ROOT / words[1]).is_file(), f"{block.where}: no {words[1]}"
    elif name == "python":  # a folder with a __main__.py
        assert (ROOT / words[1] / "__main__.py").is_file(), f"{block.where}: no {words[1]}"
    else:
        assert name in {"cd", "docker", "git", "python3", "source", "tensorboard", "torchrun"}, (
            f"{block.where}: {text}"
        )


def test_python_that_is_not_run_is_python() -> None:
    for block in BLOCKS:
        if block.not_run and block.language == "python":
            compile(block.text, block.where, "exec")


def check_zoo(block: Block, arguments: list[str]) -> None:
    """Fails unless the command and every option of it exist."""
    command: Any = typer.main.get_command(zoo_app())
    while hasattr(command, "commands") and arguments and arguments[0] in command.commands:
        command = command.commands[arguments.pop(0)]
    assert not hasattr(command, "commands"), f"{block.where}: no command {arguments[:1]}"
    known = {option for each in command.params for option in each.opts} | {"--help"}
    used = {word.split("=")[0] for word in arguments if re.match(r"--?[a-z]", word)}
    assert used <= known, f"{block.where}: {command.name} has no {used - known}"


def check_extras(block: Block, text: str) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extra in re.findall(r"\[([\w,]+)\]", text):
        for name in extra.split(","):
            assert re.search(rf"^{name} = \[", project, re.MULTILINE), f"{block.where}: {name}"


def zoo_app() -> typer.Typer:
    from zoo.cli import application

    return application()


def test_every_command_has_its_output_in_the_guide() -> None:
    page = ROOT / "docs" / "commands.md"
    shown = {
        " ".join(command.text.split()[1:4])
        for block in blocks(page)
        if block.language in ("sh", "console")
        for command in commands(block)
        if command.text.startswith("zoo ")
    }
    root: Any = typer.main.get_command(zoo_app())
    for name, command in root.commands.items():
        for full in [f"{name} {sub}" for sub in getattr(command, "commands", ())] or [name]:
            assert any(f"{each} ".startswith(f"{full} ") for each in shown), f"zoo {full}"


# ---- The site ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", tmp_path / "site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    for name in ("api.html", "commands.html", "python.html"):
        assert tmp_path / "site" / name in pages
    assert "evaluator.evaluate" in (tmp_path / "site/api.html").read_text(encoding="utf-8")
    # Nothing is fetched when a page is opened: no address but those of plain links.
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)', text)
        assert not loaded, f"{page}: {loaded}"
    # The search of a page that was opened by double click.
    chromium = os.environ.get("ZOO_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        assert not os.environ.get("ZOO_REQUIRE_BROWSER"), "needs a Chromium"
        return
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=15000")
    address = (tmp_path / "site" / "index.html").as_uri() + "?q=threshold"
    shown = subprocess.run(
        [chromium, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", address],
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(r"\d+ matching documents", shown.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "left", "said"),
    [
        ("arrays_to_report", "report.html", ("10-fold", "not separable: 900 pairs")),
        ("fit_callback", "best.keras", (">>>> olivetti evaluation max accuracy: ", "epoch 8: 10-")),
    ],
)
def test_a_notebook_runs_and_says_what_it_is_for(
    name: str,
    left: str,
    said: tuple[str, ...],
    given: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(ROOT / "docs" / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells), "strip the notebook's outputs"
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(given / "scikit_learn_data"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    assert (tmp_path / left).stat().st_size > 10_000
    printed = "".join(
        output.get("text", "") + output.get("data", {}).get("text/plain", "")
        for cell in notebook.cells
        for output in cell.get("outputs", ())
    )
    for words in said:
        alike = given.name == "stand_in" and same_words([words], printed.splitlines())
        assert alike or words in printed
