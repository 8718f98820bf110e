"""models.yaml: what is read, and that each complaint names its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from samples import Zoo

from zoo.entries.registry import Entry, read_registry, registry_path
from zoo.entries.yaml_nodes import RegistryError

WHOLE = """models:
  one:
    file: weights/one.h5
    sha256: {sha256}
    input: {{profile: raw, size: [112, 96], channels: bgr}}
    embedding_size: 512
    source: somewhere
    published:
      protocol: seed
      lfw: {{accuracy: 0.99, threshold: -0.25}}
      agedb_30: {{accuracy: 1}}
    notes: >-
      two
      lines
  two:
    file: /elsewhere/two.keras
    input: {{profile: unit}}
    source: here
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "models.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def complaint(folder: Path, text: str) -> str:
    path = write(folder, text)
    with pytest.raises(RegistryError) as caught:
        read_registry(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:")
    assert "\n" not in message
    return message.removeprefix(f"{path}:")


def entry(**changes: str) -> str:
    """A file with one entry, a line a key, from line 3; a value of '-' leaves the key out."""
    keys = {"file": "a.h5", "input": "{profile: unit}", "source": "here", **changes}
    lines = [f"    {key}: {value}" for key, value in keys.items() if value != "-"]
    return "\n".join(["models:", "  mine:", *lines]) + "\n"


@pytest.mark.parametrize(
    ("given", "profile"),
    [
        ("{profile: raw, crop: 100}", "raw+crop=100"),
        ("{profile: whiten, crop: [100, 90], size: 160}", "whiten+crop=100x90"),
        ("{mean: [123.675, 116.28, 103.53], std: 57.5}", "mean=123.675,116.28,103.53+std=57.5"),
        ("{mean: 0.5, std: 0.5, scale: 1/255}", "insightface"),
        ("{std: 255, crop: [9, 8, 7, 6]}", "unit+crop=9x8@7,6"),
        ("{profile: unit, feed: {phase_train: no, b: true}}", "unit+b=true+phase_train=false"),
        ("{profile: mean=4+std=2}", "mean=4+std=2"),
    ],
)
def test_an_input_in_words_is_a_profile(tmp_path: Path, given: str, profile: str) -> None:
    assert read_registry(write(tmp_path, entry(input=given)))["mine"].profile == profile


@pytest.mark.parametrize(
    ("key", "cause"),
    [
        ("std: 0", "input std: expected numbers above 0; found 0"),
        ("mean: .nan", "input mean: expected numbers"),
        ("mean: [1, 2]", "expected 1 or 3 numbers; found 1,2"),
        ("mean: []", "expected numbers"),
        ("mean: {a: 1}", "mean: expected a number, or three; found a mapping"),
        ("scale: yes", "scale: expected a number"),
        ("profile: unit", "unit says all of scale"),
        ("crop: [-4, 4]", "input crop: expected pixels"),
        ("crop: 2.5", "input crop: expected pixels"),
        ("feed: {phase_train: 0}", "expected true or false"),
        ("feed: 3", "expected keys with values"),
    ],
)
def test_a_wrong_input_names_the_line_of_its_key(tmp_path: Path, key: str, cause: str) -> None:
    other = "std: 2" if key.startswith("scale") else "scale: 1"
    text = entry(input=f"\n      {other}\n      {key}")
    message = complaint(tmp_path, text)
    assert cause in message
    assert message.startswith("5:" if key.startswith("profile") else "6:")


def test_every_key_arrives(tmp_path: Path) -> None:
    entries = read_registry(write(tmp_path, WHOLE.format(sha256="aB" * 32)))
    assert list(entries) == ["one", "two"]
    one, two = entries.values()
    assert one.file == tmp_path / "weights/one.h5"
    assert two.file == Path("/elsewhere/two.keras")
    assert (one.sha256, two.sha256) == ("ab" * 32, None)
    assert (one.profile, one.channels, one.size) == ("raw", "bgr", (112, 96))
    assert (two.profile, two.channels, two.size) == ("unit", "rgb", None)
    assert (one.embedding_size, two.embedding_size) == (512, None)
    assert one.protocol == "seed"
    assert one.published["lfw"].accuracy == 0.99
    assert one.published["lfw"].threshold == -0.25
    assert one.published["agedb_30"].threshold is None
    assert one.notes == "two lines"


def test_one_number_is_a_square_size(tmp_path: Path) -> None:
    entries = read_registry(write(tmp_path, entry(input="{profile: unit, size: 160}")))
    assert entries["mine"].size == (160, 160)


def test_an_entry_can_be_a_key_of_a_dict(tmp_path: Path) -> None:
    # What zoo eval looks up by must not need the figures to be hashable.
    assert {"x": read_registry(write(tmp_path, entry()))["mine"]}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (entry(sorce="x"), 6, "unknown key 'sorce'; did you mean 'source'?"),
        (entry(source="-"), 3, "missing key 'source'"),
        (entry(file="-"), 3, "missing key 'file'"),
        (entry(file="[a]"), 3, "file: expected a path; found a list"),
        (entry(file="12"), 3, "file: expected a path; found '12'"),
        (entry(file="''"), 3, "file: expected a path; found nothing"),
        (entry(input="unit"), 4, "expected keys with values; found 'unit'"),
        (entry(input="{size: 112}"), 4, "missing key 'profile'"),
        (entry(input="{profile: uint}"), 4, "expected one of unit, symmetric"),
        (entry(input="{profile: unit, channel: bgr}"), 4, "did you mean 'channels'?"),
        (entry(input="{profile: unit, channels: gbr}"), 4, "one of rgb, bgr; found 'gbr'"),
        (entry(input="{profile: unit, size: 0}"), 4, "expected pixels"),
        (entry(input="{profile: unit, size: 1.5}"), 4, "expected pixels"),
        (entry(input="{profile: unit, size: yes}"), 4, "expected pixels"),
        (entry(input="{profile: unit, size: [112]}"), 4, "expected pixels"),
        (entry(input="{profile: unit, size: [112, -1]}"), 4, "a whole number of pixels"),
        (entry(embedding_size="'512'"), 6, "expected a whole number above 0"),
        (entry(embedding_size="true"), 6, "expected a whole number above 0"),
        (entry(embedding_size="-512"), 6, "expected a whole number above 0"),
        (entry(sha256="abc"), 6, "expected 64 hexadecimal digits"),
        (entry(sha256="{a: b}"), 6, "expected 64 hexadecimal digits"),
        (entry(notes="[]"), 6, "notes: expected text"),
        (entry(source="2026-99-99"), 5, "source: expected text"),
        (entry(source="!!python/name:os.system x"), 5, "source: expected text"),
        (entry(embedding_size="!!int x"), 6, "expected a whole number"),
        (entry(embedding_size="9" * 5000), 6, "expected a whole number"),
        (entry(published="{lfw: {accuracy: 0.9}}"), 6, "missing key 'protocol'"),
        (entry(published="{protocol: sead}"), 6, "expected one of seed, seed300, kfold"),
        (entry(published="{protocol: seed, lfw: 0.9}"), 6, "published: lfw: expected keys"),
        (entry(published="{protocol: seed, lfw: {accuracy: 99.3}}"), 6, "a number in 0..1"),
        (entry(published="{protocol: seed, lfw: {accuracy: .nan}}"), 6, "a number in 0..1"),
        (entry(published="{protocol: seed, lfw: {threshold: 0.1}}"), 6, "missing key 'accuracy'"),
        (
            entry(published="{protocol: seed, lfw: {accuracy: 0.9, threshold: 1.01}}"),
            6,
            "expected a cosine",
        ),
        (entry(source="a\n    source: b"), 6, "key 'source' stands twice"),
        (entry() + "  mine:\n    file: b\n", 6, "key 'mine' stands twice"),
        (entry() + "model: {}\n", 6, "unknown key 'model'; did you mean 'models'?"),
        ("", 1, "the file is empty"),
        ("models:\n", 1, "models: expected keys with values; found nothing"),
        ("models: [a]\n", 1, "expected keys with values; found a list"),
        ("- a\n", 1, "expected keys with values; found a list"),
        ("models:\n  x: {? [a, b] : c}\n", 2, "expected a plain key; found a list"),
        ("models:\n  x: *nowhere\n", 2, "not YAML"),
        ("models:\n  x: {a: b\n", 3, "not YAML"),
        ("models:\n\tx: 1\n", 2, "not YAML"),
        ("models: {}\n---\nmodels: {}\n", 2, "not YAML"),
        ("models:\n  &x mine: {<<: *x}\n", 2, ""),
    ],
)
def test_what_is_malformed_names_its_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    message = complaint(tmp_path, text)
    assert int(message.split(":")[0]) == line
    assert words in message


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    for data in (b"\xff\xfe\x00", b"\x89HDF\r\n\x1a\n" + bytes(100), b"models: \x00"):
        path.write_bytes(data)
        with pytest.raises(RegistryError, match="not YAML"):
            read_registry(path)


