"""The output folder of an extraction: replies to requests with the same settings."""

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

# Fields of run.json that no setting has: the short hash of each part of the prompt, and
# each MAX_TOKENS of earlier runs.
PROMPT_PARTS = "PROMPT_PARTS"
EARLIER_LIMITS = "EARLIER_MAX_TOKENS"
# A reply is found by its request, so rows may be added, removed and corrected, and a
# complete reply is the same with another token limit.
_MAY_CHANGE = frozenset({"INPUT_FILE", "MAX_TOKENS", PROMPT_PARTS, EARLIER_LIMITS})
_SHOWN_PARTS = 3

# Settings that version 0.1 wrote to run.json under another name.
_RENAMED = {"MODEL": "TEACHER_MODEL"}


def fingerprint(content: bytes) -> str:
    """Returns "sha256:" and the SHA-256 of a content in hexadecimal."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def open_store(
    path: str | os.PathLike[str],
    settings: Mapping[str, Any],
    names: Mapping[str, str] | None = None,
) -> Store:
    """Opens an extraction's folder for this process alone, or creates it.

    Args:
        path: The output folder.
        settings: By macro name, the settings that all replies in the folder share.
        names: By macro name, the files that settings were read from, for messages.

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
            _check_settings(run, settings, names or {})
    except BaseException:
        store.close()
        raise
    return store


def save_settings(path: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
    """Writes the settings of an open folder, before the first request is sent.

    Raises:
        OSError: The file cannot be written.
    """
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    files.write(pathlib.Path(path) / RUN, text)


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


def earlier_limits(path: str | os.PathLike[str]) -> tuple[int, ...]:
    """Returns each MAX_TOKENS that replies of the folder were requested with."""
    stored = stored_settings(path)
    limits = stored.get(EARLIER_LIMITS)
    limits = [*(limits if isinstance(limits, list) else []), stored.get("MAX_TOKENS")]
    return tuple(sorted({n for n in limits if isinstance(n, int) and n > 0}))


def _check_settings(
    run: pathlib.Path, settings: Mapping[str, Any], names: Mapping[str, str]
) -> None:
    """Raises UserError unless run.json holds these settings."""
    try:
        stored = json_input.parse(run.read_bytes(), dict[str, Any])
    except JsonError as error:
        raise UserError(f"{run}: {error}; use another OUTPUT_DIR") from error
    stored = {_RENAMED.get(name, name): value for name, value in stored.items()}
    current = json.loads(json.dumps(settings))
    for name in sorted((current.keys() | stored.keys()) - _MAY_CHANGE):
        if stored.get(name) == current.get(name):
            continue
        if name in names:
            parts = _changed_parts(stored, current) if name == "PROMPT" else ""
            raise UserError(
                f"{names[name]} ({name}) has changed{parts} since OUTPUT_DIR "
                f"{run.parent} was created; use another OUTPUT_DIR, or undo the change"
            )
        raise UserError(
            f"OUTPUT_DIR {run.parent} was created with {name} = "
            f"{stored.get(name)!r:.80}, now it is {current.get(name)!r:.80}; "
            "use another OUTPUT_DIR"
        )


def _changed_parts(stored: Mapping[str, Any], current: Mapping[str, Any]) -> str:
    """Names the parts of the prompt that differ: " (question, exemplar 2)"."""
    old, new = stored.get(PROMPT_PARTS), current[PROMPT_PARTS]
    if not isinstance(old, dict):
        return ""
    changed = [name for name in {**new, **old} if old.get(name) != new.get(name)]
    shown = ", ".join(changed[:_SHOWN_PARTS])
    more = f" and {len(changed) - _SHOWN_PARTS} more" if changed[_SHOWN_PARTS:] else ""
    return f" ({shown}{more})" if changed else ""
