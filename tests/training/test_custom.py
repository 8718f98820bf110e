"""Optimizers and losses that a module registers, by Python and by --custom."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from face_samples import SIDE, write_faces
from test_fit import arrays

from evaluator.errors import InputError
from tests.command import Zoo
from training.recipes import registry

MODULE = """
import keras
import training

@training.register_optimizer("slow")
def slow(learning_rate, gentleness=1.0, **options):
    return keras.optimizers.SGD(learning_rate * gentleness, **options)
"""
LOSSES = """
import keras
import training
from keras import ops

class Focal(keras.losses.Loss):
    def __init__(self, gamma=2.0, name="focal", **options):
        super().__init__(name=name, **options)
        self.gamma = gamma

    def call(self, y_true, y_pred):
        p = ops.exp(-keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True))
        return -((1 - p) ** self.gamma) * ops.log(p + 1e-7)

training.register_loss("focal", takes="logits")(Focal)

@training.register_loss("cosine_focal", takes="cosines")
def cosine_focal(scale):
    class Scaled(Focal):
        def call(self, y_true, y_pred):
            return super().call(y_true, scale * y_pred)
    return Scaled()

@training.register_loss("spread", takes="embeddings")
class Spread(keras.losses.Loss):
    def call(self, y_true, y_pred):
        same = ops.equal(ops.reshape(y_true, (-1, 1)), ops.reshape(y_true, (1, -1)))
        own = ops.cast(same, "float32")
        unit = y_pred / ops.sqrt(1e-6 + ops.sum(ops.square(y_pred), axis=-1, keepdims=True))
        return -ops.mean(own * ops.matmul(unit, ops.transpose(unit)), axis=-1)
"""
RECIPE = """
models:
  mine:
    file: mine.keras
    source: a test
    input: {profile: unit, size: 32}
    recipe:
      model: {backbone: mlp, pooling: none, embedding_size: 8, dropout: 0}
      batch: 4
      data: {validation: 0}
      stages:
        - epochs: 1
          loss: softmax
          optimizer: {name: NAME, options: {gentleness: 0.0}, weight_decay: 0.5}
          learning_rate: 0.1
