"""Which bytes decide a model's embeddings: their digests, and a stamp that tells of a change."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from evaluator.errors import ModelError, cause_of
from evaluator.files import file_sha256, kind_of, open_regular, read_bounded
from evaluator.models.input_note import NOTE_BYTES, sidecar_path

# A SavedModel has five files and an asset or two; its folders are three deep.
MOST_MEMBERS, DEEPEST = 10_000, 32

# The key of an .onnx file's references to files beside it: what has it not needs no parser.
_REFERENCE = b"location"


@dataclass(frozen=True)
class ModelIdentity:
    """The digests of a model: ``sha256`` of its file or folder, and ``data_sha256`` of the files
    beside it that hold weights of an .onnx or OpenVINO model, None where there are none.
    """

    sha256: str
    data_sha256: str | None = None

    @property
    def digest(self) -> str:
        """What the model is known by in results: another one for other bytes anywhere."""
        return identity_digest(self.sha256, self.data_sha256)


@dataclass(frozen=True)
class FileStamp:
    """What tells, without reading them, that a model's files were replaced or written to:
    ``files`` has inode, size and both times of each; ``note`` is the digest of the note beside the
    model, which says how its images are prepared; "" where there is none.
    """

    files: tuple[tuple[int, int, int, int], ...]
    note: str


def model_identity(path: Path) -> ModelIdentity:
    """The digests of all bytes that decide a model's embeddings.

    Raises ModelError for what is no regular file or leads out of the model's folder, and where a
    data file is missing; OSError where one cannot be read.
    """
    data = data_files(path)
    hashes = [(name, file_sha256(member)) for name, member in data.items()]
    if len(hashes) > 1:
        lines = "".join(f"{name}\0{found}\n" for name, found in hashes)
        return ModelIdentity(model_sha256(path), hashlib.sha256(lines.encode()).hexdigest())
    # Of one file, the digest that sha256sum prints.
    return ModelIdentity(model_sha256(path), hashes[0][1] if hashes else None)


def model_sha256(path: Path) -> str:
    """SHA-256 of a model file; of a folder, over the names and contents of its files in order.

    Raises ModelError for a folder that holds anything but files, OSError for what cannot be read.
    """
    if not path.is_dir():
        return file_sha256(path)
    total = hashlib.sha256()
    for member in model_files(path):
        total.update(f"{member.relative_to(path).as_posix()}\0".encode())
        total.update(file_sha256(member).encode())
    return total.hexdigest()


def file_stamp(path: Path) -> FileStamp:
    """The stamp of a model and of its note. Raises ModelError or OSError as `model_identity`."""
    # Of a folder its folders too: what was taken out of one has no stamp of its own.
    members = _members(path) if path.is_dir() else data_files(path).values()
    stats = [member.stat() for member in (path, *members)]
    # A copy may bring its time of change along (cp -p); the inode's own cannot be set.
    files = tuple((s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for s in stats)
    return FileStamp(files, _note_digest(path))


def _note_digest(path: Path) -> str:
    try:
        return hashlib.sha256(read_bounded(sidecar_path(path), NOTE_BYTES)).hexdigest()
    except FileNotFoundError:
        return ""
    except OSError as error:  # said by what needs the note; --input needs none
        return type(error).__name__


def model_files(folder: Path) -> list[Path]:
    """The files of a model's folder, at any depth, in the order of their paths.

    Raises ModelError for a link that leads out of the folder, what is neither file nor folder,
    and a folder of far more than models have.
    """
    return [member for member in _members(folder) if not member.is_dir()]


def _members(folder: Path) -> list[Path]:
    root = folder.resolve()
    found: list[Path] = []
    waiting = [(folder, 0)]
    while waiting:
        parent, depth = waiting.pop()
        for member in _listed(folder, parent, MOST_MEMBERS - len(found)):
            found.append(member)
            if _is_folder(folder, member, root):
                if depth >= DEEPEST:
                    raise ModelError(f"{folder}: folders more than {DEEPEST} deep; not a model's")
                waiting.append((member, depth + 1))
    return sorted(found)


def _listed(folder: Path, parent: Path, most: int) -> Iterator[Path]:
    with os.scandir(parent) as entries:
        for count, entry in enumerate(entries):
            if count >= most:
                raise ModelError(f"{folder}: more than {MOST_MEMBERS:,} files; not a model's")
            yield parent / entry.name


def _is_folder(folder: Path, member: Path, root: Path) -> bool:
    """Whether a member is a folder, and no link. Raises ModelError for what no model holds."""
    what = f"{folder}: not read: its {cause_of(member.relative_to(folder).as_posix())}"
    mode = member.lstat().st_mode
    if stat.S_ISLNK(mode):
        try:
            target, mode = member.resolve(strict=True), member.stat().st_mode
        except (OSError, RuntimeError):  # RuntimeError: links in a circle, before Python 3.13
            raise ModelError(f"{what} is a link that leads nowhere; remove it") from None
        if not target.is_relative_to(root):
            raise ModelError(f"{what} is a link that leads out of the folder; put the file there")
        if stat.S_ISDIR(mode):
            raise ModelError(f"{what} is a link to a folder; put the folder itself there")
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ModelError(f"{what} is {kind_of(mode)}; a model holds files alone")
    return stat.S_ISDIR(mode)


def data_files(path: Path) -> dict[str, Path]:
    """The files beside an .onnx or OpenVINO model that hold weights of it, by their names, sorted.

    Raises ModelError for one that is missing, lies outside the model's folder or is no file, and
    where the package that reads such models is not installed; OSError.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        return {}
    key = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return {name: data_file(path, name) for name in _data_names(path, key)}


