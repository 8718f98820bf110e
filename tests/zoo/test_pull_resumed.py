"""`zoo pull` interrupted, gone on with, of several entries, and of what has no hash."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
from loopback import (
    Handler,
    answers,
    breaks_off,
    digest,
    entry,
    in_turn,
    keeps,
    left_in,
    sends,
)
from samples import Zoo

from tests.command import HEED_SIGNALS, ROOT, zoo_after

Serve = Callable[[Handler], str]


def test_a_part_is_gone_on_with_while_its_server_has_the_same_file(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Serve
) -> None:
    asked: list[str] = []
    tag = '"v1"'
    url = serve(in_turn(breaks_off(weights, tag=tag), keeps(weights, tag=tag, asked=asked)))
    target = entry(tmp_path, url, digest(weights))
    assert zoo("pull", "far").code == 2
    assert sorted(left_in(target.parent)) == ["far.h5.part", "far.h5.part.etag"]
    assert zoo("pull", "far").code == 0
    assert asked == [f"bytes={len(weights) // 2}- {tag}"]
    assert target.read_bytes() == weights
    assert left_in(target.parent) == ["far.h5"]


@pytest.mark.parametrize("server", ["as HTTP says", "ignores If-Range", "no ETag by now"])
def test_a_file_that_changed_meanwhile_is_begun_anew(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Serve, server: str
) -> None:
    newer = keeps(weights, tag='"v2"')

    def careless(request: BaseHTTPRequestHandler) -> None:
        del request.headers["If-Range"]
        newer(request)

    then = {"as HTTP says": newer, "ignores If-Range": careless}.get(server, keeps(weights))
    url = serve(in_turn(breaks_off(bytes(len(weights)), tag='"v1"'), then))
    target = entry(tmp_path, url, digest(weights))
    assert zoo("pull", "far").code == 2
    assert target.with_name("far.h5.part").read_bytes() == bytes(len(weights) // 2)
    outcome = zoo("pull", "far")
    assert (outcome.code, outcome.err) == (0, "")
    assert target.read_bytes() == weights
    assert left_in(target.parent) == ["far.h5"]


def test_a_part_of_another_address_is_begun_anew(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Serve
) -> None:
    asked: list[str] = []
    entry(tmp_path, serve(breaks_off(bytes(900), tag='"a"')), digest(weights))
    assert zoo("pull", "far").code == 2
    target = entry(tmp_path, serve(keeps(weights, tag='"a"', asked=asked)), digest(weights))
    assert zoo("pull", "far").code == 0
    assert asked == ["None None"]
    assert left_in(target.parent) == ["far.h5"]


@pytest.mark.parametrize("note", [b"", b"nonsense", b"\xff", b"x" * 20_000])
def test_a_note_that_nobody_here_wrote_begins_anew(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Serve, note: bytes
) -> None:
    target = entry(tmp_path, serve(keeps(weights)), digest(weights))
    target.parent.mkdir()
    target.with_name("far.h5.part").write_bytes(b"9 bytes..")
    target.with_name("far.h5.part.etag").write_bytes(note)
    assert zoo("pull", "far").code == 0
    assert left_in(target.parent) == ["far.h5"]


def test_a_part_that_is_whole_is_put_in_place(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Serve
) -> None:
    asked: list[str] = []
    target = entry(tmp_path, serve(keeps(weights, asked=asked)), digest(weights))
    target.parent.mkdir()
    target.with_name("far.h5.part").write_bytes(weights)
    assert zoo("pull", "far").code == 0
    assert asked == [f"bytes={len(weights)}- None"]
    assert target.read_bytes() == weights


def test_ctrl_c_keeps_what_came_and_the_next_call_goes_on(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Serve
) -> None:
    part = tmp_path / "weights" / "far.h5.part"
    pulling: list[subprocess.Popen[str]] = []

    def interrupts(request: BaseHTTPRequestHandler) -> None:
        stated = (("Content-Length", str(len(weights))),)
        answers(body=weights[: len(weights) // 2], headers=stated)(request)
        while not (part.exists() and part.stat().st_size):
            time.sleep(0.005)
        pulling[0].send_signal(signal.SIGINT)
        pulling[0].wait()  # the connection stays until that is heard

    asked: list[str] = []
    url = serve(in_turn(interrupts, keeps(weights, asked=asked)))
    target = entry(tmp_path, url, digest(weights))
    pulling.append(
        subprocess.Popen(
            [*zoo_after(HEED_SIGNALS), "pull", "far"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
    )
    _, said = pulling[0].communicate()
    assert pulling[0].returncode == 130
    kept = part.stat().st_size
    assert f"far.h5.part keeps the {kept:,} bytes that came; the same command" in said
    assert zoo("pull", "far").code == 0
    assert asked == [f"bytes={kept}- None"]
    assert target.read_bytes() == weights


def test_the_little_that_came_is_kept_too(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Serve
) -> None:
    # Less than a file holds back before it writes.
    stated = (("Content-Length", str(len(weights))),)
    url = serve(in_turn(answers(body=weights[:2_000], headers=stated), keeps(weights)))
    target = entry(tmp_path, url, digest(weights))
    assert zoo("pull", "far").code == 2
    assert target.with_name("far.h5.part").read_bytes() == weights[:2_000]
    assert zoo("pull", "far").code == 0


def test_a_page_in_place_of_a_model_is_said_to_be_one(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Serve
) -> None:
    page = b"<!doctype html><title>log in</title>"
    stated = answers(body=page, headers=(("Content-Type", "Text/HTML; charset=utf-8"),))
    for server in (stated, sends(page)):
        target = entry(tmp_path, serve(server), digest(weights))
        outcome = zoo("pull", "far")
        assert outcome.code == 2
        assert "a web page, and no model file" in outcome.error_lines[0]
        assert left_in(target.parent) == []


def test_a_disk_that_fills_is_one_line(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Serve
) -> None:
    target = entry(tmp_path, serve(sends(weights)), digest(weights))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, limits[1]))
    try:
        outcome = zoo("pull", "far")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert outcome.code == 2
    assert outcome.error_lines == ["zoo: error: weights/far.h5: File too large"]
    assert set(left_in(target.parent)) <= {"far.h5.part"}
    assert zoo("pull", "far").code == 0


def test_a_file_that_is_put_in_place_meanwhile_is_not_written_to(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = entry(tmp_path, serve(keeps(weights)), digest(weights))
    lock = fcntl.flock

    def late(*arguments: object) -> None:
        part = target.with_name("far.h5.part")
        part.write_bytes(weights)
        part.rename(target)  # as the other process does, between this one's opening and locking
        lock(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("fcntl.flock", late)
    assert "another process is downloading it" in zoo("pull", "far").error_lines[0]
    assert target.read_bytes() == weights


def test_pytorch_weights_are_a_file_that_may_come(zoo: Zoo, tmp_path: Path, serve: Serve) -> None:
    values = np.arange(6, dtype="<f4").tobytes()
    listed = json.dumps({"a": {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}}).encode()
    data = len(listed).to_bytes(8, "little") + listed + values
    target = entry(tmp_path, serve(sends(data)), digest(data))
    assert zoo("pull", "far").code == 0
    assert target.read_bytes() == data


def write_entries(folder: Path, *rows: tuple[str, str, str]) -> None:
    """Entries of a name, an address ("": none) and a SHA-256 ("": none)."""
    text = "models:\n"
    for name, url, sha256 in rows:
        text += f"  {name}:\n    file: weights/{name}.h5\n    source: a drive\n"
        text += f"    input: {{profile: unit}}\n    sha256: {sha256}\n"
        text += f"    url: {url}\n" if url else ""
    (folder / "models.yaml").write_text(text)


def test_of_several_the_others_go_on_and_the_code_says_so(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Serve
) -> None:
    good, gone = serve(sends(weights)), serve(sends(b"gone", code=404))
    right = digest(weights)
    rows = [("one", good, right), ("lost", gone, right), ("near", "", ""), ("two", good, right)]
    write_entries(tmp_path, *rows, ("new", good, ""))
    outcome = zoo("pull", "one", "lost", "near", "new", "two", "one")
    assert outcome.code == 2
    assert outcome.out == "weights/one.h5\nweights/two.h5\n"
    assert ["404" in line for line in outcome.error_lines] == [True, False, False]
    assert "'near' states no url; its source: a drive" in outcome.error_lines[1]
    assert "'new': no SHA-256 is known" in outcome.error_lines[2]
    assert outcome.err.splitlines()[-1] == "2 of 5 entries have their weights"
    assert sorted(left_in(tmp_path / "weights")) == ["one.h5", "two.h5"]
    # A name that is none is said before anything is asked for.
    assert zoo("pull", "lost", "thre").err.startswith("zoo: error: no entry 'thre'")


def test_all_are_those_with_an_address_and_a_hash(
    zoo: Zoo, tmp_path: Path, weights: bytes, serve: Serve
) -> None:
    asked: list[str] = []
    good, unknown = serve(sends(weights)), serve(keeps(weights, asked=asked))
    write_entries(tmp_path, ("a", good, digest(weights)), ("b", unknown, ""), ("c", "", ""))
    outcome = zoo("pull", "--all")
    assert (outcome.code, outcome.out, asked) == (0, "weights/a.h5\n", [])
    assert "no SHA-256 is known of b: left out; --unverified takes them" in outcome.err
    outcome = zoo("pull", "--all", "--unverified")
    assert (outcome.code, outcome.out) == (0, "weights/a.h5\nweights/b.h5\n")
    assert f"    sha256: {digest(weights)}\n" in outcome.err
    assert len(asked) == 1
    assert zoo("pull", "--all").code == 0  # what is here is no question


@pytest.mark.parametrize("arguments", [[], ["a", "--all"]])
def test_either_entries_or_all_are_named(zoo: Zoo, tmp_path: Path, arguments: list[str]) -> None:
    write_entries(tmp_path, ("a", "", ""))
    assert "give the ENTRY to pull" in zoo("pull", *arguments).error_lines[0]


def test_the_list_says_how_weights_are_had(zoo: Zoo, tmp_path: Path) -> None:
    url = "https://example.org/a.h5"
    write_entries(tmp_path, ("here", url, ""), ("there", url, "f" * 64), ("un", url, ""))
    with (tmp_path / "models.yaml").open("a") as file:
        file.write("    licence: MIT\n  none: {file: n.h5, source: s, input: {profile: raw}}\n")
    (tmp_path / "weights").mkdir()
    Path("weights/here.h5").write_bytes(b"")
    rows = [line.split() for line in zoo("list").out.splitlines()[1:]]
    assert [(row[0], row[-2], row[-1]) for row in rows] == [
        ("here", "here", "-"),
        ("there", "pull", "-"),
        ("un", "unverified", "MIT"),
        ("none", "missing", "-"),
    ]
    listed = json.loads(zoo("list", "--format", "json").out)
    assert [each["weights"] for each in listed] == [["here"], ["pull"], ["unverified"], ["missing"]]
    assert listed[2]["licence"] == "MIT"
