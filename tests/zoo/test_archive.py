"""`zoo results pack` and `unpack`: what is in an archive, and what is not taken from one."""

from __future__ import annotations

import copy
import csv
import hashlib
import json
import os
import re
import shutil
import stat
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from samples import Zoo, face, png
from stores import cosines, labels, sha, store, three_models

from evaluator.metrics.protocols import seed
from evaluator.results.recomputed import recomputed, unlike
from evaluator.results.store import load_result, load_scores, save_result

Members = dict[str, bytes]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results of three models on two bins, and an archive of them."""
    from zoo.results.archive import pack
    from zoo.results.housekeeping import stored_of

    folder = tmp_path_factory.mktemp("made")
    three_models(folder / "results")
    assert pack(stored_of([folder / "results"], ()), folder / "results.zip") == (6, [])
    return folder


@pytest.fixture
def packed(made: Path, tmp_path: Path) -> Path:
    """The archive, for one test alone."""
    return Path(shutil.copy(made / "results.zip", tmp_path))


def members(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def manifest_of(files: Mapping[str, bytes]) -> bytes:
    said = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in files.items()
    }
    return json.dumps({"schema": 1, "zoo": "0.1", "files": said}).encode()


def write(path: Path, files: Members, *, manifest: bytes | None = None) -> Path:
    """An archive of these files, with a manifest that is right unless another is given."""
    rest = {name: data for name, data in files.items() if name != "manifest.json"}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in rest.items():
            archive.writestr(name, data)
        archive.writestr("manifest.json", manifest_of(rest) if manifest is None else manifest)
    return path


def changed(data: bytes, *place: str | int, to: Any) -> bytes:
    """A result's JSON with one value changed."""
    found = whole = json.loads(data)
    for key in place[:-1]:
        found = found[key]
    found[place[-1]] = to
    return json.dumps(whole).encode()


def refused(zoo: Zoo, archive: Path) -> str:
    """The one line that says why an archive is not taken; nothing is written."""
    done = zoo("results", "unpack", archive, "--results", "new")
    assert (done.code, len(done.error_lines), Path("new").exists()) == (2, 1, False)
    assert str(archive) in done.error_lines[0]
    return done.error_lines[0]


def by_name(folder: Path) -> dict[str, tuple[dict[str, Any], list[float]]]:
    """Every result and its scores by the path in its folder, without the name of the scores."""
    found = {}
    for path in folder.glob("*/*.json"):
        result = load_result(path)
        scores = load_scores(path, result).scores.tolist()
        stored = json.loads(path.read_text()) | {"scores": None}
        found[path.relative_to(folder).as_posix()] = stored, scores
    return found


# ---- What is packed ------------------------------------------------------------------------------


def test_what_is_unpacked_is_what_was_packed(
    zoo: Zoo, made: Path, tmp_path: Path, packed: Path
) -> None:
    files = members(packed)
    said = json.loads(files.pop("manifest.json"))
    assert (bool(said["zoo"]), said["schema"]) == (True, 1)
    assert {name: each["sha256"] for name, each in said["files"].items()} == {
        name: hashlib.sha256(data).hexdigest() for name, data in files.items()
    }
    done = zoo("results", "unpack", packed, "--results", "new")
    assert (done.code, "6 results added, 0 there already" in done.err) == (0, True)
    assert by_name(tmp_path / "new") == by_name(made / "results")
    boards = [
        zoo("leaderboard", "--results", each, "--format", "csv").out
        for each in (made / "results", "new")
    ]
    assert boards[0] == boards[1]
    again = zoo("results", "unpack", packed, "--results", "new")
    assert (again.code, "0 results added, 6 there already" in again.err) == (0, True)


def test_models_are_chosen_and_another_file_stays(zoo: Zoo, made: Path, tmp_path: Path) -> None:
    store = "--results", made / "results"
    done = zoo("results", "pack", "alpha", "-o", "one.zip", *store)
    assert (done.code, done.err) == (0, "one.zip: 2 results packed\n")
    assert {name.split("-")[0] for name in members(Path("one.zip"))} == {"alpha", "manifest.json"}
    own = tmp_path / "mine.h5"
    own.write_bytes(b"a model")
    done = zoo("results", "pack", "-o", own, *store)
    assert (done.code, own.read_bytes()) == (2, b"a model")
    assert "did you mean 'alpha'" in zoo("results", "pack", "alpa", *store).err


