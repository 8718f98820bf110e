"""Readers under 20,000 mutated files, random structures, old findings and bombs of a kilobyte."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluator.results.record import to_dict
from fuzz import seeds, stored_seeds
from fuzz.mutation import fuzz, mutated
from fuzz.targets import TARGETS, FindingError, check_message, execute
from training.data.sources.recordio import framed

ROOT = Path(__file__).parents[2]
REGRESSIONS = Path(__file__).parent / "regressions"
RUNS = 20_000
WEIGHTS = sum(target.weight for target in TARGETS.values())


@pytest.mark.parametrize("name", TARGETS)
def test_only_declared_errors_come_out_of_mutated_files(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    runs = -(-RUNS * target.weight // WEIGHTS)
    tally = fuzz(target, runs, seed=0, folder=tmp_path)
    assert tally.findings == []
    assert tally.executed == runs
    # Neither do all mutations die at the door, nor do all miss.
    assert 0 < tally.accepted < runs


def test_ci_feeds_the_readers_20000_files() -> None:
    assert sum(-(-RUNS * target.weight // WEIGHTS) for target in TARGETS.values()) >= 20_000


def test_every_seed_is_a_file_its_reader_accepts(tmp_path: Path) -> None:
    for target in TARGETS.values():
        folder = tmp_path / target.name
        folder.mkdir()
        if target.prepare:
            target.prepare(folder)
        accepted = [execute(target, folder, data) for data in target.seeds()]
        # numpy.savez_compressed's file is refused, since packed arrays may unfold to any size.
        assert accepted == [True] * len(accepted) or (target.name, accepted[2:]) == ("npz", [False])


def test_the_fuzzer_finds_a_reader_that_lets_an_error_out(tmp_path: Path) -> None:
    import dataclasses

    def careless(path: Path) -> None:
        json.loads(path.read_bytes())["model"]["name"]

    target = dataclasses.replace(TARGETS["result"], read=careless)
    tally = fuzz(target, 1500, seed=0, folder=tmp_path)
    kinds = {text.splitlines()[-1].partition(":")[0] for _, text in tally.findings}
    assert {"json.decoder.JSONDecodeError", "KeyError"} <= kinds


def test_the_same_seed_gives_the_same_inputs() -> None:
    import random

    corpus = seeds.pickles()
    first, again = (
        [mutated(random.Random(3), corpus, seeds.PICKLE_TOKENS) for _ in range(20)]
        for _ in range(2)
    )
    assert first == again


@pytest.mark.parametrize("message", ["two\nlines", "\x1b[2J", "x" * 2000, "", "\ud800"])
def test_a_message_that_takes_over_the_terminal_is_a_finding(message: str) -> None:
    with pytest.raises(FindingError):
        check_message(message)


# ---- What fuzzing found once ---------------------------------------------------------------------

FOUND = sorted(path for path in REGRESSIONS.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_an_old_finding_is_a_declared_error_now(path: Path, tmp_path: Path) -> None:
    target = TARGETS[path.parent.name]
    if target.prepare:
        target.prepare(tmp_path)
    assert not execute(target, tmp_path, path.read_bytes())


def test_findings_of_every_kind_are_kept() -> None:
    assert len(FOUND) >= 10


# ---- Structures, by Hypothesis -------------------------------------------------------------------

random_inputs = settings(max_examples=250, deadline=None)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["seed", "arcface", "mlp", "1e2", "9" * 400, "=", "<<"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


def fed(name: str, folder: Path, data: bytes) -> bool:
    return execute(TARGETS[name], folder, data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inputs")


@random_inputs
@given(program=st.lists(st.sampled_from(seeds.PICKLE_TOKENS) | st.binary(max_size=6), max_size=40))
def test_no_program_of_pickle_instructions_gets_out(folder: Path, program: list[bytes]) -> None:
    fed("pickle", folder, b"\x80\x02" + b"".join(program))


@random_inputs
@given(value=plain | st.lists(st.binary(max_size=9)))
def test_no_pickled_value_gets_out(folder: Path, value: object) -> None:
    fed("pickle", folder, pickle.dumps((value, [True]), 4))


@random_inputs
@given(data=st.data())
def test_no_value_anywhere_in_a_result_gets_out(folder: Path, data: st.DataObject) -> None:
    value = to_dict(stored_seeds.result(stored_seeds.SCORES_NAME))
    place, key = value, data.draw(st.sampled_from(list(value)))
    while isinstance(place[key], dict) and data.draw(st.booleans()):
        place, key = place[key], data.draw(st.sampled_from(list(place[key])))
    place[key] = data.draw(plain)
    fed("result", folder, json.dumps(value).encode())


@random_inputs
@given(data=st.data())
def test_no_value_anywhere_in_models_yaml_gets_out(folder: Path, data: st.DataObject) -> None:
    value = yaml.safe_load(data.draw(st.sampled_from(seeds.registries())))
    place, key = value, "models"
    while isinstance(place[key], dict | list) and data.draw(st.integers(0, 3)):
        place = place[key]
        key = data.draw(
            st.sampled_from(list(place if isinstance(place, dict) else range(len(place))))
        )
    place[key] = data.draw(plain)
    fed("models.yaml", folder, yaml.safe_dump(value).encode())


@random_inputs
@given(
    parts=st.lists(
        st.tuples(
            st.integers(0, 3), st.floats(width=32), st.lists(st.floats(width=32), max_size=3)
        ),
        min_size=1,
        max_size=5,
    )
)
def test_no_record_header_gets_out(
    folder: Path, parts: list[tuple[int, float, list[float]]]
) -> None:
    records = b"".join(
        framed(struct.pack(f"<IfQQ{len(labels)}f", flag, label, 0, 0, *labels))
        for flag, label, labels in parts
    )
    fed("record", folder, records)


# ---- Bombs ---------------------------------------------------------------------------------------

TEN_GB = 10 * 2**30


def _hdf5(write: Callable[[h5py.File], None]) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        write(file)
    return buffer.getvalue()


def _bin_of_10_gb(file: h5py.File) -> None:
    file.attrs["face_zoo_bin"] = 1
    for name, dtype in (("data", "u1"), ("offsets", "<i8"), ("slots", "<i8"), ("genuine", "u1")):
        file.create_dataset(name, shape=(TEN_GB,), dtype=dtype)  # never written: no bytes


def _scores_of_10_gb(file: h5py.File, **options: object) -> None:
    pairs = stored_seeds.PAIRS
    file.create_dataset("scores", shape=(pairs,), dtype="f8", maxshape=(None,), **options)
    file.create_dataset("genuine", shape=(pairs,), dtype="u1")
    file.create_dataset("images", shape=(2 * pairs,), dtype="i8")


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    zeros = zlib.compress(bytes(100_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zeros) + chunk(b"IEND", b"")
    )


def _jpeg(side: int) -> bytes:
    data = bytearray(seeds.images()[0])
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = struct.pack(">HH", side, side)
    return bytes(data)


def _webp(side: int) -> bytes:
    data = bytearray(next(each for each in seeds.images() if each[12:16] == b"VP8 "))
    data[26:30] = struct.pack("<HH", side, side)
    return bytes(data)


def _lossless_webp(side: int) -> bytes:
    data = bytearray(b"RIFF\0\0\0\0WEBPVP8L\x20\0\0\0\x2f" + bytes(40))
    data[21:25] = struct.pack("<I", (side - 1) | (side - 1) << 14)
    return bytes(data)


def _npy(shape: str) -> bytes:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00v\x00" + header.encode()


def _laughs(depth: int) -> bytes:
    lines = [b"  a0: &a0 [x, x]"]
    lines += [b"  a%d: &a%d [*a%d, *a%d]" % (i, i, i - 1, i - 1) for i in range(1, depth)]
    return b"models:\n" + b"\n".join(lines) + b"\n"


BOMBS: dict[str, tuple[str, bytes]] = {
    "pickle of 10 GB of bytes": ("pickle", b"\x80\x04]\x8e" + struct.pack("<Q", TEN_GB)),
    "pickle of 2**31 memo slots": ("pickle", b"\x80\x02]r\xff\xff\xff\x7f."),
    "pickle of an array of 10 GB": (
        "pickle",
        pickle.dumps(([np.zeros(8, np.uint8)] * 2, [True]), 2).replace(
            b"K\x08", b"\x8a\x05\0\0\0\x80\x02"
        ),
    ),
    "pickle of a million open lists": ("pickle", b"\x80\x02" + b"(" * 60_000),
    "pickle of 60,000 nested tuples": ("pickle", b"\x80\x02]" + b"\x85" * 60_000 + b"."),
    "pickle of a list in itself": ("pickle", b"\x80\x02]q\0" + b"h\0a" * 1000 + b"h\0\x86."),
    "npz member of 10 GB": ("npz-members", _npy(f"({TEN_GB},)") * 5),
    "hdf5 bin of 10 GB": ("hdf5-bin", _hdf5(_bin_of_10_gb)),
    "scores of 10 GB": (
        "scores",
        _hdf5(lambda file: _scores_of_10_gb(file, chunks=(TEN_GB // 32,), compression="gzip")),
    ),
    "png of 2**62 pixels": ("image", _png(2**31 - 1, 2**31 - 1)),
    "png of 64,000,000 pixels and one": ("image", _png(64_000_001, 1)),
    "jpeg of 65,500 squared": ("image", _jpeg(65_500)),
    "webp of 16,383 squared": ("image", _webp(16_383)),
    "webp between our limit and Pillow's": ("image", _webp(9_600)),
    "lossless webp of 16,384 squared": ("image", _lossless_webp(16_384)),
    "gif of 65,535 squared": (
        "image",
        b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x08\x01\x01\0;",
    ),
    "bmp of 2**31 pixels a side": (
        "image",
        b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, 2**31 - 1, 2**30, 1, 24, *[0] * 6),
    ),
    "yaml of 2**40 values": ("models.yaml", _laughs(39)),
    "yaml of 2**100 values": ("models.yaml", _laughs(100)),
    "yaml alias to itself": ("models.yaml", b"models: &a\n  x: {recipe: &b [*b]}\n"),
    "yaml 10,000 deep": ("models.yaml", b"models: " + b"[" * 10_000),
    "yaml of 45 levels": ("models.yaml", b"models: " + b"[" * 45 + b"]" * 45),
    "yaml of 2 MB": ("models.yaml", b"models: {}\n" + b"# long\n" * 300_000),
    "json 60,000 deep": ("result", b"[" * 60_000),
    "json number of 60,000 digits": ("result", b'{"schema": ' + b"9" * 60_000 + b"}"),
    "record of 512 MB": ("record", struct.pack("<II", 0xCED7230A, (1 << 29) - 1) + bytes(64)),
    "record of 2**32 labels": ("record", framed(struct.pack("<IfQQ", 2**32 - 1, 0, 0, 0))),
    "index into 2**62 bytes": ("record-index", b"0\t0\n1\t4611686018427387904\n"),
    "property of 60,000 digits": ("property", b"9" * 60_000 + b",112,112"),
    "pairs with a field of 1 MB": ("pairs", b'"' + b"x" * 1_000_000 + b'",b,1\n'),
}

# Fed in a process of its own, whose memory cannot grow by more than half a gigabyte and whose peak
# is taken after each bomb.
FEEDER = """
import json, pathlib, resource, sys, time, warnings
from fuzz.targets import TARGETS, execute
warnings.simplefilter("error")
folder = pathlib.Path(sys.argv[1])
sizes = pathlib.Path("/proc/self/statm").read_text().split()
limit = int(sizes[0]) * resource.getpagesize() + (512 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
for path in sorted(folder.glob("*.bomb")):
    name, _, target = path.stem.partition("@")
    place = folder / target
    place.mkdir(exist_ok=True)
    if TARGETS[target].prepare:
        TARGETS[target].prepare(place)
    before, start = peak(), time.process_time()
    try:
        outcome = "accepted" if execute(TARGETS[target], place, path.read_bytes()) else "refused"
    except BaseException as error:
        outcome = f"{type(error).__name__}: {error}"[:300]
    seconds = round(time.process_time() - start, 2)
    print(json.dumps([int(name), outcome, peak() - before, seconds]), flush=True)
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, int, float]]:
    """What became of each bomb: refused or else; by how many MB the peak grew; CPU seconds."""
    place = tmp_path_factory.mktemp("bombs")
    for number, (target, data) in enumerate(BOMBS.values()):
        (place / f"{number:03}@{target}.bomb").write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", FEEDER, str(place)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {list(BOMBS)[number]: tuple(rest) for number, *rest in found}  # type: ignore[misc]


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS and /proc")
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_little_memory(
    name: str, outcomes: dict[str, tuple[str, int, float]]
) -> None:
    outcome, megabytes, seconds = outcomes[name]
    assert outcome == "refused"
    assert megabytes < 64
    assert seconds < 5


