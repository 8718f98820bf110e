"""PyTorch weights on the command line: exported, and told where they cannot be evaluated."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from evaluator.models.load import load_embedder
from evaluator.models.options import LoadOptions
from fuzz.torch_seeds import few, pickled, text, zip_file
from tests.command import Zoo

FILES = Path(__file__).parents[1] / "training" / "pytorch_files"


@pytest.mark.slow
@pytest.mark.usefixtures("same_process")
@pytest.mark.parametrize(("file", "channels"), [("arcface.pth", "rgb"), ("adaface.ckpt", "bgr")])
def test_an_export_embeds_as_pytorch_did_and_states_its_input(
    file: str, channels: str, zoo: Zoo, tmp_path: Path
) -> None:
    shutil.copy(FILES / file, tmp_path)
    outcome = zoo("export", file, "-o", "mine.keras")
    assert outcome.code == 0, outcome.err
    assert outcome.out == "mine.keras\n"
    assert f"for 16x16 images, {channels}, by the profile insightface" in outcome.err
    assert ("state_dict.head.kernel" in outcome.err) == (file == "adaface.ckpt")
    stated = json.loads((tmp_path / "mine.keras.input.json").read_text())
    assert (stated["profile"], stated["channels"]) == ("insightface", channels)
    images = (np.random.default_rng(0).random((2, 16, 16, 3)) * 2 - 1).astype(np.float32)
    options = LoadOptions(profile="insightface")
    found = load_embedder(tmp_path / "mine.keras", options).forward(images)
    expected = np.array(json.loads((FILES / "embeddings.json").read_text())[file])
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    assert (1 - (found * expected).sum(axis=1) / lengths).max() < 1e-6


@pytest.mark.parametrize("name", ["arcface.pth", "arcface-legacy.pth", "adaface.ckpt"])
def test_eval_says_what_the_file_is_and_what_makes_a_model_of_it(
    name: str, zoo: Zoo, tmp_path: Path
) -> None:
    shutil.copy(FILES / name, tmp_path)
    (tmp_path / "b.bin").write_bytes(pickle.dumps(([b"", b""], [True])))
    outcome = zoo("eval", name, "--bins", "b.bin")
    assert outcome.code == 2
    [line] = outcome.error_lines
    stem = Path(name).stem
    assert f"{name}: PyTorch's files hold weights and no network" in line
    assert f"`zoo export {name} --out {stem}.keras` makes a model" in line


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            zip_file({}, pickle=pickled(b"cos\nsystem\n" + text("touch owned") + b"\x85R")),
            "is code",
        ),
        (zip_file(few(), pickle=b"\x80\x02}"), "is cut short"),
        (zip_file(few()), "weights of a network that is not known"),
    ],
)
def test_what_cannot_be_exported_is_one_line(
    data: bytes, said: str, zoo: Zoo, tmp_path: Path
) -> None:
    (tmp_path / "x.pth").write_bytes(data)
    outcome = zoo("export", "x.pth", "-o", "mine.keras")
    assert outcome.code == 2
    [line] = outcome.error_lines
    assert said in line
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path / "mine.keras").exists()
