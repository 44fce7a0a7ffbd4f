"""Opens a student: its description, its vocabulary, and an engine with its weights."""

import dataclasses
import math
import pathlib
import typing

import jax
import seqio

from dsbs_jax import hub
from dsbs_jax.data import dataset_spec, tokenizer_json, vocabulary
from dsbs_jax.engines import ctranslate2_engine
from dsbs_jax.engines.ctranslate2_engine import CTranslate2Engine
from dsbs_jax.engines.engine import Engine, EngineName
from dsbs_jax.engines.jax_engine import JaxEngine
from dsbs_jax.errors import UserError
from dsbs_jax.local import inference, student_folder
from dsbs_jax.local.config import DecodingConfig
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.local.student_folder import StudentSpec
from dsbs_jax.student.config import check_vocabulary_size
from dsbs_jax.student.network import Transformer, parameter_shapes
from dsbs_jax.weights import config_of, ctranslate2_format, digests, open_checkpoint

ENGINES: tuple[EngineName, ...] = typing.get_args(EngineName)
# The faster engine of those that are installed.
AUTO = "auto"
# Parameters of the largest student that two engines hold at the same time.
_MEASURED_PARAMETERS = 1_000_000_000


@dataclasses.dataclass(frozen=True)
class OpenedStudent:
    """A student whose weights are not read yet.

    Attributes:
        path: Where the weights are, as for `Student.load`.
        spec: What `student.json` holds.
        words: The vocabulary.
    """

    path: str
    spec: StudentSpec
    words: seqio.Vocabulary

    def engine(self, name: str | None = None, num_partitions: int = 1) -> Engine:
        """Reads the weights into an engine.

        Args:
            name: As `engine` of `Student.load`.
            num_partitions: Devices over which one copy of the student is spread.

        Raises:
            UserError: The engine is unknown or not installed, cannot compute the
                student's answers, or the weights cannot be read.
        """
        check_vocabulary_size(self.spec.network.vocab_size, self.words.vocab_size)
        if self._choose(name) == "jax":
            partitioner = Partitioner(num_partitions)
            network = Transformer(self.spec.network)
            params = inference.read_params(self.path, network, partitioner)
            return JaxEngine(self.spec, self.words, params, partitioner)
        if self._exported is not None:
            return CTranslate2Engine(self._exported, self.spec, self.words)
        reader = open_checkpoint(self.path)
        return CTranslate2Engine.from_checkpoint(reader, self.spec, self.words)

    def weights_identity(self) -> str:
        """Returns a text that changes with the weights' files; reads no weights."""
        if self._exported is not None:
            return digests.identity(self._exported)
        return digests.identity(open_checkpoint(self.path).location)

    def candidates(self) -> tuple[EngineName, ...]:
        """Returns the engines that "auto" measures for a long job, the default first.

        There is one if the other engine is not installed, cannot compute the answers,
        or would need much memory next to the first one.
        """
        chosen = self._choose(AUTO)
        shapes = parameter_shapes(self.spec.network).values()
        is_large = sum(map(math.prod, shapes)) > _MEASURED_PARAMETERS
        if self._exported is not None or not self._runs_ctranslate2() or is_large:
            return (chosen,)
        return (chosen, *(name for name in ENGINES if name != chosen))

    @property
    def _exported(self) -> pathlib.Path | None:
        """The model of an export for CTranslate2, which has no other weights."""
        model = pathlib.Path(self.path) / ctranslate2_format.MODEL_FOLDER
        return model if model.is_dir() else None

    def _choose(self, name: str | None) -> EngineName:
        """Returns the engine for a name."""
        if self._exported is not None and name in (None, AUTO, "ctranslate2"):
            return "ctranslate2"
        if self._exported is not None and name == "jax":
            raise UserError(
                f"{self.path} is an export for CTranslate2, which the engine jax "
                "cannot read; use the run folder"
            )
        if name is None:
            return "jax"
        if name == AUTO:
            return "ctranslate2" if self._ctranslate2_is_faster() else "jax"
        for known in ENGINES:
            if name == known:
                return known
        raise UserError(f"engine is {name!r}, expected {', '.join(ENGINES)} or {AUTO}")

    def _ctranslate2_is_faster(self) -> bool:
        """Returns whether CTranslate2 can run this student and is usually faster.

        JAX scores the labels of a closed set faster: it encodes an input once, while
        CTranslate2 encodes it once for each label. `benchmarks/serving.py` measures
        both.
        """
        return self._runs_ctranslate2() and self.spec.closed_labels is None

    def _runs_ctranslate2(self) -> bool:
        return (
            ctranslate2_engine.is_installed()
            and jax.default_backend() == "cpu"
            and self.spec.decoding.num_beams == 1
        )


def open_student(
    path: str, *, two_tasks: bool = True, vocabulary_path: str | None = None
) -> OpenedStudent:
    """Reads everything of a student but its weights.

    Args:
        path: As for `Student.load`.
        two_tasks: As for `Student.load`.
        vocabulary_path: As for `Student.load`.

    Raises:
        UserError: The path holds no student, or its files are damaged.
    """
    path = str(pathlib.Path(path).expanduser()) if not hub.is_address(path) else path
    folder = student_folder.find(path)
    if folder is None:
        return OpenedStudent(path, *_spec_of_weights(path, two_tasks, vocabulary_path))
    spec = student_folder.read_spec(folder)
    return OpenedStudent(path, spec, student_folder.read_vocabulary(folder, spec))


def _spec_of_weights(
    path: str, two_tasks: bool, vocabulary_path: str | None
) -> tuple[StudentSpec, seqio.Vocabulary]:
    """Describes a student whose weights are not in a run folder."""
    if vocabulary_path is None:
        vocabulary_path = path
        if not hub.is_address(path):
            vocabulary_path = str(pathlib.Path(path) / vocabulary.HUB_FILE)
            if tokenizer_json.reads_bytes(pathlib.Path(path)):
                vocabulary_path = vocabulary.BYTES
            elif (pathlib.Path(path) / "config.gin").exists():
                raise UserError(
                    f"{path} is a run without {student_folder.STUDENT_FILE}, of an "
                    "earlier version. This command adds the file, and scores the run "
                    f"again: python -m dsbs_jax.train --gin_file={path}/config.gin"
                )
            elif not pathlib.Path(vocabulary_path).exists():
                # Raises if there are no weights either.
                open_checkpoint(path)
                raise UserError(
                    f"{path} has weights, but not {student_folder.STUDENT_FILE} "
                    f"or {vocabulary.HUB_FILE}; give the SentencePiece model as "
                    "vocabulary_path"
                )
    words = vocabulary.load(vocabulary_path)
    lengths = dataset_spec.DEFAULT.feature_lengths.task_feature_lengths
    spec = StudentSpec(
        network=config_of(open_checkpoint(path)),
        decoding=DecodingConfig(),
        input_length=lengths["inputs"],
        target_length=lengths["targets"],
        label_prefix=dataset_spec.PREDICT_PREFIX if two_tasks else "",
        explain_prefix=dataset_spec.EXPLAIN_PREFIX if two_tasks else None,
    )
    return spec, words
