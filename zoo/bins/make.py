"""The straight lines of `zoo bins make` and `zoo bins fetch`: pairs, images, faces, bin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evaluator.bins.pairs_file import Pair
from evaluator.errors import InputError
from evaluator.files import file_sha256
from training.data.sources.folders import open_folder
from zoo.align.faces import AlignOptions, align_images
from zoo.bins import fetch
from zoo.bins.build import Built, Read, check_new, image_names, read_images, resized, write_pairs
from zoo.bins.found import find_images
from zoo.bins.hard import hardest, model_embeddings
from zoo.bins.lists import in_folds, read_pair_list
from zoo.bins.request import MakeRequest
from zoo.bins.sampling import Sampling, sample_pairs
from zoo.entries.public_bins import MADE_HERE, keep_origin
from zoo.terminal.progress import Progress
from zoo.terminal.words import note, note_passed_over, warn

_SPELT = {
    "backslashes": "slashes",
    "accents": "spellings of accents (NFC, NFD)",
    "suffix": "suffixes",
}


def make_bin(request: MakeRequest) -> str:
    """Makes the bin and returns a line on it. Raises InputError and OSError."""
    check_new(request.out, force=request.force)
    options = AlignOptions(request.landmarks, request.missing or "fail")
    if request.pairs is not None:
        root, pairs, folds = _listed(request, request.pairs)
    else:  # the request has one of the two
        root, pairs, folds = _sampled(request, request.folder or Path())

    def read(name: str) -> bytes:
        return (root / name).read_bytes()

    if request.align:
        return _aligned(request.out, pairs, read, options, folds)
    names = image_names(pairs)
    with Progress("reading", len(names)) as progress:
        images = read_images(names, read, progress=progress.advance)
    if request.size is not None:
        side = request.size
        images = {name: resized(data, side) for name, data in images.items()}
    return _said(write_pairs(request.out, pairs, images), folds)


def fetch_bin(
    name: str,
    output: Path | None,
    *,
    landmarks: Path | None,
    missing: str | None,
    download: bool,
    force: bool,
    source: str | None,
) -> str:
    """Makes the bin of a data set and returns a line on it; ``source`` is "public" or an address to
    fetch the bin itself from, None to make it from scikit-learn's images. Raises InputError and
    OSError.
    """
    out = output or Path("datasets") / f"{name}.bin"
    if source is not None:
        if landmarks or missing:
            raise InputError("--landmarks and --missing: a bin that is fetched is aligned already")
        return fetch.published_bin(name, source, out, force=force)
    check_new(out, force=force)
    if name == "olivetti":
        if landmarks or missing:
            raise InputError("--landmarks and --missing: go with lfw; Olivetti faces are cropped")
        made = fetch.olivetti(download=download)
        note(f"faces: {made.origin}")
        images = read_images(image_names(made.pairs), made.read)
        return _said(write_pairs(out, made.pairs, images), made.folds)
    options = AlignOptions(landmarks, missing or "crop", fetch.LFW_CROP)
    made = fetch.lfw(download=download)
    note(f"faces: {made.origin}")
    said = _aligned(out, made.pairs, made.read, options, made.folds)
    keep_origin(out, file_sha256(out), f"{MADE_HERE} LFW's funneled photographs, aligned by zoo")
    return said


def _listed(request: MakeRequest, path: Path) -> tuple[Path, list[Pair], int]:
    """The image folder and the pairs of a list in balanced folds, and how many these are."""
    listed = read_pair_list(path)
    root = request.images or path.parent
    pairs, otherwise = find_images(listed.pairs, root, path)
    ordered, done = in_folds(replace(listed, pairs=pairs), request.folds, path)
    if done:
        note(done)
    for how, count in otherwise.items():
        note(f"{path}: {count:,} images have other {_SPELT[how]} in {root} than in the list")
    return root, ordered, listed.folds or request.folds


def _sampled(request: MakeRequest, root: Path) -> tuple[Path, list[Pair], int]:
    """The folder, pairs drawn from it, and their folds."""
    usual = Sampling()
    sampling = Sampling(
        pairs_per_person=(
            usual.pairs_per_person if request.pairs_per_person is None else request.pairs_per_person
        ),
        impostors=request.impostors,
        folds=request.folds,
        seed=request.seed or 0,
        singles=request.singles or usual.singles,
    )
    folder = open_folder(root)
    note_passed_over(root, folder.ignored)
    people: dict[str, list[str]] = {name: [] for name in folder.names}
    for file, label in zip(folder.files, folder.labels.tolist(), strict=True):
        people[folder.names[label]].append(file)
    if request.model is None:
        return root, sample_pairs(people, sampling), request.folds
    sample_pairs(people, sampling)  # too few people is said before a model is loaded
    with Progress("embedding", len(folder.files)) as progress:
        embeddings = model_embeddings(
            people,
            lambda name: (root / name).read_bytes(),
            request.model,
            profile=request.input,
            jobs=request.jobs or 1,
            progress=progress.advance,
        )
    note(
        f"the impostors are hard for {request.model.name} itself: compare other models on them,"
        " not this one"
    )
    return root, sample_pairs(people, sampling, hard=hardest(people, embeddings)), request.folds


def _aligned(
    out: Path, pairs: Sequence[Pair], read: Read, options: AlignOptions, folds: int
) -> str:
    """Aligns the images, leaves out pairs that lack one, and writes the bin."""
    names = image_names(pairs)
    log = out.with_suffix(".landmarks.csv")
    log.parent.mkdir(parents=True, exist_ok=True)
    with Progress("finding faces", len(names)) as progress:
        images, missing = align_images(names, read, options, log=log, progress=progress.advance)
    for name in missing:
        done = "left out" if options.missing == "skip" else "its centre is taken"
        warn(f"no face found in {name}: {done}")
    kept = trimmed([p.left in images and p.right in images for p in pairs], pairs, folds)
    if len(kept) < len(pairs):
        note(f"{len(pairs) - len(kept)} pairs left out, folds kept equal")
    if {pair.genuine for pair in kept} != {pair.genuine for pair in pairs}:
        raise InputError(
            f"{out}: a fold has no genuine or no impostor pair left, so none would; fill in the"
            f" landmarks in {options.landmarks or log}, or choose --missing crop"
        )
    return _said(write_pairs(out, kept, images), folds)


def trimmed(usable: Sequence[bool], pairs: Sequence[Pair], folds: int) -> list[Pair]:
    """The usable pairs, of each fold and label only as many as the fold with the fewest has."""
    if all(usable):
        return list(pairs)
    size = len(pairs) / folds
    groups = [(int(place / size), pair.genuine) for place, pair in enumerate(pairs)]
    left = Counter(group for group, is_usable in zip(groups, usable, strict=True) if is_usable)
    share = {kind: min(left[fold, kind] for fold in range(folds)) for kind in (True, False)}
    taken: Counter[tuple[int, bool]] = Counter()
    kept = []
    for group, is_usable, pair in zip(groups, usable, pairs, strict=True):
        if is_usable and taken[group] < share[group[1]]:
            taken[group] += 1
            kept.append(pair)
    return kept


def _said(built: Built, folds: int) -> str:
    people = f" of {built.people:,} people" if built.people else ""
    return (
        f"{built.path}: {built.pairs:,} pairs ({built.genuine:,} genuine) in {folds} folds,"
        f" {built.images:,} distinct images{people}\nsha256 {built.sha256}"
    )
