"""Which package imports which, and what starting a command may not import."""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluator.bins.verification_set import write_bin

ROOT = Path(__file__).parents[1]
OURS = {"evaluator", "training", "zoo"}
MAY_IMPORT = {
    "evaluator": {"evaluator"},
    "training": {"evaluator", "training"},
    "zoo": OURS,
    "fuzz": {*OURS, "fuzz"},
}

# Runs commands as `zoo` does and prints after each what of sys.modules costs time to import.
PROBE = """
import json, sys
from zoo.cli import run
names = {"tensorflow", "keras", "tf_keras", "jax", "sklearn", "scipy", "skimage", "numpy", "h5py"}
names |= {"openvino", "onnxruntime", "ai_edge_litert", "PIL", "yaml", "rich"}
for line in sys.argv[1:]:
    code = run(line.split())
    heavy = sorted(names & {name.partition(".")[0] for name in sys.modules})
    print("\\n" + json.dumps({"code": code, "heavy": heavy}))
"""


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> set[str]:
    """The top-level names that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add((node.module or "").partition(".")[0])
    return found


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_imports_point_one_way(package: str) -> None:
    modules = sorted((ROOT / package).rglob("*.py"))
    assert modules
    for path in modules:
        wrong = (imported(path) & {*OURS, "fuzz", "tests", "benchmarks"}) - MAY_IMPORT[package]
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


# Room -> the rooms that its modules may import, besides `evaluator` itself (ahead, choices, errors,
# files, limits, npz), on which all stand. Modules of a room and of rooms inside it count alike.
ARROWS = {
    "evaluator": "",
    "evaluator.images": "",
    "evaluator.bins": "images",
    "evaluator.models": "bins images",
    "evaluator.isolation": "images models",
    "evaluator.metrics": "",
    "evaluator.measure": "bins images metrics",
    "evaluator.templates": "bins images measure metrics",
    "evaluator.results": "bins images measure metrics models templates",
    "evaluator.statistics": "metrics results",
    "evaluator.conditions": "bins metrics statistics",
    "evaluator.api": "bins images isolation measure metrics models results statistics templates",
    "training": "",
    "training.data": "",
    "training.recipes": "",
    "training.data.sources": "evaluator.images",
    "training.data.convert": "data.sources evaluator.images evaluator.models",
    "training.data.batches": "data.sources recipes evaluator.images",
    "training.network": "recipes evaluator.models",
    "training.processes": "recipes evaluator.isolation evaluator.models",
    "training.run": "data.convert data.sources recipes evaluator.metrics",
    "training.triplets": "data.batches recipes evaluator.measure",
    "training.api": (
        "data.batches data.sources loop network processes recipes run triplets evaluator.api"
        " evaluator.bins evaluator.images evaluator.measure evaluator.metrics evaluator.models"
    ),
    "training.loop": (
        "data.batches data.sources network processes recipes run triplets"
        " evaluator.bins evaluator.images evaluator.measure evaluator.metrics"
    ),
    "zoo.terminal": "evaluator.metrics evaluator.results",
    "zoo.entries": (
        "terminal evaluator.bins evaluator.models evaluator.results evaluator.templates"
        " training.recipes training.run"
    ),
    "zoo.train": (
        "entries terminal evaluator.bins evaluator.models training.data.sources"
        " training.loop training.processes training.recipes training.run"
    ),
    "zoo.evaluate": (
        "entries terminal evaluator.bins evaluator.images evaluator.isolation evaluator.measure"
        " evaluator.metrics evaluator.models evaluator.results evaluator.statistics"
        " evaluator.templates training.network"
    ),
    "zoo.results": (
        "entries evaluate terminal evaluator.bins evaluator.conditions evaluator.metrics"
        " evaluator.models evaluator.results evaluator.statistics"
    ),
    "zoo.report": (
        "entries results evaluator.bins evaluator.conditions evaluator.images evaluator.metrics"
        " evaluator.results evaluator.statistics evaluator.templates training.recipes training.run"
    ),
    "zoo.projection": (
        "evaluate report terminal evaluator.bins evaluator.images evaluator.isolation"
        " evaluator.measure evaluator.models training.data.sources"
    ),
    "zoo.align": "evaluator.images evaluator.models training.data.convert",
    "zoo.bins": (
        "align entries terminal evaluator.bins evaluator.images evaluator.isolation"
        " evaluator.measure evaluator.models evaluator.templates training.data.convert"
        " training.data.sources"
    ),
    "zoo.data": (
        "terminal evaluator.bins evaluator.images evaluator.measure"
        " training.data.convert training.data.sources"
    ),
    "zoo.demo": (
        "entries terminal train evaluator.bins evaluator.images evaluator.models"
        " training.data.sources training.loop training.recipes training.run"
    ),
    "zoo.doctor": (
        "demo entries evaluate terminal evaluator.bins evaluator.images evaluator.isolation"
        " evaluator.models evaluator.results"
    ),
}
# They put the rooms together, and nothing imports them: commands, the command line, probe.
TOPS = {"zoo", "zoo.commands", "evaluator.probe"}
# They load what is public when it is used.
PUBLIC = {"evaluator", "training"}


def modules() -> dict[str, Path]:
    """Every module of ours by its dotted name."""
    found = {}
    for package in OURS:
        for path in (ROOT / package).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


@functools.cache
def imports_of(name: str) -> frozenset[str]:
    """The modules of ours that a module imports, anywhere in it, for types too."""
    found: set[str] = set()
    for node in ast.walk(tree(MODULES[name])):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inside & MODULES.keys()) or {node.module or ""}
    return frozenset((found & MODULES.keys()) - {name})


def room(name: str) -> str:
    """The innermost room of ``ARROWS`` or ``TOPS`` that a module is in."""
    parts = name.split(".")
    prefixes = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    return next(each for each in prefixes if each in ARROWS or each in TOPS or "." not in each)


def test_rooms_import_only_what_the_table_allows() -> None:
    wrong = []
    for name in MODULES.keys() - PUBLIC:
        own = room(name)
        if own in TOPS:
            continue
        package = own.partition(".")[0]
        allowed = {own, "evaluator"} | {
            each if each.partition(".")[0] in OURS else f"{package}.{each}"
            for each in ARROWS[own].split()
        }
        wrong += [f"{name} -> {each}" for each in imports_of(name) if room(each) not in allowed]
    assert not wrong


def test_the_table_has_no_arrow_that_nobody_takes() -> None:
    taken = {(room(name), room(each)) for name in MODULES for each in imports_of(name)}
    for own, text in ARROWS.items():
        package = own.partition(".")[0]
        for each in text.split():
            other = each if each.partition(".")[0] in OURS else f"{package}.{each}"
            assert (own, other) in taken, f"{own} -> {other}"


def circle(arrows: Mapping[str, Iterable[str]]) -> list[str]:
    """Names along a circle, first and last the same; empty where there is none."""
    try:
        list(TopologicalSorter(arrows).static_order())
    except CycleError as error:
        return list(error.args[1])
    return []


def test_a_circle_is_found() -> None:
    assert set(circle({"a": "b", "b": "c", "c": "a", "d": "a", "e": ""})) == {*"abc"}
    assert circle({"a": "bc", "b": "c", "c": ""}) == []


def test_no_file_imports_in_a_circle() -> None:
    assert not circle({name: imports_of(name) for name in MODULES})


def test_no_room_imports_in_a_circle() -> None:
    rooms: dict[str, set[str]] = {}
    for name in MODULES.keys() - PUBLIC:
        others = {room(each) for each in imports_of(name)}
        rooms.setdefault(room(name), set()).update(others - {room(name)})
    assert not circle({name: each & rooms.keys() for name, each in rooms.items()})


def test_outsiders_use_what_a_room_names() -> None:
    # A room's docstring names, in backticks, the modules that others may import.
    wrong = []
    for name in MODULES.keys() - PUBLIC:
        for other in imports_of(name):
            folder, _, module = other.rpartition(".")
            if folder in {"", "evaluator", "zoo"} or f"{name}.".startswith(f"{folder}."):
                continue
            said = ast.get_docstring(tree(MODULES[folder])) or ""
            if f"`{module}`" not in said:
                wrong.append(f"{name} -> {other}")
    assert not wrong


def test_no_file_is_long() -> None:
    for package in MAY_IMPORT:
        for path in (ROOT / package).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            lines = len(path.read_text(encoding="utf-8").splitlines())
            assert lines <= 430, f"{name} has {lines} lines"


def test_no_name_is_allowed_to_vulture_that_is_not_ours_any_more() -> None:
    words: set[str] = set()
    for package in MAY_IMPORT:
        for path in (ROOT / package).rglob("*.py"):
            words.update(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    allowed = (ROOT / "tests" / "vulture_names.py").read_text(encoding="utf-8")
    gone = set(re.findall(r"^(?:_\.)?(\w+)$", allowed, re.MULTILINE)) - words
    assert not gone, f"{gone} stand in tests/vulture_names.py only"


def probe(folder: Path, *lines: str) -> list[tuple[int, set[str]]]:
    """Commands one after another in a process of their own: the exit code of each, and the heavy
    packages imported by then.
    """
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *lines],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"code"')]
    assert len(said) == len(lines)
    return [(each["code"], set(each["heavy"])) for each in said]


def environment() -> dict[str, str]:
    found = {key: value for key, value in os.environ.items() if not key.startswith("ZOO_")}
    return {**found, "PYTHONPATH": str(ROOT)}


def test_nothing_heavy_is_imported_to_answer(tmp_path: Path) -> None:
    groups = "eval list show leaderboard demo probe export verify pull doctor".split()
    lines = ["--help", *(f"{each} --help" for each in groups), "--version"]
    lines += ["unheard-of", "eval --unheard-of", "show", "list", "show arc"]
    for line, (_, heavy) in zip(lines, probe(tmp_path, *lines), strict=True):
        # show's errors are evaluator's, which costs nothing; NumPy alone would be 0.1 s.
        assert heavy <= {"rich", "yaml"}, line


def test_a_command_does_not_import_the_others(tmp_path: Path) -> None:
    look = (
        "import sys; from zoo.cli import run; run(sys.argv[1:]);"
        "print(*[n for n in sys.modules if n.startswith('zoo.commands.')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", look, "-q", "list"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "zoo.commands.show"


def test_ranking_takes_no_scipy(tmp_path: Path) -> None:
    sys.path.insert(0, str(ROOT / "tests" / "zoo"))
    try:
        from stores import three_models
    finally:
        sys.path.pop(0)
    three_models(tmp_path / "results")
    (tmp_path / "by.csv").write_text("slot,a,quality\n0,x,1\n1,x,1\n4,y,2\n5,y,2\n")
    ranked, compared, *others = probe(
        tmp_path,
        "leaderboard",
        "compare alpha weak",
        "groups alpha --by by.csv --bins lfw",
        "discard alpha --quality by.csv --bins lfw",
    )
    assert ranked == (0, {"numpy", "h5py", "yaml"})
    assert (compared[0], compared[1] & {"scipy", "PIL"}) == (0, set())
    for code, heavy in others:
        assert code == 0
        assert heavy <= {"numpy", "h5py", "yaml", "scipy", "rich"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A Keras .h5 by its description alone: enough for all that happens before TensorFlow."""
    import h5py

    path = tmp_path / "model.h5"
    layers = [{"class_name": "InputLayer", "config": {"batch_shape": [None, 8, 8, 3]}}]
    config = {"class_name": "Functional", "config": {"layers": layers}}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
    return path


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    import io

    images = []
    for level in range(4):
        buffer = io.BytesIO()
        Image.fromarray(np.full((8, 8, 3), 60 * level, np.uint8)).save(buffer, "PNG")
        images.append(buffer.getvalue())
    write_bin(tmp_path / "faces.bin", images, [True, False])
    return tmp_path / "faces.bin"


