import json

import pytest
from sentencepiece import sentencepiece_model_pb2
from tolerance import tokenizers

from dsbs_jax.data import tokenizer_json, vocabulary
from dsbs_jax.errors import UserError

TEXTS = [
    "Which of the two jars holds more marbles? The left one: 7 > 3.",
    "Ünïcödé naïve café résumé Straße çà là Dvořák Škoda Łódź œuvre",
    "한국어 나라 값 각각",
    "中文 文字 東京 日本語 カタカナ ひらがな",
    "Ἑλλάς ἀρχή όλα Việt Nam Привет мир ещё",
    "مرحبا بالعالم שלום עולם",
    "(84.0 / 2.0) * {x} [y] ~ \"quoted\" 'single' #1 & @you 50% ^ | \\ _ `",
    "½ ① red² ｆｕｌｌ width ﬁ ligature",
    "  two  spaces\tand a tab \n a line",
    "emoji 😀 and a piece that no text has: ∰",
    "",
    "a",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a multilingual `spiece.model`."""
    path = tmp_path_factory.mktemp("tokenizer")
    vocabulary.train(TEXTS[:7] * 3, path / vocabulary.HUB_FILE, 400, at_most=True)
    return path


@pytest.fixture(scope="module")
def saved(folder, tmp_path_factory):
    """The files that Transformers 5 saves for it, without `spiece.model`."""
    transformers = pytest.importorskip("transformers", reason="the extra `hf`")
    path = tmp_path_factory.mktemp("saved")
    transformers.T5Tokenizer.from_pretrained(str(folder)).save_pretrained(path)
    assert not (path / vocabulary.HUB_FILE).exists()
    return path


@pytest.fixture(scope="module")
def original(folder):
    return vocabulary.load(str(folder))


@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_those_of_the_model_it_was_made_from(saved, original, text):
    converted = vocabulary.load(str(saved))
    assert converted.encode(text) == original.encode(text)
    assert converted.decode(converted.encode(text)) == original.decode(
        original.encode(text)
    )
    assert converted.vocab_size == original.vocab_size


@pytest.mark.parametrize("text", TEXTS)
def test_ids_are_those_of_transformers(saved, text):
    transformers = pytest.importorskip("transformers", reason="the extra `hf`")
    theirs = transformers.AutoTokenizer.from_pretrained(str(saved))
    ids = vocabulary.load(str(saved)).encode(text)
    assert ids == theirs(text, add_special_tokens=False).input_ids


def test_the_written_file_is_that_of_transformers(saved, folder):
    model = (folder / vocabulary.HUB_FILE).read_bytes()
    written = json.loads(tokenizer_json.of_model(model, 100))
    assert written == json.loads((saved / tokenizer_json.FILE).read_text())


def test_the_written_file_is_read_back_with_the_same_pieces(folder, tmp_path):
    content = (folder / vocabulary.HUB_FILE).read_bytes()
    path = tmp_path / tokenizer_json.FILE
    path.write_bytes(tokenizer_json.of_model(content, 100))
    read = sentencepiece_model_pb2.ModelProto.FromString(tokenizer_json.convert(path))
    model = sentencepiece_model_pb2.ModelProto.FromString(content)
    # A normal piece of the original does not state its type.
    pieces = [[(p.piece, p.score, p.type) for p in m.pieces] for m in (read, model)]
    assert pieces[0] == pieces[1]
    charsmaps = [one.normalizer_spec.precompiled_charsmap for one in (read, model)]
    assert charsmaps[0] == charsmaps[1] != b""


@pytest.mark.parametrize(
    "change",
    [
        lambda model: setattr(model.trainer_spec, "model_type", model.trainer_spec.BPE),
        lambda model: setattr(model.pieces[5], "type", model.pieces[5].BYTE),
        lambda model: setattr(model.pieces[5], "type", model.pieces[5].USER_DEFINED),
        lambda model: setattr(model.normalizer_spec, "add_dummy_prefix", False),
        lambda model: setattr(model.normalizer_spec, "escape_whitespaces", False),
    ],
)
def test_no_file_for_a_model_that_it_cannot_express(folder, change):
    content = (folder / vocabulary.HUB_FILE).read_bytes()
    model = sentencepiece_model_pb2.ModelProto.FromString(content)
    change(model)
    assert tokenizer_json.of_model(model.SerializeToString(), 100) is None


def test_the_file_the_folder_and_repeated_loading_give_the_same_vocabulary(saved):
    first = vocabulary.load(str(saved))
    assert vocabulary.load(str(saved)) is first
    file = saved / tokenizer_json.FILE
    content = tokenizer_json.convert(file)
    assert content == tokenizer_json.convert(file)
    again = vocabulary.load(str(file))
    assert again.encode(TEXTS[0]) == first.encode(TEXTS[0])


def test_a_folder_with_both_files_uses_the_sentencepiece_model(folder, tmp_path):
    model = tmp_path / vocabulary.HUB_FILE
    model.write_bytes((folder / vocabulary.HUB_FILE).read_bytes())
    (tmp_path / tokenizer_json.FILE).write_text("damaged")
    assert vocabulary.load(str(tmp_path)).encode("a")


VALUES = {
    "added_tokens": [{"id": i, "content": c} for i, c in enumerate(("<pad>", "</s>"))],
    "normalizer": {"type": "Precompiled", "precompiled_charsmap": ""},
    "pre_tokenizer": {"type": "Metaspace", "replacement": "▁"},
    "model": {
        "type": "Unigram",
        "unk_id": 2,
        "vocab": [
            ["<pad>", 0.0],
            ["</s>", 0.0],
            ["<unk>", 0.0],
            ["▁", -1.0],
            ["a", -2.0],
            ["<extra_id_0>", 0.0],
        ],
    },
}


def write(folder, **changed):
    model = {**VALUES["model"], **changed.pop("model", {})}
    values = {**VALUES, "model": model, **changed}
    (folder / tokenizer_json.FILE).write_text(json.dumps(values))
    return str(folder)


def test_a_small_file_without_rules_is_read(tmp_path):
    words = vocabulary.load(write(tmp_path, normalizer=None))
    assert words.encode("a a") == [3, 4, 3, 4]
    assert words.vocab_size == 5 + vocabulary.SENTINELS


@pytest.mark.parametrize(("changed", "_"), tokenizers.SECTION.accepted)
def test_a_tokenizer_of_a_t5_is_read(tmp_path, changed, _):
    words = vocabulary.load(write(tmp_path, **{**VALUES, **json.loads(changed)}))
    assert words.encode("a a") == [3, 4, 3, 4]


@pytest.mark.parametrize(("changed", "message"), tokenizers.SECTION.refused)
def test_another_tokenizer_is_refused_with_the_reason(tmp_path, changed, message):
    with pytest.raises(UserError) as error:
        vocabulary.load(write(tmp_path, **json.loads(changed)))
    assert message in str(error.value)
    assert "give its spiece.model as VOCABULARY_PATH" in str(error.value)


@pytest.mark.parametrize(
    ("added", "message"),
    [(["a", -3.0], "a is already defined"), (["", -3.0], "piece must not be empty")],
)
def test_a_vocabulary_that_sentencepiece_refuses_names_the_users_file(
    tmp_path, added, message
):
    vocab = [*VALUES["model"]["vocab"][:5], added]
    folder = write(tmp_path, model={"vocab": vocab})
    with pytest.raises(UserError) as error:
        vocabulary.load(folder)
    assert str(error.value).startswith(f"vocabulary {folder}/tokenizer.json: ")
    assert message in str(error.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "3"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / tokenizer_json.FILE).write_text(content)
    with pytest.raises(UserError, match=r"tokenizer\.json: "):
        vocabulary.load(str(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "the folder has no spiece.model and no tokenizer.json"),
        ("{", "the folder has no spiece.model and no tokenizer.json"),
        ('{"tokenizer_class": "T5Tokenizer"}', "the folder has no spiece.model"),
    ],
)
def test_a_folder_without_a_tokenizer_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / tokenizer_json.CONFIG).write_text(content)
    with pytest.raises(UserError, match=message):
        vocabulary.load(str(tmp_path))
