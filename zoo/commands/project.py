"""`zoo project`: the embeddings of a bin or a folder as a picture, beside their pixels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evaluator.errors import InputError, check_choice, plain_name
from zoo.terminal import options
from zoo.terminal.output import PAGE_BEGINS, check_file_target
from zoo.terminal.words import note

if TYPE_CHECKING:
    from zoo.projection.pictures import Pictures


def project(
    model: options.Model,
    bins: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="The bin whose distinct images are shown."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Faces to show instead: a folder per person, a .rec file, or digits. With --bins, "
            "where NAME.bin is looked for first.",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where the page goes.")
    ] = Path("projection.html"),
    maps: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME...",
            help="umap, tsne, pca; the first is shown first. Default: those installed.",
        ),
    ] = None,
    limit: Annotated[
        int,
        typer.Option(
            min=3,
            max=20000,
            metavar="N",
            help="Images at most: whole people, those with most first.",
        ),
    ] = 2000,
    tsv: Annotated[
        bool, typer.Option("--tsv", help="Write vecs.tsv and meta.tsv beside the page, too.")
    ] = False,
    tensorboard: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write a log for TensorBoard's projector, too."),
    ] = None,
    input: options.Profile = None,
    channels: options.Channels = None,
    trust: options.Trust = False,
    registry: options.Registry = None,
) -> None:
    """Draw the embeddings of many faces as one HTML page: UMAP, t-SNE and PCA, faces on hover.

    zoo project runs/arc --bins lfw -o lfw.html
    """
    from zoo.entries.lookup import bin_folders, only_bin, resolve_model
    from zoo.entries.registry import read_registry, registry_path

    entries = read_registry(registry_path(registry))
    names = options.listed(bins)
    if not names and data is None:
        raise InputError("expected --bins NAME or --data DIR: the faces to show")
    choice = resolve_model(model, entries)
    chosen = _maps(options.listed(maps))
    check_file_target("-o", output, begins=PAGE_BEGINS)
    if data is not None and not names:
        source, shown, pictures = data, data.name or str(data), _face_pictures(data, limit)
    else:
        source = only_bin(names, bin_folders([] if data is None else [data]), entries)
        shown, pictures = plain_name(source.stem), _bin_pictures(source, limit)
    if len(pictures) < 3:
        raise InputError(f"{source}: a map takes 3 distinct images or more; found {len(pictures)}")

    from zoo.evaluate.request import Request
    from zoo.projection.run import Wanted, make_projection

    request = Request(models=[choice], bins=[], profile=input, channels=channels, trust=trust)
    wanted = Wanted(request, shown, pictures, output, chosen, tsv, tensorboard)
    for line in make_projection(wanted):
        note(line)


def _maps(asked: list[str]) -> list[str]:
    """The maps asked for, or all that are installed."""
    import importlib.util

    known = ("umap", "tsne", "pca")  # those that show clusters first
    for name in asked:
        check_choice("--maps", name, known)
    has_umap = importlib.util.find_spec("umap") is not None
    if "umap" in asked and not has_umap:
        raise InputError("--maps umap: needs the extra of this name: pip install 'face-zoo[umap]'")
    if asked:
        return list(dict.fromkeys(asked))
    if not has_umap:
        note("without UMAP, which is the extra umap: pip install 'face-zoo[umap]'")
    return list(known if has_umap else known[1:])


def _bin_pictures(path: Path, limit: int) -> Pictures:
    from evaluator.bins.verification_set import read_bin
    from zoo.projection.pictures import fewer, pictures_of_bin

    return fewer(pictures_of_bin(read_bin(path)), limit)


def _face_pictures(data: Path, limit: int) -> Pictures:
    from training.data.sources.digits import SOURCES, digit_faces
    from training.data.sources.faces import open_faces
    from zoo.projection.pictures import pictures_of_faces

    digits = str(data) in SOURCES and not data.exists()
    faces = digit_faces(str(data)) if digits else open_faces(data)
    return pictures_of_faces(faces, limit)