def test_deep_nesting_is_refused_and_not_a_crash(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="not YAML text"):
        read_registry(write(tmp_path, "models: " + "[" * 5000 + "]" * 5000))


def test_an_alias_bomb_costs_nothing(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    with pytest.raises(RegistryError, match="values and 40 levels with every alias written out"):
        read_registry(write(tmp_path, "\n".join(lines)))


def test_an_alias_to_itself_ends(tmp_path: Path) -> None:
    with pytest.raises(RegistryError):
        read_registry(write(tmp_path, "models: &m\n  x: *m\n"))


def test_a_missing_file_is_the_systems_own_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_registry(tmp_path / "none.yaml")


def test_the_nearest_models_yaml_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ZOO_MODELS", raising=False)
    own = registry_path()
    assert own.name == "models.yaml"
    assert own.is_file()
    write(tmp_path, entry())
    assert registry_path() == Path("models.yaml")
    monkeypatch.setenv("ZOO_MODELS", "/a/b.yaml")
    assert registry_path() == Path("/a/b.yaml")
    assert registry_path(Path("given.yaml")) == Path("given.yaml")


def test_the_projects_entries_are_the_published_ones(shared: Path) -> None:
    entries = read_registry(Path(__file__).parents[2] / "models.yaml")
    # | basic_model_arc_split.h5 | 0.993000 | 0.859143 | 0.912667 | 0.125761, 0.068290, 0.084312 |
    rows = re.findall(
        r"^\| (basic_\S+\.h5) \| (\S+) \| (\S+) \| (\S+) \| (\S+), (\S+), (\S+) \|$",
        (shared / "facts" / "training.md").read_text(),
        re.MULTILINE,
    )
    assert len(rows) == 3
    by_file = {entry.file.name: entry for entry in entries.values()}
    for file, *figures in rows:
        entry = by_file[file]
        published = [entry.published[name] for name in ("lfw", "cfp_fp", "agedb_30")]
        assert [row.accuracy for row in published] == [float(x) for x in figures[:3]]
        assert [row.threshold for row in published] == [float(x) for x in figures[3:]]
        assert (entry.protocol, entry.profile, entry.embedding_size) == ("seed", "unit", 512)
        assert "reconstruction" in entry.notes
    assert list(entries)[:4] == ["centsoft", "arc_8", "arc", "r50_arcface"]
    assert not entries["r50_arcface"].published  # nothing of it was trained yet


def test_what_a_model_needs_to_load_and_verify_can_be_stated(tmp_path: Path) -> None:
    published = "{protocol: seed, flip: sum, lfw: {accuracy: 0.9}}"
    text = entry(
        url="https://example.org/a.h5",
        output="embedding",
        custom="[layers:One, layers:Two]",
        published=published,
    )
    (mine,) = read_registry(write(tmp_path, text)).values()
    assert (mine.url, mine.output) == ("https://example.org/a.h5", "embedding")
    assert mine.custom == ("layers:One", "layers:Two")
    assert mine.flip == "sum"
    assert list(mine.published) == ["lfw"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "ftp://example.org/a"}, "starts with http"),
        ({"url": "https:///a"}, "starts with http"),
        ({"custom": "{a: b}"}, "expected module:Class"),
        ({"output": "[a, b]"}, "expected a name"),
        ({"licence": "''"}, "licence: expected a word or two"),
        ({"hash_source": "a page"}, "hash_source: expected 'sha256' beside it"),
        ({"member": "a.onnx"}, "member: expected 'url' beside it"),
        ({"archive_sha256": "f" * 64}, "archive_sha256: expected 'member' beside it"),
        ({"published": "{protocol: seed, flip: twice, lfw: {accuracy: 1}}"}, "none, sum"),
    ],
)
def test_odd_values_of_these_name_their_line(
    tmp_path: Path, changes: dict[str, str], words: str
) -> None:
    message = complaint(tmp_path, entry(**changes))
    assert message.startswith("6:")
    assert words in message


