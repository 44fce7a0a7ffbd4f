r"""SentencePiece vocabularies: the published T5 one, or one trained on own text.

Ids as T5 has them: pad 0, eos 1, unk 2, and 100 sentinels that SeqIO adds on top.
"""

import io
import os
import re
import string
from collections.abc import Iterable, Iterator

import sentencepiece
import seqio
from etils import epath
from google.protobuf.message import DecodeError

from dsbs_jax import files, hub
from dsbs_jax.data.dataset_spec import EXPLAIN_PREFIX, PREDICT_PREFIX
from dsbs_jax.data.records import SEGMENT_SEPARATOR, Record
from dsbs_jax.errors import UserError

HUB_FILE = "spiece.model"
SENTINELS = 100
ROWS_MULTIPLE = 128


def load(path_or_id: str, extra_ids: int = SENTINELS) -> seqio.SentencePieceVocabulary:
    """Loads a vocabulary.

    Args:
        path_or_id: A file's path, a bucket address (gs://…), or "hub:" and the id of a
            Hugging Face repository that holds `spiece.model`
            ("hub:google/t5-v1_1-base"). Without "hub:" it is never looked for there.
        extra_ids: Sentinels on top of the model's own pieces.

    Raises:
        UserError: It cannot be read, or its pad, eos and unk are not 0, 1 and 2.
    """
    path = path_or_id
    if hub.is_address(path):
        path = str(hub.download_file(path, HUB_FILE))
    try:
        exists = epath.Path(path).is_file()
    except OSError as error:
        raise UserError(f"vocabulary {path}: {error}") from error
    if not exists:
        raise UserError(f"vocabulary {path}: no such file{hub.hint(path)}")
    vocabulary = seqio.SentencePieceVocabulary(path, extra_ids=extra_ids)
    try:
        model = vocabulary.tokenizer
    except (RuntimeError, OSError, DecodeError) as error:
        raise UserError(
            f"vocabulary {path}: no SentencePiece model: {error}"
        ) from error
    special = model.pad_id(), model.eos_id(), model.unk_id()
    if special != (0, 1, 2):
        raise UserError(
            f"vocabulary {path}: pad, eos and unk are {special}, expected (0, 1, 2)"
        )
    return vocabulary


def rows(vocab_size: int) -> int:
    """Embedding rows for a trained model of `vocab_size` pieces.

    Sentinels added and rounded up to a multiple of 128: 32,000 -> 32,128.
    """
    return -(-(vocab_size + SENTINELS) // ROWS_MULTIPLE) * ROWS_MULTIPLE


def train(
    texts: Iterable[str], model_path: str | os.PathLike[str], vocab_size: int
) -> None:
    """Trains a unigram model; the same texts give the same bytes.

    Text is normalised as in the published T5 model (NFKC, and a newline reads as a
    blank). Digits are pieces of their own, and every printable ASCII character is
    covered whether or not it occurs.

    Args:
        texts: Training text.
        model_path: File to write, which is replaced whole or left alone.
        vocab_size: Number of pieces, pad, eos and unk among them, without sentinels.

    Raises:
        UserError: The texts do not yield exactly that many pieces, or the file cannot
            be written.
    """
    model = io.BytesIO()
    lines = [line for text in texts for line in _lines(text)]
    if not lines:
        raise UserError("there is no text to train a vocabulary on")
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            vocab_size=vocab_size,
            model_type="unigram",
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            normalization_rule_name="nmt_nfkc",
            character_coverage=1.0,
            required_chars=string.digits + string.ascii_letters + string.punctuation,
            split_digits=True,
            max_sentence_length=1 << 20,
            # More threads sum in another order, and the pieces' scores change.
            num_threads=1,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise UserError(_training_problem(vocab_size, str(error))) from error
    try:
        files.write(model_path, model.getvalue())
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{model_path}: cannot be written: {reason}") from error


def _lines(text: str) -> Iterator[str]:
    """Text without what is no text: "premise</s>hypothesis" is two lines."""
    for line in text.replace(SEGMENT_SEPARATOR, "\n").splitlines():
        if line.strip():
            yield line


def _training_problem(vocab_size: int, message: str) -> str:
    if found := re.search(r"too high.*?<= *([0-9]+)", message):
        return (
            f"the texts yield at most {found.group(1)} pieces, fewer than --vocab_size="
            f"{vocab_size}"
        )
    if found := re.search(
        r"smaller than required_chars\. *[0-9]+ vs ([0-9]+)", message
    ):
        return (
            f"--vocab_size={vocab_size} does not hold the texts' {found.group(1)} "
            "characters and special pieces"
        )
    return f"no vocabulary of {vocab_size} pieces could be trained: {message}"


def texts_of(records: Iterable[Record]) -> Iterator[str]:
    """Yields all that a student reads or writes for these records."""
    for record in records:
        yield from (PREDICT_PREFIX, EXPLAIN_PREFIX)
        yield record.input
        for text in (record.label, record.teacher_label, record.rationale):
            if text is not None:
                yield text
