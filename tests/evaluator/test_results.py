"""Results as stored: round trip, names, whole files under kills and races, and damage."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from evaluator.bins.verification_set import VerificationSet
from evaluator.errors import ResultError
from evaluator.images.inputs import InputSpec
from evaluator.measure.evaluation import Measurement
from evaluator.metrics.all_figures import figures
from evaluator.metrics.figures.auc import auc as area
from evaluator.metrics.protocols import sorted_pairs
from evaluator.results.measured import Measured
from evaluator.results.record import Result, Scores, Settings, make_result, to_dict
from evaluator.results.store import (
    check_writable,
    load_result,
    load_scores,
    save_result,
    stored_results,
)

ROOT = Path(__file__).parents[2]


def made(seed: int = 0, pairs: int = 40, **changes: object) -> tuple[Result, Scores]:
    """A result of random scores, and these scores; the seed is its embedding size."""
    random = np.random.default_rng(seed)
    genuine = np.arange(pairs) % 2 == 0
    scores = np.tanh(random.normal(size=pairs) + genuine)
    slots = np.arange(2 * pairs) % 30
    bin_ = VerificationSet("lfw", Path("lfw.bin"), "b" * 64, (b"",) * 2 * pairs, genuine)
    values = {
        "bin": bin_,
        "genuine": genuine,
        "images": slots,
        "digests": slots.astype(np.int64) * 7 - 3,
        "scores": scores,
        "figures": figures(scores, genuine),
        "unusable": np.array([], np.intp),
        "dropped_pairs": 0,
        "embedding_size": seed,
        "embedded": 30,
        "seconds": 1.5,
        **changes,
    }
    result = make_result(
        Measurement(**values),  # type: ignore[arg-type]
        name="arc",
        path=Path("arc.h5"),
        sha256="a" * 64,
        model_format="keras-h5",
        input_spec=InputSpec(112, 96, "raw", "bgr"),
        settings=Settings(flip="sum"),
    )
    return result, Scores(scores, genuine, slots)


def test_a_result_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    result, scores = made(3)
    path = tmp_path / "m" / "b.json"
    stored = save_result(path, result, scores)
    assert load_result(path) == stored
    again = load_scores(path, stored)
    np.testing.assert_array_equal(again.scores, scores.scores)
    np.testing.assert_array_equal(again.genuine, scores.genuine)
    np.testing.assert_array_equal(again.images, scores.images)
    assert to_dict(stored)["figures"] == to_dict(result)["figures"]
    assert list(stored_results(tmp_path)) == [path]


def test_dropped_pairs_come_back_as_nan(tmp_path: Path) -> None:
    result, scores = made()
    scores.scores[5] = np.nan
    stored = save_result(tmp_path / "b.json", result, scores)
    assert np.isnan(load_scores(tmp_path / "b.json", stored).scores[5])


def test_the_json_has_every_documented_key_in_order(tmp_path: Path, shared: Path) -> None:
    save_result(tmp_path / "b.json", *made(7, pairs=4000))
    found = json.loads((tmp_path / "b.json").read_text())
    # The block of the design, from "schema:" to "created:".
    design = (shared / "design.md").read_text()
    block = design[design.index("\nschema: 1\n") : design.index("\ncreated: ISO")]
    top = [line.partition(":")[0] for line in block.splitlines() if line[:1].isalpha()]
    assert [key for key in found if key != "scores"] == [*top, "created", "reading"]
    assert list(found["model"]) == ["name", "path", "sha256", "format", "embedding_size", "input"]
    assert found["model"]["input"] == {
        "size": [112, 96],
        "range": "raw",
        "channels": "bgr",
        "layout": "NHWC",
    }
    assert list(found["bin"]) == (
        "name path sha256 pairs genuine impostor images unique_images".split()
    )
    assert found["bin"]["unique_images"] == 30
    assert list(found["settings"]) == ["flip", "decoder", "precision", "nan"]
    assert (
        list(found["figures"])
        == (
            "accuracy threshold accuracy_ci95 kfold insightface auc auc_ci95 eer eer_threshold "
            "eer_ci95 tar_at_far far_bound95 d_prime d_prime_ci95 min_dcf min_cllr"
        ).split()
    )
    kfold = "accuracy std standard_error accuracy_ci95 thresholds"
    assert list(found["figures"]["kfold"]) == kfold.split()
    insightface = "accuracy std accuracy_ci95 tar_at_far_1e-3"
    assert list(found["figures"]["insightface"]) == insightface.split()
    assert list(found["figures"]["insightface"]["tar_at_far_1e-3"]) == ["tar", "std", "far"]
    tar = found["figures"]["tar_at_far"]
    assert list(tar) == ["0.1", "0.01", "0.001", "0.0001", "0.00001", "0.000001"]
    assert list(tar["0.1"]) == ["tar", "far", "threshold", "tar_ci95"]
    assert tar["0.0001"] is None
    assert list(found["non_finite"])[:2] == ["count", "images"]
    assert found["cost"] == {"seconds": 1.5, "images_per_second": 20.0}
    assert list(found["versions"]) == ["zoo", "python", "tensorflow", "keras", "numpy"]
    assert found["created"].endswith("+00:00")


def test_an_engine_is_stated_where_it_is_not_the_native_one(tmp_path: Path) -> None:
    result, scores = made()
    stated = replace(result, settings=Settings(engine="openvino"))
    for each, keys in ((result, 4), (stated, 5)):
        path = tmp_path / f"{keys}.json"
        save_result(path, each, scores)
        assert len(json.loads(path.read_bytes())["settings"]) == keys
        # What has no engine, as all results before there was the choice, is the native one's.
        assert load_result(path).settings == each.settings
    assert json.loads((tmp_path / "5.json").read_bytes())["settings"]["engine"] == "openvino"
    wrong = (tmp_path / "5.json").read_text().replace('"openvino"', "7")
    (tmp_path / "5.json").write_text(wrong)
    with pytest.raises(ResultError, match="settings: engine is '7'"):
        load_result(tmp_path / "5.json")


def test_at_most_twenty_images_are_named_and_all_counted() -> None:
    result, _ = made(figures=None, scores=None, unusable=np.arange(50) * 2)
    assert result.status == "non_finite"
    assert result.figures is None
    assert result.non_finite["count"] == 50
    assert result.non_finite["images"] == list(range(0, 40, 2))


def path_of(**changes: object) -> Path:
    values: dict[str, object] = {
        "model": ("arc", "a" * 64),
        "bin": ("lfw", "b" * 64),
        **changes,
    }
    return Measured(**values).path_in(Path("results"))  # type: ignore[arg-type]


def test_the_usual_settings_have_the_documented_path() -> None:
    assert path_of() == Path("results/arc-aaaaaaaa/lfw-bbbbbbbb.json")


def test_every_setting_has_a_path_of_its_own() -> None:
    ways: list[dict[str, object]] = [
        {},
        {"settings": Settings(flip="sum")},
        {"settings": Settings(decoder="fast")},
        {"settings": Settings(precision="bfloat16")},
        {"settings": Settings(nan="drop")},
        {"settings": Settings(engine="openvino")},
        {"settings": Settings("sum", "fast", "bfloat16", "drop")},
        {"profile": "raw"},
        {"profile": "symmetric"},
        {"profile": "insightface"},
        {"channels": "bgr"},
        {"model": ("arc", "c" * 64)},
        {"bin": ("lfw", "c" * 64)},
        {"model": ("arc_8", "a" * 64)},
    ]
    assert len({path_of(**way) for way in ways}) == len(ways)


@pytest.mark.parametrize(
    "name", ["../../etc/x", "/etc/x", "..", ".", "", ".hidden", "a\nb", "é" * 90, "x" * 5000]
)
def test_no_name_leaves_the_folder_or_is_too_long(tmp_path: Path, name: str) -> None:
    path = Measured(
        (name, "a" * 64),
        (name, "b" * 64),
        Settings("sum", "fast", "bfloat16", "drop"),
        profile="insightface",
        channels="bgr",
    ).path_in(tmp_path)
    save_result(path, *made())
    assert [found.resolve() for found in stored_results(tmp_path)] == [path.resolve()]
    assert path.resolve().parents[1] == tmp_path.resolve()


def test_storing_again_leaves_two_files(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    for seed in range(5):
        save_result(path, *made(seed))
    assert len(list(tmp_path.iterdir())) == 2
    save_result(path, made()[0], None)
    assert [found.name for found in tmp_path.iterdir()] == ["b.json"]


# Stores results of the given seeds in turn, for ever. Scores and figures of seed s belong together.
WRITER = """
import sys, itertools
sys.path[:0] = [{tests!r}]
from pathlib import Path
from test_results import made
from evaluator.results.store import save_result
results = [made(seed, pairs=3000) for seed in {seeds}]
for result, scores in itertools.cycle(results):
    save_result(Path({path!r}), result, scores)
