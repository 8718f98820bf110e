"""The lists of template sets as targets: IJB's, all in one file, and MATLAB's."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from scipy.io import savemat

from evaluator.bins.mat_file import Cells, read_mat
from evaluator.templates.layouts import read_lists
from evaluator.templates.template_set import NOBODY, TemplateSet

# Between two lists: a sign that no list has.
_NEXT = b"\x1d"

_LISTS = {
    "ijbc_face_tid_mid.txt": b"1.jpg 1 7\n2.jpg 1 7\n3.jpg 4 9\n4.jpg 30 2\n5.jpg 31 3\n",
    "ijbc_name_5pts_score.txt": b"".join(
        b"%d.jpg 38 52 74 52 56.5 72 42 92 71 92 0.9\n" % i for i in range(1, 6)
    ),
    "ijbc_template_pair_label.txt": b"1 30 1\n4 31 1\n1 31 0\n4 30 0\n",
    "ijbc_1N_gallery_G1.csv": b"TEMPLATE_ID,SUBJECT_ID,FILENAME\n1,5,a\n1,5,b\n",
    "ijbc_1N_gallery_G2.csv": b"TEMPLATE_ID,SUBJECT_ID,FILENAME\n4,6,c\n",
    "ijbc_1N_probe_mixed.csv": b"TEMPLATE_ID,SUBJECT_ID,FILENAME\n30,5,d\n31,6,e\n",
}
IJB_TOKENS = (
    b"\r\n",
    b"\xef\xbb\xbf",
    b"\n\n",
    b"nan",
    b"1e999",
    b"../",
    b"999999999999999999",
    b"9999999999999999999",
    b"-1",
    b'"',
    b"\x1b[2J",
    b"\x0b",
)
MAT_TOKENS = (
    struct.pack("<I", 14),
    struct.pack("<I", 15),
    struct.pack("<I", 0xFFFFFFFF),
    struct.pack("<I", 0x80000000),
    struct.pack("<I", 0x00040010),
)


def ijb_lists() -> list[bytes]:
    """A set of four templates of two people: all lists, without searches, and without pairs."""
    names = list(_LISTS)
    chosen = (names, names[:3], [*names[:2], *names[3:]])
    return [_NEXT.join(_LISTS[n] if n in some else b"" for n in names) for some in chosen]


def mat_files() -> list[bytes]:
    """A list of TinyFace, packed and as it is."""
    names = np.empty((3, 1), object)
    names[:, 0] = ["1_1.jpg", "2_1.jpg", "33_1.jpg"]
    made = []
    for packed in (False, True):
        buffer = io.BytesIO()
        values = {"probe_set": names, "probe_ids": np.array([[1], [2], [33]], np.uint16)}
        savemat(buffer, values, do_compression=packed)
        made.append(buffer.getvalue())
    return made


def read_ijb_lists(path: Path) -> None:
    """Reads what a file has of each list, in the order of their names here; an empty one is not
    there.
    """
    meta = path.with_name("set") / "meta"
    meta.mkdir(parents=True, exist_ok=True)
    for name, data in zip(_LISTS, path.read_bytes().split(_NEXT), strict=False):
        (meta / name).unlink(missing_ok=True)
        if data or name == next(iter(_LISTS)):
            (meta / name).write_bytes(data)
    check_set(read_lists(meta.parent))


def check_set(found: TemplateSet) -> None:
    """Raises ValueError unless all parts of a set are of one length and all numbers in range."""
    count, images = found.templates, len(found.images)
    ends = [found.probes, *(gallery.templates for gallery in found.galleries)]
    if found.pairs is not None:
        ends += [found.pairs.left, found.pairs.right]
    claims = (
        found.template.shape == found.media.shape == (images,),
        set(found.template.tolist()) == set(range(count)),
        found.points is None or bool(np.isfinite(found.points).all()),
        found.person.shape == (count,),
        int(found.person.min()) >= NOBODY,
        all(end.min(initial=0) >= 0 and end.max(initial=0) < count for end in ends),
    )
    if not all(claims):
        raise ValueError(f"a set that does not hold together: {claims}")


def read_mat_file(path: Path) -> None:
    """Reads MATLAB's lists, of which there are as many as there is room for."""
    data = path.read_bytes()
    for value in read_mat(path, data).values():
        if len(value.values if isinstance(value, Cells) else value) > 2**20:
            raise ValueError("a list longer than its file")
