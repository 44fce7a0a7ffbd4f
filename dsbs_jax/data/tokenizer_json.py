"""Converts between a T5's `tokenizer.json` and a SentencePiece model with the same ids.

Transformers 5 saves a tokenizer as `tokenizer.json` alone, without the `spiece.model`
that it was made from. The file has all that a SentencePiece model holds: the pieces
with their scores, and the compiled rules that normalize text. For umT5, its
`AutoTokenizer` reads no other file.
"""

import base64
import binascii
import json
import pathlib
import re
from typing import Any, NoReturn

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


def convert(path: pathlib.Path) -> bytes:
    """Returns the SentencePiece model of a `tokenizer.json`, without its sentinels.

    The same file gives the same bytes.

    Raises:
        UserError: The file is not from a T5, or has tokens or rules that a
            SentencePiece model cannot hold; the message says which.
    """
    try:
        values = json_input.parse(path.read_bytes(), dict[str, Any])
        pieces = [(str(p), float(s)) for p, s in _model(values, path)["vocab"]]
    except (OSError, json_input.JsonError) as error:
        raise UserError(f"{path}: cannot be read: {reason(error)}") from error
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        _refuse(path, "its vocabulary is not a list of pieces with scores")
    pieces = _without_sentinels(pieces, path)
    _check_added_tokens(values, pieces, path)
    _check_spaces(values.get("pre_tokenizer"), path)
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
    model.normalizer_spec.precompiled_charsmap = _rules(values.get("normalizer"), path)
    return bytes(model.SerializeToString(deterministic=True))


def _refuse(path: pathlib.Path, reason: str) -> NoReturn:
    raise UserError(
        f"{path}: {reason}; expected the tokenizer of a T5: give its spiece.model as "
        "VOCABULARY_PATH"
    )


def _model(values: dict[str, Any], path: pathlib.Path) -> dict[str, Any]:
    model = values.get("model")
    kind = model.get("type") if isinstance(model, dict) else None
    if not isinstance(model, dict) or kind != "Unigram":
        _refuse(path, f"its model is {kind!r}, expected 'Unigram'")
    if model.get("byte_fallback"):
        _refuse(path, "its model spells unknown characters with bytes")
    if model.get("unk_id") != _SPECIAL.index("<unk>"):
        _refuse(path, f"unk is {model.get('unk_id')!r}, expected 2")
    return model


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


def _check_added_tokens(
    values: dict[str, Any], pieces: list[tuple[str, float]], path: pathlib.Path
) -> None:
    """Refuses added tokens, which a tokenizer finds before it splits a text."""
    added = [str(token.get("content")) for token in values.get("added_tokens") or []]
    own = [t for t in added if t not in _SPECIAL and not _SENTINEL.fullmatch(t)]
    if own:
        listed = ", ".join(map(repr, own[:10]))
        _refuse(path, f"it has {len(own)} added token(s), such as {listed}")


def _rules(normalizer: Any, path: pathlib.Path) -> bytes:
    """Returns the compiled rules that normalize text; empty for none."""
    if normalizer is None:
        return b""
    kind = normalizer.get("type") if isinstance(normalizer, dict) else normalizer
    if kind != "Precompiled":
        _refuse(path, f"its normalizer is {kind!r}, expected 'Precompiled'")
    try:
        return base64.b64decode(normalizer["precompiled_charsmap"] or "", validate=True)
    except (KeyError, TypeError, binascii.Error):
        _refuse(path, "the rules of its normalizer are damaged")


def _check_spaces(pre_tokenizer: Any, path: pathlib.Path) -> None:
    """Checks that spaces become "▁", one before the first word, as in SentencePiece."""
    steps = [pre_tokenizer]
    if isinstance(pre_tokenizer, dict) and pre_tokenizer.get("type") == "Sequence":
        steps = pre_tokenizer.get("pretokenizers") or []
    kinds = [step.get("type") if isinstance(step, dict) else step for step in steps]
    if kinds not in (["Metaspace"], ["WhitespaceSplit", "Metaspace"]):
        _refuse(path, f"it splits text by {kinds}, expected 'Metaspace'")
    last = steps[-1]
    always = last.get("prepend_scheme", "always") == "always"
    if last.get("replacement", "▁") != "▁" or not always:
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
