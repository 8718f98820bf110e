"""Lists as data sets are published with, and tables as programs write them, become bins."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from faces import write_people
from samples import Zoo
from sklearn.model_selection import KFold

from evaluator.bins.pairs_file import read_pairs_csv
from evaluator.bins.verification_set import read_bin
from zoo.bins.lists import read_pair_list

# Left, right (person and number of an image), genuine.
Rows = list[tuple[tuple[str, int], tuple[str, int], bool]]
EACH = 4  # genuine, and impostor, pairs a fold


def _rows(shared: Path) -> tuple[Rows, dict[tuple[str, int], bytes]]:
    """Ten folds of real faces: EACH genuine pairs, then EACH impostor pairs of the same people."""
    people = sorted(
        folder
        for folder in (shared / "faces/lfw_train").iterdir()
        if len(list(folder.iterdir())) > 2
    )[: 10 * EACH]
    rows: Rows = []
    for fold in range(10):
        own = [folder.name for folder in people[EACH * fold : EACH * (fold + 1)]]
        rows += [((name, 1), (name, 2), True) for name in own]
        rows += [((name, 3), (own[i - 1], 1), False) for i, name in enumerate(own)]
    content = {
        (folder.name, number): (folder / f"{folder.name}_{number:04d}.jpg").read_bytes()
        for folder in people
        for number in (1, 2, 3)
    }
    return rows, content


def _halves(rows: Rows) -> Rows:
    """All genuine pairs, then all impostor pairs."""
    return [row for row in rows if row[2]] + [row for row in rows if not row[2]]


Name = Callable[[tuple[str, int]], str]


def _lfw_line(
    row: tuple[tuple[str, int], tuple[str, int], bool], name: Callable[[str], str]
) -> str:
    (a, i), (b, j), genuine = row
    return f"{name(a)}\t{i}\t{j}" if genuine else f"{name(a)}\t{i}\t{name(b)}\t{j}"


def _lfw(rows: Rows) -> tuple[str, bytes, Name]:
    lines = [f"10\t{EACH}", *(_lfw_line(row, str) for row in rows)]
    return "pairs.txt", "\n".join(lines).encode(), lambda x: f"{x[0]}/{x[0]}_{x[1]:04d}.jpg"


def _rfw(rows: Rows) -> tuple[str, bytes, Name]:
    def name(person: str) -> str:
        return f"m.0{abs(sum(map(ord, person))):x}{person[:2].lower()}{len(person)}{person[-3:]}"

    lines = [_lfw_line(row, name) for row in rows]
    return (
        "African_pairs.txt",
        ("\n".join(lines) + "\n").encode(),
        lambda x: f"{name(x[0])}/{name(x[0])}_{x[1]:04d}.jpg",
    )


def _calfw(rows: Rows) -> tuple[str, bytes, Name]:
    lines = []
    for i, (left, right, genuine) in enumerate(_halves(rows)):
        label = 1 + i // EACH if genuine else 0
        lines += [f"{x[0]}_{x[1]:04d}.jpg {label}" for x in (left, right)]
    return "pairs_CALFW.txt", "\n".join(lines).encode(), lambda x: f"{x[0]}_{x[1]:04d}.jpg"


def _cplfw(rows: Rows) -> tuple[str, bytes, Name]:
    lines = [f"{x[0]}_{x[1]}.jpg {int(row[2])}" for row in _halves(rows) for x in row[:2]]
    return "pairs_CPLFW.txt", "\r\n".join(lines).encode(), lambda x: f"{x[0]}_{x[1]}.jpg"


def _sllfw(rows: Rows) -> tuple[str, bytes, Name]:
    def name(x: tuple[str, int]) -> str:
        return f"{x[0]}/{x[0]}_{x[1]:04d}.jpg"

    return "pair_SLLFW.txt", "\n".join(name(x) for r in rows for x in r[:2]).encode(), name


def _agedb(rows: Rows) -> tuple[str, bytes, Name]:
    def name(x: tuple[str, int]) -> str:
        return f"{x[0].replace('_', '')}_{x[1]}_{20 + x[1]}_f"

    splits = np.empty((10, 1), object)
    for fold in range(10):
        own = rows[2 * EACH * fold : 2 * EACH * (fold + 1)]
        cell = np.empty((2, len(own)), object)
        for i, (left, right, _) in enumerate(own):
            cell[0, i], cell[1, i] = ({"name": name(x), "age": 30.0} for x in (left, right))
        splits[fold, 0] = {
            "pairs": cell,
            "labels": np.array([[1.0 if genuine else -1.0 for *_, genuine in own]]),
        }
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"splits": splits}, do_compression=True)
    return "04_FINAL_protocol_30_years.mat", buffer.getvalue(), lambda x: f"{name(x)}.jpg"


def _bfw(rows: Rows) -> tuple[str, bytes, Name]:
    def name(x: tuple[str, int]) -> str:
        return f"asian_females/{x[0]}/{x[1]:04d}_01.jpg"

    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow("fold,p1,p2,label,id1,id2,att1,att2,vgg16,a1,a2,g1,g2,e1,e2".split(","))
    places = np.random.default_rng(1).permutation(len(rows))  # the folds lie mixed
    for i in places.tolist():
        left, right, genuine = rows[i]
        fold = 1 + i * 5 // len(rows)
        more = ["asian_females"] * 2 + [0.5, "AF", "AF", "F", "F", "A", "A"]
        writer.writerow([fold, name(left), name(right), int(genuine), left[0], right[0], *more])
    return "bfw-v0.1.5.csv", text.getvalue().encode(), name


LISTS = {
    "LFW": _lfw,
    "XQLFW": lambda rows: ("xqlfw_pairs.txt", *_lfw(rows)[1:]),
    "RFW": _rfw,
    "CALFW": _calfw,
    "CPLFW": _cplfw,
    "SLLFW": _sllfw,
    "AgeDB-30": _agedb,
    "BFW": _bfw,
}
SAID = {
    "CALFW": "fold k is the k-th part of",
    "CPLFW": "fold k is the k-th part of",
    "AgeDB-30": "splits are the folds",
    "BFW": "its own 5 folds, one after another, became 10 parts",
}


def _write(folder: Path, content: dict[tuple[str, int], bytes], name: Name) -> None:
    for image, data in content.items():
        path = folder / name(image)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@pytest.mark.parametrize("name", LISTS)
def test_a_published_list_is_a_bin_in_one_command_and_evaluated_in_another(
    zoo: Zoo, tmp_path: Path, shared: Path, name: str
) -> None:
    rows, content = _rows(shared)
    file, text, named = LISTS[name](rows)
    (tmp_path / file).write_bytes(text)
    _write(tmp_path / "images", content, named)
    done = zoo("bins", "make", "own.bin", "--pairs", file, "--images", "images")
    assert done.code == 0
    assert len(done.err.splitlines()) == int(name in SAID)
    assert SAID.get(name, "") in done.err
    made = read_bin(tmp_path / "own.bin")
    found = {
        (made.images[2 * i], made.images[2 * i + 1], bool(made.genuine[i]))
        for i in range(made.pairs)
    }
    assert found == {(content[a], content[b], genuine) for a, b, genuine in rows}
    # Each of the parts that evaluators cut is the protocol's fold.
    parts = [
        {made.images[2 * i] + made.images[2 * i + 1] for i in part}
        for _, part in KFold(10).split(np.zeros(made.pairs))
    ]
    folds = [
        {content[a] + content[b] for a, b, _ in rows[2 * EACH * k : 2 * EACH * (k + 1)]}
        for k in range(10)
    ]
    if name == "BFW":  # which has five
        parts, folds = (
            [a | b for a, b in zip(x[::2], x[1::2], strict=True)] for x in (parts, folds)
        )
    assert parts == folds
    people = {pair.people for pair in read_pairs_csv(tmp_path / "own.pairs.csv")}
    assert None not in people
    assert len({one for pair in people if pair for one in pair}) == 10 * EACH

    evaluated = zoo(
        "eval", shared / "models/mobileface_v3.onnx", "--bins", "own.bin", "--input", "raw",
        "--json", "-",
    )  # fmt: skip
    assert evaluated.code == 0
    (result,) = json.loads(evaluated.out)
    assert result["bin"]["pairs"] == 2 * EACH * 10
    assert result["figures"]["kfold"]["accuracy"] > 0.6


def test_a_calfw_list_cut_as_it_stands_would_have_folds_of_one_label(tmp_path: Path) -> None:
    """What the order of the bin mends, on a list of the published size."""
    lines = [f"p{i // 2}_{i % 2}.jpg {1 + i // 600}" for i in range(6000)]
    lines += [f"p{i}_0.jpg 0" for i in range(6000)]
    (tmp_path / "pairs_CALFW.txt").write_text("\n".join(lines))
    listed = read_pair_list(tmp_path / "pairs_CALFW.txt")
    as_it_stands = [pair.genuine for pair in listed.pairs]
    assert {sum(as_it_stands[i : i + 600]) for i in range(0, 6000, 600)} == {0, 600}


def test_folds_of_bfw_of_unequal_size_are_counted(zoo: Zoo, tmp_path: Path) -> None:
    root = write_people(tmp_path / "f", {f"p{i:02d}": 2 for i in range(20)})
    lines = ["fold,p1,p2,label"]
    for i in range(20):
        other = f"p{(i + 1) % 20:02d}"
        lines += [f"{1 + (i > 8)},p{i:02d}/p{i:02d}_0001.png,p{i:02d}/p{i:02d}_0002.png,1"]
        lines += [f"{1 + (i > 8)},p{i:02d}/p{i:02d}_0001.png,{other}/{other}_0002.png,0"]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    done = zoo("bins", "make", "o.bin", "--pairs", "t.csv", "--images", root)
    # Nine people in the first fold, and two a part: one person's two pairs are with the second's.
    assert "its own 2 folds" in done.err
    assert "2 pairs are in a part that is mostly of another fold" in done.err
    assert (
        zoo("bins", "make", "p.bin", "--pairs", "t.csv", "--images", root, "--folds", "2").code == 0
    )


TABLES = {
    "R's write.csv": b'"","left","right","label"\n"1","ann/1.png","bob/1.png",0\n'
    b'"2","ann/1.png","ann/2.png",1\n',
    "R's write.table": b'"left" "right" "label"\n"1" "ann/1.png" "bob/1.png" 0\n'
    b'"2" "ann/1.png" "ann/2.png" 1\n',
    "pandas": b",img1,img2,label\n0,ann/1.png,bob/1.png,0.0\n1,ann/1.png,ann/2.png,1.0\n",
    "pandas without header": b"0,ann/1.png,bob/1.png,False\n1,ann/1.png,ann/2.png,True\n",
    "NumPy's savetxt": b"# a b c\nann/1.png bob/1.png 0.000000000000000000e+00\n"
    b"ann/1.png ann/2.png 1.000000000000000000e+00\n",
    "Excel, German": b"\xef\xbb\xbfleft;right;label\r\nann\\1.png;bob\\1.png;0,0\r\n"
    b"ann\\1.png;ann\\2.png;1,0\r\n",
    "Excel, Unicode text": "left\tright\tlabel\r\nann/1.png\tbob/1.png\t0\r\n"
    "ann/1.png\tann/2.png\t1\r\n".encode("utf-16"),
    "Excel's first line": b"sep=;\r\nleft;right;label\r\nann/1.png;bob/1.png;0\r\n"
    b"ann/1.png;ann/2.png;1\r\n",
    "tabs": b"ann/1.png\tbob/1.png\t-1\nann/1.png\tann/2.png\t1\n",
    "columns in another order": b"score,label,right,left\n,0,bob/1.png,ann/1.png\n"
    b",1,ann/2.png,ann/1.png\n",
    "people and an index": b"1,ann/1.png,bob/1.png,0,ann,bob\n2,ann/1.png,ann/2.png,1,ann,ann\n",
}


@pytest.mark.parametrize("suffix", [".csv", ".txt"])
@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_read_as_programs_write_it(
    zoo: Zoo, tmp_path: Path, table: str, suffix: str
) -> None:
    from samples import face, png

    for person, name in enumerate(("ann", "bob")):
        (tmp_path / "f" / name).mkdir(parents=True)
        for shot in (1, 2):
            (tmp_path / f"f/{name}/{shot}.png").write_bytes(png(face(person, shot)))
    (tmp_path / f"t{suffix}").write_bytes(TABLES[table])
    done = zoo("bins", "make", "o.bin", "--pairs", f"t{suffix}", "--images", "f", "--folds", "2")
    assert done.code == 0, done.err
    assert ("images have other slashes" in done.err) == ("German" in table)
    made = read_bin(tmp_path / "o.bin")
    assert made.genuine.tolist() == [False, True]
    expected = ["ann/1.png", "bob/1.png", "ann/1.png", "ann/2.png"]
    assert list(made.images) == [(tmp_path / "f" / name).read_bytes() for name in expected]


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_may_be_composed_otherwise_and_suffixes_other(
    zoo: Zoo, tmp_path: Path, forms: Sequence[str]
) -> None:
    there, listed = (unicodedata.normalize(form, "Zoë") for form in forms)
    assert there != listed
    root = write_people(tmp_path / "f", {there: 2, "bob": 2})
    (root / "bob/bob_0002.png").rename(root / "bob/bob_0002.jfif")
    lines = [f"{listed} 1 2", f"{listed} 1 bob 2", "bob 1 2", f"{listed} 2 bob 1"]
    (tmp_path / "p.txt").write_text("\n".join(lines))
    done = zoo("bins", "make", "o.bin", "--pairs", "p.txt", "--images", root, "--folds", "2")
    assert done.code == 0
    assert "2 images have other spellings of accents" in done.err
    (tmp_path / "p.csv").write_text(
        f"bob/bob_0001.jpg,bob/bob_0002.jpg,1\nbob/bob_0001.jpg,{there}/{there}_0001.jpg,0\n"
    )
    done = zoo("bins", "make", "q.bin", "--pairs", "p.csv", "--images", root, "--folds", "2")
    assert done.code == 0
    assert "3 images have other suffixes" in done.err
    assert read_bin(tmp_path / "q.bin").images[3] == (root / "bob/bob_0002.jfif").read_bytes()


def test_two_files_that_a_name_could_be_are_named(zoo: Zoo, tmp_path: Path) -> None:
    root = write_people(tmp_path / "f", {"ann": 2, "bob": 1})
    (root / "ann/ann_0001.bmp").write_bytes(b"BM" + bytes(60))
    (tmp_path / "p.csv").write_text("ann/ann_0001.jpg,ann/ann_0002.png,1\n")
    done = zoo("bins", "make", "q.bin", "--pairs", "p.csv", "--images", root)
    assert done.code == 2
    assert "ann_0001.jpg, and ann/ann_0001." in done.err
    assert "could be it" in done.err


BAD = {
    "labels differ": ("a_1.jpg 1\na_2.jpg 0\n", "line 1: label 1, and 0 on the pair's second line"),
    "no label": ("a_1.jpg 1\na_2.jpg 1\nb_1.jpg\nb_2.jpg 0\n", "line 3: expected a name and"),
    "odd": ("a_1.jpg 1\na_2.jpg 1\nb_1.jpg 0\n", "line 3: expected two lines a pair"),
    "twice": ("a/1.jpg\na/2.jpg\nb/1.jpg\nb/1.jpg\n", "line 4: both sides of the pair are b/1"),
    "no path": ("a/1.jpg\na/2.jpg\nb/1.jpg\nb 2\n", "line 4: expected a path like"),
    "long": ("a/1.jpg\na/" + "2" * 5000 + "\n", "line 2: expected an image's name, found 5,002"),
    "short row": ("left;right;label\na;b;1\na;b\n", "line 3: expected 3 values, as the header"),
    "bad label": ("a,b,1\na,c,2\n", "line 2: expected 1 or 0 as the label, found '2'"),
    "people": ("p1,p2,label,id1,id2\na,b,1,x,y\n", "line 2: the label is 1, but the people are"),
    "no fold": ("fold,p1,p2,label\n1,a,b,1\n,a,c,0\n", "line 3: expected a fold, found none"),
    "mat": ("MATLAB 5.0 MAT-file, made by hand", "is no MATLAB file of version 5 to 7"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_list_is_one_line_and_exit_2(zoo: Zoo, tmp_path: Path, name: str) -> None:
    text, words = BAD[name]
    (tmp_path / "p.txt").write_text(text)
    (tmp_path / "f").mkdir()
    done = zoo("bins", "make", "o.bin", "--pairs", "p.txt", "--images", "f")
    assert (done.code, done.out, len(done.error_lines)) == (2, "", 1)
    assert "p.txt" in done.err
    assert words in done.err
    assert not (tmp_path / "o.bin").exists()


def test_a_damaged_matlab_file_is_one_line_and_never_more(tmp_path: Path) -> None:
    from evaluator.errors import InputError

    rows: Rows = [((f"p{i}", 1), (f"p{i + i % 2}", 2), i % 2 == 0) for i in range(80)]
    buffer = io.BytesIO()
    splits = scipy.io.loadmat(io.BytesIO(_agedb(rows)[1]))["splits"]
    scipy.io.savemat(buffer, {"splits": splits})  # not packed, so that damage reaches the arrays
    whole = buffer.getvalue()
    path = tmp_path / "a.mat"
    draw, refused = np.random.default_rng(0), 0
    for _ in range(400):
        data = bytearray(whole)
        for place in draw.integers(116, len(data), 3):
            data[place] = draw.integers(256)
        path.write_bytes(bytes(data))
        try:
            assert read_pair_list(path).pairs
        except InputError as error:
            refused += len(str(error).splitlines())
    assert 200 < refused < 400  # one line each
    bomb = zlib.compress(bytes(2**27))
    path.write_bytes(
        whole[:128] + (15).to_bytes(4, "little") + len(bomb).to_bytes(4, "little") + bomb
    )
    with pytest.raises(InputError, match="unpacks to more than"):
        read_pair_list(path)


def test_what_a_folder_holds_besides_images_is_counted_and_named(zoo: Zoo, tmp_path: Path) -> None:
    root = write_people(tmp_path / "f", {f"p{i}": 2 for i in range(4)})
    (root / "p0/p0_0001.png").rename(root / "p0/p0_0001.jfif")
    (root / "p1/p1_0001.png").rename(root / "p1/no suffix")
    (root / "readme.md").write_text("of mine")
    (root / "p2/notes.txt").write_text("BMW")
    for command in (
        ("bins", "make", "o.bin", root, "--folds", "2", "--pairs-per-person", "1"),
        ("data", "pack", root, "rec"),
    ):
        done = zoo(*command)
        assert done.code == 0
        assert f"{root}: 2 others there, passed over: readme.md, p2/notes.txt" in done.err
    assert "rec: 8 images of 4 people" in done.out
    assert (root / "p1/no suffix").read_bytes() in (tmp_path / "rec/train.rec").read_bytes()
