"""SHA-256 of the files of a run's checkpoints, to find files that have changed.

checkpoints/digests/checkpoint_<step>.json   the digest of each file of a checkpoint

A checkpoint is complete when its digests are written. A checkpoint without digests in a
folder with digests was being written when the run was killed. A folder without any
digests (checkpoints that were copied without it) is read without a check.

A run writes its checkpoints to a local disk. If they are copied to a bucket, their
digests are checked there: each file is streamed once more before it is read.
"""

import functools
import hashlib
import json
import os
import pathlib
import shutil
import sys
from collections.abc import Iterable, Iterator

from etils import epath

from dsbs_jax import files
from dsbs_jax.errors import UserError, reason

FOLDER = "digests"
# Bytes of a file that are hashed at a time.
_CHUNK = 1 << 20
_PathLike = str | os.PathLike[str]


def prepare(folder: pathlib.Path, checkpoints: Iterable[pathlib.Path]) -> None:
    """Creates the folder of digests, so that a checkpoint without them is noticed.

    Checkpoints that were copied without the folder get the digests of their files.

    Args:
        folder: The folder of the run's checkpoints.
        checkpoints: The complete checkpoints in it.
    """
    if (folder / FOLDER).is_dir():
        return
    # The folder is renamed at the end, so that a run that is killed here does not leave
    # a folder in which some checkpoints have no digests.
    new = folder / f"{FOLDER}.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for checkpoint in checkpoints:
        files.write(new / f"{checkpoint.name}.json", _content(checkpoint))
    new.rename(folder / FOLDER)


def write(checkpoint: pathlib.Path) -> None:
    """Writes the digests of a checkpoint, which completes the checkpoint."""
    files.write(os.fspath(_path(checkpoint)), _content(checkpoint))


def _content(checkpoint: pathlib.Path) -> str:
    return json.dumps(of_files(checkpoint), indent=1)


def remove(checkpoint: pathlib.Path) -> None:
    """Removes the digests of a checkpoint that is replaced or deleted."""
    _path(checkpoint).unlink(missing_ok=True)


def remove_old(folder: pathlib.Path) -> None:
    """Removes the digests of checkpoints that no longer exist."""
    for path in (folder / FOLDER).iterdir():
        if not (folder / path.stem).exists():
            path.unlink()


def of_files(folder: _PathLike) -> dict[str, str]:
    """Returns the SHA-256 of every file below a folder, by its relative path."""
    return {name: _sha256(epath.Path(folder) / name) for name in _names(folder)}


def _names(folder: _PathLike, items: tuple[str, ...] = ()) -> Iterator[str]:
    """Lists the files below a folder, or below some of its subfolders."""
    for top in map(epath.Path(folder).joinpath, items or ("",)):
        for parent, _, names in top.walk():
            for name in names:
                yield os.fspath((parent / name).relative_to(folder))


def _sha256(path: epath.Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def is_complete(checkpoint: _PathLike) -> bool:
    """Returns whether a checkpoint has digests, or is in a folder without any."""
    path = _path(checkpoint)
    return path.exists() or not path.parent.is_dir()


def find_damage(checkpoint: _PathLike, items: tuple[str, ...] = ()) -> str | None:
    """Describes what is wrong with a checkpoint; None if its files are unchanged.

    Args:
        checkpoint: The folder of one checkpoint.
        items: Names of the items to check ("params"); () checks every file.
    """
    path = _path(checkpoint)
    if not is_complete(checkpoint):
        return "it has no digests, because the run ended while it was written"
    if not path.exists():
        return None
    try:
        expected = json.loads(path.read_text())
    except _read_errors(ValueError) as error:
        return f"{path} cannot be read: {reason(error)}"
    if not isinstance(expected, dict):
        return f"{path} is not a JSON object"

    def is_checked(name: str) -> bool:
        return not items or pathlib.PurePath(name).parts[0] in items

    current = set(_names(checkpoint, items))
    for name in sorted(set(filter(is_checked, expected)) | current):
        if name not in current:
            return f"{name} is missing"
        try:
            digest = _sha256(epath.Path(checkpoint) / name)
        except _read_errors() as error:
            return f"{name} cannot be read: {reason(error)}"
        if digest != expected.get(name):
            return f"{name} has changed since it was written"
    return None


def _read_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """Returns what a read raises; TensorFlow, if it is imported, reads buckets."""
    tf = sys.modules.get("tensorflow")
    return (OSError, *others, tf.errors.OpError) if tf else (OSError, *others)


def check(checkpoint: _PathLike, *items: str) -> None:
    """Checks some items of a checkpoint before they are read.

    The result is cached as long as the files keep their sizes and times.

    Args:
        checkpoint: The folder of one checkpoint, or its address in a bucket.
        *items: Names of the items.

    Raises:
        UserError: A file is missing or has changed.
    """
    folder = _absolute(checkpoint)
    if _path(folder).exists():
        problem = _find_damage_once(folder, items, _versions(folder, items))
    else:
        # There is nothing to compare, so no file is listed.
        problem = find_damage(folder, items)
    if problem is not None:
        raise UserError(
            f"{os.fspath(checkpoint)} is damaged ({problem}): restore it, or give "
            "another checkpoint of the run"
        )


def identity(weights: _PathLike) -> str:
    """Returns a text that changes with the files of weights, without reading them.

    It is the hash of their digests, of the names, sizes and times of files without
    digests, or of the address of a bucket or repository.

    Args:
        weights: The folder or file of a checkpoint, or its address.
    """
    path = epath.Path(weights)
    for candidate in (path, path.parent):
        if _path(candidate).is_file():
            return _sha256(_path(candidate))
    is_listed = path.is_dir() and not _is_address(path)
    facts = _versions(_absolute(path)) if is_listed else os.fspath(weights)
    return hashlib.sha256(repr(facts).encode()).hexdigest()


_Version = tuple[str, int, int]


def _versions(folder: epath.Path, items: tuple[str, ...] = ()) -> tuple[_Version, ...]:
    """Returns path, size and time of change of files, with the file of digests."""
    paths = [folder / name for name in _names(folder, items)]
    paths += [path for path in [_path(folder)] if path.is_file()]
    return tuple(sorted(map(_version, paths)))


def _version(path: epath.Path) -> _Version:
    if _is_address(path):
        found = path.stat()
        return os.fspath(path), found.length, found.mtime
    # `epath` would round the time to seconds.
    status = os.stat(path)
    return os.fspath(path), status.st_size, status.st_mtime_ns


def _absolute(path: _PathLike) -> epath.Path:
    return epath.Path(path if _is_address(path) else os.path.abspath(path))


def _is_address(path: _PathLike) -> bool:
    return "://" in os.fspath(path)


@functools.lru_cache(maxsize=64)
def _find_damage_once(
    checkpoint: epath.Path,
    items: tuple[str, ...],
    versions: tuple[_Version, ...],
) -> str | None:
    return find_damage(checkpoint, items)


def _path(checkpoint: _PathLike) -> epath.Path:
    path = epath.Path(checkpoint)
    return path.parent / FOLDER / f"{path.name}.json"
