"""The small backbone, by its own arithmetic."""

from __future__ import annotations

import itertools

import pytest


@pytest.mark.slow
def test_conv4_halves_the_map_four_times_with_the_weights_of_four_convolutions() -> None:
    import keras

    from training.network.backbones import build_embedding_model

    model = build_embedding_model(
        "conv4", input_shape=(64, 48, 3), embedding_size=16, head="gdc", dropout=0.0
    )
    convolutions = [each for each in model.layers if type(each) is keras.layers.Conv2D]
    assert [tuple(each.output.shape[1:]) for each in convolutions] == [
        (32, 24, 32),
        (16, 12, 64),
        (8, 6, 128),
        (4, 3, 256),
    ]
    widths = (3, 32, 64, 128, 256)
    counted = 9 * sum(a * b for a, b in itertools.pairwise(widths))
    assert sum(each.count_params() for each in convolutions) == counted == 387_936
    assert model.output_shape == (None, 16)
    assert model.layers[-1].name == "embedding"
