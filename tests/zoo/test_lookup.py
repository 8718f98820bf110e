"""From names and paths to files."""

from __future__ import annotations

import pickle
import shutil
import zipfile
from pathlib import Path

import pytest

from evaluator.bins.verification_set import read_bin
from evaluator.errors import InputError, unknown_name
from zoo.entries.lookup import bin_folders, every_bin, resolve_bins, resolve_models
from zoo.entries.registry import Entry, read_registry


@pytest.fixture
def entries(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Entry]:
    """Entries `here` (weights present) and `away` (weights missing); the test runs in tmp_path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ZOO_DATA", raising=False)
    rows = "".join(
        f"  {name}:\n    file: {file}\n    input: {{profile: raw}}\n    source: s\n"
        for name, file in (("here", models / "a.onnx"), ("away", "away.h5"))
    )
    (tmp_path / "models.yaml").write_text("models:\n" + rows)
    return read_registry(tmp_path / "models.yaml")


def refusal(values: list[str], entries: dict[str, Entry]) -> str:
    with pytest.raises(InputError) as caught:
        resolve_models(values, entries)
    return str(caught.value)


def bin_refusal(value: str, entries: dict[str, Entry], *folders: Path) -> str:
    with pytest.raises(InputError) as caught:
        resolve_bins([value], folders, entries)
    return str(caught.value)


def test_weights_that_are_not_here_name_the_command_that_brings_them(tmp_path: Path) -> None:
    (tmp_path / "models.yaml").write_text(
        "models:\n  far: {file: a.h5, source: s, input: {profile: unit}, url: 'https://a.org/a'}\n"
    )
    said = refusal(["far"], read_registry(tmp_path / "models.yaml"))
    assert "`zoo pull far` brings them, or give the path" in said


def test_of_many_names_the_first_are_listed() -> None:
    names = [f"model-{number}" for number in range(40)]
    said = unknown_name("zzz", names)
    assert said == "there is: " + ", ".join(names[:20]) + " and 20 more"
    assert unknown_name("zzz", names[:24]) == "there is: " + ", ".join(names[:24])


def test_models_come_in_order_each_once(entries: dict[str, Entry], models: Path) -> None:
    b, a = str(models / "b.onnx"), str(models / "a.onnx")
    chosen = resolve_models([b, "here", a, b], entries)
    assert [choice.name for choice in chosen] == ["b", "here"]
    assert chosen[1].entry is entries["here"]  # the file given later does not take its range away


def test_a_file_goes_before_an_entry_of_its_name(entries: dict[str, Entry], models: Path) -> None:
    shutil.copy(models / "b.onnx", "here")
    (choice,) = resolve_models(["here"], entries)
    assert choice.path == Path("here")
    assert choice.entry is None


def test_an_entry_without_its_weights_says_where_they_belong(
    entries: dict[str, Entry],
) -> None:
    assert "its weights are not at " in refusal(["away"], entries)
    assert "away.h5" in refusal(["away"], entries)


def test_an_unknown_model_gets_near_names(entries: dict[str, Entry]) -> None:
    assert "did you mean 'here'?" in refusal(["heer"], entries)
    assert "there is: here, away" in refusal(["zzz"], entries)


def test_a_bin_among_the_models_is_told(entries: dict[str, Entry], bins: Path) -> None:
    assert "this is a bin, not a model; put it after --bins" in refusal(
        [str(bins / "easy.bin")], entries
    )


def test_a_folder_and_nothing_are_no_models(entries: dict[str, Entry], models: Path) -> None:
    assert "a folder, but not a SavedModel" in refusal([str(models)], entries)
    assert "a MODEL is empty" in refusal([""], entries)


@pytest.mark.parametrize("kind", ["path", "entry here", "entry away"])
def test_a_model_after_bins_says_models_first(
    entries: dict[str, Entry], models: Path, kind: str
) -> None:
    value = str(models / "a.onnx") if kind == "path" else kind.split()[1]
    message = bin_refusal(value, entries)
    assert "this is a model" in message
    assert "put models first: zoo eval" in message


def test_bins_are_found_in_the_folders_in_order(
    entries: dict[str, Entry], bins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("given", "listed", "datasets"):
        (tmp_path / name).mkdir()
        shutil.copy(bins / "easy.bin", tmp_path / name / "lfw.bin")
    shutil.copy(bins / "easy.bin", "lfw.bin")
    monkeypatch.setenv("ZOO_DATA", f"nowhere:{tmp_path / 'listed'}")
    for expected in ("given", "listed", "datasets", ""):
        folders = bin_folders([Path("given")] if Path("given").is_dir() else [])
        (found,) = resolve_bins(["lfw"], folders, entries)
        assert found.resolve() == tmp_path / expected / "lfw.bin"
        if expected:  # here, lfw.bin is a path
            Path("lfw.bin").rename("hidden")
            assert resolve_bins(["lfw.bin"], folders, entries) == [found]
            Path("hidden").rename("lfw.bin")
        found.unlink()
        if expected == "given":
            Path("given").rmdir()


def test_an_unknown_bin_says_where_it_looked_and_what_is_there(
    entries: dict[str, Entry], bins: Path, tmp_path: Path
) -> None:
    message = bin_refusal("easi", entries, bins, tmp_path)
    assert f"in {bins}, {tmp_path}" in message
    assert "did you mean 'easy'? there is: easy, other" in message
    assert "no bins are there. Name their folder with --data DIR" in bin_refusal(
        "easy", entries, tmp_path
    )


def test_a_folder_of_bins_is_given_as_data(entries: dict[str, Entry], bins: Path) -> None:
    assert "give it as --data" in bin_refusal(str(bins), entries, Path())


def test_every_bin_is_listed_once_by_the_first_folder(bins: Path, tmp_path: Path) -> None:
    shutil.copy(bins / "easy.bin", tmp_path / "easy.bin")
    shutil.copy(bins / "easy.bin", tmp_path / "more.bin")
    found = every_bin([bins, tmp_path / "none", tmp_path])
    assert found == [bins / "easy.bin", bins / "other.bin", tmp_path / "more.bin"]


def test_two_ways_to_one_bin_are_one_bin(entries: dict[str, Entry], bins: Path) -> None:
    found = resolve_bins(["easy", str(bins / "easy.bin")], [bins], entries)
    assert len(found) == 1


def test_names_of_files_move_no_cursor(
    entries: dict[str, Entry], models: Path, bins: Path, tmp_path: Path
) -> None:
    model = shutil.copy(models / "a.onnx", tmp_path / "\x1b[31mred\nline.keras")
    assert resolve_models([str(model)], entries)[0].name == "\\x1b[31mred line"
    shutil.copy(bins / "easy.bin", tmp_path / "\x1b[2J.bin")
    [path] = resolve_bins(["\x1b[2J"], [tmp_path], entries)
    assert read_bin(path).name == "\\x1b[2J"


@pytest.mark.parametrize("name", ["old.pth", "new.pt"])
def test_a_pytorch_checkpoint_is_told_from_a_bin(
    entries: dict[str, Entry], tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    if name == "old.pth":
        # torch.save began so before version 1.6.
        path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps({"weight": 1}))
    message = refusal([str(path)], entries)
    assert f"`zoo export {path} --out {path.stem}.keras` makes a model" in message
    assert "ONNX" in message
