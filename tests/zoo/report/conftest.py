"""Stores of results to report on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from report_store import Store, labels, noisy


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path)


@pytest.fixture(scope="session")
def three_by_two(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Three models of which one is far behind, on two bins of 400 pairs, and one invalid result."""
    made = Store(tmp_path_factory.mktemp("three_by_two"))
    genuine = labels(400)
    for number, name in enumerate(("one", "two")):
        path, images = made.bin(name, genuine, shade=number)
        for seed, (model, spread) in enumerate((("good", 0.25), ("twin", 0.25), ("poor", 0.9))):
            made.add(
                model, path, noisy(genuine, spread, 10 * number + seed), genuine, images=images
            )
    made.add("broken", path, np.full(400, np.nan), genuine, unusable=3)
    return made
