"""Compares encoding and decoding with Transformers' T5 tokenizer.

Both read the same SentencePiece model. This project runs SentencePiece itself.
Transformers 5 has its own implementation in Rust, which encodes the text between two
special tokens as a separate text. Transformers 4 called this `legacy=True`, and it was
its default. The last tests show the known differences.
"""

import random
import re
import unicodedata

import pytest
import seqio
import tensorflow as tf

from dsbs_jax import train_vocabulary
from dsbs_jax.data import preprocessors, vocabulary

transformers = pytest.importorskip("transformers", reason="comes with the extra `hf`")

EOS, UNK = 1, 2
PIECES = 330
SENTINEL = PIECES + 99
TEXTS = [
    "Which of the two jars holds more marbles? The left one: 7 > 3, so 7 - 3 = 4.",
    "A man in a red shirt sleeps; nobody is awake. So the answer is contradiction.",
    "Ünïcödé naïve café résumé señor Straße çà là Dvořák Škoda Łódź œuvre",
    "한국어 나라 값 각각",
    "中文 文字 東京 日本語 カタカナ ひらがな がぎぐ",
    "Ἑλλάς ἀρχή όλα Việt Nam ệ ế ầ Привет мир ещё",
    "(84.0 / 2.0) * {x} [y] ~ \"quoted\" 'single' #1 & @you 50% ^ | \\ _ `",
]


@pytest.fixture(scope="module")
def folder(release_dir, tmp_path_factory):
    """A folder with the model under the name that Transformers expects."""
    path = tmp_path_factory.mktemp("vocabulary")
    english = train_vocabulary.released_texts(release_dir, ["cqa", "svamp", "anli1"])
    vocabulary.train([*english, *TEXTS], path / vocabulary.HUB_FILE, PIECES)
    return path


@pytest.fixture(scope="module")
def ours(folder):
    return vocabulary.load(str(folder / vocabulary.HUB_FILE))


@pytest.fixture(scope="module")
def theirs(folder):
    return transformers.T5Tokenizer.from_pretrained(str(folder))


def encode(ours, text):
    """Returns the ids of a task, without the final end of sequence."""
    return preprocessors.encode_segments(tf.constant(text), ours).numpy().tolist()


def as_transformers(text):
    """Rewrites decoded text for two differences of Transformers.

    Transformers writes "<unk>" where SentencePiece writes " ⁇ " (no text contains that
    character, because it is normalized to "??"), and no space before a sentinel.
    """
    return re.sub(" (<extra_id_[0-9]{1,2}>)", r"\1", text.replace(" ⁇ ", "<unk>"))


WORDS = sorted({word for text in TEXTS for word in text.split()})
BLANKS = (" ", "  ", "    ", "\t", "\n", "\n\n", "\r\n", " \n ", "\u00a0", "\u3000")
UNKNOWN = ("😀", "👍🏽", "👩‍👩‍👧", "🇩🇪", "❤️", "龘", "ཀ", "\u00ad", "\x00")
COMPATIBLE = ("ﬁ", "½", "①", "Ａ", "…", "㎏", "™", "ǆ", "ﷺ", "\u200b", "\ufeff", "\x07")


def random_text(rng):
    """Joins words and unusual characters; sentinels are surrounded by spaces."""

    def character(rng):
        point = rng.choice([rng.randrange(0x20, 0x3000), rng.randrange(0x20000)])
        chosen = chr(point)
        # Surrogates are not text. The last tests cover marks and U+0085.
        differs = unicodedata.category(chosen)[0] == "M" or chosen == "\x85"
        return "" if differs or 0xD800 <= point < 0xE000 else chosen

    kinds = (
        lambda: rng.choice(WORDS),
        lambda: rng.choice(WORDS).upper(),
        lambda: rng.choice(BLANKS),
        lambda: rng.choice(UNKNOWN),
        lambda: rng.choice(COMPATIBLE),
        lambda: unicodedata.normalize("NFD", rng.choice("éüñçàřŠόё")),
        lambda: character(rng),
        lambda: "</s>",
        lambda: f" <extra_id_{rng.randrange(100)}> ",
        lambda: rng.choice(("</S>", "<s>", "<extra_id_100>", "▁", "<", "⁇")),
    )
    weights = [8, 1, 3, 1, 1, 1, 1, 1, 1, 1]
    parts = rng.choices(kinds, weights, k=rng.randrange(12))
    return "".join(part() + rng.choice(("", " ")) for part in parts)


@pytest.fixture(scope="module")
def texts():
    rng = random.Random(0)
    return ["", " ", "\n", "</s>", "a</s>", "</s>b", *TEXTS] + [
        random_text(rng) for _ in range(1000)
    ]


def test_sizes_and_special_ids(ours, theirs):
    assert len(theirs) == ours.vocab_size == PIECES + 100
    ids = theirs.convert_tokens_to_ids(["<pad>", "</s>", "<unk>"])
    assert ids == [ours.pad_id, ours.eos_id, ours.unk_id] == [0, EOS, UNK]
    assert theirs.convert_tokens_to_ids("<extra_id_0>") == SENTINEL
    assert theirs.convert_tokens_to_ids("<extra_id_99>") == PIECES


