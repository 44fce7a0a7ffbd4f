"""The folder of an extraction: what it was begun with; nothing else goes into it."""

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from dsbs_jax import files
from dsbs_jax.errors import UserError
from dsbs_jax.teacher import store

RUN = "run.json"
REPLIES = "completions"


def fingerprint(content: bytes) -> str:
    """Names a content by its SHA-256."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def open_store(
    path: str | os.PathLike[str], identity: Mapping[str, Any]
) -> store.Store:
    """Opens an extraction's folder for this process alone, or begins a new one.

    Args:
        path: The folder.
        identity: By the settings' names, what its replies must have in common.

    Raises:
        UserError: It holds something else, replies made with other settings, or is in
            use.
        OSError: It cannot be read or written.
    """
    folder = pathlib.Path(path)
    run = folder / RUN
    if folder.exists() and not run.exists():
        # What a run that was killed in its first moments may have left.
        others = [p.name for p in folder.iterdir() if not p.name.startswith(".")]
        log = folder / REPLIES / store.LOG
        empty = not log.exists() or not log.stat().st_size
        if set(others) - {REPLIES} or not empty:
            raise UserError(
                f"OUTPUT_DIR {folder} holds {sorted(others)[0]!r} but no {RUN}, "
                "expected a new folder or one of an earlier extraction"
            )
    opened = store.Store(folder / REPLIES)
    try:
        # Without replies there is nothing yet that others could be mixed into.
        if run.exists() and opened.replies:
            _compare(run, identity)
        else:
            files.write(run, json.dumps(identity, indent=2, sort_keys=True) + "\n")
    except BaseException:
        opened.close()
        raise
    return opened


def _compare(run: pathlib.Path, identity: Mapping[str, Any]) -> None:
    try:
        before = json.loads(run.read_text())
    except ValueError as error:
        raise UserError(f"{run}: broken JSON; remove it with its folder") from error
    if not isinstance(before, dict):
        raise UserError(f"{run}: expected a JSON object")
    now = json.loads(json.dumps(identity))
    for name in sorted(now.keys() | before.keys()):
        if before.get(name) != now.get(name):
            raise UserError(
                f"OUTPUT_DIR {run.parent} was made with {name} = "
                f"{before.get(name)!r:.80}, now it is {now.get(name)!r:.80}; "
                "give another OUTPUT_DIR"
            )
