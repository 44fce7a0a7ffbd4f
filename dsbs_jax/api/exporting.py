"""Exports of a student: a folder or a hub repository in another format."""

import contextlib
import dataclasses
import os
import pathlib
import tempfile
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np

from dsbs_jax import files, hub, interruption
from dsbs_jax.api import export_checks
from dsbs_jax.api.export_checks import Agreement
from dsbs_jax.data import vocabulary
from dsbs_jax.data.methods import Method
from dsbs_jax.engines.ctranslate2_engine import CTranslate2Engine
from dsbs_jax.engines.stablehlo import StableHloDecoder
from dsbs_jax.errors import UserError
from dsbs_jax.local import student_folder
from dsbs_jax.local.student_folder import StudentSpec
from dsbs_jax.reports import model_card, saved_report
from dsbs_jax.reports.model_card import ModelCardFacts
from dsbs_jax.student.config import check_vocabulary_size
from dsbs_jax.student.network import parameter_shapes
from dsbs_jax.weights import (
    ParameterReader,
    check_shapes,
    ctranslate2_format,
    hub_export,
    open_checkpoint,
    peft_format,
    stablehlo_format,
    writing,
)
from dsbs_jax.weights.ctranslate2_format import Quantization
from dsbs_jax.weights.overlay import OverlayReader
from dsbs_jax.weights.reader import Parameters

_Path = str | os.PathLike[str]
# The answers of the formats of other engines are compared with the student's.
Format = writing.Format | Literal["ctranslate2", "stablehlo", "peft"]
FORMATS: tuple[Format, ...] = (
    *typing.get_args(writing.Format),
    "ctranslate2",
    "stablehlo",
    "peft",
)
QUANTIZATIONS: tuple[Quantization, ...] = typing.get_args(Quantization)
# T5X reads checkpoints with the name of their step.
_T5X_CHECKPOINT = "checkpoint_0"
Name = TypeVar("Name", bound=str)


@dataclasses.dataclass(frozen=True, slots=True)
class ExportedStudent:
    """Where an exported student is.

    Attributes:
        folder: The folder; None if the student was only pushed.
        address: Address of the page on the hub; None if it was not pushed.
        agreement: Comparison of the answers of format "ctranslate2" with the student's;
            None for other formats.
    """

    folder: pathlib.Path | None
    address: str | None
    agreement: Agreement | None = None


