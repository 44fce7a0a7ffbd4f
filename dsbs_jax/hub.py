"""Files of the Hugging Face hub, addressed as `hub:<repository id>`.

A path without the prefix is never looked up on the hub, so that a mistyped local path
does not start a download.
"""

import contextlib
import pathlib
import re
from collections.abc import Iterator, Sequence

import huggingface_hub

from dsbs_jax.errors import UserError

PREFIX = "hub:"


def is_address(path: str) -> bool:
    """Whether a path names a repository of the hub: `hub:google/t5-v1_1-base`."""
    return path.startswith(PREFIX)


def hint(path: str) -> str:
    """Returns advice for a missing path that looks like a repository id, else ''."""
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", path):
        return f" (for a repository of the Hugging Face hub, write {PREFIX}{path})"
    return ""


def download_file(address: str, name: str) -> pathlib.Path:
    """Downloads one file of a repository, or finds it in the local cache.

    Args:
        address: `hub:<repository id>`.
        name: The file's name in the repository.

    Raises:
        UserError: The repository or the file does not exist or cannot be reached.
    """
    with _download_errors(address):
        return pathlib.Path(huggingface_hub.hf_hub_download(_repository(address), name))


def download_files(address: str, patterns: Sequence[str]) -> pathlib.Path:
    """Downloads files of a repository by patterns, or finds them in the local cache.

    Args:
        address: `hub:<repository id>`.
        patterns: File names, or patterns such as `*.json`.

    Returns:
        The folder of the files. A pattern that matches nothing is not an error.

    Raises:
        UserError: The repository does not exist or cannot be reached.
    """
    with _download_errors(address):
        folder = huggingface_hub.snapshot_download(
            _repository(address), allow_patterns=list(patterns)
        )
        # A list only where nothing is downloaded (`dry_run`).
        assert isinstance(folder, str)
        return pathlib.Path(folder)


def _repository(address: str) -> str:
    return address.removeprefix(PREFIX)


@contextlib.contextmanager
def _download_errors(address: str) -> Iterator[None]:
    try:
        yield
    # OSError: no network, or an unknown repository or file. ValueError: a malformed id.
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{address}: cannot be downloaded: {reason}") from error
