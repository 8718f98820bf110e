"""`zoo align` of photographs, beside the ``mtcnn`` package asked for one image at a time.

    python benchmarks/alignment.py            # 300 photographs, three rounds at most; 4 minutes
    python benchmarks/alignment.py --quick    # 6 photographs

Both are processes from start to end, which take turns: TensorFlow's start is most of ours. The
other side is what `zoo align` was: each photograph decoded, `MTCNN().detect_faces` of it, the same
face chosen of several, the same alignment and PNGs. The script ends with exit code 1 if one
coordinate or one aligned pixel differs.
"""

from __future__ import annotations

import filecmp
import sys
import tempfile
from pathlib import Path

import numpy as np

from evaluator.images.alignment import aligned
from evaluator.images.decode import decode_image
from evaluator.images.png import png_bytes
from rows import Row, agree, parsed, parser, say
from table import finish
from timing import median, ratio, run_seconds
from zoo.align.folder import image_files
from zoo.align.landmarks import Row as Landmarks
from zoo.align.landmarks import read_landmarks, write_landmarks

ONE_BY_ONE = "--one-by-one"


def one_by_one(source: Path, out: Path) -> None:
    """The photographs aligned and their landmarks written, one after the other."""
    from mtcnn import MTCNN

    detector = MTCNN()
    rows = {}
    for name in image_files(source):
        pixels = decode_image((source / name).read_bytes())
        faces = detector.detect_faces(pixels, output_type="numpy")
        middle = np.array(pixels.shape[1::-1]) / 2
        away = ((faces[:, 1:3] + faces[:, 3:5] / 2 - middle) ** 2).sum(axis=1)
        best = faces[np.argmax(faces[:, 3] * faces[:, 4] - 2 * away)]
        points = np.round(np.stack([best[6:11], best[11:16]], axis=1), 2)
        rows[name] = Landmarks(points)
        target = (out / name).with_suffix(".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(png_bytes(aligned(pixels, points)))
    write_landmarks(out / "landmarks.csv", rows)


def main() -> None:
    """Prints the rows of one run from start to end."""
    options = parsed(parser(__doc__))
    photographs = options.shared / "faces/lfw_photographs"
    count = 2 if options.quick else 300
    with tempfile.TemporaryDirectory() as name:
        source = Path(name, "in")
        for each in image_files(photographs)[:count]:
            (source / each).parent.mkdir(parents=True, exist_ok=True)
            (source / each).symlink_to((photographs / each).resolve())
        rounds = []
        for number in range(min(options.rounds, 3)):
            ours, theirs = Path(name, f"ours{number}"), Path(name, f"theirs{number}")
            sides = {
                "ours": [sys.executable, "-m", "zoo", "align", str(source), str(ours)],
                "theirs": [sys.executable, __file__, ONE_BY_ONE, str(source), str(theirs)],
            }
            turn = list(sides) if number % 2 else list(sides)[::-1]
            taken = {side: run_seconds(sides[side]) for side in turn}
            rounds.append(taken)
            say(f"round {number + 1}: {taken}")
            compare(ours, theirs)
    finish([row(rounds, count)], options)


def compare(ours: Path, theirs: Path) -> None:
    """Ends the script where landmarks or aligned images differ."""
    found, wanted = (read_landmarks(out / "landmarks.csv") for out in (ours, theirs))
    apart = [np.abs(found[n].points - wanted[n].points).max() for n in wanted]
    agree("landmarks", float(max(apart)), 0)
    images = [path.relative_to(theirs) for path in theirs.rglob("*.png")]
    same = filecmp.cmpfiles(ours, theirs, images, shallow=False)[0]
    agree("aligned images", len(images) - len(same), 0)


def row(rounds: list[dict], count: int) -> Row:
    """The row: the clock's ratio, and the processor's beside it."""
    seconds = [median(rounds, side) for side in ("ours", "theirs")]
    cpu = ratio(rounds, "theirs", "ours", clock="cpu")
    return Row(
        "align", f"zoo align, {count} photographs", "mtcnn one image at a time",
        ratio(rounds, "theirs", "ours"), "x", 3, rounds=len(rounds),
        detail=f"{seconds[0]:.1f} s, {seconds[1]:.1f} s; {cpu:.1f}x by processor time",
    )  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] == [ONE_BY_ONE]:
        one_by_one(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
