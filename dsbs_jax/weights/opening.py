"""Opens a checkpoint of any format that the project reads."""

from etils import epath

from dsbs_jax import files, hub
from dsbs_jax.errors import UserError
from dsbs_jax.weights import (
    checkpoint_folders,
    digests,
    huggingface_files,
    orbax_format,
    peft_format,
    run_checkpoints,
    t5x_native,
    t5x_scalable,
)
from dsbs_jax.weights.huggingface_reader import HuggingFaceReader
from dsbs_jax.weights.reader import ParameterReader

_EXPECTED = "expected a run folder, a T5X checkpoint or a Hugging Face model folder"


def open_checkpoint(path: str) -> ParameterReader:
    """Opens a checkpoint and reads names and shapes, but no array.

    Args:
        path: One of
            - a run folder of this project, or its `checkpoints/` (the best checkpoint),
              or one checkpoint in it;
            - a T5X checkpoint, native or Orbax, or a folder of them;
            - a Hugging Face model folder, or a folder with adapters of PEFT;
            - `hub:<repository id>`, a model of the Hugging Face hub.
            All but the last two may be in a bucket (gs://...).

    Raises:
        UserError: The path holds no checkpoint of a known format, the checkpoint is
            damaged, or a folder of Hugging Face or PEFT is in a bucket.
    """
    if hub.is_address(path):
        return HuggingFaceReader(huggingface_files.download(path), path)
    folder = epath.Path(path)
    if huggingface_files.is_model_folder(folder):
        return HuggingFaceReader(files.local_path(path))
    if peft_format.is_adapter_folder(folder):
        return peft_format.open_adapters(files.local_path(path), open_checkpoint)
    for candidate in checkpoint_folders.candidates(folder):
        reader = _open_candidate(candidate)
        if reader is not None:
            return reader
    if folder.exists():
        raise UserError(f"checkpoint {path}: {_EXPECTED}, found none of them")
    raise UserError(f"checkpoint {path}: {_EXPECTED}, found nothing{hub.hint(path)}")


def _open_candidate(folder: epath.Path) -> ParameterReader | None:
    """Opens a checkpoint by the files that only its format has.

    checkpoint_<step>/params/_METADATA    a run of this project (Orbax)
    checkpoint_<step>/state/_METADATA     T5X's Orbax format: `target` in its tree
    checkpoint_<step>/checkpoint          T5X's native format: a msgpack index

    Raises:
        UserError: A file has changed since a run of this project wrote it.
    """
    if checkpoint_folders.is_checkpoint(folder) and folder.is_dir():
        digests.check(folder, "params")
    if (folder / "params" / orbax_format.METADATA).exists():
        return run_checkpoints.open_run(folder)
    if (folder / "state" / orbax_format.METADATA).exists():
        return t5x_scalable.adapt(
            orbax_format.open_item(folder / "state", prefix=("target",))
        )
    if (folder / t5x_native.INDEX).exists():
        return t5x_scalable.adapt(t5x_native.open_checkpoint(folder))
    return None
