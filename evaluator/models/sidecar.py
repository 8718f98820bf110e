"""The input profile of an exported model, stored beside it as NAME.input.json."""

from __future__ import annotations

import json
from pathlib import Path

from evaluator.errors import ModelError
from evaluator.inputs import CHANNELS, PROFILES, InputSpec


def sidecar_path(model: Path) -> Path:
    """Where the input of a model file or folder is stated: beside it, not inside."""
    return model.with_name(f"{model.name}.input.json")


def write_sidecar(model: Path, spec: InputSpec, sha256: str) -> None:
    """States a model's input, for ``noted_input``. ``sha256`` is the model's."""
    stated = {"profile": spec.profile, "channels": spec.channels, "sha256": sha256}
    sidecar_path(model).write_text(json.dumps(stated, indent=2) + "\n", encoding="utf-8")


def noted_input(model: Path, sha256: str) -> tuple[str, str] | None:
    """Profile and channels stated beside a model of this hash, or None if nothing is.

    Raises ModelError if what is there is damaged, or belongs to another model.
    """
    path = sidecar_path(model)
    try:
        stated = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        stated = None
    if not isinstance(stated, dict) or set(stated) != {"profile", "channels", "sha256"}:
        raise ModelError(f"{path}: expected profile, channels and sha256, as JSON; remove the file")
    profile, channels = stated["profile"], stated["channels"]
    if profile not in PROFILES or channels not in CHANNELS:
        raise ModelError(f"{path}: unknown profile {profile!r} or channels {channels!r}")
    if stated["sha256"] != sha256:
        raise ModelError(
            f"{path}: states the input of another model than {model.name} is now; "
            "remove it, and give --input"
        )
    return profile, "rgb" if channels == "gray" else channels
