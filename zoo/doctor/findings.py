"""What `zoo doctor` finds: versions, devices, extras, bins, entries, results, disk; a self test."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluator.bins.named import available_bins
from evaluator.errors import InputError
from evaluator.isolation.wall import landlock_version, missing_part
from evaluator.results.store import stored_results
from evaluator.results.stored import read_store
from zoo.entries.lookup import bin_folders
from zoo.entries.registry import own_registry, read_registry, registry_path
from zoo.terminal.settings import Settings, read_settings

_PACKAGES = ("tensorflow", "keras", "numpy", "scipy", "scikit-learn", "h5py", "pillow", "typer")

# `name[extra1,extra2]>=1 ; python_version > "3" and extra == "wanted"`, as distributions state it.
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(?:\[([^\]]*)\])?")
_EXTRA = re.compile(r"extra == ['\"]([\w-]+)['\"]")

Findings = dict[str, Any]


def examined(*, data: Sequence[Path], results: Path, registry: Path | None) -> Findings:
    """Everything, as plain data; ``problems`` is a line for each thing that is wrong.

    Imports TensorFlow, and says so if that fails.
    """
    problems: list[str] = []
    findings: Findings = {
        "versions": _versions(),
        "system": {"platform": platform.platform(), "cpus": os.cpu_count()},
        "wall": {"landlock": landlock_version(), "missing": missing_part()},
        "extras": _extras(),
        "settings": _settings(results, registry, problems),
        "entries": _entries(registry, problems),
        "bins": _bins(data, problems),
        "results": _results(results, problems),
        "disk": _disk(results),
    }
    findings["devices"] = _devices(problems)
    if findings["devices"]:
        from zoo.doctor.self_test import self_test

        findings["self_test"] = self_test()
        problems += findings["self_test"]["problems"]
    return {**findings, "problems": problems}


def _versions() -> dict[str, str | None]:
    names = {"face-zoo": "face-zoo", **{name: name for name in _PACKAGES}}
    found = {key: _version(name) for key, name in names.items()}
    return {"python": platform.python_version(), "executable": sys.executable, **found}


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _extras() -> dict[str, dict[str, str | None]]:
    """Extra -> the version of each package that it needs, None for one that is not installed."""
    try:
        names = importlib.metadata.metadata("face-zoo").get_all("Provides-Extra") or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    return {
        name: {package: _version(package) for package in _needed("face-zoo", name)}
        for name in names
        if name != "dev"
    }


def _needed(distribution: str, extra: str) -> Iterator[str]:
    """The packages of an extra; of `tensorflow[and-cuda]`, those that the extra adds to it."""
    try:
        stated = importlib.metadata.requires(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return
    for line in stated:
        marker = line.partition(";")[2]
        found = _REQUIREMENT.match(line)
        if found is None or extra not in _EXTRA.findall(marker):
            continue
        inner = [each.strip() for each in (found[2] or "").split(",") if each.strip()]
        for each in inner:
            yield from _needed(found[1], each)
        if not inner:
            yield found[1]


def _settings(results: Path, registry: Path | None, problems: list[str]) -> Findings:
    """The file in use, its values, and what comes before which of them."""
    try:
        found = read_settings()
    except (InputError, OSError) as error:
        problems.append(f"settings cannot be read: {error}")
        found = Settings()
    values = dict(found.values)
    first = {
        "results": "--results" if results != values.get("results") else None,
        "registry": "--registry" if registry else os.environ.get("ZOO_MODELS") and "$ZOO_MODELS",
        "data": os.environ.get("ZOO_DATA") and "$ZOO_DATA",
    }
    return {
        "file": None if found.path is None else str(found.path),
        "values": json.loads(json.dumps(values, default=str)),
        "overridden": {key: by for key, by in first.items() if by and key in values},
    }


def _entries(given: Path | None, problems: list[str]) -> Findings:
    path = given or own_registry()
    try:
        path = registry_path(given)
        entries = read_registry(path)
    except (InputError, OSError) as error:
        problems.append(f"entries cannot be read: {error}")
        return {"file": str(path), "entries": [], "with_weights": []}
    here = [name for name, entry in entries.items() if entry.file.exists()]
    return {"file": str(path), "entries": list(entries), "with_weights": here}


def _bins(data: Sequence[Path], problems: list[str]) -> list[Findings]:
    """Each folder in the order it is looked into, and the bins that are in it."""
    try:
        folders = bin_folders(data)
    except (InputError, OSError) as error:
        if str(error) not in "".join(problems):
            problems.append(str(error))
        folders = [Path("datasets"), Path()]
    return [
        {"folder": str(path), "exists": path.is_dir(), "bins": list(available_bins([path]))}
        for path in folders
    ]


def _results(folder: Path, problems: list[str]) -> Findings:
    if not folder.is_dir():
        return {"folder": str(folder), "exists": False, "results": 0, "damaged": 0}
    try:
        damaged = read_store(folder).damaged
    except OSError as error:
        problems.append(f"results cannot be read: {error}")
        damaged = ()
    problems += [f"{line}; zoo eval measures it again" for line in damaged]
    if not os.access(folder, os.W_OK):
        problems.append(f"{folder}: cannot be written to, so no result can be stored")
    count = len(list(stored_results(folder)))
    return {"folder": str(folder), "exists": True, "results": count, "damaged": len(damaged)}


def _disk(results: Path) -> Findings:
    there = results if results.is_dir() else Path()
    usage = shutil.disk_usage(there)
    return {"folder": str(there.absolute()), "free_bytes": usage.free, "bytes": usage.total}


def _devices(problems: list[str]) -> list[Findings]:
    """What TensorFlow computes on; empty, and a problem, where it cannot be imported."""
    from evaluator.models.runtime import import_keras

    try:
        import_keras()
        import tensorflow as tf
    except ImportError as error:
        problems.append(f"TensorFlow cannot be imported: {error}; install face-zoo again")
        return []
    details = tf.config.experimental.get_device_details
    return [
        {"device": each.name, "model": details(each).get("device_name")}
        for each in tf.config.list_physical_devices()
    ]


def findings_text(findings: Mapping[str, Any]) -> str:
    """The findings as lines, one subject each, and the problems last."""
    versions = findings["versions"]
    names = [name for name in versions if name not in ("python", "executable")]
    entries, results, disk = findings["entries"], findings["results"], findings["disk"]
    lines = [
        ("versions", ", ".join(f"{name} {versions[name] or 'missing'}" for name in names)),
        ("python", f"{versions['python']}, {versions['executable']}"),
        ("system", f"{findings['system']['platform']}, {findings['system']['cpus']} CPUs"),
        ("wall", _wall_text(findings["wall"])),
        *(("device", _device_text(each)) for each in findings["devices"]),
        *(("extra", _extra_text(name, found)) for name, found in findings["extras"].items()),
        ("settings", _settings_text(findings["settings"])),
        (
            "entries",
            f"{len(entries['entries'])} in {entries['file']}, weights here: "
            f"{', '.join(entries['with_weights']) or 'none'}",
        ),
        *(("bins", _folder_text(each)) for each in findings["bins"]),
        (
            "results",
            f"{results['results']} in {results['folder']}"
            + ("" if results["exists"] else ": no such folder yet"),
        ),
        ("disk", f"{disk['free_bytes'] / 2**30:.1f} GiB free for {disk['folder']}"),
        *([("self test", findings["self_test"]["text"])] if "self_test" in findings else []),
        *(("PROBLEM", line) for line in findings["problems"]),
    ]
    return "".join(f"{label:<10} {text}\n" for label, text in lines)


def _settings_text(settings: Mapping[str, Any]) -> str:
    if settings["file"] is None:
        return "none: no zoo.toml here, and no [tool.zoo] in pyproject.toml"
    overridden = settings["overridden"]
    shown = [
        f"{key} {value}" + (f" ({overridden[key]} comes first)" if key in overridden else "")
        for key, value in settings["values"].items()
    ]
    return f"{settings['file']}: {', '.join(shown) or 'nothing'}"


def _wall_text(wall: Mapping[str, Any]) -> str:
    if wall["missing"]:
        return str(wall["missing"])
    return (
        f"models write to a temporary folder and open no socket (Landlock {wall['landlock']}); "
        "--trust and --custom lift that"
    )


def _device_text(device: Mapping[str, Any]) -> str:
    name = str(device["device"]).removeprefix("/physical_device:")
    return f"{name}, {device['model']}" if device["model"] else name


def _extra_text(name: str, packages: Mapping[str, str | None]) -> str:
    missing = [package for package, version in packages.items() if version is None]
    if not missing:
        found = ", ".join(f"{package} {version}" for package, version in packages.items())
        return f"{name}: installed ({found})"
    brought = ", ".join(missing) if len(missing) <= 3 else f"{len(missing)} packages"
    return f"{name}: not installed (pip install 'face-zoo[{name}]' brings {brought})"


def _folder_text(found: Mapping[str, Any]) -> str:
    if not found["exists"]:
        return f"{found['folder']}: no such folder"
    return f"{found['folder']}: {', '.join(found['bins']) or 'none'}"
