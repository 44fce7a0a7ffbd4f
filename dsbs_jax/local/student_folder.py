"""The files that make a run folder a complete student.

`student.json` holds what is needed to use the student, and
`vocabulary/sentencepiece.model` its vocabulary; bytes have no file. With the
checkpoints they are enough: the folder works on another machine, without the training
data. Reading them executes no gin file and no pickle.

An exported student has the same files next to its weights. In a Hugging Face folder the
vocabulary is `spiece.model`, the name that `transformers` expects.
"""

import dataclasses
import hashlib
import importlib.metadata
import pathlib
from typing import Any

import msgspec
import seqio
from etils import epath

from dsbs_jax import files, hub, json_input
from dsbs_jax.data import label_sets, mixtures, records, vocabulary
from dsbs_jax.data.data_config import DataConfig
from dsbs_jax.data.methods import TaskInfo
from dsbs_jax.data.sources import RecordSource
from dsbs_jax.data.tables.columns import DEFAULT, ColumnMap
from dsbs_jax.data.tasks import infos_of
from dsbs_jax.errors import UserError, reason
from dsbs_jax.local.config import DecodingConfig
from dsbs_jax.student.config import T5Config
from dsbs_jax.task_ids import LABEL

STUDENT_FILE = "student.json"
VOCABULARY_FILE = "vocabulary/sentencepiece.model"
SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudentSpec:
    """The content of `student.json`.

    Attributes:
        network: Size and computation of the student.
        decoding: How answers are decoded.
        input_length: Tokens to which inputs are truncated, with the end token.
        target_length: Longest target of the training, with the end token.
        label_prefix: Text before the input of the label task.
        explain_prefix: Text before the input of the rationale task; None for a student
            that was not trained on this task.
        single_task: Whether the label follows the rationale in one output.
        labels: The closed label set; None where answers are free text.
        metric: Name of the metric that compares labels.
        dataset: Name of the dataset.
        method: The training method.
        teacher: Name of the teacher whose labels and rationales were used.
        vocabulary_sha256: Hash of the vocabulary's file, or of "bytes".
        data_fingerprint: Hash of a user's training rows; None for a registered dataset.
        validation_fingerprint: Hash of a user's validation rows, which decide the best
            checkpoint; None for a registered dataset.
        sentinels: Number of ids above the pieces of the vocabulary.
        input_column: The column of a user's rows that was the input; None for a student
            of an earlier version, or one that was not trained by `fit`.
        template: The template that built the inputs from several columns, or None.
        schema_version: Version of this layout.
        written_by: The version of dsbs_jax.
    """

    network: T5Config
    decoding: DecodingConfig
    input_length: int
    target_length: int
    label_prefix: str = ""
    explain_prefix: str | None = None
    single_task: bool = False
    labels: tuple[str, ...] | None = None
    metric: str = "exact_match"
    dataset: str | None = None
    method: str | None = None
    teacher: str | None = None
    vocabulary_sha256: str = ""
    data_fingerprint: str | None = None
    validation_fingerprint: str | None = None
    sentinels: int = vocabulary.SENTINELS
    input_column: str | None = None
    template: str | None = None
    schema_version: int = SCHEMA_VERSION
    written_by: str = importlib.metadata.version("dsbs-jax")

    @property
    def closed_labels(self) -> tuple[str, ...] | None:
        """The labels among which the answer is chosen; None if it is decoded freely.

        The label of a single-task method follows a rationale, so it is always decoded.
        """
        return None if self.single_task else self.labels

    def columns(self, given: ColumnMap = DEFAULT) -> ColumnMap:
        """Returns the columns of new inputs: those of the training rows by default.

        Args:
            given: The user's columns. If the input has its default column and no
                template, it is built as that of the training rows.

        Raises:
            UserError: The stored template is not valid.
        """
        return given.with_default_input(self.input_column, self.template)


def spec_of_run(
    config: DataConfig,
    data: mixtures.MethodData,
    network: T5Config,
    decoding: DecodingConfig,
) -> StudentSpec:
    """Describes the student of a run.

    Raises:
        UserError: The mixture has no label task.
    """
    label_task, explain_task = answer_tasks(data)
    lengths = data.task_feature_lengths
    return StudentSpec(
        network=network,
        decoding=decoding,
        input_length=lengths["inputs"],
        target_length=lengths["targets"],
        label_prefix=label_task.prefix,
        explain_prefix=_explain_prefix(label_task, explain_task),
        single_task=label_task.single_task,
        labels=_label_set(config, data),
        metric=data.spec.metric.name,
        dataset=config.dataset,
        method=config.method,
        teacher=config.teacher or data.spec.teachers[0],
        vocabulary_sha256=_sha256(data.vocabulary),
        data_fingerprint=_fingerprint(data, "train"),
        validation_fingerprint=_fingerprint(data, "validation"),
        sentinels=data.vocabulary.extra_ids,
    )


def _explain_prefix(label_task: TaskInfo, explain_task: TaskInfo | None) -> str | None:
    if label_task.paired:
        return label_task.spec.explain_prefix
    return explain_task.prefix if explain_task else None


def answer_tasks(data: mixtures.MethodData) -> tuple[TaskInfo, TaskInfo | None]:
    """Returns the mixture's label task and, in two-task methods, its rationale task.

    The task of pretraining takes the place of a label task.

    Raises:
        UserError: The mixture has no label task.
    """
    infos = infos_of(data.mixture)
    label_task = next((info for info in infos if info.task_id == LABEL), None)
    explain_task = next((info for info in infos if info.label is None), None)
    if label_task is None:
        raise UserError(f"{data.mixture.name!r} has no task with labels")
    return label_task, explain_task