def export_student(
    student: _Path,
    output: _Path | None = None,
    *,
    format: str = "hf",
    quantization: str = "float32",
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
    push_to_hub: str | None = None,
    public: bool = False,
    token: str | None = None,
    allow_other_files: bool = False,
    license: str | None = None,
    language: Sequence[str] = (),
    base_model: str | None = None,
) -> ExportedStudent:
    """Writes a student in another format, with everything that is needed to use it.

    The folder holds `student.json` and the vocabulary, so a student that `Student.load`
    reads from it gives the same answers as the run. The training data are not needed.
    In format "hf" the folder also holds a model card, `README.md`, which contains no
    row of the data.

        dsbs_jax.export_student("runs/tickets", "runs/tickets_hf")

    Args:
        student: A run folder, of which the best checkpoint is exported; or an exported
            student, in a folder or as "hub:" and the id of a repository.
        output: The new folder; None writes no folder, and only pushes.
        format: "hf" for transformers, "t5x" or "t5x_orbax" for T5X, or "ctranslate2"
            for CTranslate2, which is fast on CPUs. The last one is written only if its
            answers agree with the student's. "peft" writes the adapters of a run with
            LORA_RANK for the library PEFT; the other formats merge them.
        quantization: How format "ctranslate2" stores the weights: "float32",
            "bfloat16", "int8", "int8_float32" or "int8_bfloat16".
        platforms: Platforms of format "stablehlo": "cpu", "cuda", "rocm" or "tpu".
        push_to_hub: "<owner>/<name>" of the hub repository that gets the folder. If the
            hub refuses it, `output` is not written.
        public: Whether a new repository is public; an existing one is not changed.
        token: A token with the right to write. None reads HF_TOKEN, or the token that
            `hf auth login` has stored.
        allow_other_files: Whether the repository may have files that the folder does
            not have; these files are kept.
        license: For the card: the license in the hub's spelling, such as "apache-2.0".
        language: For the card: language codes of the data, such as ["en"].
        base_model: For the card: id of the model from which the training started.

    Raises:
        UserError: An argument is wrong, the path holds no student, the output folder
            exists or cannot be written, or the hub refuses the upload.
    """
    known = _known("format", format, FORMATS)
    stored_as = _known("quantization", quantization, QUANTIZATIONS)
    if stored_as != "float32" and known != "ctranslate2":
        raise UserError(f"quantization is for format ctranslate2, found format {known}")
    stablehlo_format.check_platforms(platforms)
    _check_arguments(output, known, push_to_hub)
    if push_to_hub is not None:
        token = hub.write_token(push_to_hub, token)
    source = _Source.open(os.fspath(student))
    details = {
        "license": license,
        "language": tuple(language),
        "base_model": base_model,
    }
    address = agreement = None
    with _new_folder(output) as folder:
        agreement = _write(folder, known, source, stored_as, platforms)
        if known == "hf":
            name = pathlib.Path(push_to_hub or output or "").name
            facts = _facts(source, name, push_to_hub, details)
            files.write(folder / model_card.FILE, model_card.render(facts))
        if push_to_hub is not None:
            address = hub_export.push(
                folder,
                push_to_hub,
                private=not public,
                token=token,
                allow_other_files=allow_other_files,
            )
    path = None if output is None else pathlib.Path(output)
    return ExportedStudent(path, address, agreement)


def _known(name: str, value: str, known: Sequence[Name]) -> Name:
    for one in known:
        if one == value:
            return one
    raise UserError(f"{name} is {value!r}, expected {' or '.join(known)}")


def _check_arguments(
    output: _Path | None, format_name: str, push_to_hub: str | None
) -> None:
    if output is None and push_to_hub is None:
        raise UserError("an export needs an output folder, push_to_hub, or both")
    if push_to_hub is not None and format_name != "hf":
        raise UserError(f"push_to_hub is for format hf, found format {format_name}")
    if output is not None:
        writing.check_new(output)


@dataclasses.dataclass(frozen=True)
class _Source:
    """The student to export.

    Attributes:
        folder: The folder of `student.json`.
        spec: The content of `student.json`.
        words: The vocabulary.
        reader: The weights.
    """

    folder: pathlib.Path
    spec: StudentSpec
    words: vocabulary.Vocabulary
    reader: ParameterReader

    @classmethod
    def open(cls, student: str) -> "_Source":
        """Reads everything but the weights, and checks that the parts fit together."""
        reader = open_checkpoint(student)
        folder = student_folder.find(student)
        if folder is None:
            raise UserError(
                f"{student} has no {student_folder.STUDENT_FILE}, expected a run "
                "folder or an exported student; python -m dsbs_jax.weights.convert "
                "converts other weights"
            )
        spec = student_folder.read_spec(folder)
        words = student_folder.read_vocabulary(folder, spec)
        check_vocabulary_size(spec.network.vocab_size, words.vocab_size)
        shapes = parameter_shapes(spec.network)
        check_shapes(reader.location, reader.shapes(), shapes)
        return cls(folder, spec, words, reader)


@contextlib.contextmanager
def _new_folder(output: _Path | None) -> Iterator[pathlib.Path]:
    """Yields the path of a folder to create: that of the output, or a temporary one."""
    if output is not None:
        with writing.new_folder(output) as folder:
            yield folder
    else:
        with tempfile.TemporaryDirectory() as scratch, interruption.removed(scratch):
            yield pathlib.Path(scratch) / "student"


