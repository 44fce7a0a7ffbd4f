"""Fixtures that find test data, and that make small runs."""

import json
import os
import pathlib
import shutil
import signal
import tempfile

import hypothesis
import pytest

# On a busy machine an example may take any time.
hypothesis.settings.register_profile("any_time", deadline=None)
hypothesis.settings.load_profile("any_time")

# Tests spend most of their time on compilation, and the compiled code runs for
# milliseconds.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

# Many tests, and the commands that they run, compile the same programs.
_PROGRAMS = tempfile.TemporaryDirectory(prefix="dsbs_jax_programs_")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", _PROGRAMS.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")


def pytest_configure():
    # A background job of a shell ignores Ctrl-C, and so would the processes that tests
    # start and interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure():
    _PROGRAMS.cleanup()


def pytest_addoption(parser):
    parser.addoption(
        "--scheduled", action="store_true", help="also run tests of the weekly job"
    )


def pytest_collection_modifyitems(config, items):
    if config.getoption("--scheduled"):
        return
    weekly = [item for item in items if item.get_closest_marker("scheduled")]
    config.hook.pytest_deselected(items=weekly)
    items[:] = [item for item in items if item not in set(weekly)]


# The authors' data and T5X's numbers are not in the repository. They may be in a folder
# next to the checkout, or in the folder that this variable names.
SHARED = pathlib.Path(
    os.environ.get(
        "DSBS_SHARED_DIR", pathlib.Path(__file__).resolve().parents[1] / "../shared"
    )
)


def _folder_or_skip(name):
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"no folder {name} in DSBS_SHARED_DIR={SHARED}")
    return folder


@pytest.fixture(scope="session")
def official_dir():
    """The authors' released data, unpacked."""
    return _folder_or_skip("official")


@pytest.fixture(scope="session")
def t5x_reference_dir():
    """Tiny students that T5X saved and evaluated."""
    return _folder_or_skip("t5x_reference")


@pytest.fixture(scope="session")
def facts():
    """The list of published numbers and settings that the code must agree with."""
    path = SHARED / "FACTS.md"
    if not path.is_file():
        pytest.skip(f"no list of facts: {path}; DSBS_SHARED_DIR names its folder")
    return path.read_text()


FIXTURES = pathlib.Path(__file__).resolve().parent / "fixtures"


@pytest.fixture(scope="session")
def release_dir():
    """A small release with all five datasets and both teachers, for reading only."""
    return FIXTURES / "release"


@pytest.fixture
def release_copy(release_dir, tmp_path):
    """A copy of the small release that a test may change."""
    return pathlib.Path(shutil.copytree(release_dir, tmp_path / "release"))


COLORS = ("amber", "blue", "green", "red", "white")
# Two layers of the smallest width whose heads can be spread over four devices.
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
    """Returns sixty riddles: which of two kinds of marbles a jar has more of."""
    rows = []
    for number in range(60):
        first, second = 1 + 7 * number % 9, 1 + 5 * number % 8
        left = COLORS[number % 5]
        right = COLORS[(number + 1 + number // 5 % 4) % 5]
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
    """A user's data: sixty rows with labels and rationales."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in tiny_rows()))
    return path


@pytest.fixture(scope="session")
def tiny_counterfactual_jsonl(tmp_path_factory):
    """The same rows with counterfactual rationales."""
    path = tmp_path_factory.mktemp("counterfactual") / "tiny.jsonl"
    labels = [row["label"] for row in tiny_rows()]
    with path.open("w") as file:
        for row in tiny_rows():
            other = next(label for label in labels if label != row["label"])
            row |= {
                "counterfactual_rationale": "the other is more",
                "counterfactual_label": other,
            }
            file.write(json.dumps(row) + "\n")
    return path


@pytest.fixture(scope="session")
def tiny_vocabulary(tmp_path_factory):
    """A SentencePiece model trained on these rows: 104 pieces and 100 sentinels."""
    from dsbs_jax.data import vocabulary

    path = tmp_path_factory.mktemp("vocabulary") / "tiny.model"
    texts = [row[field] for row in tiny_rows() for field in ("input", "rationale")]
    vocabulary.train(["predict: ", "explain: ", *texts], path, vocab_size=104)
    return path


@pytest.fixture(scope="session")
def tiny_settings(tiny_jsonl, tiny_vocabulary):
    """Returns the gin files and bindings of a small run: (method, **macros)."""

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
            "DATA_FILES": str(tiny_jsonl),
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
    """Sets the command line's settings to those of a small run."""
    from dsbs_jax import cli

    def configure(method="step_by_step", extra=(), **macros):
        files, bindings = tiny_settings(method, **macros)
        cli.configure(files, [*bindings, *extra])

    return configure


@pytest.fixture(scope="session")
def tiny_data(tiny_settings):
    """Builds the data of a small run: (method, **macros) -> MethodData."""
    from dsbs_jax import cli
    from dsbs_jax.data import mixtures, vocabulary
    from dsbs_jax.data.data_config import DataConfig

    def build(method="step_by_step", **macros):
        cli.configure(*tiny_settings(method, **macros))
        config = cli.read(DataConfig)
        return mixtures.build(config, vocabulary.load(config.vocabulary_path))

    return build


@pytest.fixture(scope="session")
def train_tiny(tiny_settings):
    """Trains a small run: (folder, method, **macros) -> its results."""
    from dsbs_jax import cli, train
    from dsbs_jax.local.config import TRAIN_SETTINGS

    def run(folder, method="step_by_step", files=None, drop=(), **macros):
        default, bindings = tiny_settings(method, MODEL_DIR=str(folder), **macros)
        bindings = [b for b in bindings if b.split(" ", 1)[0] not in drop]
        cli.configure(files or default, bindings, known=TRAIN_SETTINGS)
        return train.main()

    return run
