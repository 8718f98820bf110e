"""Inputs for the readers of lists of pairs, and of bins that come wrapped."""

from __future__ import annotations

import gzip
import io
import lzma
import pickle

import numpy as np

from fuzz.seeds import slots


def wrapped() -> list[bytes]:
    """A bin as numpy.save writes it, and in xz and gzip."""
    encoded, labels = slots()
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
