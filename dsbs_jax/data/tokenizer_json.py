"""Converts between a T5's `tokenizer.json` and a SentencePiece model with the same ids.

Transformers 5 saves a tokenizer as `tokenizer.json` alone, without the `spiece.model`
that it was made from. The file has all that a SentencePiece model holds: the pieces
with their scores, and the compiled rules that normalize text. For umT5, its
`AutoTokenizer` reads no other file.
"""

import base64
import json
import pathlib
import re
from typing import Any, NoReturn

import msgspec
from sentencepiece import sentencepiece_model_pb2

from dsbs_jax import json_input
from dsbs_jax.errors import UserError, reason

FILE = "tokenizer.json"
# The file that some tokenizers have instead, which states their class.
CONFIG = "tokenizer_config.json"
_SPECIAL = ("<pad>", "</s>", "<unk>")
_SENTINEL = re.compile(r"<extra_id_\d+>")
# Spaces become "▁", one before the first word.
_SPACES = {
    "type": "Metaspace",
    "replacement": "▁",
    "prepend_scheme": "always",
    "split": True,
}
# The classes of a protocol buffer are made when it is imported; mypy does not see them.
_PROTO: Any = sentencepiece_model_pb2


class _Model(msgspec.Struct):
    type: str | None = None
    unk_id: int | None = None
    byte_fallback: bool | None = None
    # Models of other types have other vocabularies.
    vocab: Any = None


class _Token(msgspec.Struct):
    content: str


class _Normalizer(msgspec.Struct):
    type: str | None = None
    precompiled_charsmap: str | None | msgspec.UnsetType = msgspec.UNSET


class _PreTokenizer(msgspec.Struct):
    type: str | None = None
    replacement: str = "▁"
    prepend_scheme: str = "always"
    pretokenizers: list["_PreTokenizer"] | None = None


class _File(msgspec.Struct):
    """The fields of a `tokenizer.json` that are read."""

    model: _Model = msgspec.field(default_factory=_Model)
    added_tokens: list[_Token] | None = None
    normalizer: _Normalizer | None = None
    pre_tokenizer: _PreTokenizer | None = None


def convert(path: pathlib.Path) -> bytes:
    """Returns the SentencePiece model of a `tokenizer.json`, without its sentinels.

    The same file gives the same bytes.

    Raises:
        UserError: The file is not from a T5, or has tokens or rules that a
            SentencePiece model cannot hold; the message says which.
    """
    try:
        file = json_input.parse(path.read_bytes(), _File)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error
    except json_input.JsonError as error:
        _refuse(path, f"cannot be read: {error}")
    pieces = _without_sentinels(_pieces(file.model, path), path)
    _check_added_tokens(file.added_tokens or [], path)
    _check_spaces(file.pre_tokenizer or _PreTokenizer(), path)
    model = _PROTO.ModelProto()
    kinds = _PROTO.ModelProto.SentencePiece
    kind = (kinds.CONTROL, kinds.CONTROL, kinds.UNKNOWN, kinds.NORMAL)
    for number, (piece, score) in enumerate(pieces):
        model.pieces.add(piece=piece, score=score, type=kind[min(number, 3)])
    trainer = model.trainer_spec
    trainer.model_type = trainer.UNIGRAM
    trainer.vocab_size = len(pieces)
    trainer.pad_id, trainer.eos_id, trainer.unk_id, trainer.bos_id = 0, 1, 2, -1
    trainer.pad_piece, trainer.eos_piece, trainer.unk_piece = _SPECIAL
    model.normalizer_spec.name = "from_tokenizer_json"
    model.normalizer_spec.precompiled_charsmap = _rules(file.normalizer, path)
    return bytes(model.SerializeToString(deterministic=True))


def _refuse(path: pathlib.Path, problem: str) -> NoReturn:
    raise UserError(
        f"{path}: {problem}; expected the tokenizer of a T5: give its spiece.model as "
        "VOCABULARY_PATH"
    )


def _pieces(model: _Model, path: pathlib.Path) -> list[tuple[str, float]]:
    """Returns the pieces of a model with their scores."""
    if model.type != "Unigram":
        _refuse(path, f"its model is {model.type!r}, expected 'Unigram'")
    if model.byte_fallback:
        _refuse(path, "its model spells unknown characters with bytes")
    if model.unk_id != _SPECIAL.index("<unk>"):
        _refuse(path, f"unk is {model.unk_id!r}, expected 2")
    try:
        pieces = json_input.convert(model.vocab, list[tuple[str, float]])
    except json_input.JsonError as error:
        _refuse(path, f"its vocabulary is not a list of pieces with scores: {error}")
    for piece, _ in pieces:
        try:
            piece.encode()
        except UnicodeEncodeError:
            _refuse(path, f"the piece {piece!r} has half of a surrogate pair")
    return pieces


def _without_sentinels(
    pieces: list[tuple[str, float]], path: pathlib.Path
) -> list[tuple[str, float]]:
    """Removes the sentinels above the pieces; loading a vocabulary adds them again."""
    end = len(pieces)
    while end and _SENTINEL.fullmatch(pieces[end - 1][0]):
        end -= 1
    names = tuple(piece for piece, _ in pieces[:3])
    if names != _SPECIAL:
        _refuse(path, f"its first pieces are {names}, expected {_SPECIAL}")
    return pieces[:end]


