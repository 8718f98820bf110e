"""IJB's lists: read as they are published, and every contradiction named with its line."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from template_samples import HEADER, Fixture, jpeg, to_nist, write_images, write_lists

from evaluator.errors import BinError
from evaluator.images.alignment import TEMPLATE, aligned
from evaluator.images.decode import decode_image
from evaluator.templates import lists
from evaluator.templates.image_files import template_image
from evaluator.templates.layouts import layout_of, read_template_set
from evaluator.templates.template_set import NOBODY, TemplateSet


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_lists(tmp_path / "IJBC")
    return tmp_path / "IJBC"


def read(root: Path) -> TemplateSet:
    """The set, for embeddings that are of all its images."""
    return read_template_set(root, embeddings_names=[f"{i + 1}.jpg" for i in range(700)])


def edit(root: Path, end: str, change: Callable[[list[str]], list[str]]) -> None:
    path = root / "meta" / f"ijbc{end}"
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")


def check_fixture(found: TemplateSet, made: Fixture) -> None:
    assert found.images == tuple(made.names)
    assert found.template.tolist() == made.template.tolist()
    assert found.media.tolist() == made.medium.tolist()
    assert found.names == tuple(str(3 * t + 1) for t in range(160))
    assert found.person.tolist() == made.subject.tolist()
    assert found.detector_scores is not None
    assert found.detector_scores.tolist() == made.detector_scores.tolist()
    assert found.points is not None
    assert found.points.shape == (636, 5, 2)
    assert found.points[635, 4].tolist() == [70.7, 92.2]
    assert found.pairs is not None
    left, right = np.triu_indices(160, 1)
    assert found.pairs.left.tolist() == left.tolist()
    assert found.pairs.right.tolist() == right.tolist()
    assert (found.pairs.genuine == (made.subject[left] == made.subject[right])).all()
    assert int(found.pairs.genuine.sum()) == 240
    first, second = found.galleries
    assert first.templates.tolist() == list(range(0, 80, 4))
    assert second.templates.tolist() == list(range(80, 160, 4))
    assert found.probes.tolist() == [t for t in range(160) if t % 4]


def test_ijb_c_is_read_as_it_is_published(tmp_path: Path) -> None:
    made = write_lists(tmp_path / "IJBC")
    assert made.embeddings.sum() == pytest.approx(-1129.0470088815632, abs=1e-9)
    assert made.detector_scores.sum() == pytest.approx(411.8659093684795, abs=1e-9)
    assert layout_of(tmp_path / "IJBC") == "ijb"
    found = read(tmp_path / "IJBC")
    check_fixture(found, made)
    assert (found.name, found.kind, found.folder) == ("IJBC", "ijb", None)
    assert [each.name for each in found.galleries] == ["G1", "G2"]


def test_ijb_b_has_its_own_words(tmp_path: Path) -> None:
    made = write_lists(tmp_path, prefix="ijbb", galleries="S")
    found = read(tmp_path)
    check_fixture(found, made)
    assert [each.name for each in found.galleries] == ["S1", "S2"]


def test_nists_lists_say_the_same(tmp_path: Path) -> None:
    made = write_lists(tmp_path)
    to_nist(tmp_path)
    found = read(tmp_path)
    check_fixture(found, made)
    assert [each.name for each in found.galleries] == ["G1", "G2"]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data + b"\n \r\n\n",
        lambda data: data.rstrip(b"\n"),
    ],
    ids=["CRLF", "a mark in front", "blank lines at the end", "no last line feed"],
)
def test_another_way_to_write_lines_is_the_same_set(
    root: Path, change: Callable[[bytes], bytes]
) -> None:
    made = write_lists(root.parent / "plain")
    for path in (root / "meta").iterdir():
        path.write_bytes(change(path.read_bytes()))
    check_fixture(read(root), made)


def test_without_searches_genuine_pairs_say_who_is_who(root: Path) -> None:
    for path in (root / "meta").glob("*_1N_*"):
        path.unlink()
    # A person whose templates are chained, 1-2, 2-3, 3-4, and none of whose pairs closes the ring.
    edit(
        root,
        "_template_pair_label.txt",
        lambda rows: [row for row in rows if row not in ("1 7 1", "1 10 1", "4 10 1")],
    )
    found = read(root)
    assert found.galleries == ()
    assert len(found.probes) == 0
    assert found.person.tolist() == [t // 4 for t in range(160)]


def test_a_template_that_no_list_names_shows_nobody(root: Path) -> None:
    (root / "meta/ijbc_template_pair_label.txt").write_text("1 4 1\n1 13 0\n")
    edit(root, "_1N_probe_mixed.csv", lambda rows: [r for r in rows if not r.startswith("7,")])
    found = read(root)
    assert np.flatnonzero(found.person == NOBODY).tolist() == [2]


def test_a_probe_may_have_no_mate(root: Path) -> None:
    # Where insightface's reader stops: "every probe has exactly one mate".
    edit(root, "_1N_gallery_G2.csv", lambda rows: [r for r in rows if not r.startswith("241,")])
    found = read(root)
    assert len(found.galleries[1].templates) == 19
    assert len(found.probes) == 120


POINTS = "38.3 51.7 73.5 51.5 56.0 71.7 41.5 92.4 70.7 92.2"
ROWS, FIVE, PAIRS = "_face_tid_mid.txt", "_name_5pts_score.txt", "_template_pair_label.txt"
G1, PROBES = "_1N_gallery_G1.csv", "_1N_probe_mixed.csv"


def put(line: int, text: str) -> Callable[[list[str]], list[str]]:
    """Another text in a line, which counts from 1."""
    return lambda rows: [*rows[: line - 1], text, *rows[line:]]


@pytest.mark.parametrize(
    ("end", "change", "words"),
    [
        (ROWS, put(3, "3.jpg 1"), ", line 3: expected an image, its template's and"),
        (ROWS, put(3, "3.jpg 1.5 2"), ", line 3: expected an image, its template's and"),
        (ROWS, put(3, "3.jpg -1 2"), ", line 3: expected"),
        (ROWS, put(3, "3.jpg 1 9999999999999999999"), ", line 3: expected"),
        (ROWS, put(3, ""), ", line 3: expected"),
        (ROWS, put(1, "name template media"), ", line 1: expected"),
        (ROWS, put(3, "2.jpg 1 2"), ", line 3: the image 2.jpg stands in line 2 too"),
        (ROWS, put(3, "../3.jpg 1 2"), ", line 3: expected the name of an image below"),
        (ROWS, put(3, "/etc/passwd 1 2"), ", line 3: expected the name of an image below"),
        (ROWS, put(3, "c:\\3.jpg 1 2"), ", line 3: expected the name of an image below"),
        (ROWS, put(3, "a/.. 1 2"), ", line 3: expected the name of an image below"),
        (ROWS, lambda _: [], ": is empty"),
        (FIVE, lambda rows: rows[:-1], "of the 636 images of ijbc_face_tid_mid.txt, found 635"),
        (FIVE, lambda rows: [rows[1], rows[0], *rows[2:]], ", line 1: expected 1.jpg, as line 1"),
        (FIVE, put(5, f"5.jpg {POINTS} nan"), ", line 5: expected finite points"),
        (FIVE, put(5, f"5.jpg {POINTS} -0.5"), ", line 5: expected finite points"),
        (FIVE, put(5, f"5.jpg {POINTS} high"), ", line 5: expected an image, five points"),
        (FIVE, put(5, f"5.jpg {POINTS}"), ", line 5: expected an image, five points"),
        (PAIRS, put(7, "1 2 0"), ", line 7: template 2 has no image in ijbc_face_tid_mid.txt"),
        (PAIRS, put(7, "1 999999999 0"), ", line 7: template 999999999 has no image"),
        (PAIRS, put(7, "1 22 2"), ", line 7: expected two templates' numbers and 1 or 0"),
        (PAIRS, put(7, "1 22"), ", line 7: expected two templates' numbers and 1 or 0"),
        (PAIRS, put(7, "1 22 0 0"), ", line 7: expected"),
        (PAIRS, put(7, "1 22 x"), ", line 7: expected"),
        (PAIRS, put(7, "1 -22 0"), ", line 7: expected"),
        (PAIRS, put(7, "1 12345678901234567890 0"), ", line 7: expected"),
        (PAIRS, put(7, ""), ", line 7: expected"),
        (PAIRS, put(7, "1 " * 3_000), ", line 7: expected"),
        (PAIRS, put(1, "template template label"), ", line 1: expected"),
        (PAIRS, put(7, "1 22 1"), ", line 7: the label of templates 1 and 22 is 1, but their sub"),
        (PAIRS, put(1, "1 4 0"), ", line 1: the label of templates 1 and 4 is 0, but their subj"),
        (PAIRS, lambda _: [], ": is empty"),
        (G1, put(1, "1,0,img/1.jpg"), ", line 1: expected a header, TEMPLATE_ID,SUBJECT_ID"),
        (G1, lambda rows: [rows[0], *rows], ", line 2: expected the numbers of a template and"),
        (G1, put(2, "1"), ", line 2: expected the numbers of a template and a subject"),
        (G1, put(2, "2,0,img/1.jpg"), ", line 2: template 2 has no image"),
        (G1, lambda rows: [*rows, "1,77,x"], "template 1 is of subject 77 here, and of 0 in line"),
        (G1, lambda rows: [*rows, "4,0,x"], "template 4 is of subject 0, as template 1 of line 2;"),
        (G1, lambda rows: rows[:1], ": has no rows below its header"),
        (PROBES, put(2, "4,77,x"), "template 4 is of subject 0 here, and of 77 in line 2"),
        (PROBES, lambda rows: [*rows, "1,0,x"], "template 1 is in a gallery too, and would find"),
        (
            PROBES,
            lambda rows: [rows[0], *(r.replace("0,img", "7,img") for r in rows[1:])],
            "no probe has a mate in a gallery (ijbc_1N_gallery_G1.csv, ijbc_1N_gallery_G2.csv)",
        ),
    ],
)
def test_a_wrong_line_is_named(
    root: Path, end: str, change: Callable[[list[str]], list[str]], words: str
) -> None:
    edit(root, end, change)
    with pytest.raises(BinError) as caught:
        read(root)
    message = str(caught.value)
    assert f"ijbc{end}" in message
    assert words in message
    assert "\n" not in message


def test_pairs_that_contradict_one_another_are_named(root: Path) -> None:
    for path in (root / "meta").glob("*_1N_*"):
        path.unlink()
    edit(root, PAIRS, put(1, "1 4 0"))  # while 1 and 7, and 7 and 4, are said to be one person
    with pytest.raises(BinError, match=r", line 1: the label of templates 1 and 4 is 0, but genui"):
        read(root)


def test_subjects_that_a_chain_of_pairs_joins_are_named(root: Path) -> None:
    edit(root, PROBES, lambda rows: [r for r in rows if not r.startswith("4,")])
    (root / f"meta/ijbc{PAIRS}").write_text("1 4 1\n4 13 1\n")  # 1 is of subject 0, 13 of 10
    with pytest.raises(BinError, match="join templates of subject 0 and of subject 10"):
        read(root)


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ([PROBES], "_1N_probe_mixed.csv: is not there; galleries and probes go together"),
        ([G1, "_1N_gallery_G2.csv"], "_1N_gallery_*.csv: is not there; galleries and probes"),
        ([PROBES, G1, "_1N_gallery_G2.csv", PAIRS], "nothing is compared"),
    ],
)
def test_lists_that_go_together_are_missed(root: Path, missing: list[str], words: str) -> None:
    for end in missing:
        (root / f"meta/ijbc{end}").unlink()
    with pytest.raises(BinError) as caught:
        read(root)
    assert words in str(caught.value)


def test_two_sets_in_one_folder_are_refused(root: Path) -> None:
    (root / "meta/ijbb_face_tid_mid.txt").write_text("1.jpg 1 1\n")
    with pytest.raises(
        BinError, match=r"expected one list .* found 2: ijbb_face_tid_mid.txt, ijbc"
    ):
        read(root)


def test_columns_go_by_their_names(root: Path) -> None:
    made = write_lists(root.parent / "plain")
    swapped = HEADER.replace("TEMPLATE_ID,SUBJECT_ID", "SUBJECT_ID,TEMPLATE_ID")

    def swap(rows: list[str]) -> list[str]:
        cells = [row.split(",") for row in rows[1:]]
        return [swapped, *(",".join([b, a, *rest]) for a, b, *rest in cells)]

    edit(root, G1, swap)
    check_fixture(read(root), made)


def test_a_list_that_no_memory_holds_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "MOST_PAIRS", 12_720)
    read(root)
    monkeypatch.setattr(lists, "MOST_PAIRS", 12_719)
    with pytest.raises(BinError, match="has 12,720 lines; at most 12,719 are read"):
        read(root)
    monkeypatch.setattr(lists, "_MOST_LINES", 600)
    with pytest.raises(BinError, match="has more than 600 lines; expected fewer images"):
        read(root)


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 10**18 - 1), st.integers(0, 30)), min_size=1, max_size=20
    ),
    between=st.sampled_from([" ", "\t", "  ", " \t"]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_numbers_are_those_that_were_written(
    rows: list[tuple[int, int]], between: str, end: str
) -> None:
    text = end.join(f"{a}{between}{b}" for a, b in rows)
    found = lists.integer_rows(Path("x"), text.encode(), 2, "two")
    assert found.tolist() == [list(row) for row in rows]


@given(data=st.text("0123456789 \t\r\n,x", max_size=60).map(str.encode) | st.binary(max_size=60))
def test_all_that_is_no_row_of_numbers_is_refused_in_one_line(data: bytes) -> None:
    words = data.split()
    lines = data.rstrip().split(b"\n") if words else []
    good = all(
        len(line.split()) == 2 and set(line.removesuffix(b"\r")) <= {*b"0123456789 \t"}
        for line in lines
    ) and all(len(word) < 19 for word in words)
    if good:
        found = lists.integer_rows(Path("x"), data, 2, "two")
        assert found.ravel().tolist() == [int(word) for word in words]
    else:
        with pytest.raises(BinError, match=r"\Ax, line \d+: expected two, found .*\Z"):
            lists.integer_rows(Path("x"), data, 2, "two")


def test_images_are_hashed_and_aligned_by_their_points(root: Path) -> None:
    made = write_lists(root.parent / "other")
    without = read(root)
    write_images(root / "loose_crop", made.names)
    found = read_template_set(root)
    assert found.folder == root / "loose_crop"
    assert found.sha256 == read_template_set(root).sha256
    assert read(root).sha256 == without.sha256 != found.sha256
    face = template_image(found, 5)
    assert found.points is not None
    assert face.shape == (112, 112, 3)
    pixels = decode_image((root / "loose_crop" / "6.jpg").read_bytes())
    assert (face == aligned(pixels, found.points[5])).all()
    (root / "loose_crop" / "636.jpg").write_bytes(jpeg(1))
    assert read_template_set(root).sha256 != found.sha256


def test_the_hash_is_of_lists_and_images_in_their_order(root: Path) -> None:
    # Restated: a name or content after its length; the images by their own hashes, 256 a piece.
    made = write_lists(root.parent / "other")
    write_images(root / "loose_crop", made.names)
    digest = hashlib.sha256(b"ijb")

    def put_in(data: bytes) -> None:
        digest.update(len(data).to_bytes(8, "big") + data)

    for end in (ROWS, FIVE, G1, "_1N_gallery_G2.csv", PROBES, PAIRS):
        put_in(f"meta/ijbc{end}".encode())
        put_in((root / f"meta/ijbc{end}").read_bytes())
    hashes = [
        hashlib.sha256((root / "loose_crop" / name).read_bytes()).digest() for name in made.names
    ]
    for start in range(0, 636, 256):
        put_in(b"".join(hashes[start : start + 256]))
    assert read_template_set(root).sha256 == digest.hexdigest()


def test_an_image_that_is_not_there_is_named_by_its_line(root: Path) -> None:
    with pytest.raises(BinError, match="loose_crop: no such folder; put the images there"):
        read_template_set(root)
    made = write_lists(root.parent / "other")
    write_images(root / "loose_crop", made.names)
    (root / "loose_crop" / "300.jpg").unlink()
    with pytest.raises(BinError, match=r"_face_tid_mid.txt, line 300: names the image 300.jpg"):
        read_template_set(root)


def test_images_without_points_are_not_taken_as_they_are(root: Path) -> None:
    (root / f"meta/ijbc{FIVE}").unlink()
    assert read(root).points is read(root).detector_scores is None
    write_images(root / "loose_crop", ["1.jpg"])
    with pytest.raises(BinError, match="without points no face is aligned"):
        read_template_set(root)


def test_an_image_without_an_embedding_is_named(root: Path) -> None:
    with pytest.raises(BinError, match=r"its image 3.jpg is not among the embeddings' names"):
        read_template_set(root, embeddings_names=["1.jpg", "2.jpg"])


def test_the_points_are_the_arcface_templates(root: Path) -> None:
    # A face that lies on the template already stays where it is.
    made = write_lists(root.parent / "other")
    write_images(root / "loose_crop", made.names)
    level = np.random.default_rng(1).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    assert np.abs(aligned(level, TEMPLATE).astype(int) - level).max() <= 1