@pytest.mark.slow
def test_a_thousand_texts_have_the_same_ids(ours, theirs, texts):
    expected = theirs(texts).input_ids
    for text, ids in zip(texts, expected, strict=True):
        assert [*encode(ours, text), EOS] == ids, ascii(text)
    # The texts contain enough of each special case.
    bodies = [ids[:-1] for ids in expected]
    assert sum(EOS in body[1:-1] for body in bodies) > 100
    assert sum(UNK in body for body in bodies) > 100
    assert sum(max(body, default=0) >= PIECES for body in bodies) > 100
    assert sum("\n" in text.strip() for text in texts) > 100


def test_every_sentinel_has_the_same_id(ours, theirs):
    text = " a ".join(f"<extra_id_{number}>" for number in range(100))
    ids = encode(ours, text)
    assert ids[::2] == list(range(SENTINEL, PIECES - 1, -1))
    assert theirs(text).input_ids == [*ids, EOS]


def test_a_task_gives_the_same_ids(ours, theirs, texts):
    """The task's preprocessor encodes targets without segments."""
    feature = seqio.Feature(vocabulary=ours)
    unsegmented = [text for text in texts if "</s>" not in text]
    rows = dict.fromkeys(("id", "inputs", "targets"), unsegmented)
    dataset = preprocessors.tokenize(
        tf.data.Dataset.from_tensor_slices(rows), dict.fromkeys(rows, feature)
    )
    expected = theirs(unsegmented, add_special_tokens=False).input_ids
    for row, ids in zip(dataset.as_numpy_iterator(), expected, strict=True):
        assert row["inputs"].tolist() == row["targets"].tolist() == ids


@pytest.mark.slow
def test_every_character_has_the_same_ids(ours, theirs):
    """Covers the first two planes: known and unknown characters, and all spaces."""
    points = [p for p in range(0x20000) if not 0xD800 <= p < 0xE000 and p != 0x85]
    texts = [f"{chr(point)}a{chr(point)} b" for point in points]
    ids = ours.encode_tf(tf.constant([text.encode() for text in texts])).to_list()
    expected = theirs(texts, add_special_tokens=False).input_ids
    different = [p for p, a, b in zip(points, ids, expected, strict=True) if a != b]
    assert [f"U+{point:04X}" for point in different] == []


@pytest.mark.slow
def test_encoded_texts_are_decoded_to_the_same_text(ours, theirs, texts):
    for text in texts:
        ids = encode(ours, text)
        # Our decoding stops at the first end of sequence.
        until = ids[: ids.index(EOS)] if EOS in ids else ids
        expected = theirs.decode(until)
        decoded = ours.decode([*ids, EOS, 0, 0, 7])
        assert as_transformers(decoded) == expected, ascii(text)
        if UNK not in until and "<extra_id_" not in text:
            assert decoded == theirs.decode(until, skip_special_tokens=True)


def test_any_ids_are_decoded_to_the_same_text(ours, theirs):
    """A student may write ids that no text is encoded to."""
    rng = random.Random(0)
    for _ in range(1000):
        ids = [rng.randrange(2, PIECES + 100) for _ in range(rng.randrange(12))]
        # SentencePiece drops all spaces at the beginning, Transformers only the first.
        expected = theirs.decode(ids).lstrip(" ")
        assert as_transformers(ours.decode(ids)) == expected, ids


@pytest.mark.parametrize("composed", ["が", "각", "ế"])
def test_known_difference_composition(ours, theirs, composed):
    """SentencePiece composes characters that Transformers leaves decomposed."""
    decomposed = unicodedata.normalize("NFD", composed)
    assert encode(ours, decomposed) == encode(ours, composed)
    assert UNK not in encode(ours, composed)
    assert theirs(composed).input_ids == [*encode(ours, composed), EOS]
    assert theirs(decomposed).input_ids != theirs(composed).input_ids


@pytest.mark.parametrize("text", ["½\u0301", "①\u0308", "ﬁ\u0323"])
def test_known_difference_marks_on_compatibility_characters(ours, theirs, text):
    """Transformers drops the mark; SentencePiece encodes it as unknown."""
    assert encode(ours, text)[-1] == UNK
    assert theirs(text).input_ids == [*encode(ours, text)[:-1], EOS]


def test_known_difference_next_line(ours, theirs):
    """U+0085 is a space for Transformers and unknown for SentencePiece."""
    assert encode(ours, "a\x85b") == encode(ours, "a龘b")
    assert theirs("a\x85b").input_ids == theirs("a b").input_ids


@pytest.mark.parametrize("text", ["two<extra_id_0>", "<extra_id_1><extra_id_0>"])
def test_known_difference_sentinels_within_words(ours, theirs, text):
    """SeqIO recognizes a sentinel only at the beginning of a word."""
    assert SENTINEL not in encode(ours, text)
    assert SENTINEL in theirs(text).input_ids


@pytest.mark.parametrize(("text", "special"), [("<pad>", 0), ("<unk>", UNK)])
def test_known_difference_names_of_special_tokens(ours, theirs, text, special):
    """This project encodes the name of a special token as text."""
    assert special not in encode(ours, text)
    assert ours.decode(encode(ours, text)) == text
    assert theirs(text, add_special_tokens=False).input_ids == [special]