@pytest.mark.parametrize(
    "name", ["/a", "../a", "a/../b", "a//b", "a/", ".", "..", "a\\b", "c:a", "''"]
)
def test_a_member_is_the_name_of_a_file_in_a_zip(tmp_path: Path, name: str) -> None:
    text = entry(url="https://example.org/a.zip", member=name)
    assert "member: expected the name of a file in a zip" in complaint(tmp_path, text)


def test_a_member_of_a_zip_and_its_hashes_arrive(tmp_path: Path) -> None:
    text = entry(
        url="https://example.org/a.zip",
        sha256="a" * 64,
        hash_source="a page",
        member="antelopev2/..a.onnx",
        archive_sha256="B" * 64,
        licence="MIT",
    )
    (mine,) = read_registry(write(tmp_path, text)).values()
    assert (mine.member, mine.archive_sha256) == ("antelopev2/..a.onnx", "b" * 64)
    assert (mine.hash_source, mine.licence) == ("a page", "MIT")
    text = entry(sha256="", hash_source="a page")
    assert "expected 'sha256' beside it" in complaint(tmp_path, text)


OWN = read_registry(Path(__file__).parents[2] / "models.yaml")


@pytest.mark.parametrize("own", OWN.values(), ids=OWN)
def test_each_of_the_projects_entries_says_what_is_to_be_known(own: Entry) -> None:
    assert own.licence
    assert len(own.licence) <= 10  # the list has 80 columns
    assert own.source
    assert own.size is not None
    assert own.url is None or own.url.startswith("https://")
    assert (own.sha256 is None) == (own.hash_source is None)
    assert (own.member is None) == (own.archive_sha256 is None)
    assert own.member is None or own.sha256 is not None
    assert own.protocol is not None or not own.published
    assert own.url or own.recipe or "no address" in own.source