def _write(
    folder: pathlib.Path,
    format_name: Format,
    source: _Source,
    quantization: Quantization,
    platforms: Sequence[str],
) -> Agreement | None:
    """Creates the folder with weights, vocabulary and `student.json`."""
    if format_name == "peft":
        _write_peft(folder, source)
        return None
    stored, network = Parameters(source.reader), source.spec.network
    if format_name == "hf":
        writing.write_weights(folder, "hf", stored, network)
        for name, content in writing.tokenizer_files(source.words, network).items():
            files.write(folder / name, content)
        student_folder.write_spec(folder, source.spec)
        return None
    folder.mkdir()
    student_folder.write(folder, source.spec, source.words)
    if format_name in ("t5x", "t5x_orbax"):
        writing.write_weights(folder / _T5X_CHECKPOINT, format_name, stored, network)
        return None
    params = dict(stored)
    if format_name == "ctranslate2":
        generate = _write_ctranslate2(folder, source, params, quantization)
        name, exact = f"with quantization {quantization}", quantization == "float32"
    else:
        generate = _write_stablehlo(folder, source, params, platforms)
        name, exact = "in StableHLO", True
    return export_checks.check(
        generate, name, source.folder, source.spec, source.words, params, exact=exact
    )


def _write_peft(folder: pathlib.Path, source: _Source) -> None:
    """Writes adapters, tokenizer and `student.json`."""
    if not isinstance(source.reader, OverlayReader):
        raise UserError(
            f"{source.reader.location}: all weights were trained, and format peft is "
            "for a run with LORA_RANK; expected format hf"
        )
    folder.mkdir()
    peft_format.write_adapters(folder, source.reader, source.spec.network)
    for name, content in writing.tokenizer_files(
        source.words, source.spec.network
    ).items():
        files.write(folder / name, content)
    student_folder.write_spec(folder, source.spec)


def _write_ctranslate2(
    folder: pathlib.Path,
    source: _Source,
    params: Mapping[str, np.ndarray],
    quantization: Quantization,
) -> export_checks.Generate:
    """Writes the model, and returns its decoding."""
    spec, model = source.spec, folder / ctranslate2_format.MODEL_FOLDER
    tokens = ctranslate2_format.tokens_of(source.words, spec.network.vocab_size)
    ctranslate2_format.write_model(model, params, spec.network, tokens, quantization)
    # The free greedy answers are compared.
    greedy = dataclasses.replace(spec.decoding, num_beams=1)
    free = dataclasses.replace(spec, labels=None, decoding=greedy)
    return CTranslate2Engine(model, free, source.words).generate


def _write_stablehlo(
    folder: pathlib.Path,
    source: _Source,
    params: Mapping[str, np.ndarray],
    platforms: Sequence[str],
) -> export_checks.Generate:
    """Writes the programs, and returns a decoding with them."""
    spec, model = source.spec, folder / stablehlo_format.MODEL_FOLDER
    longest = max(spec.decoding.max_decode_length, spec.target_length)
    stablehlo_format.write_model(
        model, params, spec.network, spec.input_length, longest, platforms
    )
    return StableHloDecoder(model).generate


def _facts(
    source: _Source, name: str, repository: str | None, details: Mapping[str, Any]
) -> ModelCardFacts:
    """Collects what the model card states."""
    spec = source.spec
    methods: tuple[Method, ...] = typing.get_args(Method)
    return ModelCardFacts(
        name=name,
        repository=repository,
        method=next((method for method in methods if method == spec.method), None),
        dataset=spec.dataset or name,
        label_prefix=spec.label_prefix,
        explain_prefix=spec.explain_prefix,
        single_task=spec.single_task,
        labels=spec.labels,
        input_length=spec.input_length,
        label_length=spec.decoding.max_decode_length,
        rationale_length=spec.target_length,
        # Standard finetuning reads nothing from the teacher.
        teacher=None if spec.method == "finetune" else spec.teacher,
        data_fingerprint=spec.data_fingerprint,
        metrics=saved_report.card_metrics(source.folder),
        **details,
    )