def _check_added_tokens(tokens: list[_Token], path: pathlib.Path) -> None:
    """Refuses added tokens, which a tokenizer finds before it splits a text."""
    added = [token.content for token in tokens]
    own = [t for t in added if t not in _SPECIAL and not _SENTINEL.fullmatch(t)]
    if own:
        listed = ", ".join(map(repr, own[:10]))
        _refuse(path, f"it has {len(own)} added token(s), such as {listed}")


def _rules(normalizer: _Normalizer | None, path: pathlib.Path) -> bytes:
    """Returns the compiled rules that normalize text; empty for none."""
    if normalizer is None:
        return b""
    kind, text = normalizer.type, normalizer.precompiled_charsmap
    if kind != "Precompiled":
        _refuse(path, f"its normalizer is {kind!r}, expected 'Precompiled'")
    if text is msgspec.UNSET:
        _refuse(path, "the rules of its normalizer are missing")
    try:
        return base64.b64decode(text or "", validate=True)
    except ValueError:
        _refuse(path, "the rules of its normalizer are damaged")


def _check_spaces(pre_tokenizer: _PreTokenizer, path: pathlib.Path) -> None:
    """Checks that spaces become "▁", one before the first word, as in SentencePiece."""
    steps = [pre_tokenizer]
    if pre_tokenizer.type == "Sequence":
        steps = pre_tokenizer.pretokenizers or []
    kinds = [step.type for step in steps]
    if kinds not in (["Metaspace"], ["WhitespaceSplit", "Metaspace"]):
        _refuse(path, f"it splits text by {kinds}, expected 'Metaspace'")
    last = steps[-1]
    if last.replacement != "▁" or last.prepend_scheme != "always":
        _refuse(path, "it does not put '▁' before the first word")


def reads_bytes(folder: pathlib.Path) -> bool:
    """Whether the tokenizer of a model folder is ByT5's, which has no pieces."""
    try:
        values = json_input.parse((folder / CONFIG).read_bytes(), dict[str, Any])
    except (OSError, json_input.JsonError):
        return False
    return str(values.get("tokenizer_class")).startswith("ByT5")


def find(folder: pathlib.Path) -> pathlib.Path:
    """Returns the `tokenizer.json` of a model folder without `spiece.model`.

    Raises:
        UserError: The folder has none.
    """
    path = folder / FILE
    if not path.is_file():
        raise UserError(
            f"vocabulary {folder}: the folder has no spiece.model and no {FILE}, "
            "expected one of them"
        )
    return path


def of_model(content: bytes, sentinels: int) -> bytes | None:
    """Returns the `tokenizer.json` of a SentencePiece model.

    It equals the file that Transformers 5 saves.

    Args:
        content: The SentencePiece model, whose pad, eos and unk are 0, 1 and 2.
        sentinels: Number of sentinels after the pieces; `<extra_id_0>` is the last.

    Returns:
        The file; None for a model that the file cannot express, because it is not of
        the type Unigram, or has pieces or rules that a T5 does not have.
    """
    model = _PROTO.ModelProto.FromString(content)
    if not _is_t5(model):
        return None
    vocab = [(piece.piece, piece.score) for piece in model.pieces]
    vocab += [(f"<extra_id_{n}>", 0.0) for n in reversed(range(sentinels))]
    special = [*range(len(_SPECIAL)), *range(len(model.pieces), len(vocab))]
    values = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added_token(number, vocab[number][0]) for number in special],
        "normalizer": _normalizer(model.normalizer_spec.precompiled_charsmap),
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "WhitespaceSplit"}, _SPACES],
        },
        "post_processor": _end_token(),
        "decoder": _SPACES,
        "model": {
            "type": "Unigram",
            "unk_id": 2,
            "vocab": vocab,
            "byte_fallback": False,
        },
    }
    return json.dumps(values, ensure_ascii=False).encode()


def _is_t5(model: Any) -> bool:
    """Whether a SentencePiece model has only the pieces and rules of a T5."""
    kinds, rules = _PROTO.ModelProto.SentencePiece, model.normalizer_spec
    return (
        model.trainer_spec.model_type == model.trainer_spec.UNIGRAM
        and all(piece.type == kinds.NORMAL for piece in model.pieces[len(_SPECIAL) :])
        and rules.add_dummy_prefix
        and rules.remove_extra_whitespaces
        and rules.escape_whitespaces
    )


def _added_token(number: int, piece: str) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": piece, **flags, "special": True}


def _normalizer(charsmap: bytes) -> dict[str, str] | None:
    if not charsmap:
        return None
    text = base64.b64encode(charsmap).decode()
    return {"type": "Precompiled", "precompiled_charsmap": text}


def _end_token() -> dict[str, Any]:
    """Describes the end token after each text."""
    eos = _SPECIAL[1]
    end = {"SpecialToken": {"id": eos, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    return {
        "type": "TemplateProcessing",
        "single": [first, end],
        "pair": [first, end, second, end],
        "special_tokens": {eos: {"id": eos, "ids": [1], "tokens": [eos]}},
    }
