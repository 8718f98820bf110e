"""Where fuzzing starts: small valid files of every layout, made by the writers themselves."""

from __future__ import annotations

import gzip
import io
import lzma
import pickle
import struct
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from PIL import Image, features

from evaluator.bins.containers import npz_bytes
from evaluator.bins.verification_set import distinct_images
from training.data.sources.recordio import MAGIC_BYTES, framed
from training.data.sources.records import image_record, range_record

PICKLE_TOKENS = (
    b"cnumpy.core.multiarray\n_reconstruct\n",
    b"cnumpy._core.numeric\n_frombuffer\n",
    b"cnumpy\ndtype\n",
    b"c__builtin__\nbytearray\n",
    b"c_codecs\nencode\n",
    b"cos\nsystem\n",
    b"\x8c\x08builtins\x8c\x05bytes\x93",
    b"U\x02u1K\x00K\x01\x87R",
    b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
    *(
        bytes([code])
        for code in b"(.012FGIJKLMNRSTUVX]abcdeghijlopqrstu\x8a\x93\x94\x95\x96\x97\x98"
    ),
    b"}",
    b"\x8a\xff",
    b"r\xff\xff\xff\x7f",
    b"p999999999\n",
    b"X\xff\xff\xff\x7f",
    b"\x8e" + struct.pack("<Q", 10 * 2**30),
)
NPZ_TOKENS = (
    b"PK\x03\x04",
    b"PK\x01\x02",
    b"PK\x05\x06",
    b"PK\x06\x06",
    b"\x93NUMPY",
    b"(10737418240,)",
    b"(-1,)",
    b"(3, 1)",
    b"'|O'",
    b"'<f8'",
    b"[('a', '<i8')]",
    b"'fortran_order': True",
    b"3L",
    b"{",
    b"((((((((((",
)
HDF5_TOKENS = (
    b"TREE",
    b"SNOD",
    b"HEAP",
    b"OHDR",
    b"OCHK",
    b"FRHP",
    b"BTHD",
    b"GCOL",
    b"face_zoo_bin",
    b"genuine\0",
    b"\xff" * 8,
    struct.pack("<Q", 10 * 2**30),
)
RECORD_TOKENS = (
    MAGIC_BYTES,
    struct.pack("<I", 1 << 29),
    struct.pack("<I", 2 << 29 | 8),
    struct.pack("<I", 3 << 29 | 8),
    struct.pack("<f", float("nan")),
    struct.pack("<f", float("inf")),
    struct.pack("<f", 2.0**24),
)
INDEX_TOKENS = (
    b"\t",
    b"\n",
    b"-1",
    b"1e3",
    b"9223372036854775808",
    b"0x10",
    b"#",
    b"nan",
    b"\xc2\xb2",
)
YAML_TOKENS = (
    b"&a ",
    b"*a",
    b"<<: ",
    b"? ",
    b"!!int ",
    b"!!float ",
    b"!!timestamp ",
    b"!!binary ",
    b"!!bool ",
    b"!!set ",
    b"!!python/name:os.system ",
    b"! ",
    b"|\n",
    b">-\n",
    b"---\n",
    b"%YAML 1.1\n",
    b"=",
    b"~",
    b".nan",
    b".inf",
    b"1e400",
    b"1e2",
    b"190:20:30",
    b"0b",
    b"2026-99-99",
    b"9" * 400,
    b"[",
    b"{",
    b"\t",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\xe2\x80\xa8",
)
JSON_TOKENS = (
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"null",
    b"true",
    b"-1",
    b"{}",
    b"[]",
    b'""',
    b'"\\ud800"',
    b'"\\n\\u001b[2J"',
    b"9" * 5000,
    b"10737418240",
    b'"schema"',
    b'"dropped_pairs"',
    b"[" * 500,
)


def images() -> list[bytes]:
    """Small images of every format that is read, and of the modes that go through other code."""
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (6, 5, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        _encoded(rgb, "JPEG"),
        _encoded(rgb, "JPEG", progressive=True, exif=exif),
        _encoded(rgb.convert("L"), "JPEG"),
        _encoded(rgb.convert("CMYK"), "JPEG"),
        _encoded(rgb, "PNG", exif=exif),
        _encoded(rgb.convert("P"), "PNG", transparency=0),
        _encoded(rgb.convert("LA"), "PNG"),
        _encoded(rgb.convert("1"), "PNG"),
        _encoded(Image.fromarray(rng.integers(0, 60000, (4, 4), dtype=np.uint16)), "PNG"),
        _encoded(rgb, "BMP"),
        _encoded(rgb.convert("P"), "BMP"),
        _encoded(rgb.convert("1"), "BMP"),
        _encoded(rgb, "WebP"),
        _encoded(rgb.convert("RGBA"), "WebP", lossless=True, exif=exif),
        _encoded(rgb, "WebP", save_all=True, append_images=[rgb.rotate(90)]),
        _encoded(rgb.convert("P"), "GIF"),
        _encoded(rgb.convert("P"), "GIF", save_all=True, append_images=[rgb.rotate(90)]),
        _encoded(rgb, "TIFF", exif=exif),
        _encoded(rgb.convert("P"), "TIFF", compression="tiff_lzw"),
        _encoded(rgb, "TIFF", compression="tiff_adobe_deflate"),
        *([_encoded(rgb, "AVIF", exif=exif)] if features.check("avif") else []),
    ]


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def _slots() -> tuple[list[bytes], list[bool]]:
    """Images and labels of three pairs: short, so that a change often hits structure."""
    some = [b"\xff\xd8\xff\xe0" + bytes([i]) * 3 for i in range(3)] + [b"GIF89a.."]
    return [some[i] for i in (0, 1, 2, 0, 3, 1)], [True, False, True]


