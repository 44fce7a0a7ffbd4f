"""Files of the Hugging Face hub, addressed as `hub:<repository id>`.

A path without the prefix is never looked up on the hub, so that a mistyped local path
does not start a download.
"""

import contextlib
import difflib
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import huggingface_hub

from dsbs_jax.errors import UserError, first_line

PREFIX = "hub:"
_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w.-]+")


def is_address(path: str) -> bool:
    """Whether a path names a repository of the hub: `hub:google/t5-v1_1-base`."""
    return path.startswith(PREFIX)


def hint(path: str) -> str:
    """Returns advice for a path that does not exist.

    That is the nearest name in the folder, if there is a folder; `hub:` and the path if
    it looks like a repository id; else "".
    """
    place = pathlib.Path(path).expanduser()
    if place.parent.is_dir():
        names = [other.name for other in place.parent.iterdir()]
        nearest = difflib.get_close_matches(place.name, names, 1)
        return f"; did you mean {place.with_name(nearest[0])}?" if nearest else ""
    if _REPOSITORY.fullmatch(path):
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
        raise UserError(
            f"{address}: cannot be downloaded: {first_line(error)}"
        ) from error


def write_token(repository: str, token: str | None = None) -> str:
    """Returns the token for an upload; called before the export, to fail early.

    Args:
        repository: As for `upload_folder`.
        token: As for `upload_folder`.

    Raises:
        UserError: The name is not a repository's name, or no token is found.
    """
    if not _REPOSITORY.fullmatch(repository):
        raise UserError(f"repository {repository!r}: expected <owner>/<name>")
    token = token or huggingface_hub.get_token()
    if not token:
        raise UserError(
            f"{PREFIX}{repository}: the upload needs a token of the Hugging Face hub; "
            "run `hf auth login`, or set HF_TOKEN"
        )
    return token


def upload_folder(
    folder: pathlib.Path,
    repository: str,
    *,
    private: bool,
    token: str | None = None,
    allow_other_files: bool = False,
) -> str:
    """Uploads the files of a folder to a model repository of the hub.

    Args:
        folder: The folder; hidden files are not uploaded.
        repository: `<owner>/<name>`. It is created if it does not exist, and files of
            the same names are replaced.
        private: Whether a new repository is private; an existing one is not changed.
        token: A token with the right to write. None reads HF_TOKEN, or the token that
            `hf auth login` has stored.
        allow_other_files: Whether the repository may have files that the folder does
            not have; these files are kept.

    Returns:
        The address of the repository's page.

    Raises:
        UserError: The token is missing, the hub refuses the upload, the hub cannot be
            reached, or the repository has other files.
    """
    token = write_token(repository, token)
    api = huggingface_hub.HfApi(token=token)
    with _upload_errors(repository, api.endpoint):
        url = api.create_repo(repository, private=private, exist_ok=True)
        if not allow_other_files:
            _check_other_files(api.list_repo_files(repository), folder, repository)
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            commit_message="Upload a student",
            ignore_patterns=[".*"],
        )
    return str(url)


def _check_other_files(
    existing: Sequence[str], folder: pathlib.Path, repository: str
) -> None:
    """Checks that a repository has no files that an upload does not replace."""
    # The hub writes .gitattributes itself.
    others = [
        name
        for name in existing
        if name != ".gitattributes" and not (folder / name).exists()
    ]
    if others:
        names = ", ".join(others[:5]) + (", …" if len(others) > 5 else "")
        raise UserError(
            f"{PREFIX}{repository}: the repository has files that {folder} does not "
            f"have: {names}; delete them there, or use another repository"
        )


@contextlib.contextmanager
def _upload_errors(repository: str, endpoint: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    # The client raises the errors of its HTTP library, which depends on its version,
    # and wraps those of an upload in other errors.
    except Exception as error:
        refusal = _refusal(error)
        status = refusal.response.status_code if refusal else None
        if status == 401:
            problem = (
                "the hub does not accept the token (401); create one with the right to "
                f"write at {endpoint}/settings/tokens"
            )
        elif status == 403:
            problem = (
                "the token has no right to write there (403); check the owner's name "
                "and the token's rights"
            )
        else:
            reason = getattr(refusal, "server_message", None) or str(refusal or error)
            problem = f"cannot be uploaded to {endpoint}: {' '.join(reason.split())}"
        raise UserError(f"{PREFIX}{repository}: {problem}") from error


def _refusal(error: BaseException | None) -> Any:
    """Finds the error that holds the hub's response; None if the hub sent none."""
    while error is not None and getattr(error, "response", None) is None:
        error = error.__cause__ or error.__context__
    return error