"""


def start_writer(path: Path, seeds: list[int]) -> subprocess.Popen[bytes]:
    code = WRITER.format(tests=str(Path(__file__).parent), seeds=seeds, path=str(path))
    return subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


def read_whole(path: Path) -> int:
    """The seed of a stored result, once its figures and scores are seen to belong together."""
    while True:
        result = load_result(path)
        try:
            scores = load_scores(path, result)
        except ResultError as error:
            if "are gone" in str(error):  # replaced between the two reads
                continue
            raise
        auc = area(sorted_pairs(scores.scores, scores.genuine).sweep)
        assert result.figures is not None
        assert result.figures["auc"] == auc
        return result.model.embedding_size


def wait_for(condition: Callable[[], bool]) -> None:
    """Returns when it holds; where it never does, the suite's own time limit ends the test."""
    while not condition():
        time.sleep(0.002)


@pytest.mark.slow
def test_two_writers_never_mix_their_results(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    writers = [start_writer(path, [1, 2]), start_writer(path, [2, 3])]
    try:
        wait_for(path.exists)
        seen, reads = set(), 0
        while reads < 100 or seen != {1, 2, 3}:
            seen.add(read_whole(path))
            reads += 1
        assert seen == {1, 2, 3}
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()


@pytest.mark.slow
def test_a_killed_writer_leaves_a_whole_result(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    random = np.random.default_rng(0)
    for round_ in range(6):
        before = path.stat().st_mtime_ns if path.exists() else 0
        writer = start_writer(path, [1, 2, 3])
        wait_for(lambda before=before: path.exists() and path.stat().st_mtime_ns > before)
        time.sleep(float(random.uniform(0, 0.05)))
        writer.kill()  # SIGKILL: nothing is cleaned up
        writer.wait()
        assert read_whole(path) in {1, 2, 3}, round_
        assert list(stored_results(tmp_path.parent)).count(path) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits of a process are POSIX's")
def test_a_full_disk_leaves_the_old_result(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    save_result(path, *made(1))
    before = {found.name: found.read_bytes() for found in tmp_path.iterdir()}
    code = f"""
import resource, sys
sys.path[:0] = [{str(Path(__file__).parent)!r}]
from pathlib import Path
from test_results import made
from evaluator.results.store import save_result
result, scores = made(2, pairs=5000)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    save_result(Path({str(path)!r}), result, scores)
except OSError as error:
    print("OSError", error.errno)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("OSError")
    assert {found.name: found.read_bytes() for found in tmp_path.iterdir()} == before
    assert read_whole(path) == 1


def test_json_that_is_no_whole_result_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    save_result(path, *made())
    text = path.read_text()
    whole = json.loads(text)

    def without(key: str) -> str:
        return json.dumps({name: value for name, value in whole.items() if name != key})

    damaged = [
        "",
        text[:-40],
        text[: len(text) // 2],
        "[" * 100_000,
        "null",
        "[]",
        "3",
        '{"schema": 2}',
        "{}",
        *(without(key) for key in whole if key not in ("schema", "scores", "reading")),
        json.dumps({**whole, "more": 1}),
        json.dumps({**whole, "model": "arc"}),
        json.dumps({**whole, "bin": {**whole["bin"], "pairs": None}}),
        json.dumps({**whole, "settings": {"flip": "sum", "flop": "sum"}}),
        json.dumps({**whole, "figures": [1]}),
        json.dumps({**whole, "figures": None}),
        json.dumps({**whole, "status": "fine"}),
        json.dumps({**whole, "non_finite": {}}),
    ]
    for content in damaged:
        path.write_text(content)
        with pytest.raises(ResultError, match=str(path)):
            load_result(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ResultError, match=str(path)):
        load_result(path)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("bin", "pairs"), -1, "bin: pairs is '-1': Expected `int` >= 0"),
        (("bin", "pairs"), True, "bin: pairs is 'True': Expected `int`, got `bool`"),
        (("cost", "seconds"), math.nan, "not a "),
        (("cost", "seconds"), 1e200, "cost is a mapping of 2: Expected `float` <= 1e+100"),
        (("model", "size"), 3, "model is a mapping of 7: Object contains unknown field `size`"),
        (("model", "path"), "\0", r"model: path is '\\x00'"),
        (("figures", "accuracy_ci95"), [0.9, 0.8], "two numbers from 0 to 1, the lower first"),
        (("figures", "accuracy_ci95"), ["0", 1], "two numbers from 0 to 1, the lower first"),
        (("figures", "kfold", "std"), 2, "figures: kfold: std is '2': Expected `float` <= 1.0"),
        (("figures",), {}, "figures: kfold is missing"),
    ],
)
@pytest.mark.parametrize("name", ["arc", "\udc80"])
def test_what_is_wrong_in_a_result_is_said_with_its_place(
    tmp_path: Path, place: tuple[str, ...], value: object, said: str, name: str
) -> None:
    path = tmp_path / "b.json"
    save_result(path, *made())
    stored = json.loads(path.read_text())
    # A path that is not UTF-8, and names that are to be made plain, are read another way.
    stored["bin"]["path"] = name
    path.write_text(json.dumps(stored))
    assert load_result(path).bin.path == name
    inner = stored
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path.write_text(json.dumps(stored))
    with pytest.raises(ResultError) as caught:
        load_result(path)
    assert str(caught.value).startswith(f"{path}: not a ")
    assert str(caught.value).endswith("; remove it")
    assert said in str(caught.value)


def test_scores_that_are_damaged_or_anothers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    stored = save_result(path, *made())
    assert stored.scores is not None
    file = tmp_path / stored.scores
    whole = file.read_bytes()
    for content in (b"", b"text", whole[:-100], whole[:700], whole[:600] + bytes(len(whole) - 600)):
        file.write_bytes(content)
        with pytest.raises(ResultError, match=file.name):
            load_scores(path, stored)
    with h5py.File(file, "w") as other:
        other["scores"] = np.zeros(3)
        other["genuine"] = np.zeros(3)
        other["images"] = np.zeros(6)
    with pytest.raises(ResultError, match="do not belong to"):
        load_scores(path, stored)
    with h5py.File(file, "w") as other:
        other.create_group("scores")
    with pytest.raises(ResultError, match="damaged scores"):
        load_scores(path, stored)
    file.unlink()
    with pytest.raises(ResultError, match="are gone"):
        load_scores(path, stored)


@pytest.mark.parametrize("name", ["../b.h5", "/etc/passwd", "", ".."])
def test_a_scores_name_that_points_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "m" / "b.json"
    save_result(path, *made())
    path.write_text(json.dumps({**json.loads(path.read_text()), "scores": name}))
    with pytest.raises(ResultError):
        load_scores(path, load_result(path))


def test_a_missing_result_is_the_systems_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_result(tmp_path / "none.json")


def test_an_unwritable_folder_is_told_by_its_name(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        check_writable(tmp_path / "file")
    with pytest.raises(OSError, match="file"):
        check_writable(tmp_path / "file" / "below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(PermissionError, match=str(tmp_path)):
        check_writable(tmp_path)
    tmp_path.chmod(0o755)


def test_results_are_readable_by_others(tmp_path: Path) -> None:
    save_result(tmp_path / "b.json", *made())
    assert {found.stat().st_mode & 0o777 for found in tmp_path.iterdir()} == {0o644}
