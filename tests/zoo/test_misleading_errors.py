"""Plausible wrong calls: each line names what is near, or what to give instead."""

from __future__ import annotations

from pathlib import Path

import pytest
from samples import Zoo
from small_models import save_projection
from stores import cosines, sha, store


@pytest.fixture(autouse=True)
def _here(zoo: Zoo) -> None:
    """A folder with a model, a bin and results, as a demo leaves them."""
    for name in ("demo", "empty", "keras"):
        Path(name).mkdir()
    save_projection(Path("demo/net.onnx"))
    Path("demo/faces.bin").write_bytes(b"no bin, but its name is one's")
    Path("keras/only.keras").write_bytes(b"x")
    (Path("demo/results") / f"bin-{'0' * 64}.h5").parent.mkdir()
    Path(f"demo/results/bin-{'0' * 64}.h5").write_bytes(b"facts of a bin, and no model")
    store(Path("demo/results"), "net", cosines(200, noise=1, seed=1))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("eval demo/nett.onnx --bins demo/faces.bin", "did you mean 'demo/net.onnx'?"),
        ("eval demo/net.onnx --bins demo/faces.bin --batch-size 1.5", "number, found '1.5'"),
        ("compare a b --margin 0.5%", "--margin: expected a number, found '0.5%'"),
        ("eval demo/net.onnx --bins demo/faces.bin -j x", "--jobs / -j: expected a whole number"),
        ("compare a b --results gone", "there is no folder gone; zoo eval stores results"),
        ("eval dem/net.onnx --bins demo/faces.bin", "there is no folder dem"),
        ("eval demo/net.onnx --bins demo/face.bin", "did you mean 'demo/faces.bin'?"),
        ("eval demo/net.onnx --bins demo", "name the bins in it, as demo/faces.bin, or"),
        ("eval demo/net.onnx --bins empty", "name the bins in it (there is none), or"),
        ("eval empty --bins demo/faces.bin", "no model file; give a model's path"),
        ("eval keras --bins demo/faces.bin", "give the model files in it: keras/only.keras"),
        ("eval demo/results --bins demo/faces.bin", "no model file; give a model's path"),
        ("leaderboard --results demo", "no stored results there; did you mean demo/results?"),
        ("leaderboard --results empty", "no stored results there; make some with zoo eval"),
        ("report --results demo/results gone.keras", "nothing stored has that name or hash"),
        ("report --results demo/results demo/faces.bin", "nothing stored was measured of it"),
        ("leaderboard --results demo/results --models zzz*", "nothing stored has a name like that"),
        ("show demo/gone.keras", "there is no such file; zoo show takes an entry"),
        ("show demo/net.onnx", "no run and no entry; zoo show takes an entry"),
        ("compare zzz* x --results demo/results", "the pattern matches no file, and no model"),
        ("compare demo/nett.onnx x --results demo/results", "did you mean 'demo/net.onnx'?"),
        ("compare demo/x.h5 x --results demo/results", "none that was measured there is stored in"),
        ("threshold net --results demo/results --far 1", "a rate between 0 and 1, as 1e-3 or 0.1%"),
        ("groups net --results demo/results --far x%", "a rate between 0 and 1, as 1e-3 or 0.1%"),
        ("discard net --quality norm --far 200%", "a rate between 0 and 1, as 1e-3 or 0.1%"),
        ("report --results demo", "no stored results there; did you mean demo/results?"),
    ],
)
def test_a_wrong_call_is_told_what_to_give(zoo: Zoo, call: str, said: str) -> None:
    done = zoo(*call.split())
    assert (done.code, done.out) == (2, "")
    [line] = done.error_lines
    assert said in line
    assert "*.h5" not in line


def test_a_rate_in_percent_is_the_share(zoo: Zoo) -> None:
    for command in (("threshold",), ("groups",), ("discard", "--quality", "q.csv")):
        Path("q.csv").write_text("image,quality\n" + "".join(f"{i},{i}\n" for i in range(400)))
        asked = (*command, "net", "--results", "demo/results", "--format", "csv", "--far")
        share, percent = zoo(*asked, "0.1"), zoo(*asked, "10%")
        assert share.code == 0 or command == ("groups",)
        assert (percent.code, percent.out) == (share.code, share.out)


def test_models_without_a_common_bin_are_told_apart(zoo: Zoo) -> None:
    for run, bin in (("one", "lfw"), ("two", "agedb_30")):
        scores = cosines(200, noise=1, seed=1, bin=bin)
        store(Path("results"), "best", scores, bin=bin, model_hash=sha(run), path=f"{run}/best.h5")
    done = zoo("compare", "one/best", "two/best")
    assert done.code == 2
    assert "one/best and two/best share no bin that can be compared" in done.error_lines[0]
    assert "one/best has lfw" in done.error_lines[0]