def test_no_file_is_that_of_two_entries() -> None:
    hashes = [own.sha256 for own in OWN.values() if own.sha256]
    assert len(set(hashes)) == len(hashes)
    assert len({own.file for own in OWN.values()}) == len(OWN)


def test_hashes_addresses_and_figures_are_those_that_were_read(shared: Path) -> None:
    table = (shared / "facts" / "weights.tsv").read_text().splitlines()
    hashed = [own for own in OWN.values() if own.sha256]
    assert len(hashed) == 16
    for own in hashed:
        of_it = [row for row in table if own.sha256 in row]
        assert of_it, own.name
        if own.archive_sha256:
            assert any(own.archive_sha256 in row for row in of_it)
        text = " ".join(of_it)
        for row in own.published.values():
            assert f"{100 * row.accuracy:.2f}" in text, own.name
        if not own.name.startswith(("sface_int8", "w600k_mbf")):  # whose addresses it has not
            assert any(own.url in row for row in of_it), own.name


def test_a_key_that_moves_the_cursor_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text('models:\n  "\\e[31mred": {file: a.h5, source: s, input: {profile: unit}}\n')
    with pytest.raises(RegistryError, match=r"models.yaml:2: .*expected printable") as caught:
        read_registry(path)
    assert str(caught.value).isprintable()


def test_texts_of_an_entry_move_no_cursor(zoo: Zoo) -> None:
    Path("models.yaml").write_text(
        'models:\n  a: {file: a.h5, source: "\\e[31mred", input: {profile: unit}}\n'
    )
    shown = zoo("show", "a")
    assert (shown.code, "\x1b" in shown.out) == (0, False)
    assert "source     \\x1b[31mred" in shown.out
