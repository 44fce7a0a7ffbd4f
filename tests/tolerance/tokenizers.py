"""Tokenizers of transformers."""

from tolerance import SETTINGS_AND_FILES, Refused, Section

SECTION = Section(
    order=32,
    part=SETTINGS_AND_FILES,
    title="Tokenizers",
    text="Fields of a `tokenizer.json` that differ from those of a T5, and the "
    "vocabulary that is read.",
    columns=("the fields", "vocabulary"),
    rows=(
        ("{}", "that of the file"),
        ('{"normalizer": null}', "that of the file"),
        ('{"model": {"unknown": 1}}', "that of the file"),
        (
            '{"model": {"type": "BPE"}}',
            Refused("its model is 'BPE', expected 'Unigram'"),
        ),
        ('{"model": {"type": "WordPiece"}}', Refused("its model is 'WordPiece'")),
        ('{"model": {"type": null}}', Refused("its model is None")),
        (
            '{"model": {"byte_fallback": true}}',
            Refused("spells unknown characters with bytes"),
        ),
        ('{"model": {"unk_id": 0}}', Refused("unk is 0, expected 2")),
        (
            '{"model": {"vocab": null}}',
            Refused("its vocabulary is not a list of pieces"),
        ),
        (
            '{"model": {"vocab": {"a": 1}}}',
            Refused("its vocabulary is not a list of pieces"),
        ),
        ('{"model": {"vocab": []}}', Refused("its first pieces are ()")),
        (
            '{"model": {"vocab": [["<s>", 0.0]]}}',
            Refused("its first pieces are ('<s>',)"),
        ),
        (
            '{"added_tokens": [{"content": "<sep>"}, {"content": "</s>"}]}',
            Refused("it has 1 added token(s), such as '<sep>'"),
        ),
        ('{"normalizer": {"type": "NFKC"}}', Refused("its normalizer is 'NFKC'")),
        (
            '{"normalizer": {"type": "Sequence"}}',
            Refused("its normalizer is 'Sequence'"),
        ),
        (
            '{"normalizer": {"type": "Precompiled"}}',
            Refused("rules of its normalizer are missing"),
        ),
        (
            '{"normalizer": {"type": "Precompiled", "precompiled_charsmap": "%"}}',
            Refused("rules of its normalizer are damaged"),
        ),
        (
            '{"normalizer": {"type": "Precompiled", "precompiled_charsmap": "é"}}',
            Refused("rules of its normalizer are damaged"),
        ),
        ('{"model": {"vocab": [["<pad>", "x"]]}}', Refused("a list of pieces with")),
        (
            '{"model": {"vocab": [["\\ud800", 0.0]]}}',
            Refused("the piece '\\ud800' has half of a surrogate pair"),
        ),
        ('{"added_tokens": ["x"]}', Refused("field 'added_tokens[0]' must be object")),
        ('{"added_tokens": 5}', Refused("field 'added_tokens' must be list or null")),
        ('{"normalizer": "NFKC"}', Refused("field 'normalizer' must be object")),
        (
            '{"pre_tokenizer": "Metaspace"}',
            Refused("field 'pre_tokenizer' must be object or null, found text"),
        ),
        (
            '{"pre_tokenizer": {"type": "Sequence", "pretokenizers": 5}}',
            Refused("field 'pre_tokenizer.pretokenizers' must be list"),
        ),
        (
            '{"pre_tokenizer": {"type": "ByteLevel"}}',
            Refused("splits text by ['ByteLevel']"),
        ),
        ('{"pre_tokenizer": null}', Refused("splits text by [None]")),
        (
            '{"pre_tokenizer": {"type": "Metaspace", "prepend_scheme": "never"}}',
            Refused("does not put '▁' before the first word"),
        ),
        (
            '{"pre_tokenizer": {"type": "Metaspace", "replacement": "_"}}',
            Refused("does not put '▁' before the first word"),
        ),
    ),
)
