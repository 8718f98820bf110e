"""Keras files by grammar: small honest networks, and the same with an attacker's changes.

The honest half (`keras_layers`) gives networks that load; `keras_attacks` changes some of their
parts.
"""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

from evaluator.models.keras.allowed.walk import refuse_code
from fuzz.differential import Places
from fuzz.keras_attacks import Attack
from fuzz.keras_files import INPUT, Network, h5_file, keras_file, network
from fuzz.keras_layers import Words, drawn_layers, last_layers


class KerasFormat:
    """.h5 and .keras files."""

    name = "keras"

    def __init__(self, folder: Path, places: Places) -> None:
        self._folder, self._places = folder, places

    def draw(self, draw: random.Random) -> Network:
        """A network, in a quarter of cases as an honest one would write it."""
        found = honest_network(draw)
        count = draw.choice((0, 1, 1, 1, 2, 2, 3, 5))
        if not count:
            return found
        config = copy.deepcopy(found.config)
        attack = Attack(draw, found.version, self._places)
        for _ in range(count):
            attack.change(config)
        return Network(config, found.weights, found.version)

    def scan(self, case: Network) -> None:
        """Raises ModelError for what the config says, as reading the file would."""
        refuse_code(self._folder / "model", json.loads(json.dumps(case.config)))

    def write(self, case: Network) -> Path:
        """The file, of a name that its format has."""
        path = self._folder / ("model.keras" if case.version == 3 else "model.h5")
        path.write_bytes((keras_file if case.version == 3 else h5_file)(case.config, case.weights))
        return path

    def kept(self, case: Network) -> bytes:
        """The config and where its weights are."""
        return json.dumps([case.version, case.config, case.weights]).encode()


def honest_network(draw: random.Random) -> Network:
    """A network that loads: a Sequential or a Functional of Keras 2 or 3."""
    version = draw.choice((2, 3))
    words, functional = Words(draw, version), draw.random() < 0.6
    layers = drawn_layers(words, INPUT, draw.randint(0, 5))
    if not functional:
        shape = INPUT
        while layers and any(_is_call(each) for each in layers):
            layers = drawn_layers(words, INPUT, draw.randint(0, 3))
    shape = layers[-1].output if layers else INPUT
    return network(words, [*layers, *last_layers(words, shape)], functional=functional)


def _is_call(layer: Any) -> bool:
    calls = layer.module.startswith("keras.src.ops") or layer.kind == "TFOpLambda"
    return calls or any(_is_call(each) for each in layer.inner)