@lru_cache(maxsize=64)
def _data_names(path: Path, _key: tuple[int, ...]) -> tuple[str, ...]:
    """The names of a file's data files; the key tells one state of the file from another."""
    from evaluator.models.formats import model_format

    kind = model_format(path)
    if kind == "openvino-ir":  # which names no file: the weights have its own name
        return (path.with_suffix(".bin").name,)
    if kind != "onnx":
        return ()
    # Most models refer to no file, and then no parser is needed: one pass over the bytes.
    if not _mentions(path, _REFERENCE):
        return ()
    from evaluator.models.onnx.proto import data_locations, read_model

    return tuple(sorted(set(data_locations(path, read_model(path)[0]))))


def _mentions(path: Path, word: bytes) -> bool:
    """Whether a file has a word anywhere. Not by mapping it: another may cut it short meanwhile."""
    last = b""
    with os.fdopen(open_regular(path), "rb", buffering=0) as file:
        while block := file.read(1 << 20):
            if word in last + block[: len(word)] or word in block:
                return True
            last = block[-len(word) :]
    return False


def data_file(path: Path, name: str) -> Path:
    """The file that a model calls ``name``: in the model's folder or below it, nowhere else.

    Raises ModelError.
    """
    what = f"{path}: not loaded: its data file {cause_of(name)!r}"
    parts = PurePosixPath(name).parts
    # A star marks an address in onnxruntime's own memory; a backslash or a colon, a Windows path.
    plain = name.isprintable() and not set(name) & set('*\\?<>|"') and len(name) <= 255
    if not plain or not parts or ".." in parts or name.startswith("/"):
        raise ModelError(f"{what} has no plain name; expected one in the model's own folder")
    member = path.parent.joinpath(*parts)
    try:
        target, mode = member.resolve(strict=True), member.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise ModelError(f"{what} is missing; put it back beside the model") from None
    except (OSError, RuntimeError) as error:
        raise ModelError(f"{what} cannot be read: {cause_of(error)}") from None
    if not target.is_relative_to(path.parent.resolve()):
        raise ModelError(f"{what} is a link that leads out of the model's folder; put it there")
    if not stat.S_ISREG(mode):
        raise ModelError(f"{what} is {kind_of(mode)}, not a file")
    return member


def identity_digest(sha256: str, data_sha256: str | None) -> str:
    """64 hexadecimal digits that tell a model from every other one.

    Of a model that is one file or folder, its ``sha256``. Of one whose weights lie beside it, the
    SHA-256 of both digests with a space between them: an .onnx file is the same before and after
    training where its data is not.
    """
    if data_sha256 is None:
        return sha256
    return hashlib.sha256(f"{sha256} {data_sha256}".encode()).hexdigest()
