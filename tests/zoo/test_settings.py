"""zoo.toml: an option comes before the environment, and that before the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from evaluator.errors import InputError
from tests.command import Zoo
from zoo.cli import application
from zoo.entries.lookup import ModelChoice, bin_folders
from zoo.entries.registry import own_registry, read_registry, registry_path
from zoo.evaluate.request import Request, checked_model
from zoo.terminal.settings import KEYS, read_settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and no variables of ours."""
    monkeypatch.chdir(tmp_path)
    for name in ("ZOO_DATA", "ZOO_MODELS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def parsed(command: str, *arguments: str) -> dict[str, Any]:
    """The parameters of a command as it gets them."""
    group: Any = typer.main.get_command(application(command))
    defaults = read_settings().defaults(group)[command]
    return group.commands[command].make_context(command, [*arguments], default_map=defaults).params


def test_no_file_asks_for_nothing(folder: Path) -> None:
    assert read_settings().path is None
    assert parsed("eval")["results"] == Path("results")
    assert parsed("eval")["flip"] == "none"


def test_an_option_comes_before_the_file(folder: Path) -> None:
    (folder / "zoo.toml").write_text("""
        results = "kept"
        flip = "sum"
        jobs = 3
        batch-size = 8
        decoder = "fast"
        precision = "bfloat16"
        engine = "openvino"
    """)
    stated = parsed("eval")
    assert (stated["results"], stated["flip"], stated["jobs"]) == (Path("kept"), "sum", 3)
    assert (stated["batch_size"], stated["decoder"]) == (8, "fast")
    assert (stated["precision"], stated["engine"]) == ("bfloat16", "openvino")
    given = parsed("eval", "--results", "other", "--flip", "none", "-j", "1")
    assert (given["results"], given["flip"], given["jobs"]) == (Path("other"), "none", 1)
    # What `zoo eval` calls so is a filter to others, which shall not hide results.
    assert parsed("leaderboard")["results"] == [Path("kept")]
    assert parsed("compare", "a", "b")["flip"] is None


def test_results_are_looked_for_where_the_file_says(zoo: Zoo, tmp_path: Path) -> None:
    (tmp_path / "zoo.toml").write_text('results = "kept"')
    assert "kept" in zoo("leaderboard").err
    assert "other" in zoo("leaderboard", "--results", "other").err
    assert "kept" in zoo("results", "list").err


def test_bins_and_entries_by_option_environment_and_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("option", "variable", "file"):
        (folder / name).mkdir()
    (folder / "zoo.toml").write_text('data = "file"\nregistry = "file.yaml"')
    here = [Path("datasets"), Path()]
    assert bin_folders([]) == [Path("file"), *here]
    assert registry_path() == Path("file.yaml")
    monkeypatch.setenv("ZOO_DATA", "variable")
    monkeypatch.setenv("ZOO_MODELS", "variable.yaml")
    assert bin_folders([]) == [Path("variable"), Path("file"), *here]
    assert registry_path() == Path("variable.yaml")
    assert bin_folders([Path("option")])[:2] == [Path("option"), Path("variable")]
    assert registry_path(Path("option.yaml")) == Path("option.yaml")
    (folder / "zoo.toml").write_text('data = ["a", "b"]')
    assert bin_folders([])[1:3] == [Path("a"), Path("b")]


def test_the_input_is_of_files_that_state_none(folder: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File("model.h5", "w") as file:
        file.attrs["model_config"] = "{}"
    (folder / "zoo.toml").write_text('input = "raw"\nchannels = "bgr"')
    bare = ModelChoice("model", Path("model.h5"))
    entry = ModelChoice("arc_8", Path("model.h5"), read_registry(own_registry())["centsoft"])

    def loaded(choice: ModelChoice, **asked: str) -> tuple[str | None, str]:
        request = Request(models=[choice], bins=[], **asked)
        options = checked_model(choice, request, unseen=True)[1]
        return options.profile, options.channels

    assert loaded(bare) == ("raw", "bgr")
    assert loaded(bare, profile="unit") == ("unit", "bgr")
    assert loaded(bare, channels="rgb") == ("raw", "rgb")
    assert loaded(entry) == ("unit", "rgb")


def test_pyproject_is_read_where_there_is_no_zoo_toml(folder: Path) -> None:
    (folder / "pyproject.toml").write_text('[project]\nname = "x"\n[tool.zoo]\nflip = "sum"')
    assert read_settings().values == {"flip": "sum"}
    (folder / "zoo.toml").write_text("jobs = 2")
    assert read_settings().values == {"jobs": 2}


def test_a_parent_folders_file_is_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "zoo.toml").write_text("jobs = 2")
    (folder / "inside").mkdir()
    monkeypatch.chdir(folder / "inside")
    assert read_settings().path is None


@pytest.mark.parametrize("key", ["trust", "custom", "backend", "Results", "bins", "nan"])
def test_another_key_is_refused_and_those_there_are_are_named(zoo: Zoo, key: str) -> None:
    Path("zoo.toml").write_text(f"{key} = true")
    done = zoo("leaderboard")
    assert done.code == 2
    assert f"zoo.toml: unknown key '{key}'" in done.err
    assert all(name in done.err for name in KEYS)
    assert not {"trust", "custom", "backend"} & KEYS.keys()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jobs = true", "jobs: expected a whole number in 1..4096; found True"),
        ("jobs = 0", "jobs: expected a whole number"),
        ("jobs = 2.0", "jobs: expected a whole number"),
        ("flip = 'both'", "flip: expected one of none, sum; found 'both'"),
        ("input = ['raw']", "input: expected one of unit, symmetric"),
        ("input = 'mean=a'", "input: expected one of unit, symmetric"),
        ("channels = 'gray'", "channels: expected one of rgb, bgr"),
        ("data = ['a', 1]", "data: expected a path, or a list of paths"),
        ("results = ''", "results: expected a path"),
        ("registry = 1979-05-27", "registry: expected a path"),
        ("flip = ", "is no TOML"),
        ("flip = 'sum'\nflip = 'sum'", "is no TOML"),
        ("a = " + "[" * 5000, "is no TOML"),
        ("[eval]\nflip = 'sum'", "unknown key 'eval'"),
        ("# " + "x" * 2**20, "at most 1 MiB"),
    ],
)
def test_a_wrong_file_is_one_line(zoo: Zoo, text: str, said: str) -> None:
    Path("zoo.toml").write_text(text)
    done = zoo("leaderboard")
    assert done.code == 2
    assert said in done.err
    assert done.err.startswith("zoo: error: zoo.toml: ")
    assert done.err.count("\n") == 1