def pickles() -> list[bytes]:
    """Bins in the pickles of Python 2 and 3 and of NumPy 1 and 2, protocols 0 to 5."""
    encoded, labels = _slots()
    arrays = [np.frombuffer(image, np.uint8).copy() for image in encoded]
    values: list[object] = [
        (encoded, labels),
        ([bytearray(image) for image in encoded], [int(label) for label in labels]),
        (arrays, np.array(labels)),
        ([array.reshape(-1, 1) for array in arrays], [np.bool_(label) for label in labels]),
        ([np.bytes_(image) for image in encoded], np.array(labels, ">i4")),
        (np.array(encoded, object), [np.int64(label) for label in labels]),
    ]
    found = [pickle.dumps(value, protocol) for value in values for protocol in range(6)]
    # Up to protocol 3 a name ends with its line, and may get shorter; NumPy 1 wrote numpy.core.
    older = [pickle.dumps(value, protocol) for value in values[2:] for protocol in range(4)]
    numpy_1 = [data.replace(b"numpy._core", b"numpy.core") for data in older]
    return [*found, *numpy_1, *_python_2()]


def _python_2() -> Iterator[bytes]:
    encoded, labels = _slots()
    text = b"".join(
        b"S" + repr(image)[1:].encode() + b"\np%d\na" % i for i, image in enumerate(encoded)
    )
    marks = b"".join(b"I01\na" if label else b"I00\na" for label in labels)
    yield b"((lp9\n" + text + b"(lp10\n" + marks + b"tp11\n."
    short = b"".join(b"U" + bytes([len(image)]) + image for image in encoded)
    yield b"\x80\x02](" + short + b"e](" + bytes(0x88 + (not label) for label in labels) + b"e\x86."


def wrapped() -> list[bytes]:
    """A bin as numpy.save writes it, and in xz and gzip."""
    encoded, labels = _slots()
    both = np.empty(2, object)
    both[:] = [encoded, [float(label) for label in labels]]
    buffer = io.BytesIO()
    np.save(buffer, both)
    plain = [buffer.getvalue(), pickle.dumps((encoded, labels), 4)]
    return [plain[0], *(pack(each) for each in plain for pack in (lzma.compress, gzip.compress))]


def lists() -> list[bytes]:
    """Lists of pairs, in each of the forms that data sets are published with."""
    import scipy.io

    names = np.empty((2, 2), object)
    names[:] = [[{"name": f"{row}_Ann_{i}", "age": 30.0} for i in range(2)] for row in (0, 1)]
    splits = np.empty((2, 1), object)
    splits[:, 0] = [{"pairs": names, "labels": np.array([[1.0, -1.0]])}] * 2
    packed, plain = io.BytesIO(), io.BytesIO()
    scipy.io.savemat(packed, {"splits": splits}, do_compression=True)
    scipy.io.savemat(plain, {"splits": splits})
    texts = [
        "1\t1\nAnn\t1\t2\nAnn\t1\tBob\t2\n",
        "a_1.jpg 1\na_2.jpg 1\na_1.jpg 0\nb_1.jpg 0\n",
        "Ann/Ann_1.jpg\nAnn/Ann_2.jpg\nAnn/Ann_1.jpg\nBob/Bob_1.jpg\n",
        "fold,p1,p2,label,id1,id2\n1,a,b,0,x,y\n2,a,c,1,x,x\n",
        '"";"left";"right";"label"\n"1";"a";"b";1,0\n',
    ]
    return [packed.getvalue(), plain.getvalue(), *(each.encode() for each in texts)]


def npz() -> list[bytes]:
    """A bin as .npz, and one as numpy.savez writes it."""
    encoded, labels = _slots()
    arrays = _arrays()
    buffer, packed = io.BytesIO(), io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]
    written = npz_bytes(*distinct_images(encoded), np.array(labels))
    return [written, buffer.getvalue(), packed.getvalue()]


def npz_members() -> list[bytes]:
    """The five arrays of a bin, one after another; the target zips them."""
    parts = []
    for version in ((1, 0), (2, 0), (3, 0)):
        buffer = io.BytesIO()
        for values in _arrays().values():
            np.lib.format.write_array(buffer, values, version)
        parts.append(buffer.getvalue())
    return parts


