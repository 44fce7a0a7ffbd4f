"""SHA-256 of the files of a run's checkpoints, to find files that have changed.

checkpoints/digests/checkpoint_<step>.json   the digest of each file of a checkpoint

A checkpoint is complete when its digests are written. A checkpoint without digests in a
folder with digests was being written when the run was killed. A folder without any
digests (checkpoints that were copied without it) is read without a check.
"""

import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator

from dsbs_jax import files
from dsbs_jax.errors import UserError

FOLDER = "digests"


def prepare(folder: pathlib.Path) -> None:
    """Creates the folder of digests, so that a checkpoint without them is noticed.

    Args:
        folder: The folder of the run's checkpoints.
    """
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)


def write(checkpoint: pathlib.Path) -> None:
    """Writes the digests of a checkpoint, which completes the checkpoint."""
    content = json.dumps(of_files(checkpoint), indent=1)
    files.write(_path(checkpoint), content)


def remove(checkpoint: pathlib.Path) -> None:
    """Removes the digests of a checkpoint that is replaced or deleted."""
    _path(checkpoint).unlink(missing_ok=True)


def remove_old(folder: pathlib.Path) -> None:
    """Removes the digests of checkpoints that no longer exist."""
    for path in (folder / FOLDER).iterdir():
        if not (folder / path.stem).exists():
            path.unlink()


def of_files(folder: pathlib.Path) -> dict[str, str]:
    """Returns the SHA-256 of every file below a folder, by its relative path."""
    return {name: _sha256(folder / name) for name in _names(folder)}


def _names(folder: pathlib.Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield str(path.relative_to(folder))


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_complete(checkpoint: str | os.PathLike[str]) -> bool:
    """Returns whether a checkpoint has digests, or is in a folder without any."""
    if "://" in os.fspath(checkpoint):
        return True
    path = _path(pathlib.Path(checkpoint))
    return path.exists() or not path.parent.is_dir()


def find_damage(checkpoint: pathlib.Path, items: tuple[str, ...] = ()) -> str | None:
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
    except (ValueError, OSError) as error:
        return f"{path} cannot be read: {error}"
    if not isinstance(expected, dict):
        return f"{path} is not a JSON object"

    def is_checked(name: str) -> bool:
        return not items or pathlib.PurePath(name).parts[0] in items

    current = set(filter(is_checked, _names(checkpoint)))
    for name in sorted(set(filter(is_checked, expected)) | current):
        if name not in current:
            return f"{name} is missing"
        try:
            digest = _sha256(checkpoint / name)
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
        if digest != expected.get(name):
            return f"{name} has changed since it was written"
    return None


def check(checkpoint: str | os.PathLike[str], *items: str) -> None:
    """Checks some items of a checkpoint on a local disk before they are read.

    The result is cached as long as the files keep their sizes and times.

    Args:
        checkpoint: The folder of one checkpoint; in a bucket, nothing is checked.
        *items: Names of the items.

    Raises:
        UserError: A file is missing or has changed.
    """
    if "://" in os.fspath(checkpoint):
        return
    folder = pathlib.Path(checkpoint).absolute()
    problem = _find_damage_once(folder, items, _versions(folder))
    if problem is not None:
        raise UserError(
            f"{os.fspath(checkpoint)} is damaged ({problem}): restore it, or give "
            "another checkpoint of the run"
        )


def identity(weights: str | os.PathLike[str]) -> str:
    """Returns a text that changes with the files of weights, without reading them.

    It is the hash of their digests, of the names, sizes and times of files without
    digests, or of the address of a bucket or repository.

    Args:
        weights: The folder or file of a checkpoint, or its address.
    """
    path = pathlib.Path(weights)
    for candidate in (path, *path.parents[:1]):
        if _path(candidate).is_file():
            return _sha256(_path(candidate))
    facts = _versions(path.absolute()) if path.is_dir() else os.fspath(weights)
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _versions(folder: pathlib.Path) -> tuple[tuple[str, int, int], ...]:
    """Returns name, size and time of change of each file, digests included."""
    paths = [*folder.rglob("*"), _path(folder)]
    statuses = [(str(path), path.stat()) for path in paths if path.is_file()]
    return tuple(sorted((n, s.st_size, s.st_mtime_ns) for n, s in statuses))


@functools.lru_cache(maxsize=64)
def _find_damage_once(
    checkpoint: pathlib.Path,
    items: tuple[str, ...],
    versions: tuple[tuple[str, int, int], ...],
) -> str | None:
    return find_damage(checkpoint, items)


def _path(checkpoint: pathlib.Path) -> pathlib.Path:
    return checkpoint.parent / FOLDER / f"{checkpoint.name}.json"
