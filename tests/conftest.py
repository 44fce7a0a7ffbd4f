"""Where the tests find real data, and how they do without it."""

import json
import os
import pathlib
import shutil

import gin
import pytest

# Most of a test's time is compilation; what is compiled runs for milliseconds.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

# The authors' data and T5X's own numbers are not part of the repository; a folder
# beside the checkout, or one named by this variable, may hold them.
SHARED = pathlib.Path(
    os.environ.get(
        "DSBS_SHARED_DIR", pathlib.Path(__file__).resolve().parents[1] / "../shared"
    )
)


def _folder_or_skip(name):
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"{name} data is not at hand (DSBS_SHARED_DIR={SHARED})")
    return folder


@pytest.fixture(scope="session")
def official_dir():
    """The authors' released data, unpacked."""
    return _folder_or_skip("official")


@pytest.fixture(scope="session")
def t5x_reference_dir():
    """Tiny students saved and evaluated by T5X."""
    return _folder_or_skip("t5x_reference")


FIXTURES = pathlib.Path(__file__).resolve().parent / "fixtures"


@pytest.fixture(scope="session")
def release_dir():
    """A small release of all five datasets and both teachers; not to be changed."""
    return FIXTURES / "release"


@pytest.fixture
def release_copy(release_dir, tmp_path):
    """A copy of the small release to spoil."""
    return pathlib.Path(shutil.copytree(release_dir, tmp_path / "release"))


COLOURS = ("amber", "blue", "green", "red", "white")
# Two layers of the smallest width that still has heads to spread over four devices.
TINY_STUDENT = {
    "EMB_DIM": 16,
    "NUM_HEADS": 4,
    "HEAD_DIM": 4,
    "NUM_ENCODER_LAYERS": 1,
    "NUM_DECODER_LAYERS": 1,
    "MLP_DIM": 32,
    "VOCAB_SIZE": 256,
}


def tiny_rows():
    """Sixty made-up riddles: which of two jars holds more marbles."""
    rows = []
    for number in range(60):
        first, second = 1 + 7 * number % 9, 1 + 5 * number % 8
        left = COLOURS[number % 5]
        right = COLOURS[(number + 1 + number // 5 % 4) % 5]
        more = left if first >= second else right
        rows.append(
            {
                "id": f"jar-{number}",
                "input": f"Jar {number}: {first} {left}, {second} {right} marbles.",
                "label": more,
                "teacher_label": left if number % 10 == 3 else more,
                "rationale": f"{first} {left} and {second} {right}: more are {more}.",
            }
        )
    return rows


@pytest.fixture(scope="session")
def tiny_jsonl(tmp_path_factory):
    """A user's own data: sixty rows with labels and rationales."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in tiny_rows()))
    return path


@pytest.fixture(scope="session")
def tiny_vocabulary(tmp_path_factory):
    """A SentencePiece model trained on them; 104 pieces and 100 sentinels."""
    from dsbs_jax.data import vocabulary

    path = tmp_path_factory.mktemp("vocabulary") / "tiny.model"
    texts = [row[field] for row in tiny_rows() for field in ("input", "rationale")]
    vocabulary.train(["predict: ", "explain: ", *texts], path, vocab_size=104)
    return path


@pytest.fixture(scope="session")
def tiny_settings(tiny_jsonl, tiny_vocabulary):
    """Makes gin files and bindings of a small run: (method, **macros)."""

    def settings(method="step_by_step", **macros):
        files = [
            "sizes/tiny.gin",
            f"methods/{method}.gin",
            "datasets/jsonl.gin",
            "local/train.gin",
        ]
        macros = {
            **TINY_STUDENT,
            "DATASET": "tiny",
            "FILES": str(tiny_jsonl),
            "VOCABULARY_PATH": str(tiny_vocabulary),
            "TASK_FEATURE_LENGTHS": {"inputs": 48, "targets": 48, "task_ids": 48},
            "BATCH_SIZE": 16,
            "TRAIN_STEPS": 2,
            "EVAL_PERIOD": 2,
            "LOG_PERIOD": 1,
            "MAX_DECODE_LENGTH": 8,
            "LEARNING_RATE": 0.003,
            **macros,
        }
        return files, [f"{name} = {value!r}" for name, value in macros.items()]

    return settings


@pytest.fixture
def configure_tiny(tiny_settings):
    """Replaces gin's configuration by that of a small run, while a test runs."""
    from dsbs_jax import cli

    def configure(method="step_by_step", extra=(), **macros):
        files, bindings = tiny_settings(method, **macros)
        cli.configure(files, [*bindings, *extra])

    yield configure
    gin.clear_config()