def _label_set(config: DataConfig, data: mixtures.MethodData) -> tuple[str, ...] | None:
    """Returns LABELS, the labels of the dataset, or those of a user's training rows."""
    if data.test_task.info.is_pretraining:
        return None
    if config.labels is not None:
        return config.labels or None
    source = data.test_task.source
    if data.spec.labels is not None or not isinstance(source, RecordSource):
        return data.spec.labels
    detected = label_sets.detect_label_set(source.records("train"))
    return detected.labels if detected else None


def _fingerprint(data: mixtures.MethodData, split: str) -> str | None:
    """Hashes a user's rows of a split."""
    source = data.test_task.source
    if not isinstance(source, RecordSource) or split not in source.splits:
        return None
    return records.fingerprint(source.records(split))


def write(
    folder: pathlib.Path, spec: StudentSpec, words: vocabulary.Vocabulary
) -> None:
    """Writes the student's files, except for its weights."""
    write_vocabulary(folder, words)
    write_spec(folder, spec)


def write_spec(folder: pathlib.Path, spec: StudentSpec) -> None:
    """Writes `student.json`."""
    files.write_json(folder / STUDENT_FILE, msgspec.to_builtins(spec))


def find(path: str) -> pathlib.Path | None:
    """Returns the folder of a student's files, or None for weights without them.

    Args:
        path: A folder, or "hub:" and the id of a repository, whose files are then in
            the local cache.

    Raises:
        UserError: The repository does not exist or cannot be reached.
    """
    folder = pathlib.Path(path)
    if hub.is_address(path):
        folder = hub.download_files(path, [STUDENT_FILE, vocabulary.HUB_FILE])
    return folder if (folder / STUDENT_FILE).is_file() else None


def with_columns(
    spec: StudentSpec, columns: ColumnMap | None, folder: pathlib.Path
) -> StudentSpec:
    """Returns a student with the columns of its training rows.

    Args:
        spec: The student.
        columns: The columns; None keeps those that a run folder has already.
        folder: The run folder.
    """
    if columns is not None:
        return dataclasses.replace(
            spec, input_column=columns.input, template=columns.template
        )
    if not (folder / STUDENT_FILE).is_file():
        return spec
    earlier = read_spec(folder)
    return dataclasses.replace(
        spec, input_column=earlier.input_column, template=earlier.template
    )


def write_vocabulary(folder: pathlib.Path, words: vocabulary.Vocabulary) -> None:
    """Writes the vocabulary, unless the folder has it already, or it is bytes."""
    if isinstance(words, seqio.ByteVocabulary):
        return
    path, content = folder / VOCABULARY_FILE, _model_file(words)
    if not path.exists() or path.read_bytes() != content:
        files.write(path, content)


def read_spec(folder: pathlib.Path) -> StudentSpec:
    """Reads `student.json`.

    Raises:
        UserError: The file cannot be read, has another schema version, or has a wrong
            value.
    """
    path = folder / STUDENT_FILE
    try:
        values = json_input.parse(path.read_bytes(), dict[str, Any])
        version = values.get("schema_version")
        if version != SCHEMA_VERSION:
            raise UserError(
                f"{path}: schema_version is {version!r}, expected {SCHEMA_VERSION}; "
                "use the version of dsbs_jax that wrote the file, which is "
                f"{values.get('written_by')!r}"
            )
        _rename_dtype(values)
        spec = json_input.convert(values, StudentSpec)
        spec.columns()  # raises for a template that is not valid
        return spec
    except json_input.JsonError as error:
        raise UserError(f"{path}: {error}") from error
    except OSError as error:
        raise UserError(f"{path}: {reason(error)}") from error


def _rename_dtype(values: dict[str, Any]) -> None:
    """Renames the type of the activations, which has the name of its precision."""
    network = values.get("network")
    if isinstance(network, dict) and "dtype" in network:
        network.setdefault("precision", network.pop("dtype"))


def reads_bytes(spec: StudentSpec) -> bool:
    """Whether a student's vocabulary is the bytes of ByT5."""
    return spec.vocabulary_sha256 == _sha256(seqio.ByteVocabulary())


def read_vocabulary(folder: pathlib.Path, spec: StudentSpec) -> vocabulary.Vocabulary:
    """Loads the student's vocabulary.

    Raises:
        UserError: The file cannot be read, or is not the one that the student was
            trained with.
    """
    if reads_bytes(spec):
        return vocabulary.load(vocabulary.BYTES, spec.sentinels)
    path = folder / VOCABULARY_FILE
    if not path.exists() and (folder / vocabulary.HUB_FILE).exists():
        path = folder / vocabulary.HUB_FILE
    words = vocabulary.load(str(path), spec.sentinels)
    if _sha256(words) != spec.vocabulary_sha256:
        raise UserError(
            f"{path}: is not the vocabulary that the student was trained with; restore "
            f"the file with the SHA-256 {spec.vocabulary_sha256}"
        )
    return words


def _sha256(words: vocabulary.Vocabulary) -> str:
    """Hashes the vocabulary's file, or the name of the vocabulary of bytes."""
    if isinstance(words, seqio.ByteVocabulary):
        return hashlib.sha256(vocabulary.BYTES.encode()).hexdigest()
    return hashlib.sha256(_model_file(words)).hexdigest()


def _model_file(words: seqio.SentencePieceVocabulary) -> bytes:
    # `sp_model` also has the sentinels that SeqIO adds.
    return epath.Path(words.sentencepiece_model_file).read_bytes()