def test_no_path_and_no_name_of_a_person_is_in_it(zoo: Zoo, tmp_path: Path) -> None:
    folder = tmp_path / "home" / "zoe"
    folder.mkdir(parents=True)
    rows = [
        (score, int(genuine), f"zoe/{i}.jpg", f"bo/{i}.jpg", "zoe", "zoe" if genuine else "bo")
        for i, (score, genuine) in enumerate(
            zip(cosines(40, noise=1, seed=1), labels(40), strict=True)
        )
    ]
    with (folder / "vendor.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("score", "label", "left", "right", "left_person", "right_person"))
        writer.writerows(rows)
    done = zoo("eval", "--scores", folder / "vendor.csv", "--name", "vendor")
    assert done.code == 0, done.err
    assert b"zoe" in next(Path("results").glob("*/*.json")).read_bytes()
    assert zoo("results", "pack").code == 0
    files = members(Path("results.zip"))
    assert any(name.startswith("bin-") for name in files)  # numbers of people
    assert not [name for name, data in files.items() if b"zoe" in data.lower()]
    for name, data in files.items():
        if name.endswith(".h5"):
            Path("one.h5").write_bytes(data)
            with h5py.File("one.h5") as file:
                assert all(each.dtype.kind in "fiu" for each in file.values())
                assert "pairs_file" not in file
    assert zoo("results", "unpack", "results.zip", "--results", "new").code == 0
    (path,) = Path("new").glob("*/*.json")
    people = load_scores(path, load_result(path)).people
    assert people is not None
    assert len(np.unique(people)) == 2


@pytest.mark.parametrize("nan", ["fail", "drop", "miss"])
def test_template_sets_are_derived_again(zoo: Zoo, tmp_path: Path, nan: str) -> None:
    names = []
    for person in range(14):
        for shot in range(4):
            part = "unknown" if person > 8 else "gallery" if shot < 2 else "probe"
            path = tmp_path / "door" / part / f"p{person:02d}" / f"{shot}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(face(person, shot)))
            names.append(path.relative_to(tmp_path / "door").as_posix())
    random = np.random.default_rng(3)
    people = random.normal(size=(14, 8)).repeat(4, axis=0)
    vectors = (people + random.normal(size=people.shape)).astype(np.float32)
    if nan != "fail":
        vectors[names.index("probe/p03/2.png")] = np.nan
    np.savez("x.npz", names=np.array(names), embeddings=vectors)
    done = zoo("eval", "--embeddings", "x.npz", "--name", "v", "--bins", "door", "--nan", nan)
    assert done.code == 0, done.err
    (path,) = Path("results").glob("*/*.json")
    result = load_result(path)
    assert recomputed(result, load_scores(path, result)) == result.figures
    assert zoo("results", "pack").code == 0
    assert not [name for name, data in members(Path("results.zip")).items() if b"p03" in data]
    assert zoo("results", "unpack", "results.zip", "--results", "new").code == 0
    ((stored, scores),) = by_name(Path("new")).values()
    assert stored["figures"] == json.loads(path.read_text())["figures"]
    assert len(scores) == result.bin.pairs
    name = path.relative_to("results").as_posix()
    files = members(Path("results.zip"))
    files[name] = changed(files[name], "figures", "identification", "rank", "1", to=0.123)
    Path("new").rename("kept")
    assert "identification.rank.1 is 0.123" in refused(zoo, write(tmp_path / "bad.zip", files))


def test_what_has_no_scores_or_others_is_left_out(zoo: Zoo, tmp_path: Path) -> None:
    three_models(tmp_path / "results", ("lfw",))
    weak = next((tmp_path / "results").glob("weak-*/*.json"))
    weak.write_bytes(changed(weak.read_bytes(), "scores", to=None))
    beta = next((tmp_path / "results").glob("beta-*/*.json"))
    beta.write_bytes(changed(beta.read_bytes(), "figures", "accuracy", to=1.0))
    done = zoo("results", "pack")
    assert (done.code, "1 result packed" in done.err) == (2, True)
    assert f"left out: results/{beta.parent.name}/{beta.name}: accuracy is 1" in done.err
    assert "has no stored scores" in done.err
    alpha = next((tmp_path / "results").glob("alpha-*/*.json"))
    alpha.write_bytes(changed(alpha.read_bytes(), "reading", to=0))
    old = zoo("results", "pack", "alpha", "-o", "weak.zip")
    assert "nothing to pack: results/alpha-" in old.error_lines[0]
    (tmp_path / "empty").mkdir()
    none = zoo("results", "pack", "--results", "empty")
    assert none.error_lines == ["zoo: error: nothing to pack: no results are stored"]
    alone = zoo("results", "pack", "weak", "-o", "weak.zip")
    assert (alone.code, "nothing to pack" in alone.error_lines[0]) == (2, True)
    assert not Path("weak.zip").exists()


def test_a_result_that_is_not_finite_goes_along(zoo: Zoo, tmp_path: Path) -> None:
    store(tmp_path / "results", "nan", cosines(40, noise=1, seed=1), finite=False)
    assert zoo("results", "pack").code == 0
    assert zoo("results", "unpack", "results.zip", "--results", "new").code == 0
    assert load_result(next(Path("new").glob("*/*.json"))).status == "non_finite"


# ---- What is wrong with figures ------------------------------------------------------------------


def leaves(figures: Any, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Where the numbers of figures stand, those of intervals apart."""
    if isinstance(figures, dict):
        items = [(key, each) for key, each in figures.items() if not key.endswith(
            ("_ci95", "_bound95", "standard_error"))]  # fmt: skip
        return [leaf for key, each in items for leaf in leaves(each, (*place, key))]
    if isinstance(figures, list):
        return [leaf for i, each in enumerate(figures) for leaf in leaves(each, (*place, i))]
    return [place] if isinstance(figures, float) else []


def test_every_number_of_the_figures_is_held_to_the_scores(tmp_path: Path) -> None:
    path = store(tmp_path, "m", cosines(400, noise=0.5, seed=1))
    result = load_result(path)
    found = recomputed(result, load_scores(path, result))
    assert found == result.figures
    places = leaves(found)
    assert {place[0] for place in places} >= {"accuracy", "kfold", "insightface", "tar_at_far"}
    for place in places:
        wrong = copy.deepcopy(found)
        at: Any = wrong
        for key in place[:-1]:
            at = at[key]
        at[place[-1]] += 1e-9
        assert unlike(wrong, found).startswith(
            ".".join(str(key) for key in place if type(key) is str)
        )
    assert unlike({"accuracy_ci95": [0, 1]}, found) == ""
    assert unlike({"auc": None}, found).startswith("auc is undefined, where its scores give 0.9")


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("figures", "accuracy"), 0.999, "accuracy is 0.999, where its scores give 0.9"),
        (("figures", "kfold", "accuracy"), 0.999, "kfold.accuracy is 0.999"),
        (("figures", "tar_at_far", "0.01", "tar"), 1.0, "tar_at_far.0.01.tar is 1.0"),
        (("figures", "kfold"), None, "kfold is undefined, where its scores give a mapping"),
        (("scores",), None, "has no stored scores"),
        (("bin", "genuine"), 499, "do not add up"),
        (("model", "name"), "beta", "is not where a result of its model and bin stands"),
        (("bin", "sha256"), sha("other"), "is not where a result of its model and bin stands"),
        (("model", "sha256"), "x", "not a whole result"),
    ],
)
def test_a_wrong_figure_is_refused_by_file_and_name(
    zoo: Zoo, tmp_path: Path, packed: Path, place: tuple[str, ...], value: Any, said: str
) -> None:
    files = members(packed)
    name = next(each for each in files if each.startswith("alpha") and each.endswith("json"))
    files[name] = changed(files[name], *place, to=value)
    line = refused(zoo, write(tmp_path / "bad.zip", files))
    assert said in line
    assert f"{tmp_path / 'bad.zip'}: {name}: " in line
    assert "/tmp" not in line.replace(str(tmp_path), "")


def test_scores_of_another_model_do_not_carry_its_figures(
    zoo: Zoo, tmp_path: Path, packed: Path
) -> None:
    files = members(packed)
    alpha, weak = (
        next(each for each in files if each.startswith(f"{model}-") and "lfw" in each
             and each.endswith("h5"))
        for model in ("alpha", "weak")
    )  # fmt: skip
    files[weak] = files[alpha]
    line = refused(zoo, write(tmp_path / "bad.zip", files))
    assert re.search(
        r": weak-.*/lfw-.*\.json: accuracy is 0\.7\d+, where its scores give 0\.9", line
    )


def test_intervals_are_those_computed_here(zoo: Zoo, tmp_path: Path, packed: Path) -> None:
    files = members(packed)
    name = next(each for each in files if each.startswith("alpha") and each.endswith("json"))
    own = json.loads(files[name])["figures"]["accuracy_ci95"]
    files[name] = changed(files[name], "figures", "accuracy_ci95", to=[0.99999, 1.0])
    done = zoo("results", "unpack", write(tmp_path / "bad.zip", files), "--results", "new")
    assert done.code == 0
    assert json.loads((tmp_path / "new" / name).read_text())["figures"]["accuracy_ci95"] == own


def test_labels_are_those_of_the_results_that_are_there(zoo: Zoo, tmp_path: Path) -> None:
    scores = cosines(200, noise=0.5, seed=1)
    store(tmp_path / "results", "easy", -np.abs(scores), genuine=np.arange(200) < 100)
    assert zoo("results", "pack").code == 0
    store(tmp_path / "ours", "mine", scores)
    before = sorted((tmp_path / "ours").rglob("*"))
    done = zoo("results", "unpack", "results.zip", "--results", "ours")
    assert (done.code, len(done.error_lines)) == (2, 1)
    assert "its labels are not those of the other results on lfw" in done.error_lines[0]
    assert sorted((tmp_path / "ours").rglob("*")) == before


def test_what_was_measured_here_stays_whatever_comes(zoo: Zoo, tmp_path: Path) -> None:
    genuine = labels(200)
    path = store(tmp_path / "results", "mine", np.where(genuine, 0.9, 0.1))
    save_result(
        path,
        replace(load_result(path), created="2099-01-01T00:00:00+00:00"),
        load_scores(path, load_result(path)),
    )
    assert zoo("results", "pack").code == 0
    own = cosines(200, noise=2, seed=1)
    store(tmp_path / "ours", "mine", own)
    done = zoo("results", "unpack", "results.zip", "--results", "ours")
    assert (done.code, "0 results added, 1 there already" in done.err) == (0, True)
    (kept,) = (tmp_path / "ours").glob("*/*.json")
    assert (load_result(kept).figures or {})["accuracy"] == seed(own, genuine).accuracy


def test_who_is_on_a_bin_that_is_known_here_is_not_changed(zoo: Zoo, tmp_path: Path) -> None:
    own, other = np.arange(80) // 2, np.repeat(np.arange(20), 4)
    for folder, model, people in (("ours", "mine", own), ("results", "theirs", other)):
        path = store(
            tmp_path / folder, model, cosines(40, noise=1, seed=1), genuine=np.ones(40, bool)
        )
        result = load_result(path)
        scores = replace(load_scores(path, result), people=people)
        save_result(path, result, scores)
    assert zoo("results", "pack").code == 0
    done = zoo("results", "unpack", "results.zip", "--results", "ours")
    assert done.code == 0, done.err
    for path in (tmp_path / "ours").glob("*/*.json"):
        found = load_scores(path, load_result(path)).people
        assert found is not None
        assert found.tolist() == own.tolist()


# ---- What is wrong with archives -----------------------------------------------------------------


def other_bytes(files: Members) -> Members:
    name = next(each for each in files if each.endswith(".h5"))
    return {**files, name: files[name][:-1] + b"x"}


def without_one(files: Members) -> Members:
    name = next(each for each in files if each.endswith(".h5"))
    return {each: data for each, data in files.items() if each != name}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_bytes, "has another SHA-256 than manifest.json says"),
        (without_one, "is not in the archive"),
        (lambda files: {**files, "alpha-8ed3f6ad/more.json": b"{}"}, "is not in its manifest"),
    ],
)
def test_files_are_those_of_the_manifest(
    zoo: Zoo, tmp_path: Path, packed: Path, change: Callable[[Members], Members], said: str
) -> None:
    files = members(packed)
    bad = write(tmp_path / "bad.zip", change(files), manifest=files["manifest.json"])
    assert said in refused(zoo, bad)


@pytest.mark.parametrize(
    "name",
    [
        "../evil.json",
        "alpha-8ed3f6ad/../../evil.json",
        "/tmp/evil.json",
        "alpha-8ed3f6ad\\..\\evil.json",
        "C:/evil.json",
        "alpha-8ed3f6ad/.hidden.json",
        "alpha-8ed3f6ad/deep/evil.json",
        "alpha-8ed3f6ad/evil.py",
        "alpha-8ed3f6ad/",
        "costs.jsonl",
        "alpha-8ed3f6ad/e\x1b[31mvil.json",
        f"alpha-8ed3f6ad/{'x' * 300}.json",
    ],
)
def test_names_that_lead_elsewhere_are_refused(
    zoo: Zoo, tmp_path: Path, packed: Path, name: str
) -> None:
    line = refused(zoo, write(tmp_path / "bad.zip", {**members(packed), name: b"{}"}))
    assert "is no name of a result's file; nothing was taken" in line
    assert line.isprintable()
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("again", ["same", "case"])
def test_a_name_that_stands_twice_is_refused(
    zoo: Zoo, tmp_path: Path, packed: Path, again: str
) -> None:
    bad = write(tmp_path / "bad.zip", members(packed))
    name = "beta-f44e64e7/lfw-e2a638b9.json"
    with zipfile.ZipFile(bad, "a") as archive, pytest.warns() if again == "same" else no_warning():
        archive.writestr(name if again == "same" else name.replace("lfw", "LFW"), b"{}")
    assert "stands twice" in refused(zoo, bad)


class no_warning:  # noqa: N801 - stands where pytest.warns does
    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR])
def test_links_and_devices_are_refused(zoo: Zoo, tmp_path: Path, packed: Path, kind: int) -> None:
    bad = write(tmp_path / "bad.zip", members(packed))
    info = zipfile.ZipInfo("alpha-8ed3f6ad/link.json")
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(bad, "a") as archive:
        archive.writestr(info, b"/etc/passwd")
    assert "link.json is no plain file" in refused(zoo, bad)


def test_a_bomb_is_refused_before_it_unfolds(zoo: Zoo, tmp_path: Path, packed: Path) -> None:
    bomb = {"alpha-8ed3f6ad/1.json": bytes(30 << 20)}
    line = refused(zoo, write(tmp_path / "bad.zip", bomb))
    assert re.search(r"unfolds to 31,45\d,\d+ bytes, and 4,\d+,\d+ are the most", line)


def test_more_files_than_any_store_has_are_refused(
    zoo: Zoo, tmp_path: Path, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.results.archive.MOST_FILES", 12)
    assert "13 files, and 12 are the most" in refused(zoo, packed)


def test_a_size_that_lies_is_found(zoo: Zoo, tmp_path: Path, packed: Path) -> None:
    name = "alpha-8ed3f6ad/lfw-e2a638b9.json"
    files = members(packed)
    data = write(tmp_path / "bad.zip", {**files, name: bytes(1 << 20)}).read_bytes()
    # The declared size, in both of the zip's records of it.
    lied = data.replace((1 << 20).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    assert lied != data
    (tmp_path / "bad.zip").write_bytes(lied)
    refused(zoo, tmp_path / "bad.zip")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no whole archive"),
        (b"PK\x03\x04 and no more", "no whole archive"),
        (b"<html>", "no whole archive"),
        (None, "not a file"),
    ],
)
def test_what_is_no_archive_is_said(
    zoo: Zoo, tmp_path: Path, data: bytes | None, said: str
) -> None:
    bad = tmp_path / "bad.zip"
    if data is None:
        os.mkfifo(bad)
    else:
        bad.write_bytes(data)
    assert said in refused(zoo, bad)


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (b"[]", "manifest.json is none of ours"),
        (b'{"schema": 2, "zoo": "1", "files": {}}', "manifest.json is none of ours"),
        (b'{"schema": 1, "zoo": "1", "files": {"a": {"sha256": "x", "bytes": 1}}}', "none of ours"),
        (b"[" * 100_000, "manifest.json is none of ours"),
        (b'{"schema": 1, "zoo": "1", "files": {}}', "is not in its manifest"),
    ],
)
def test_a_manifest_of_another_form_is_refused(
    zoo: Zoo, tmp_path: Path, packed: Path, manifest: bytes, said: str
) -> None:
    assert said in refused(zoo, write(tmp_path / "bad.zip", members(packed), manifest=manifest))


def test_an_archive_without_manifest_or_results_is_refused(zoo: Zoo, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("alpha-8ed3f6ad/a.json", b"{}")
    assert "there is no manifest.json in it" in refused(zoo, tmp_path / "bad.zip")
    assert "there are no results in it" in refused(zoo, write(tmp_path / "empty.zip", {}))
