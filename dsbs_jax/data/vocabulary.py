"""Vocabularies: the published T5's, one trained on your text, or the bytes of ByT5.

Special ids are T5's: pad 0, eos 1, unk 2, and 100 sentinels that SeqIO adds above the
pieces. Bytes have the ids 3 to 258, as in ByT5 (Xue et al. 2021, arXiv 2105.13626).
"""

import functools
import io
import os
import pathlib
import re
import shutil
import string
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import sentencepiece
import seqio
from etils import epath
from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2

from dsbs_jax import files, hub
from dsbs_jax.data import tokenizer_json
from dsbs_jax.data.dataset_spec import EXPLAIN_PREFIX, PREDICT_PREFIX
from dsbs_jax.data.records import SEGMENT_SEPARATOR, Record
from dsbs_jax.errors import UserError, reason

HUB_FILE = "spiece.model"
# The path of the vocabulary of bytes, which has no file.
BYTES = "bytes"
Vocabulary: TypeAlias = seqio.SentencePieceVocabulary | seqio.ByteVocabulary
SENTINELS = 100
SIZE_MULTIPLE = 128

_BUCKET = "gs://"
_BUCKET_SERVER = "https://storage.googleapis.com/"
_TIMEOUT_SECONDS = 20

# Size in bytes and time of change of a local file, or None.
Version: TypeAlias = tuple[int, int] | None
# The version of each path that was loaded first.
_first_versions: dict[str, Version] = {}


def load(path_or_id: str, extra_ids: int = SENTINELS) -> Vocabulary:
    """Loads a vocabulary; the same file gives the same object.

    Args:
        path_or_id: A SentencePiece model, a `tokenizer.json` of a T5, a folder with
            `spiece.model` or `tokenizer.json` or of a ByT5, a bucket address (gs://…),
            "hub:" and the id of a Hugging Face repository ("hub:google/t5-v1_1-base"),
            or "bytes".
        extra_ids: Number of sentinels above the model's own pieces. If sentinels are
            pieces of the model, as in mT5's, it is their number.

    Raises:
        UserError: The file cannot be read or is not a SentencePiece model, or its pad,
            eos and unk are not 0, 1 and 2.
    """
    return _load(path_or_id, extra_ids, _version(path_or_id))


def _version(path: str) -> Version:
    """Returns size and time of a local file; None for other addresses."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    if os.path.isdir(path):
        return _version(os.fspath(_in_folder(pathlib.Path(path))))
    return status.st_size, status.st_mtime_ns


@functools.cache
def _load(given: str, extra_ids: int, version: Version) -> Vocabulary:
    path = _download(given) if hub.is_address(given) else given
    if os.path.isdir(path):
        path = os.fspath(_in_folder(pathlib.Path(path)))
    # The user's file, which messages name; `path` may become a temporary one.
    file = path
    # SeqIO reads a path once. A file that has replaced another one, for example after
    # a second training in a notebook, needs another path.
    if _first_versions.setdefault(given, version) != version:
        path = _copy(path)
    if path == BYTES:
        return seqio.ByteVocabulary(extra_ids=extra_ids)
    if path.startswith(_BUCKET):
        _check_reachable(path)
    if path.endswith(".json"):
        path = _converted(pathlib.Path(path))
    try:
        exists = epath.Path(path).is_file()
    except OSError as error:
        raise UserError(f"vocabulary {file}: {reason(error)}") from error
    if not exists:
        raise UserError(f"vocabulary {file}: no such file{hub.hint(file)}")
    try:
        model = seqio.SentencePieceVocabulary(path, extra_ids=0).tokenizer
    except (RuntimeError, OSError, DecodeError) as error:
        raise UserError(
            f"vocabulary {file}: not a SentencePiece model: {reason(error)}"
        ) from error
    special = model.pad_id(), model.eos_id(), model.unk_id()
    if special != (0, 1, 2):
        raise UserError(
            f"vocabulary {file}: pad, eos and unk are {special}, expected (0, 1, 2)"
        )
    if own := _own_sentinels(model):
        path, extra_ids = _without_sentinels(path, own), own
    return seqio.SentencePieceVocabulary(path, extra_ids=extra_ids)


def _own_sentinels(model: sentencepiece.SentencePieceProcessor) -> int:
    """Counts the sentinels that are pieces of a model, as in mT5's.

    They are the last pieces, in SeqIO's order: `<extra_id_0>` is the last.
    """
    size, count = model.get_piece_size(), 0
    while model.id_to_piece(size - 1 - count).lstrip("▁") == f"<extra_id_{count}>":
        count += 1
    return count


def _without_sentinels(path: str, count: int) -> str:
    """Writes a model without its sentinels, to which SeqIO gives the same ids."""
    proto: Any = sentencepiece_model_pb2
    model = proto.ModelProto.FromString(epath.Path(path).read_bytes())
    del model.pieces[-count:]
    copy = pathlib.Path(tempfile.mkdtemp(dir=_copies().name), HUB_FILE)
    copy.write_bytes(model.SerializeToString(deterministic=True))
    return str(copy)


def _check_reachable(path: str) -> None:
    """Checks that a bucket's server answers, with any status.

    TensorFlow would try again for minutes.

    Raises:
        UserError: The server does not answer.
    """
    try:
        with urllib.request.urlopen(
            _BUCKET_SERVER + urllib.parse.quote(path.removeprefix(_BUCKET)),
            timeout=_TIMEOUT_SECONDS,
        ):
            return
    except urllib.error.HTTPError:
        return  # such as a private bucket
    except OSError as error:
        cause = getattr(error, "reason", error)
        raise UserError(
            f"vocabulary {path}: the bucket cannot be reached ({cause}); without a "
            "network, set VOCABULARY_PATH to a SentencePiece model on this machine, "
            "such as the spiece.model of a Hugging Face folder, or one that "
            "`python -m dsbs_jax.train_vocabulary` trains on your rows"
        ) from error


def _download(address: str) -> str:
    """Returns the tokenizer's file of a repository, in the local cache."""
    try:
        return str(hub.download_file(address, HUB_FILE))
    except UserError as error:
        # Repositories that Transformers 5 wrote have no SentencePiece model.
        names = [tokenizer_json.FILE, tokenizer_json.CONFIG]
        try:
            folder = hub.download_files(address, names)
        except UserError:
            raise error from None
        if tokenizer_json.reads_bytes(folder):
            return BYTES
        if not (folder / tokenizer_json.FILE).is_file():
            raise
    return str(folder / tokenizer_json.FILE)


