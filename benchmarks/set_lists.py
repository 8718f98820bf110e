"""Lists of a template set of IJB-C's size: ``python benchmarks/set_lists.py [--quick]``.

Goals: 469,375 images, 15,658,489 pairs and both galleries read within 10 s of one core and 2 GB.
The lists are made up, of as many templates and people as IJB-C has, in a temporary folder.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from rows import Row, agree, parsed, parser, say
from table import finish

TEMPLATES, PEOPLE, FIRST_GALLERY = 23_124, 3_531, 1_772

# A process of its own: a peak of memory only ever rises.
READ = """
import resource, sys, time
from evaluator.templates.layouts import read_lists
start = time.process_time()
found = read_lists(sys.argv[1])
taken = time.process_time() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(taken, peak, len(found.images), len(found.pairs.left))
"""


def main() -> None:
    options = parsed(parser(__doc__))
    images, pairs = (30_000, 100_000) if options.quick else (469_375, 15_658_489)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_lists(root, images, pairs)
        rows = whole_rows(root, images, pairs, options)
    finish(rows, options)


def whole_rows(root: Path, images: int, pairs: int, options: argparse.Namespace) -> list[Row]:
    """Seconds of a core, and memory, for all lists."""
    taken = []
    for _ in range(options.rounds):
        done = subprocess.run(
            [sys.executable, "-c", READ, str(root)], check=True, capture_output=True, text=True
        )
        seconds, peak, *counts = map(float, done.stdout.split())
        agree("images and pairs", abs(counts[0] - images) + abs(counts[1] - pairs), 0)
        taken.append((seconds, peak / 1e3))
    seconds, megabytes = np.median(taken, axis=0)
    what = f"lists of {images:,} images, {pairs:,} pairs"
    say(f"{what}: {seconds:.1f} s of a core, {megabytes:,.0f} MB")
    return [
        Row("set-lists-seconds", what, "10 s", float(seconds), "s", 10, True, options.rounds),
        Row(
            "set-lists-memory",
            what,
            "2 GB",
            float(megabytes),
            "MB",
            2000,
            True,
            options.rounds,
        ),
    ]


def write_lists(root: Path, images: int, pairs: int) -> None:
    """Lists as IJB-C's: ids with gaps, galleries of one template a person, probes of the others."""
    rng = np.random.default_rng(0)
    (root / "meta").mkdir()
    ids = np.sort(rng.choice(np.arange(1, 30_000), TEMPLATES, replace=False))
    person = np.r_[np.arange(PEOPLE), rng.integers(0, PEOPLE, TEMPLATES - PEOPLE)]
    of = np.r_[np.arange(TEMPLATES), np.sort(rng.integers(0, TEMPLATES, images - TEMPLATES))]
    template = of.tolist()
    points = rng.uniform(0, 300, (images, 10))
    left = rng.integers(0, PEOPLE, pairs)
    right = rng.integers(PEOPLE, TEMPLATES, pairs)
    same = (person[left] == person[right]).astype(int)

    def write(end: str, lines: object) -> None:
        with (root / "meta" / f"ijbc{end}").open("w", encoding="ascii") as file:
            file.writelines(lines)  # type: ignore[arg-type]

    write(
        "_face_tid_mid.txt",
        (f"{i + 1}.jpg {ids[t]} {69_544 + i // 4}\n" for i, t in enumerate(template)),
    )
    write(
        "_name_5pts_score.txt",
        (
            f"{i + 1}.jpg {' '.join(f'{value:.3f}' for value in row)} 0.99\n"
            for i, row in enumerate(points.tolist())
        ),
    )
    for start in range(0, pairs, 500_000):
        part = slice(start, start + 500_000)
        columns = (ids[left[part]].tolist(), ids[right[part]].tolist(), same[part].tolist())
        with (root / "meta" / "ijbc_template_pair_label.txt").open("a", encoding="ascii") as file:
            file.writelines(f"{a} {b} {c}\n" for a, b, c in zip(*columns, strict=True))
    header = "TEMPLATE_ID,SUBJECT_ID,FILENAME,SIGHTING_ID,FACE_X,FACE_Y,FACE_WIDTH,FACE_HEIGHT\n"
    parts = {
        "_1N_gallery_G1.csv": range(FIRST_GALLERY),
        "_1N_gallery_G2.csv": range(FIRST_GALLERY, PEOPLE),
        "_1N_probe_mixed.csv": (t for t in template if t >= PEOPLE),
    }
    for end, chosen in parts.items():
        rows = (f"{ids[t]},{person[t]},img/{t}.jpg,{t},1,2,30,40\n" for t in chosen)
        write(end, [header, *rows])


if __name__ == "__main__":
    main()