def test_scores_that_declare_more_than_they_hold_are_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    from evaluator.errors import ResultError
    from evaluator.results.store import load_scores

    pairs = TEN_GB // 8
    data = _hdf5(
        lambda file: [
            file.create_dataset(name, shape=shape, dtype=kind, chunks=True, compression="gzip")
            for name, shape, kind in (
                ("scores", (pairs,), "f8"),
                ("genuine", (pairs,), "u1"),
                ("images", (2 * pairs,), "i8"),
            )
        ]
    )
    assert len(data) < 10_000
    (tmp_path / stored_seeds.SCORES_NAME).write_bytes(data)
    result = stored_seeds.result(stored_seeds.SCORES_NAME)
    claimed = replace(result, bin=replace(result.bin, pairs=pairs))
    with pytest.raises(ResultError, match="declares 10737418240 bytes and has 0"):
        load_scores(tmp_path / "result.json", claimed)


def test_scores_in_another_file_are_refused(tmp_path: Path) -> None:
    from evaluator.errors import ResultError
    from evaluator.results.store import load_scores

    (tmp_path / stored_seeds.SCORES_NAME).write_bytes(stored_seeds.scores()[0])
    link = _hdf5(
        lambda file: [
            file.__setitem__(
                name, h5py.ExternalLink(str(tmp_path / stored_seeds.SCORES_NAME), name)
            )
            for name in ("scores", "genuine", "images")
        ]
    )
    name = "result.ba9876543210.h5"
    (tmp_path / name).write_bytes(link)
    with pytest.raises(ResultError, match="no 'scores' of its own"):
        load_scores(tmp_path / "result.json", stored_seeds.result(name))