def _in_folder(folder: pathlib.Path) -> pathlib.Path:
    """Returns the tokenizer's file of a model folder, or `BYTES`."""
    path = folder / HUB_FILE
    if path.is_file():
        return path
    if tokenizer_json.reads_bytes(folder):
        return pathlib.Path(BYTES)
    return tokenizer_json.find(folder)


def _converted(path: pathlib.Path) -> str:
    """Writes the SentencePiece model of a `tokenizer.json` to a temporary file."""
    if not path.is_file():
        raise UserError(f"vocabulary {path}: no such file")
    model = pathlib.Path(tempfile.mkdtemp(dir=_copies().name), HUB_FILE)
    model.write_bytes(tokenizer_json.convert(path))
    return str(model)


def _copy(path: str) -> str:
    if path == BYTES or path.endswith(".json"):
        return path  # bytes have no file; a converted model has a path of its own
    folder = tempfile.mkdtemp(dir=_copies().name)
    return shutil.copy(path, os.path.join(folder, HUB_FILE))


@functools.cache
def _copies() -> tempfile.TemporaryDirectory[str]:
    """The folder of copied models, which is removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="dsbs_jax_vocabulary_")


def padded_size(vocabulary: seqio.Vocabulary) -> int:
    """Returns the embedding rows for a vocabulary: its ids, rounded up.

    A multiple of 128 is fastest on accelerators. The published vocabulary has 32,000
    pieces and 100 sentinels: 32,100 -> 32,128.
    """
    return -(-int(vocabulary.vocab_size) // SIZE_MULTIPLE) * SIZE_MULTIPLE


def train(
    texts: Iterable[str],
    model_path: str | os.PathLike[str],
    vocab_size: int,
    *,
    at_most: bool = False,
) -> None:
    """Trains a unigram model; the same texts give the same bytes.

    Text is normalized as in the published T5 model (NFKC; a newline reads as a space).
    Each digit is a separate piece, and every printable ASCII character has a piece
    even if the texts do not contain it.

    Args:
        texts: Training text.
        model_path: File to write. It is replaced only if training succeeds.
        vocab_size: Number of pieces with pad, eos and unk, without sentinels.
        at_most: Whether the vocabulary may have fewer pieces, if the texts give fewer.

    Raises:
        UserError: The texts do not give that many pieces, or the file cannot be
            written.
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
            hard_vocab_limit=not at_most,
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
            # Several threads add in another order, which changes the pieces' scores.
            num_threads=1,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise UserError(_training_problem(vocab_size, str(error))) from error
    try:
        files.write(model_path, model.getvalue())
    except OSError as error:
        raise UserError(f"{model_path}: cannot be written: {reason(error)}") from error


def _lines(text: str) -> Iterator[str]:
    """Yields the lines of a text; "premise</s>hypothesis" is two lines."""
    for line in text.replace(SEGMENT_SEPARATOR, "\n").splitlines():
        if line.strip():
            yield line


def _training_problem(vocab_size: int, message: str) -> str:
    """Rewrites SentencePiece's message about a number of pieces."""
    if too_high := re.search(r"too high.*?<= *([0-9]+)", message):
        return (
            f"--vocab_size is {vocab_size}, expected at most {too_high[1]}: the texts "
            "give no more pieces"
        )
    too_low = re.search(r"smaller than required_chars\. *[0-9]+ vs ([0-9]+)", message)
    if too_low:
        return (
            f"--vocab_size is {vocab_size}, expected at least {too_low[1]}: the texts' "
            "characters and the special pieces"
        )
    return f"no vocabulary of {vocab_size} pieces could be trained: {message}"


def texts_of(
    records: Iterable[Record],
    prefixes: Iterable[str] = (PREDICT_PREFIX, EXPLAIN_PREFIX),
) -> Iterator[str]:
    """Yields every text that a student reads or writes for these records.

    Args:
        records: Examples.
        prefixes: The prefixes of the two-task methods.
    """
    prefixes = tuple(prefixes)
    for record in records:
        yield from prefixes
        yield record.input
        for text in (record.label, record.teacher_label):
            if text is not None:
                yield text
        for rationale, _ in record.weighted_rationales:
            yield rationale
        if record.counterfactual_rationale is not None:
            yield record.counterfactual_rationale
