"""A trained student: predicts labels, explains them, and is evaluated."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import seqio

from dsbs_jax import files, hub
from dsbs_jax.data import dataset_spec, metrics, tables, vocabulary
from dsbs_jax.data.records import Record, check_text
from dsbs_jax.data.tasks import split_answer
from dsbs_jax.errors import UserError
from dsbs_jax.local import inference, label_scorer, student_folder
from dsbs_jax.local.config import DecodingConfig
from dsbs_jax.local.evaluation import Predictor
from dsbs_jax.local.input_batches import encode_inputs
from dsbs_jax.local.partitioning import Partitioner
from dsbs_jax.local.student_folder import StudentSpec
from dsbs_jax.reports import classification, open_answers
from dsbs_jax.reports.classification import ClassificationReport
from dsbs_jax.reports.open_answers import OpenReport
from dsbs_jax.student.config import check_vocabulary_size
from dsbs_jax.student.network import Transformer
from dsbs_jax.weights import config_of, open_checkpoint

_METRICS = {m.name: m for m in (metrics.EXACT_MATCH, metrics.EQUATION_ACCURACY)}
# The answer of a row whose best label is less probable than `abstain_below`.
UNKNOWN = "unknown"
# The file of an evaluation with the answer to each row.
PREDICTIONS_FILE = "predictions.jsonl"
# Endings of files that do not have JSON lines.
_OTHER_FORMATS = {".csv", ".tsv", ".parquet", ".xlsx", ".gz", ".zst"}


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction:
    """The student's answer for one input.

    Attributes:
        predicted_label: The label; `UNKNOWN` if the student abstains.
        log_probability: Log-probability of the answer's tokens in nats, end token
            included. In the single-task methods the answer is the rationale and the
            label. If the student abstains, it is the log-probability of the best label.
        probabilities: Probability of each label of the closed label set, normalized
            over the set. None where answers are free text.
        predicted_rationale: The student's rationale, if it was requested.
    """

    predicted_label: str
    log_probability: float
    probabilities: dict[str, float] | None = None
    predicted_rationale: str | None = None


class Student:
    """A trained student.

    Methods may be called from several threads at the same time.

        student = Student.load("runs/tickets")
        student.predict(["my card was charged twice"])
        student.explain(["my card was charged twice"])

    Attributes:
        spec: Prefixes, label set, lengths and size of the student.
        vocabulary: Its vocabulary.
    """

    def __init__(
        self,
        spec: StudentSpec,
        words: seqio.Vocabulary,
        params: Any,
        partitioner: Partitioner,
    ) -> None:
        """Takes the parts of a student; `load` reads them from a folder.

        Args:
            spec: What `student.json` holds.
            words: The vocabulary.
            params: The parameters, placed on the partitioner's devices.
            partitioner: Spreads each batch over the devices.

        Raises:
            UserError: The student cannot generate a label of the label set.
        """
        self.spec, self.vocabulary = spec, words
        self._params, self._partitioner = params, partitioner
        self._model = Transformer(spec.network)
        self._predictor = Predictor(self._model, spec.decoding, partitioner)
        self._scorer = None
        if spec.labels is not None and not spec.single_task:
            self._scorer = label_scorer.LabelScorer(
                self._model,
                spec.labels,
                words,
                partitioner,
                spec.decoding.batch_size,
                spec.decoding.max_decode_length,
            )

    @classmethod
    def load(
        cls,
        path: str,
        *,
        labels: Sequence[str] | None = None,
        free_answers: bool = False,
        two_tasks: bool = True,
        vocabulary_path: str | None = None,
        batch_size: int | None = None,
        num_partitions: int = 1,
    ) -> Self:
        """Loads a student.

        Args:
            path: A run folder, of which the best checkpoint is used; or an exported
                student, in a folder or, as "hub:" and the id, in a repository. Or
                weights without `student.json`: a T5X checkpoint, native or Orbax; a
                Hugging Face folder; or a repository.
            labels: The closed label set; None takes the run's label set, if it has one.
            free_answers: Whether the student may answer with any text although the run
                has a label set.
            two_tasks: For weights without `student.json`: whether the student was
                trained with the prefixes "predict: " and "explain: ".
            vocabulary_path: For weights without `student.json`: the SentencePiece
                model. None takes the `spiece.model` next to Hugging Face weights.
            batch_size: Inputs that are computed at a time; None takes the run's value,
                or 64.
            num_partitions: Devices over which one copy of the student is spread.

        Raises:
            UserError: The path holds no student, or its files are damaged or do not fit
                together.
        """
        path = os.path.expanduser(path)
        folder = student_folder.find(path)
        if folder is not None:
            spec = student_folder.read_spec(folder)
            words = student_folder.read_vocabulary(folder, spec)
        else:
            spec, words = _spec_of_weights(path, two_tasks, vocabulary_path)
        if labels is not None:
            spec = dataclasses.replace(spec, labels=tuple(labels))
        if free_answers:
            spec = dataclasses.replace(spec, labels=None)
        if batch_size is not None:
            decoding = dataclasses.replace(spec.decoding, batch_size=batch_size)
            spec = dataclasses.replace(spec, decoding=decoding)
        return cls.from_checkpoint(path, spec, words, Partitioner(num_partitions))

    @classmethod
    def from_checkpoint(
        cls,
        path: str,
        spec: StudentSpec,
        words: seqio.Vocabulary,
        partitioner: Partitioner,
    ) -> Self:
        """Reads the weights of a student whose other parts are known.

        Args:
            path: As for `load`.
            spec: What `student.json` holds.
            words: The vocabulary.
            partitioner: Places the parameters on the devices.
        """
        check_vocabulary_size(spec.network.vocab_size, words.vocab_size)
        params = inference.read_params(path, Transformer(spec.network), partitioner)
        return cls(spec, words, params, partitioner)

    def predict(
        self,
        inputs: Sequence[str],
        *,
        rationales: bool = False,
        max_rationale_length: int | None = None,
        abstain_below: float | None = None,
    ) -> list[Prediction]:
        """Predicts a label for each input.

        With a closed label set, the answer is the label with the highest probability,
        and no other text is possible. Otherwise the answer is decoded freely.

        Args:
            inputs: Texts without prefix.
            rationales: Whether the student also generates a rationale for each input.
            max_rationale_length: As `max_length` of `explain`.
            abstain_below: Probability, 0 to 1. If the best label is less probable, the
                answer is `UNKNOWN`. Needs a closed label set.

        Returns:
            One prediction for each input, in the order of the inputs.

        Raises:
            UserError: An input is not text or is blank, or an argument needs a label
                set or rationales that the student does not have.
        """
        _check_inputs(inputs)
        if abstain_below is not None and self._scorer is None:
            raise UserError(
                "abstain_below needs a closed label set, which this student does not "
                "have; give labels to Student.load"
            )
        if self._scorer is not None:
            predictions = self._choose(self._scorer, inputs, abstain_below)
        else:
            predictions = self._decode(inputs, rationales)
        if rationales and not self.spec.single_task:
            explained = self.explain(inputs, max_length=max_rationale_length)
            predictions = [
                dataclasses.replace(p, predicted_rationale=r)
                for p, r in zip(predictions, explained, strict=True)
            ]
        return predictions

    def explain(
        self, inputs: Sequence[str], *, max_length: int | None = None
    ) -> list[str]:
        """Generates a rationale for each input.

        Args:
            inputs: Texts without prefix.
            max_length: Longest rationale in tokens; None takes the longest target that
                the student was trained on.

        Raises:
            UserError: The student was not trained to give rationales.
        """
        _check_inputs(inputs)
        self._check_explains()
        if self.spec.single_task:
            answers, _ = self._generate("", inputs, max_length)
            return [split_answer(answer)[0] for answer in answers]
        length = max_length or self.spec.target_length
        return self._generate(self.spec.explain_prefix or "", inputs, length)[0]

    def predict_file(
        self,
        data: tables.Source,
        output: str,
        *,
        columns: tables.ColumnMap | None = None,
        rationales: bool = False,
        max_rationale_length: int | None = None,
        abstain_below: float | None = None,
    ) -> int:
        """Predicts a label for each row of a file.

        Args:
            data: Rows in any format of `tables.read_inputs`.
            output: JSONL file to write: each row with the fields of its prediction.
            columns: The columns of the rows.
            rationales: As for `predict`.
            max_rationale_length: As for `predict`.
            abstain_below: As for `predict`.

        Returns:
            The number of rows.

        Raises:
            UserError: As `predict`, the rows cannot be read or have a column with the
                name of a field of `Prediction`; or `output` cannot be written, is a
                file of the rows, or has the ending of another format.
        """
        if rationales:
            self._check_explains()
        path = _check_answers_file(output, data)
        rows = tables.read_inputs(data, columns or tables.ColumnMap())
        _check_columns(rows, data)
        predictions = self.predict(
            [row["input"] for row in rows],
            rationales=rationales,
            max_rationale_length=max_rationale_length,
            abstain_below=abstain_below,
        )
        answers = [
            row | as_fields(prediction)
            for row, prediction in zip(rows, predictions, strict=True)
        ]
        files.write_jsonl(path, answers)
        return len(rows)

    def evaluate(
        self,
        data: tables.Source,
        *,
        columns: tables.ColumnMap | None = None,
        output: str | None = None,
        abstain_below: float | None = None,
    ) -> ClassificationReport | OpenReport:
        """Scores the student on labeled rows.

        Args:
            data: Rows in any format of `tables.read_examples`. Rows without a label are
                not scored. If no row has a label, the teacher's labels take their
                place, with a note.
            columns: The columns of the rows.
            output: Folder for `report.json`, `report.txt`, `report.html` and
                `predictions.jsonl`; None writes nothing.
            abstain_below: As for `predict`.

        Returns:
            A `ClassificationReport` for a closed label set, otherwise an `OpenReport`.

        Raises:
            UserError: The rows cannot be read, or none has a label.
        """
        folder = None if output is None else files.check_output_folder(output)
        rows = tables.read_split(data, columns or tables.ColumnMap())
        rows = _labeled(rows, data)
        if self._scorer is None:
            self._metric()  # raises before the rows are predicted
        predictions = self.predict(
            [row.input for row in rows], abstain_below=abstain_below
        )
        report = self._report(rows, predictions)
        if folder is not None:
            report.write(folder)
            files.write_jsonl(
                folder / PREDICTIONS_FILE,
                [
                    {"id": row.id, "input": row.input, "label": row.label}
                    | as_fields(prediction)
                    | {"correct": self._is_correct(row, prediction)}
                    for row, prediction in zip(rows, predictions, strict=True)
                ],
            )
        return report

    def _check_explains(self) -> None:
        if self.spec.explain_prefix is None and not self.spec.single_task:
            raise UserError(
                "this student was not trained to give rationales; expected a student "
                "of a step_by_step or single_task method"
            )

    def _choose(
        self,
        scorer: label_scorer.LabelScorer,
        inputs: Sequence[str],
        abstain_below: float | None,
    ) -> list[Prediction]:
        """Chooses the most probable label of the closed set for each input."""
        encoded = self._encode(self.spec.label_prefix, inputs)
        scores = scorer(self._params, encoded)
        predictions = []
        for row, shares in zip(scores, label_scorer.probabilities(scores), strict=True):
            best = int(row.argmax())
            abstains = abstain_below is not None and shares[best] < abstain_below
            predictions.append(
                Prediction(
                    predicted_label=UNKNOWN if abstains else scorer.labels[best],
                    log_probability=float(row[best]),
                    probabilities=dict(
                        zip(scorer.labels, shares.tolist(), strict=True)
                    ),
                )
            )
        return predictions

    def _decode(self, inputs: Sequence[str], rationales: bool) -> list[Prediction]:
        """Decodes a free answer for each input."""
        texts, scores = self._generate(self.spec.label_prefix, inputs)
        parts = [("", text) for text in texts]
        if self.spec.single_task:
            parts = [split_answer(text) for text in texts]
        with_rationale = rationales and self.spec.single_task
        return [
            Prediction(
                predicted_label=label,
                log_probability=score,
                predicted_rationale=rationale if with_rationale else None,
            )
            for (rationale, label), score in zip(parts, scores, strict=True)
        ]

    def _generate(
        self, prefix: str, inputs: Sequence[str], max_length: int | None = None
    ) -> tuple[list[str], list[float]]:
        """Returns the generated texts, and their log-probabilities in nats."""
        predictor = self._predictor
        if max_length is not None:
            decoding = dataclasses.replace(
                self.spec.decoding, max_decode_length=max_length
            )
            predictor = dataclasses.replace(predictor, config=decoding)
        tokens, scores = predictor(self._params, self._encode(prefix, inputs))
        return [self.vocabulary.decode(ids).strip() for ids in tokens], scores

    def _encode(self, prefix: str, inputs: Sequence[str]) -> list[np.ndarray]:
        texts = [prefix + text for text in inputs]
        return encode_inputs(texts, self.vocabulary, self.spec.input_length)

    def _report(
        self, rows: Sequence[Record], predictions: Sequence[Prediction]
    ) -> ClassificationReport | OpenReport:
        texts = [{"input": row.input} for row in rows]
        labels = [p.predicted_label for p in predictions]
        if self._scorer is None:
            answers = [row.answers or (str(row.label),) for row in rows]
            return open_answers.open_report(answers, labels, self._metric(), texts)
        shares = [p.probabilities or {} for p in predictions]
        # A label of the set may itself be called "unknown".
        answered = [
            label if label == max(share, key=share.__getitem__) else None
            for label, share in zip(labels, shares, strict=True)
        ]
        return classification.classification_report(
            self._scorer.labels,
            [str(row.label) for row in rows],
            answered,
            [list(share.values()) for share in shares],
            texts,
        )

    def _is_correct(self, row: Record, prediction: Prediction) -> bool:
        if self._scorer is not None:
            return row.label == prediction.predicted_label
        target = row.answers or str(row.label)
        return self._metric().accepts(target, prediction.predicted_label)

    def _metric(self) -> metrics.Metric:
        if self.spec.metric not in _METRICS:
            raise UserError(
                f"the metric of the student is {self.spec.metric!r}, expected one of "
                f"{', '.join(_METRICS)}; score the student with dsbs_jax.eval"
            )
        return _METRICS[self.spec.metric]


def as_fields(prediction: Prediction) -> dict[str, Any]:
    """Returns the fields of a prediction that have a value, as written to files."""
    fields = dataclasses.asdict(prediction)
    fields["log_probability"] = round(prediction.log_probability, 6)
    return {name: value for name, value in fields.items() if value is not None}


def _check_answers_file(output: str, data: tables.Source) -> pathlib.Path:
    """Checks that the answers can be written, and replace no file of the rows."""
    path = files.check_output_file(output)
    if path.suffix.lower() in _OTHER_FORMATS:
        raise UserError(
            f"{output} ends in {path.suffix}, but the answers are JSON lines; expected "
            "a name that ends in .jsonl"
        )
    if path.exists() and any(map(path.samefile, tables.files_of(data))):
        raise UserError(
            f"{output} is a file of the rows, which the answers would replace; "
            "expected another file"
        )
    return path


def _check_columns(rows: Sequence[Mapping[str, Any]], data: tables.Source) -> None:
    """Checks that the answers replace no column of the rows."""
    names = [field.name for field in dataclasses.fields(Prediction)]
    for name in names:
        if any(name in row for row in rows):
            raise UserError(
                f"{data}: the rows have a column {name!r}, which the answers would "
                "replace; rename the column"
            )


def _labeled(rows: Sequence[Record], data: tables.Source) -> list[Record]:
    """Returns the rows with a label, or with the teacher's if no row has a label.

    Raises:
        UserError: No row has one of them.
    """
    labeled = [row for row in rows if row.label is not None]
    if not labeled:
        labeled = [
            dataclasses.replace(row, label=row.teacher_label)
            for row in rows
            if row.teacher_label is not None
        ]
        if not labeled:
            raise UserError(f"{data}: no row has a label, expected labeled rows")
        tables.note(
            f"{data}: no row has a human label, so the answers are compared with the "
            "teacher's labels"
        )
    return labeled


def _check_inputs(inputs: Sequence[str]) -> None:
    if isinstance(inputs, str):
        raise UserError("inputs is a text, expected a list of texts")
    for number, text in enumerate(inputs):
        try:
            check_text("input", text)
        except ValueError as error:
            raise UserError(f"inputs[{number}]: {error}") from error


def _spec_of_weights(
    path: str, two_tasks: bool, vocabulary_path: str | None
) -> tuple[StudentSpec, seqio.Vocabulary]:
    """Describes a student whose weights are not in a run folder."""
    if vocabulary_path is None:
        vocabulary_path = path
        if not hub.is_address(path):
            vocabulary_path = str(pathlib.Path(path) / vocabulary.HUB_FILE)
            if (pathlib.Path(path) / "config.gin").exists():
                raise UserError(
                    f"{path} is a run without {student_folder.STUDENT_FILE}, of an "
                    "earlier version. This command adds the file, and scores the run "
                    f"again: python -m dsbs_jax.train --gin_file={path}/config.gin"
                )
            if not pathlib.Path(vocabulary_path).exists():
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
