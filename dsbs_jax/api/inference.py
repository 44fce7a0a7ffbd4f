"""Answers the rows of a file with a student, for the gin command `dsbs_jax.infer`."""

import dataclasses

from dsbs_jax.api.opening import OpenedStudent
from dsbs_jax.api.student import Student
from dsbs_jax.counts import counted
from dsbs_jax.data import mixtures, vocabulary
from dsbs_jax.local import student_folder
from dsbs_jax.local.config import InferConfig, PredictionSettings
from dsbs_jax.weights import student_config


def infer(config: InferConfig, shared: PredictionSettings) -> None:
    """Answers the rows of INPUT_FILE and writes OUTPUT_FILE.

    OUTPUT_FILE gets each row of INPUT_FILE with the fields of a `Prediction`.

    Args:
        config: Checkpoint, files, and whether rationales are generated.
        shared: How answers are decoded. Weights without a run folder also need the data
            settings, whose method decides the prefixes, and the student's size.

    Raises:
        UserError: The checkpoint or file does not exist, a row is wrong, or the student
            was not trained to give rationales.
    """
    student = _load(config, shared)
    done = student.predict_file(
        config.input_file,
        config.output_file,
        rationales=config.rationale,
        max_rationale_length=config.rationale_length,
    )
    print(f"{counted(done.rows, 'answer is', 'answers are')} in {done.path}")


def _load(config: InferConfig, shared: PredictionSettings) -> Student:
    """Loads the student of a run folder, or one that the settings describe."""
    checkpoint = config.checkpoint_path
    folder = student_folder.find(checkpoint)
    if folder is not None:
        spec = student_folder.read_spec(folder)
        spec = dataclasses.replace(spec, decoding=shared.decoding)
        words = student_folder.read_vocabulary(folder, spec)
    else:
        words = vocabulary.load(shared.data.vocabulary_path)
        data = mixtures.build(shared.data, words)
        network = student_config(shared.student, checkpoint)
        spec = student_folder.spec_of_run(shared.data, data, network, shared.decoding)
    if config.free_answers:
        spec = dataclasses.replace(spec, labels=None)
    opened = OpenedStudent(checkpoint, spec, words)
    engine = opened.engine("jax", shared.partitioning.num_partitions)
    return Student(spec, words, engine, opened.weights_identity())
