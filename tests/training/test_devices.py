"""What differs between one device and two on JAX, and where it comes from."""

import pytest

from tests.programs import Programs

# Eight steps of a small network with batch norms, dropout and a head, on one device and on two.
# The second batch norm is followed by a convolution and another batch norm, which takes away any
# shift: the gradient of its beta is 0 but for rounding.
CODE = """
import keras, numpy as np
from training.network.assembly import stage_model
from training.network.backbones.blocks import conv, norm, prelu
from training.processes.devices import _distribution
from training.recipes.recipe import parse_recipe

random = np.random.default_rng(0)
images = random.random((8, 8, 8, 8, 3), np.float32)
labels = random.integers(0, 4, (8, 8)).astype(np.int32)

def trained(optimizer, rate, devices):
    keras.distribution.set_distribution(_distribution(devices, False))
    keras.utils.set_random_seed(0)
    stage = {"epochs": 1, "loss": "softmax", "optimizer": optimizer, "learning_rate": rate}
    recipe = parse_recipe(
        {"model": {"backbone": "mobilefacenet"}, "stages": [stage]},
        lambda place, message: ValueError(message),
    )
    inputs = keras.Input((8, 8, 3))
    x = norm(conv(prelu(norm(conv(inputs, 16, 3))), 8, 1))
    x = keras.layers.GlobalAveragePooling2D()(prelu(norm(conv(x, 16, 1))))
    x = keras.layers.Dense(8, name="embedding")(keras.layers.Dropout(0.1)(x))
    embedding = keras.Model(inputs, x)
    model = stage_model(recipe, recipe.stages[0], embedding, classes=4, steps_per_epoch=8)
    losses = [
        float(model.train_on_batch(x, y, return_dict=True)["loss"]) for x, y in zip(images, labels)
    ]
    unseen = float(model.test_on_batch(images[0], labels[0], return_dict=True)["loss"])
    kinds = [layer for layer in embedding.layers if "batch_norm" in layer.name]
    shift = kinds[1].beta
    others = [each for each in embedding.trainable_variables if each is not shift]
    return losses, unseen, np.array(shift.value), [np.array(each.value) for each in others]

found = {}
for optimizer, rate in (("sgd", 0.01), ("adamax", 0.001)):
    one, two = (trained(optimizer, rate, names) for names in (["cpu:0"], ["cpu:0", "cpu:1"]))
    found[optimizer] = {
        "loss": float(np.abs(np.subtract(one[0], two[0])).max()),
        "inference": abs(one[1] - two[1]),
        "shift": float(np.abs(one[2] - two[2]).max()),
        "others": max(float(np.abs(a - b).max()) for a, b in zip(one[3], two[3])),
    }
"""


@pytest.mark.slow
def test_two_devices_differ_where_adamax_blows_up_a_gradient_that_is_rounding(
    on_two_jax_devices: Programs,
) -> None:
    found = on_two_jax_devices.found(CODE)
    # Loss, dropout and batch norm are those of one device, step by step.
    assert found["sgd"]["loss"] < 1e-5
    assert found["adamax"]["loss"] < 1e-5
    assert max(found["sgd"]["shift"], found["sgd"]["others"]) < 1e-5
    # A gradient of 1e-9, one way or the other, is a step of up to the rate, each time.
    assert 1e-5 < found["adamax"]["shift"] <= 2 * 8 * 0.001
    assert found["adamax"]["shift"] > 10 * found["adamax"]["others"]
    # Only inference sees it, where moving averages lag behind the shift.
    assert found["sgd"]["inference"] < 1e-5
    assert found["adamax"]["inference"] < 0.02