def _arrays() -> dict[str, np.ndarray]:
    encoded, labels = _slots()
    distinct, slots = distinct_images(encoded)
    ends = np.cumsum([0, *map(len, distinct)])
    return {
        "face_zoo_bin": np.array(1, "<i8"),
        "data": np.frombuffer(b"".join(distinct), np.uint8),
        "offsets": ends.astype("<i8"),
        "slots": slots.astype("<i8"),
        "genuine": np.array(labels, np.uint8),
    }


def hdf5_bins() -> list[bytes]:
    """A bin as HDF5, once with checksums in its structure and once without."""
    buffers = [io.BytesIO(), io.BytesIO()]
    for buffer, version in zip(buffers, ("v110", "earliest"), strict=True):
        with h5py.File(buffer, "w", libver=version) as file:
            for name, values in _arrays().items():
                if name == "face_zoo_bin":
                    file.attrs[name] = 1
                else:
                    file.create_dataset(name, data=values)
    return [buffer.getvalue() for buffer in buffers]


def pairs() -> list[bytes]:
    """Pairs files with and without people, quoted and not."""
    return [
        b"left,right,label\na/1.jpg,a/2.jpg,1\na/1.jpg,b/1.jpg,0\n",
        b'left,right,label,left_person,right_person\n"a, 1",a2,1,ann,ann\na1,"b""1",0,ann,bob\n',
        b"\xef\xbb\xbfa1,a2,same,x,x\r\na1,b1,different,x,y\r\n",
    ]


def records() -> list[bytes]:
    """Record files: insightface's layout, a plain one, several labels, a record cut in parts."""
    jpeg = b"\xff\xd8\xff\xe0 image"
    head = struct.Struct("<IfQQ")
    labelled = framed(head.pack(2, 0, 1, 0) + struct.pack("<2f", 4, 5) + jpeg)
    split = framed(head.pack(0, 1, 0, 0) + jpeg[:4] + MAGIC_BYTES + jpeg[:4])
    one = image_record(0, 7, jpeg)
    return [_insightface(), one + image_record(1, 8, jpeg), labelled * 2, split + one, one]


def _insightface() -> bytes:
    jpeg = b"\xff\xd8\xff\xe0 image"
    found = [range_record(0, 4, 6), *(image_record(key, key // 2, jpeg) for key in (1, 2, 3))]
    return b"".join([*found, range_record(4, 1, 2), range_record(5, 2, 4)])


def write_record(folder: Path) -> None:
    """A whole record file, for an index or a property to be read with."""
    (folder / "train.rec").write_bytes(_insightface())


def indexes() -> list[bytes]:
    """The index of ``write_record``'s file."""
    data, place, lines = _insightface(), 0, []
    while place >= 0:
        lines.append(f"{len(lines)}\t{place}\n")
        place = data.find(MAGIC_BYTES, place + 4)
    return ["".join(lines).encode(), "".join(reversed(lines)).encode()]


def properties() -> list[bytes]:
    """What stands in ``property``."""
    return [b"85742,112,112", b" 2, 112,96 \n"]


_ENTRY = (
    b"""models:
  one:
    file: weights/one.h5
    sha256: """
    + b"aB" * 32
    + b"""
    hash_source: a page
    url: https://example.org/one.zip
    member: folder/one.h5
    archive_sha256:
    licence: MIT
    input: {profile: raw, size: [112, 96], channels: bgr}
    embedding_size: 512
    source: somewhere
    published: {protocol: seed, flip: sum, lfw: {accuracy: 0.99, threshold: -0.25}}
    notes: >-
      two
      lines
"""
)
_RECIPE = b"""models:
  two:
    file: two.keras
    input: {profile: unit}
    source: here
    recipe:
      data: {validation: 0.05, augment: {flip: true}}
      model: {backbone: mlp, pooling: none, embedding_size: 16}
      batch: 128
      stages:
        - {epochs: 2, loss: softmax, optimizer: adamax, learning_rate: seed}
        - {epochs: 1, loss: {name: margin, preset: arcface}, optimizer: {name: sgd, momentum: 0.9},
           learning_rate: {name: cosine, learning_rate: 5e-4, warmup_epochs: 1}}
"""
_TRIPLETS = b"""models:
  three: {file: a, source: b, input: {profile: unit},
    recipe: {model: {backbone: mlp, pooling: none}, batch: 12,
    stages: [{epochs: 1, loss: {name: triplet_batch_hard, margin_cosine: 0.2}, head: none,
    optimizer: adam, learning_rate: 0.001, triplets: {sampler: balanced, people: 4, images: 3}}]}}
"""


def registries() -> list[bytes]:
    """models.yaml with an entry, a recipe, a triplet recipe, and aliases."""
    shared = b"models:\n  a: &x {file: a, source: s, input: &i {profile: unit}}\n  b: *x\n"
    return [_ENTRY, _RECIPE, _TRIPLETS, shared]