MISTAKES = (
    "eval",
    "eval missing.h5 --bins faces",
    "eval model.h5 --bins unheard-of",
    "eval model.h5 --bins cut.bin",
    "eval model.h5 --bins model.h5",
    "eval faces.bin --bins faces",
    "eval text.h5 --bins faces",
    "eval lambda.h5 --bins faces",
    "eval lambda.h5 --bins faces --engine openvino",
    "eval model.h5 --bins faces --engine openvin",
    "eval model.h5 --bins faces --flip summ",
    "eval model.h5 --bins faces --input unti",
    "eval model.h5 --bins faces --json no/folder.json",
    "eval model.h5 --bins faces --results text.h5",
    "eval arc --bins faces",
    "train demo_network",
    "train demo_networks --data photos",
    "train demo_network --data photos",
)


def test_no_input_error_imports_a_framework(tmp_path: Path, model: Path, faces: Path) -> None:
    import h5py

    (tmp_path / "text.h5").write_text("not a model")
    (tmp_path / "cut.bin").write_bytes(faces.read_bytes()[:-40])
    layers = [{"class_name": "Lambda", "config": {"name": "evil"}}]
    with h5py.File(tmp_path / "lambda.h5", "w") as file:
        config = {"class_name": "Functional", "config": {"layers": layers}}
        file.attrs["model_config"] = json.dumps(config)
    for line, (code, heavy) in zip(MISTAKES, probe(tmp_path, *MISTAKES), strict=True):
        assert code == 2, line
        assert heavy <= {"numpy", "h5py", "PIL", "yaml", "rich"}, line


