"""What several devices can share."""

from __future__ import annotations

import pytest

from evaluator.errors import InputError
from training.processes.devices import DeviceError, check_triplets_fit
from training.recipes.recipe import Recipe, parse_recipe


def recipe(batch: int, loss: str, triplets: dict[str, object]) -> Recipe:
    stage = {
        "epochs": 1,
        "head": "none",
        "loss": {"name": loss, "margin_cosine": 0.2},
        "triplets": triplets,
        "optimizer": "adam",
        "learning_rate": 0.001,
    }
    plain = {"model": {"backbone": "mobilefacenet"}, "batch": batch, "stages": [stage]}
    return parse_recipe(plain, lambda place, message: InputError(f"{place}: {message}"))


@pytest.mark.parametrize("sampler", ["mined", "sliding_window"])
def test_devices_get_whole_triplets(sampler: str) -> None:
    for batch, devices in ((9, "1 x CPU"), (12, "2 x CPU"), (384, "4 x GPU")):
        check_triplets_fit(recipe(batch, "triplet", {"sampler": sampler}), devices)
    for batch, devices, multiple in ((9, "2 x CPU", 6), (15, "2 x GPU", 6), (384, "3 x GPU", 9)):
        with pytest.raises(DeviceError) as error:
            check_triplets_fit(recipe(batch, "triplet", {"sampler": sampler}), devices)
        assert str(error.value) == (
            f"batch: {devices} share it in whole triplets: expected a multiple of {multiple}; "
            f"found {batch}"
        )


def test_online_losses_look_at_the_whole_batch_on_any_devices() -> None:
    balanced = {"sampler": "balanced", "people": 5, "images": 3}
    check_triplets_fit(recipe(15, "triplet_semihard", balanced), "2 x CPU")
