"""Tests of the objective of each method: to what it reduces at special settings."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from dsbs_jax.data import mixtures
from dsbs_jax.data.records import as_row
from dsbs_jax.errors import UserError
from dsbs_jax.experiments import demo_data
from dsbs_jax.files import write_jsonl
from dsbs_jax.local import datasets, step
from dsbs_jax.task_ids import CONTEXT, LABEL, RATIONALE
from support.students import assert_same_gradients, gradients, make_student


@pytest.fixture(scope="module")
def student():
    return make_student(vocab_size=256)


@pytest.fixture
def first_batch(tiny_data):
    """Returns the first batch of a method: (method, **macros) -> its arrays."""

    def batch(method, rows=8, **macros):
        data = tiny_data(method, **macros)
        return next(datasets.training_batches(data, rows, pack=False, seed=0))

    return batch


@pytest.mark.slow
def test_label_then_rationale_with_alpha_1_is_finetuning(student, first_batch):
    """The rationale follows the label, so the label's tokens do not depend on it."""
    labels, both = first_batch("finetune"), first_batch("label_then_rationale")
    inputs = "encoder_input_tokens"
    np.testing.assert_array_equal(both[inputs], labels[inputs])
    assert (both["decoder_task_ids"] > LABEL).any()
    expected, _ = gradients(*student, labels, 1.0)
    grads, metrics = gradients(*student, both, 1.0)
    assert metrics["rationale_tokens"] > 0
    assert_same_gradients(grads, expected)


def assert_same_batches(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name])


@pytest.mark.slow
def test_step_by_step_correct_with_weight_1_is_step_by_step(first_batch):
    expected = first_batch("step_by_step", rows=32)
    same = first_batch("step_by_step_correct", rows=32, WRONG_RATIONALE_WEIGHT=1.0)
    assert_same_batches(same, expected)
    other = first_batch("step_by_step_correct", rows=32, WRONG_RATIONALE_WEIGHT=0.5)
    assert (other["decoder_task_ids"] > RATIONALE).any()


@pytest.fixture
def rows_with_lists(tmp_path, tiny_jsonl):
    """Writes the rows with `rationales`: function of a rationale -> DATA_FILES."""

    def write(change):
        path = tmp_path / "rows.jsonl"
        rows = [json.loads(line) for line in tiny_jsonl.read_text().splitlines()]
        rows = [{**row, **change(row["rationale"])} for row in rows]
        path.write_text("\n".join(map(json.dumps, rows)))
        return str(path)

    return write


@pytest.mark.slow
def test_one_rationale_of_weight_1_is_step_by_step(
    student, first_batch, rows_with_lists
):
    expected = first_batch("step_by_step", rows=32)
    files = rows_with_lists(lambda r: {"rationales": [r], "rationale_weights": [1.0]})
    same = first_batch("step_by_step_multi", rows=32, DATA_FILES=files)
    assert_same_batches(same, expected)
    grads, metrics = gradients(*student, same, 0.5)
    expected_grads, expected_metrics = gradients(*student, expected, 0.5)
    assert metrics == expected_metrics
    jax.tree.map(np.testing.assert_array_equal, grads, expected_grads)


@pytest.mark.slow
def test_teacher_of_weight_0_is_left_out(first_batch, rows_with_lists):
    """Then the other teacher's rationales are those of step-by-step."""
    expected = first_batch("step_by_step", rows=32)
    teachers = {"rationale_teachers": ["ann", "bo"]}
    files = rows_with_lists(lambda r: {"rationales": [r, f"{r} Or not."], **teachers})
    weights = {"ann": 1.0, "bo": 0.0}
    macros = {"DATA_FILES": files, "TEACHER_WEIGHTS": weights}
    assert_same_batches(first_batch("step_by_step_multi", rows=32, **macros), expected)