"""


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_REGISTERED", {"backbone": {}, "loss": {}, "optimizer": {}})
    monkeypatch.delitem(sys.modules, "my_zoo", raising=False)


@pytest.mark.slow
def test_a_modules_optimizer_trains_is_noted_and_held_to_its_bytes(
    zoo: Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_faces(tmp_path / "faces")
    (tmp_path / "my_zoo.py").write_text(MODULE)
    (tmp_path / "models.yaml").write_text(RECIPE.replace("NAME", "slow"))
    asked = ["train", "mine", "--data", "faces", "--run", "run"]
    unknown = zoo(*asked)
    assert unknown.code == 2
    assert "expected one of adamax, adam, adamw, lamb, sgd, sgdw; found 'slow'" in unknown.err
    absent = zoo(*asked, "--custom", "your_zoo")
    assert "--custom your_zoo: no such module here" in absent.err
    done = zoo(*asked, "--custom", "my_zoo", "--set", "checkpoint_steps=1")
    assert done.code == 0, done.err
    # A rate of 0 times 0.1 moves nothing, and decays nothing.
    weights = [each for each in arrays(tmp_path / "run/checkpoints/last.npz").values() if each.ndim]
    assert any(each.shape == (8, 4) and np.abs(each).max() > 0.01 for each in weights)
    stamp = registry.imported(["my_zoo"])
    assert f"- {stamp[0]}" in (tmp_path / "run" / "models.yaml").read_text()
    # Without the module the run is read all the same, and not trained on.
    monkeypatch.setattr(registry, "_REGISTERED", {"backbone": {}, "loss": {}, "optimizer": {}})
    shown = zoo("show", "run")
    assert shown.code == 0, shown.err
    assert "1 epochs of softmax, slow" in shown.out
    (tmp_path / "my_zoo.py").write_text(MODULE + "# changed\n")
    sys.modules.pop("my_zoo")
    other = zoo(*asked, "--resume", "--custom", "my_zoo.py")
    assert other.code == 2
    assert "run: was started with custom.0 = my_zoo " in other.err


STAGE = {"epochs": 1, "optimizer": "adam", "learning_rate": 0.001}


@pytest.mark.slow
def test_a_modules_losses_train_on_what_they_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import training

    write_faces(tmp_path / "faces")
    (tmp_path / "my_zoo.py").write_text(LOSSES)
    monkeypatch.chdir(tmp_path)
    spread = {"loss": "spread", "head": "none"}
    plain = {
        "model": {"backbone": "mlp", "pooling": "none", "embedding_size": 8},
        "preprocess": {"size": SIDE},
        "batch": 4,
        "data": {"validation": 0.2},
        "stages": [
            {**STAGE, "loss": {"name": "focal", "gamma": 3}, "head": "dense"},
            {**STAGE, "loss": {"name": "cosine_focal", "scale": 16}},
            {**STAGE, **spread, "triplets": {"sampler": "balanced", "people": 2, "images": 2}},
            {**STAGE, **spread},
        ],
    }
    run = training.train(plain, "faces", "run", custom=["my_zoo"], verbose=0)
    assert run.recipe["stages"][0]["loss"] == {"name": "focal", "options": {"gamma": 3}}
    losses = [row["loss"] for row in run.log]
    assert all(np.isfinite(losses))
    # The mean of minus cosines of a batch of 4, a half of whose images are one's own person's.
    assert -1 <= losses[2] < 0
    assert all(0 <= row["val_accuracy"] <= 1 for row in run.log)
    for wrong, words in (
        (
            {"loss": {"name": "focal", "beta": 1}},
            "loss 'focal': .* unexpected keyword argument 'beta'",
        ),
        ({"loss": "cosine_focal"}, "cosine_focal: missing a required argument: 'scale'"),
        ({"loss": "focal", "head": "none"}, "loss focal is on logits: expected a head"),
        ({"loss": "spread"}, "loss spread is on embeddings: expected head none"),
        (
            {"loss": {"name": "cosine_focal", "scale": 1}, "head": "dense"},
            "expected head norm_dense",
        ),
        ({"loss": "foval"}, "did you mean 'focal'"),
    ):
        with pytest.raises(InputError, match=words):
            training.train({**plain, "stages": [{**STAGE, **wrong}]}, "faces", "other", verbose=0)
    with pytest.raises(InputError, match="loss 'softmax' is face-zoo's own"):
        training.register_loss("softmax", takes="logits")


@pytest.mark.slow
def test_what_this_process_registered_is_noted_without_being_named(tmp_path: Path) -> None:
    import keras

    import training

    write_faces(tmp_path / "faces")

    @training.register_optimizer("mine")
    def mine(learning_rate: float, strength: int = 1) -> keras.optimizers.Optimizer:
        return keras.optimizers.SGD(learning_rate * strength)

    stage = {"epochs": 1, "loss": "softmax", "learning_rate": 0.01}
    plain = {
        "model": {"backbone": "mlp", "pooling": "none", "embedding_size": 8},
        "preprocess": {"size": SIDE},
        "batch": 4,
        "stages": [{**stage, "optimizer": {"name": "mine", "options": {"strength": 2}}}],
    }
    run = training.train(plain, tmp_path / "faces", tmp_path / "run", verbose=0)
    (stamp,) = run.recipe["custom"]
    assert stamp.startswith(f"{__name__} ")
    assert run.recipe["stages"][0]["optimizer"]["options"] == {"strength": 2}
    plain["stages"][0]["optimizer"]["options"] = {"weakness": 2}
    with pytest.raises(InputError, match=r"optimizer 'mine': got an unexpected .* 'weakness'"):
        training.train(plain, tmp_path / "faces", tmp_path / "other", verbose=0)


def test_a_taken_name_is_refused_unless_it_is_to_be_replaced() -> None:
    registry.register_optimizer("a")(dict)
    with pytest.raises(InputError, match="optimizer 'a' is registered already"):
        registry.register_optimizer("a")(list)
    registry.register_optimizer("a", replace=True)(list)
    assert registry.found("optimizer", "a") is list
    assert registry.found("optimizer", "b") is None


def test_a_module_without_a_file_is_noted_as_one() -> None:
    assert registry.imported([ModuleType("cells")]) == ["cells without a file"]


def test_what_is_registered_may_have_no_signature() -> None:
    registry.register_loss("dict", takes="logits", replace=True)(dict)
    assert registry.made("loss", "dict", {"scale": 2}) == {"scale": 2}
