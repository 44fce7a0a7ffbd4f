"""The output folder of an extraction, which only takes replies to the same requests."""

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from dsbs_jax import files, json_input
from dsbs_jax.errors import UserError
from dsbs_jax.json_input import JsonError
from dsbs_jax.teacher.store import LOG, Store

RUN = "run.json"
REPLIES = "completions"

# Settings that version 0.1 wrote to run.json under another name.
_RENAMED = {"MODEL": "TEACHER_MODEL"}


def fingerprint(content: bytes) -> str:
    """Returns "sha256:" and the SHA-256 of a content in hexadecimal."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def open_store(path: str | os.PathLike[str], settings: Mapping[str, Any]) -> Store:
    """Opens an extraction's folder for this process alone, or creates it.

    Args:
        path: The output folder.
        settings: By macro name, the settings that all replies in the folder share.

    Raises:
        UserError: The folder holds something else or replies to other settings, or
            another process has it open.
        OSError: A file cannot be read or written.
    """
    folder = pathlib.Path(path)
    run = folder / RUN
    if folder.exists() and not run.exists():
        _check_unused(folder)
    store = Store(folder / REPLIES)
    try:
        # Without replies there is nothing that other settings could be mixed with.
        if run.exists() and store.replies:
            _check_settings(run, settings)
        else:
            files.write(run, json.dumps(settings, indent=2, sort_keys=True) + "\n")
    except BaseException:
        store.close()
        raise
    return store


def _check_unused(folder: pathlib.Path) -> None:
    """Raises UserError unless the folder is empty or holds an empty log.

    A run that was killed before it wrote run.json leaves an empty log.
    """
    names = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    log = folder / REPLIES / LOG
    has_replies = log.exists() and log.stat().st_size
    if set(names) - {REPLIES} or has_replies:
        raise UserError(
            f"OUTPUT_DIR {folder} holds {names[0]!r} but no {RUN}, expected a new "
            "folder or the folder of an earlier extraction"
        )


def stored_settings(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns the settings of a folder's replies.

    An empty dictionary for a new or corrupt folder.
    """
    try:
        stored = json_input.parse((pathlib.Path(path) / RUN).read_bytes(), dict)
    except (OSError, JsonError):
        return {}
    return stored


def _check_settings(run: pathlib.Path, settings: Mapping[str, Any]) -> None:
    """Raises UserError unless run.json holds these settings."""
    try:
        stored = json_input.parse(run.read_bytes(), dict[str, Any])
    except JsonError as error:
        raise UserError(f"{run}: {error}; use another OUTPUT_DIR") from error
    stored = {_RENAMED.get(name, name): value for name, value in stored.items()}
    current = json.loads(json.dumps(settings))
    for name in sorted(current.keys() | stored.keys()):
        if stored.get(name) != current.get(name):
            raise UserError(
                f"OUTPUT_DIR {run.parent} was created with {name} = "
                f"{stored.get(name)!r:.80}, now it is {current.get(name)!r:.80}; "
                "use another OUTPUT_DIR"
            )