def test_a_file_that_cannot_be_read_is_one_line(zoo: Zoo) -> None:
    Path("zoo.toml").mkdir()
    assert "zoo.toml: expected a file" in zoo("leaderboard").err
    Path("zoo.toml").rmdir()
    Path("zoo.toml").write_bytes(b"results = '\xff'")
    assert "zoo.toml: is no TOML" in zoo("leaderboard").err
    unreadable = Path("/proc/self/mem")
    if unreadable.exists():  # a regular file that gives an error when read, to root as well
        Path("zoo.toml").unlink()
        Path("zoo.toml").symlink_to(unreadable)
        assert zoo("leaderboard").code == 2


def test_help_and_doctor_work_beside_a_wrong_file(zoo: Zoo) -> None:
    from zoo.doctor.findings import _bins, _entries, _settings

    Path("zoo.toml").write_text("trust = true")
    assert zoo("--help").code == 0
    assert zoo("eval", "--help").code == 0
    assert zoo("list").code == 2
    problems: list[str] = []
    assert _settings(Path("results"), None, problems)["file"] is None
    assert _entries(None, problems)["entries"] == []
    assert [each["folder"] for each in _bins([], problems)] == ["datasets", "."]
    assert "unknown key 'trust'" in problems[0]


def test_doctor_says_what_comes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo.doctor.findings import _settings, _settings_text

    (folder / "zoo.toml").write_text('results = "kept"\nregistry = "m.yaml"\nflip = "sum"')
    monkeypatch.setenv("ZOO_MODELS", "other.yaml")
    found = _settings(Path("kept"), None, [])
    assert found["overridden"] == {"registry": "$ZOO_MODELS"}
    assert _settings_text(found) == (
        "zoo.toml: results kept, registry m.yaml ($ZOO_MODELS comes first), flip sum"
    )
    assert _settings(Path("other"), None, [])["overridden"]["results"] == "--results"
    (folder / "zoo.toml").unlink()
    assert _settings_text(_settings(Path("results"), None, [])).startswith("none")


def test_zoo_eval_says_what_a_file_changes(zoo: Zoo) -> None:
    Path("zoo.toml").write_text('jobs = 2\nflip = "sum"\ninput = "raw"')
    Path("lfw.bin").write_bytes(b"not a bin")
    assert (
        "zoo.toml: flip sum, input raw, where nothing else is said"
        in zoo("eval", "--scores", "none.csv").err
    )


def test_the_guide_shows_every_key_and_a_file_that_is_read(folder: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "commands.md"
    (folder / "zoo.toml").write_text(page.read_text().split("```text\n", 1)[1].split("```", 1)[0])
    assert list(read_settings().values) == list(KEYS)


def test_a_wrong_file_is_raised_to_python(folder: Path) -> None:
    (folder / "zoo.toml").write_text("trust = true")
    with pytest.raises(InputError, match="unknown key"):
        registry_path()


def test_an_input_in_words_is_what_its_name_is(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("zoo.toml").write_text('input = "scale=1/255"')
    assert read_settings().values == {"input": "unit"}
