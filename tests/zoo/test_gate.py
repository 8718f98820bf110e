"""`zoo compare` as a gate: JUnit XML, and the workflow and the hook that the guide shows."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from samples import SIZE
from stores import cosines, store, three_models

from tests.command import Zoo
from tests.doc_blocks import ROOT, blocks
from tests.small_models import save_projection

RESULTS = Path("results")
SHOWN = [
    yaml.safe_load(block.text)
    for block in blocks(ROOT / "docs" / "comparing.md")
    if block.language == "yaml"
]
WORKFLOW = next(each for each in SHOWN if "jobs" in each)
HOOKS = next(each for each in SHOWN if "repos" in each)


def suites(path: str) -> list[dict[str, Any]]:
    """The suites of a JUnit file: counts, and the failure of each case by its name."""
    root = ElementTree.parse(path).getroot()
    assert root.tag == "testsuites"
    found = []
    for suite in root:
        cases = {
            case.attrib["name"]: (
                None if case.find("failure") is None else case[0].attrib["message"]
            )
            for case in suite
        }
        assert int(suite.attrib["tests"]) == len(cases)
        assert int(suite.attrib["failures"]) == sum(each is not None for each in cases.values())
        found.append({"name": suite.attrib["name"], "cases": cases})
    return found


def test_a_case_a_bin_fails_where_the_model_is_worse(zoo: Zoo) -> None:
    three_models(RESULTS)
    done = zoo("compare", "alpha", "beta", "weak", "--fail-if-worse", "--junit", "zoo.xml")
    assert done.code == 1
    equal, worse = suites("zoo.xml")
    assert (equal["name"], worse["name"]) == ("alpha / beta", "alpha / weak")
    assert set(equal["cases"].values()) == {None}
    duels = json.loads(zoo("compare", "alpha", "beta", "weak", "--format", "json").out)
    (duel,) = [
        each
        for each in duels["comparisons"]
        if each["b"]["name"] == "weak" and each["a"]["name"] == "alpha"
    ]
    wanted = {each["bin"]["name"]: each["verdict"] for each in duel["bins"] if each["separable"]}
    assert {
        name: said for name, said in worse["cases"].items() if name != "overall" and said
    } == wanted
    assert worse["cases"]["overall"] in done.err
    # The better of two fails nothing.
    assert zoo("compare", "weak", "alpha", "--fail-if-worse", "--junit", "zoo.xml").code == 0
    assert set(suites("zoo.xml")[0]["cases"].values()) == {None}


def test_with_a_margin_what_is_not_shown_fails(zoo: Zoo) -> None:
    three_models(RESULTS, bins=("lfw",))
    arguments = ("compare", "alpha", "beta", "--fail-if-worse", "--junit", "zoo.xml", "--margin")
    assert zoo(*arguments, "0.001").code == 1
    (only,) = suites("zoo.xml")
    assert "cannot tell" in only["cases"]["lfw"]
    assert zoo(*arguments, "50").code == 0
    assert suites("zoo.xml")[0]["cases"] == {"lfw": None}


def test_names_are_escaped_and_no_other_file_is_overwritten(zoo: Zoo) -> None:
    for name, noise in (('a<b&"c', 0.5), ("d", 2.5)):
        store(RESULTS, name, cosines(400, noise=noise, seed=1))
    assert zoo("compare", 'a<b&"c', "d", "--junit", "zoo.xml").code == 0
    assert suites("zoo.xml")[0]["name"] == 'a<b&"c / d'
    Path("model.h5").write_bytes(b"\x89HDF\r\n")
    assert "file of another kind" in zoo("compare", "d", "a*", "--junit", "model.h5").err


@pytest.fixture
def repository(zoo: Zoo, models: Path, bins: Path) -> Zoo:
    """What the examples speak of: two bins, the results of old, and the file of new."""
    for name, source in (("lfw", "easy"), ("agedb_30", "other")):
        shutil.copy(bins / f"{source}.bin", f"{name}.bin")
    shutil.copy(models / "a.onnx", "old.onnx")
    save_projection(Path("new.onnx"), side=SIZE, seed=1, bias=1e-6)
    return zoo


def test_the_workflow_in_the_guide_runs(repository: Zoo) -> None:
    zoo = repository
    assert zoo("eval", "old.onnx", "--bins", "lfw", "agedb_30").code == 0
    (job,) = WORKFLOW["jobs"].values()
    lines = [step["run"] for step in job["steps"] if "run" in step]
    ours = [shlex.split(line)[1:] for line in lines if line.startswith("zoo ")]
    others = [line for line in lines if not line.startswith("zoo ")]
    # new.onnx takes the extra
    assert others == ["pip install --find-links wheels 'face-zoo[onnx]'"]
    assert [zoo(*each).code for each in ours] == [0, 0]
    assert set(suites("zoo.xml")[0]["cases"]) == {"lfw", "agedb_30", "overall"}
    (uploaded,) = [
        step["with"]["path"] for step in job["steps"] if "upload" in step.get("uses", "")
    ]
    assert Path(uploaded).is_file()


def test_the_hook_in_the_guide_stops_a_worse_model(zoo: Zoo) -> None:
    ((hook,),) = [each["hooks"] for each in HOOKS["repos"]]
    program, *arguments = shlex.split(hook["entry"])
    assert (program, hook["pass_filenames"]) == ("zoo", False)
    store(RESULTS, "old", cosines(1000, noise=0.5, seed=1))
    store(RESULTS, "new", cosines(1000, noise=0.5, seed=1) * 0.999)
    assert zoo(*arguments).code == 0
    store(RESULTS, "new", cosines(1000, noise=2.5, seed=3))
    assert zoo(*arguments).code == 1
