"""Publishes an exported student in a model repository of the Hugging Face hub."""

import os
import pathlib

from dsbs_jax import hub
from dsbs_jax.data import tokenizer_json
from dsbs_jax.errors import UserError
from dsbs_jax.weights import huggingface_files
from dsbs_jax.weights.huggingface_reader import HuggingFaceReader


def push(
    folder: str | os.PathLike[str],
    repository: str,
    *,
    private: bool = True,
    token: str | None = None,
    allow_other_files: bool = False,
) -> str:
    """Uploads a Hugging Face model folder, with its tokenizer and model card.

    Args:
        folder: The folder that an export in format `hf` has written.
        repository: `<owner>/<name>`, which is created if it does not exist.
        private: Whether a new repository is private; an existing one is not changed.
        token: A token with the right to write. None reads HF_TOKEN, or the token that
            `hf auth login` has stored.
        allow_other_files: Whether the repository may have files that the folder does
            not have; these files are kept.

    Returns:
        The address of the repository's page.

    Raises:
        UserError: The model or the tokenizer in the folder is missing or damaged; or an
            error of `hub.upload_folder`.
    """
    folder = pathlib.Path(folder)
    if not huggingface_files.is_model_folder(folder):
        raise UserError(
            f"{folder}: expected a Hugging Face model folder, which an export in "
            "format hf writes"
        )
    # Opening the model checks its tensors.
    HuggingFaceReader(folder)
    tokenizer = [
        name for name in huggingface_files.TOKENIZERS if (folder / name).exists()
    ]
    if not tokenizer and not tokenizer_json.reads_bytes(folder):
        raise UserError(
            f"{folder}: has no tokenizer, expected "
            f"{' or '.join(huggingface_files.TOKENIZERS)}"
        )
    return hub.upload_folder(
        folder,
        repository,
        private=private,
        token=token,
        allow_other_files=allow_other_files,
    )