def test_a_stored_result_is_answered_without_a_framework(
    tmp_path: Path, model: Path, faces: Path
) -> None:
    from evaluator.bins.verification_set import read_bin
    from evaluator.images.inputs import Embedder, InputSpec
    from evaluator.measure.embed import EmbedOptions
    from evaluator.measure.evaluation import evaluate_bins
    from evaluator.models.identity import model_sha256
    from evaluator.results.measured import Measured
    from evaluator.results.record import Settings, make_result
    from evaluator.results.store import save_result

    spec = InputSpec(8, 8)
    embedder = Embedder(lambda batch: batch.reshape(len(batch), -1) + 1, spec)
    verification_set = read_bin(faces)
    (measurement,) = evaluate_bins(embedder, [verification_set], options=EmbedOptions())
    sha256 = model_sha256(model)
    result = make_result(
        measurement,
        name="model",
        path=model,
        sha256=sha256,
        model_format="keras-h5",
        input_spec=spec,
        settings=Settings(),
    )
    path = Measured(("model", sha256), ("faces", verification_set.sha256), Settings()).path_in(
        tmp_path / "results"
    )
    save_result(path, result, None)
    assert probe(tmp_path, "eval model.h5 --bins faces") == [(0, {"numpy", "h5py", "yaml"})]


def cpu_seconds_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def cpu_seconds(folder: Path, *arguments: str) -> float:
    start = cpu_seconds_of_children()
    subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        check=True,
    )
    return cpu_seconds_of_children() - start


def test_help_takes_little_more_than_what_prints_it(tmp_path: Path) -> None:
    # 0.25 s of CPU on a quiet machine, of which Typer's own modules take two thirds. Side by side:
    # seconds alone say how busy the machine is.
    ours, bare = [], []
    for _ in range(4):
        ours.append(cpu_seconds(tmp_path, "-m", "zoo", "--help"))
        bare.append(cpu_seconds(tmp_path, "-c", "import typer.main, typer.rich_utils"))
    assert min(ours) < 2.5 * min(bare), (ours, bare)