@pytest.mark.slow
def test_fields_of_other_methods_change_no_batch(first_batch, tmp_path):
    plain = demo_data.make(40).records["train"]
    complete = demo_data.with_all_fields(plain)
    one = [dataclasses.replace(r, rationales=r.rationales[:1]) for r in complete]
    files = {}
    for name, rows in (("plain", plain), ("complete", complete), ("one", one)):
        files[name] = str(tmp_path / f"{name}.jsonl")
        write_jsonl(tmp_path / f"{name}.jsonl", map(as_row, rows))
    # So long that no field is cut.
    lengths = {"inputs": 256, "targets": 128, "task_ids": 128}

    def batch(method, name):
        macros = {"DATA_FILES": files[name], "TASK_FEATURE_LENGTHS": lengths}
        return first_batch(method, rows=32, **macros)

    expected = batch("step_by_step", "plain")
    assert_same_batches(batch("step_by_step", "complete"), expected)
    # The first of a row's rationales is that of step-by-step.
    assert_same_batches(batch("step_by_step_multi", "one"), expected)


@pytest.mark.slow
def test_packing_keeps_the_tokens_without_a_loss(tiny_data, tiny_counterfactual_jsonl):
    data = tiny_data("counterfactual", DATA_FILES=str(tiny_counterfactual_jsonl))
    lengths = {name: 2 * n for name, n in data.task_feature_lengths.items()}
    data = dataclasses.replace(data, task_feature_lengths=lengths)
    batch = next(datasets.training_batches(data, 8, pack=True, seed=0))
    assert batch["decoder_segment_ids"].max() > 1
    ids, targets = batch["decoder_task_ids"], batch["decoder_target_tokens"]
    np.testing.assert_array_equal(ids > 0, targets > 0)
    assert set(np.unique(ids)) == {0, LABEL, RATIONALE, CONTEXT}
    # Each end token has a loss.
    assert not (ids[targets == 1] == CONTEXT).any()


def test_counterfactual_rationales_cannot_be_trained_alone(
    tiny_data, tiny_counterfactual_jsonl
):
    data = tiny_data("counterfactual", DATA_FILES=str(tiny_counterfactual_jsonl))
    with pytest.raises(UserError, match="needs a method with a rationale task"):
        mixtures.rationales_only(data)


def as_rows_of_one_task(pairs):
    """Splits each pair into a row of labels and a row of rationales."""
    batch = {}
    for name, values in pairs.items():
        segments = pairs[f"{name.split('_')[0]}_segment_ids"]
        rows = []
        for row, segment in ((r, s) for r in range(len(values)) for s in (1, 2)):
            part = values[row][segments[row] == segment]
            rows.append(np.pad(part, (0, values.shape[1] - len(part))))
        batch[name] = np.stack(rows)
    return {name: rows for name, rows in batch.items() if "segment" not in name}


@pytest.mark.slow
def test_mutual_information_with_beta_0_is_step_by_step(student, first_batch):
    pairs = first_batch("mutual_information", rows=4)
    rows = as_rows_of_one_task(pairs)
    tasks = rows["decoder_task_ids"][:, 0].tolist()
    assert tasks == [LABEL, RATIONALE] * 4
    expected, expected_metrics = gradients(*student, rows, 0.3)
    grads, metrics = gradients(*student, pairs, 0.3)
    for name, value in expected_metrics.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5)
    assert_same_gradients(grads, expected)


@pytest.mark.slow
def test_microbatches_of_pairs_add_up(student, first_batch):
    pairs = first_batch("mutual_information", rows=4)
    both = jax.jit(
        step.gradients, static_argnames=("model", "num_microbatches", "beta")
    )
    expected, expected_metrics = both(*student, pairs, 0.3, beta=0.1)
    grads, metrics = both(*student, pairs, 0.3, num_microbatches=2, beta=0.1)
    np.testing.assert_allclose(metrics["loss"], expected_metrics["loss"], rtol=1e-5)
    assert metrics["pair_loss"] > 0
    assert_same_gradients(grads, expected)
    # The cross-entropy is a third term of the loss.
    _, without = both(*student, pairs, 0.3)
    term = metrics["loss"] - without["loss"]
    np.testing.assert_allclose(term, metrics["pair_loss"], rtol=1e-4)


def test_right_rationales_alone_are_trained_on(tiny_data, tiny_jsonl):
    data = tiny_data("step_by_step_correct")
    sizes = {size.name: size.rows for size in datasets.task_sizes(data)}
    complete = tiny_data("step_by_step").test_task.source.records("train")
    right = sum(record.label == record.teacher_label for record in complete)
    assert sizes["tiny_teacher_rationale"] == right < len(complete)
    assert sizes["tiny_predict"] == len(complete)
