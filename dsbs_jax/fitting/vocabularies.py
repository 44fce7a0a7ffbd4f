"""Chooses the vocabulary of a fit, and checks it against the rows."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence

from dsbs_jax import hub
from dsbs_jax.data import tokenizer_json, vocabulary
from dsbs_jax.data.data_config import T5_VOCABULARY
from dsbs_jax.data.dataset_spec import EXPLAIN_PREFIX, PREDICT_PREFIX
from dsbs_jax.data.records import SEGMENT_SEPARATOR, Record
from dsbs_jax.errors import UserError
from dsbs_jax.local import student_folder
from dsbs_jax.weights import open_checkpoint

# Fewest and most pieces of a vocabulary that is trained.
_MIN_PIECES, _MAX_PIECES = 240, 8_000
# Characters that a message lists.
_LISTED = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChosenVocabulary:
    """The vocabulary of a fit.

    Attributes:
        words: The vocabulary.
        path: Its address; None for a vocabulary that was trained here, which is not in
            the run folder yet.
        reason: The reason for the vocabulary.
        warnings: The characters of each split that it cannot represent, one sentence
            each.
    """

    words: vocabulary.Vocabulary
    path: str | None
    reason: str
    warnings: tuple[str, ...]


def choose(
    given: str | None,
    checkpoint: str | None,
    splits: Mapping[str, Sequence[Record]],
    scratch: pathlib.Path,
    prefixes: Sequence[str] = (PREDICT_PREFIX, EXPLAIN_PREFIX),
) -> ChosenVocabulary:
    """Chooses a vocabulary: the given one, the checkpoint's, or one that is trained.

    Args:
        given: Address of a vocabulary.
        checkpoint: The weights from which the training starts.
        splits: The rows; only training rows are used to train a vocabulary.
        scratch: Folder for a vocabulary that is trained.
        prefixes: The prefixes of the method's inputs.

    Raises:
        UserError: The vocabulary cannot be read, the checkpoint has none, or none can
            be trained on the rows.
    """
    path, reason = given, "given"
    if given is None and checkpoint is not None:
        path = _path_of_checkpoint(checkpoint)
        reason = "that of the checkpoint"
    if path is not None:
        words = vocabulary.load(path)
    else:
        model = scratch / "sentencepiece.model"
        pieces = suitable_pieces(splits["train"])
        texts = vocabulary.texts_of(splits["train"], prefixes)
        vocabulary.train(texts, model, pieces, at_most=True)
        words = vocabulary.load(str(model))
        reason = f"trained on the texts of {len(splits['train']):,} training rows"
    return ChosenVocabulary(
        words=words,
        path=path,
        reason=reason,
        warnings=tuple(_missing_characters(words, splits)),
    )


def suitable_pieces(records: Sequence[Record]) -> int:
    """Returns how many pieces a vocabulary for these rows should have.

    Twice the square root of the number of words in the texts, from 240 to 8,000. More
    pieces are too rare in few rows to be learned, and fewer make longer sequences.

    280 rows with 14,000 words -> 240; 10,000 rows with 500,000 words -> 1,414
    """
    texts = vocabulary.texts_of(records, prefixes=())
    words = sum(len(text.split()) for text in texts)
    return min(max(round(2 * math.sqrt(words)), _MIN_PIECES), _MAX_PIECES)


def _path_of_checkpoint(checkpoint: str) -> str:
    """Returns the address of a checkpoint's vocabulary."""
    if hub.is_address(checkpoint):
        return checkpoint
    folder = pathlib.Path(checkpoint)
    for name in (student_folder.VOCABULARY_FILE, vocabulary.HUB_FILE):
        if (folder / name).exists():
            return str(folder / name)
    student = student_folder.find(checkpoint)
    if student and student_folder.reads_bytes(student_folder.read_spec(student)):
        return vocabulary.BYTES
    if tokenizer_json.reads_bytes(folder):
        return vocabulary.BYTES
    if (folder / "config.json").exists():
        raise UserError(
            f"{checkpoint} has no {vocabulary.HUB_FILE}; give the SentencePiece model "
            "of the checkpoint as vocabulary"
        )
    open_checkpoint(checkpoint)  # raises if there are no weights
    # T5X checkpoints have no vocabulary of their own; published ones have T5's.
    return T5_VOCABULARY


def _missing_characters(
    words: vocabulary.Vocabulary, splits: Mapping[str, Sequence[Record]]
) -> list[str]:
    """Describes the characters that the vocabulary lacks, for each split."""
    known: dict[str, bool] = {}
    warnings = []
    for name, records in splits.items():
        lacking: dict[str, None] = {}
        rows = 0
        for record in records:
            texts = vocabulary.texts_of([record], prefixes=())
            characters = set("".join(texts).replace(SEGMENT_SEPARATOR, " "))
            for character in characters - known.keys():
                known[character] = words.unk_id not in words.encode(character)
            unknown = sorted(c for c in characters if not known[c])
            lacking |= dict.fromkeys(unknown)
            rows += bool(unknown)
        if rows:
            listed = ", ".join(map(repr, list(lacking)[:_LISTED]))
            more = f" and {len(lacking) - _LISTED} more" * (len(lacking) > _LISTED)
            warnings.append(
                f"{name}: the vocabulary lacks {listed}{more}, on {rows:,} of "
                f"{len(records):,} rows; the student reads them as unknown"
            )
    return warnings
