"""A trained student: predicts labels, explains them, and is evaluated."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, cast

import msgspec
import numpy as np
import seqio

from dsbs_jax import files
from dsbs_jax.api import engine_choice, opening
from dsbs_jax.api.engine_choice import FEWEST_ROWS, TimedEngine
from dsbs_jax.api.prediction import UNKNOWN, Prediction, as_fields
from dsbs_jax.data import metrics, tables
from dsbs_jax.data.records import Record, check_text
from dsbs_jax.data.tasks import split_answer
from dsbs_jax.engines.engine import Engine, EngineName
from dsbs_jax.errors import UserError
from dsbs_jax.labeling import jobs
from dsbs_jax.labeling.jobs import LabeledFile
from dsbs_jax.local.input_batches import encode_inputs
from dsbs_jax.local.label_scorer import probabilities
from dsbs_jax.local.student_folder import StudentSpec
from dsbs_jax.reports import classification, open_answers
from dsbs_jax.reports.classification import ClassificationReport
from dsbs_jax.reports.open_answers import OpenReport
from dsbs_jax.student.precision import Precision

_METRICS = {m.name: m for m in (metrics.EXACT_MATCH, metrics.EQUATION_ACCURACY)}
# The file of an evaluation with the answer to each row.
PREDICTIONS_FILE = "predictions.jsonl"


class Student:
    """A trained student.

    Methods may be called from several threads at the same time.

        student = Student.load("runs/tickets")
        student.predict(["my card was charged twice"])
        student.explain(["my card was charged twice"])

    Attributes:
        spec: Prefixes, label set, lengths and size of the student.
        vocabulary: Its vocabulary.
        engine: What computes its answers.
    """

    def __init__(
        self,
        spec: StudentSpec,
        words: seqio.Vocabulary,
        engine: Engine,
        weights: str = "",
        engines: Mapping[EngineName, Callable[[], Engine]] | None = None,
    ) -> None:
        """Takes the parts of a student; `load` reads them from a folder.

        Args:
            spec: What `student.json` holds.
            words: The vocabulary.
            engine: Computes the answers.
            weights: Text that changes with the weights, such as their digest.
            engines: Opens the engines of which `predict_file` chooses the faster one;
                None takes `engine`.
        """
        self._engines = engines or {}
        self.spec, self.vocabulary, self.engine = spec, words, engine
        self._weights = weights

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        labels: Sequence[str] | None = None,
        free_answers: bool = False,
        two_tasks: bool = True,
        vocabulary_path: str | os.PathLike[str] | None = None,
        batch_size: int | None = None,
        num_partitions: int = 1,
        engine: str | None = None,
        precision: str | None = None,
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
            engine: "jax"; "ctranslate2", which is faster at free answers on CPUs and
                needs the extra `serve`; or "auto", the one of those that are installed
                that is usually faster, or that `predict_file` measures to be faster.
                None is "ctranslate2" for an export in this format,
                otherwise "jax".
            precision: Types of the computation of the engine jax: "float32", "mixed" or
                "bfloat16". None is the precision that the student was trained in.

        Raises:
            UserError: The path holds no student, its files are damaged or do not fit
                together, or the engine cannot compute its answers.
        """
        if vocabulary_path is not None:
            vocabulary_path = os.fspath(vocabulary_path)
        opened = opening.open_student(
            os.fspath(path), two_tasks=two_tasks, vocabulary_path=vocabulary_path
        )
        spec = opened.spec
        if labels is not None:
            spec = dataclasses.replace(spec, labels=tuple(labels))
        if free_answers:
            spec = dataclasses.replace(spec, labels=None)
        if batch_size is not None:
            decoding = dataclasses.replace(spec.decoding, batch_size=batch_size)
            spec = dataclasses.replace(spec, decoding=decoding)
        if precision is not None:
            # The config checks the value.
            network = dataclasses.replace(
                spec.network, precision=cast(Precision, precision)
            )
            spec = dataclasses.replace(spec, network=network)
        opened = dataclasses.replace(opened, spec=spec)
        computes = opened.engine(engine, num_partitions)
        engines = {}
        if engine == opening.AUTO:
            engines = {
                name: functools.partial(opened.engine, name, num_partitions)
                for name in opened.candidates()
            }
        weights = opened.weights_identity()
        return cls(spec, opened.words, computes, weights, engines)

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
        if abstain_below is not None and self.spec.closed_labels is None:
            raise UserError(
                "abstain_below needs a closed label set, which this student does not "
                "have; give labels to Student.load"
            )
        if self.spec.closed_labels is not None:
            predictions = self._choose(self.spec.closed_labels, inputs, abstain_below)
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
            answers, _ = self._generate(self.spec.label_prefix, inputs, max_length)
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
        shard: tuple[int, int] = (0, 1),
        window: int = jobs.WINDOW,
    ) -> LabeledFile:
        """Predicts a label for each row of a file of any size.

        The rows are read twice: to check them, and to label them in windows. A call
        that was killed continues when it is repeated.

        Args:
            data: Rows in any format of `tables.read_examples`, without splits.
            output: File to write, .jsonl, .csv, .tsv or .parquet: each row with the
                fields of its prediction. `<output>.json` states how it was made.
            columns: The columns of the rows. The input is by default built as those of
                the training rows of `fit`, if `student.json` has their template.
            rationales: As for `predict`.
            max_rationale_length: As for `predict`.
            abstain_below: As for `predict`.
            shard: Number of this shard, from 0, and number of shards. Shards can run
                at the same time on several machines. Shard 0 of 4 of `answers.jsonl`
                is `answers-00000-of-00004.jsonl`; the shards in order have all rows in
                order.
            window: Rows that are in memory, sorted by length, and written together.

        Raises:
            UserError: As `predict`, the rows cannot be read or have a column with the
                name of a field of `Prediction`, the file cannot be written, or an
                earlier call with other arguments did not end.
        """
        if rationales:
            self._check_explains()
        settings: dict[str, Any] = {
            "rationales": rationales,
            "max_rationale_length": max_rationale_length,
            "abstain_below": abstain_below,
        }

        timed = TimedEngine(self.engine)
        student = Student(self.spec, self.vocabulary, timed)

        def answer(inputs: Sequence[str]) -> list[dict[str, Any]]:
            return [as_fields(p) for p in student.predict(inputs, **settings)]

        def choose(
            stored: Mapping[str, Any], rows: int, inputs: Callable[[], Sequence[str]]
        ) -> dict[str, Any]:
            engine, rates = self._choose_engine(stored, rows, inputs, settings)
            timed.use(engine)
            return {"engine": timed.name, "engine_rates": rates}

        def measured() -> dict[str, Any]:
            cost = timed.label_cost(len(self.spec.closed_labels or ()))
            return {"label_scoring": cost} if cost else {}

        job = jobs.Job(
            source=data,
            columns=self.spec.columns(columns or tables.ColumnMap()),
            output=output,
            new_columns=[field.name for field in dataclasses.fields(Prediction)],
            identity=self._identity() | settings,
            shard=shard,
            window=window,
        )
        return jobs.label_file(job, answer, choose, measured)

    def _choose_engine(
        self,
        stored: Mapping[str, Any],
        rows: int,
        inputs: Callable[[], Sequence[str]],
        settings: Mapping[str, Any],
    ) -> tuple[Engine, dict[EngineName, float] | None]:
        """Returns the engine of a job, and the rows per second of the measured ones.

        Args:
            stored: The plan of an earlier run that did not end, whose engine is used
                again; or {}.
            rows: Rows of the job.
            inputs: Reads the first inputs of the job.
            settings: Arguments of `predict`.
        """
        rates = stored.get("engine_rates")
        name = engine_choice.recorded(stored, [*self._engines] or [self.engine.name])
        if name is None and len(self._engines) > 1 and rows >= FEWEST_ROWS:
            students = {
                name: Student(self.spec, self.vocabulary, self._opened_engine(name))
                for name in self._engines
            }

            def answer(name: EngineName, texts: Sequence[str]) -> object:
                return students[name].predict(texts, **settings)

            rates = engine_choice.measure([*students], answer, inputs())
            fastest = max(rates, key=rates.__getitem__)
            return students[fastest].engine, rates
        return self._opened_engine(name or self.engine.name), rates

    def _opened_engine(self, name: EngineName) -> Engine:
        return self.engine if name == self.engine.name else self._engines[name]()

    def _identity(self) -> dict[str, Any]:
        """Returns what answers depend on apart from the inputs and the engine."""
        spec = files.json_text(msgspec.to_builtins(self.spec))
        return {
            "student": hashlib.sha256(spec.encode()).hexdigest(),
            "weights": self._weights,
        }

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
        if self.spec.closed_labels is None:
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
        labels: Sequence[str],
        inputs: Sequence[str],
        abstain_below: float | None,
    ) -> list[Prediction]:
        """Chooses the most probable label of the closed set for each input."""
        encoded = self._encode(self.spec.label_prefix, inputs)
        scores = self.engine.score_labels(encoded)
        predictions = []
        for row, shares in zip(scores, probabilities(scores), strict=True):
            best = int(row.argmax())
            abstains = abstain_below is not None and shares[best] < abstain_below
            predictions.append(
                Prediction(
                    predicted_label=UNKNOWN if abstains else labels[best],
                    log_probability=float(row[best]),
                    probabilities=dict(zip(labels, shares.tolist(), strict=True)),
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
        length = max_length or self.spec.decoding.max_decode_length
        tokens, scores = self.engine.generate(self._encode(prefix, inputs), length)
        return [self.vocabulary.decode(ids).strip() for ids in tokens], scores

    def _encode(self, prefix: str, inputs: Sequence[str]) -> list[np.ndarray]:
        texts = [prefix + text for text in inputs]
        return encode_inputs(texts, self.vocabulary, self.spec.input_length)

    def _report(
        self, rows: Sequence[Record], predictions: Sequence[Prediction]
    ) -> ClassificationReport | OpenReport:
        texts = [{"input": row.input} for row in rows]
        labels = [p.predicted_label for p in predictions]
        if self.spec.closed_labels is None:
            answers = [row.answers or (str(row.label),) for row in rows]
            return open_answers.open_report(answers, labels, self._metric(), texts)
        shares = [p.probabilities or {} for p in predictions]
        # A label of the set may itself be called "unknown".
        answered = [
            label if label == max(share, key=share.__getitem__) else None
            for label, share in zip(labels, shares, strict=True)
        ]
        return classification.classification_report(
            self.spec.closed_labels,
            [str(row.label) for row in rows],
            answered,
            [list(share.values()) for share in shares],
            texts,
        )

    def _is_correct(self, row: Record, prediction: Prediction) -> bool:
        if self.spec.closed_labels is not None:
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
