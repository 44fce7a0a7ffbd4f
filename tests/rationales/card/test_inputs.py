import json
import pathlib
import shutil

import pytest

from dsbs_jax import files
from dsbs_jax.data import completions, dataset_spec
from dsbs_jax.errors import UserError
from dsbs_jax.rationales import filters, output_files
from dsbs_jax.rationales.card import inputs, writing
from dsbs_jax.rationales.filters import FilterConfig, FilterResult
from support.cards import numbers

FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "fixtures"
DEFAULTS = FilterConfig()


def test_written_rows_give_the_same_figures_again(tmp_path):
    examples = numbers()
    result = filters.apply(examples, FilterConfig(min_margin=0.5))
    rows = tmp_path / "rationales.jsonl"
    filters.write(result, rows, tmp_path / "filtered.jsonl")
    files.write_jsonl(tmp_path / "failed.jsonl", [{"id": "8", "input": "What is 8?"}])
    rationales = inputs.read_file(rows, DEFAULTS)
    assert rationales.result.counts == result.counts
    assert rationales.result.config is None
    assert (len(rationales.examples), rationales.failed) == (len(examples), 1)
    assert rationales.facts["parser version"] == str(completions.PARSER_VERSION)
    first = writing.write(tmp_path, examples, result)
    second = writing.write(
        tmp_path, rationales.examples, rationales.result, facts=rationales.facts
    )
    same = ("accuracy", "kept_accuracy", "lengths", "leakage", "margins", "problems")
    for name in same:
        assert getattr(first, name) == getattr(second, name), name
    assert "not recorded" in (tmp_path / "card.md").read_text()


def test_rows_without_a_file_of_dropped_rows_are_filtered(tmp_path):
    rows = tmp_path / "own.jsonl"
    row = {"input": "x", "label": "a", "teacher_label": "a", "rationale": "R."}
    rows.write_text(f"{json.dumps(row)}\n{json.dumps(row)}\n")
    rationales = inputs.read_file(rows, DEFAULTS)
    assert len(rationales.examples) == 2
    assert rationales.result.counts == {filters.SAME_ROW: 1}
    assert rationales.facts["parser version"] == "not recorded"


def test_the_metric_of_the_dataset_filters_a_users_rows(tmp_path):
    rows = tmp_path / "own.jsonl"
    row = {"input": "x", "label": "7", "teacher_label": "(3 + 4)", "rationale": "R."}
    rows.write_text(f"{json.dumps(row)}\n")
    strict = FilterConfig(drop_disagreement=True)
    assert inputs.read_file(rows, strict, dataset="svamp").result.counts == {}
    assert inputs.read_file(rows, strict).result.counts == {filters.DISAGREES: 1}


def test_only_dropped_rows_or_no_rows(tmp_path):
    rows, dropped_file = tmp_path / "rationales.jsonl", tmp_path / "filtered.jsonl"
    dropped = [(numbers()[-1], "unparsable: no answer marker")]
    filters.write(FilterResult([], dropped), rows, dropped_file)
    rationales = inputs.read_file(rows, DEFAULTS)
    assert (len(rationales.examples), rationales.result.kept) == (1, [])
    assert rationales.failed == 0
    filters.write(FilterResult([], []), rows, dropped_file)
    with pytest.raises(UserError, match=f"{rows}: holds no rows"):
        inputs.read_file(rows, DEFAULTS)
    with pytest.raises(UserError, match="No such file"):
        inputs.read_file(tmp_path / "none.jsonl", DEFAULTS)
    dropped_file.write_text('{"id": "1", "input": "x"}\n')
    with pytest.raises(UserError, match=f"{dropped_file}: row '1': reason must be te"):
        inputs.read_file(rows, DEFAULTS)


def test_a_report_is_read_as_it_was_written(tmp_path):
    config = FilterConfig(min_words=3, drop_disagreement=True)
    spec = dataset_spec.get("svamp")
    fields = output_files.report_fields(spec, config, {"teacher": "scripted"})
    path = tmp_path / "report.json"
    path.write_text(json.dumps({**fields, "inputs": 5}))
    report = output_files.read_report(path)
    assert (report.dataset, report.config) == ("svamp", config)
    assert report.made_from == {"teacher": "scripted"}


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "[" * 100_000, '{"filters": {}}', '{"filters": {}, "made_from": {}}']
    + ['{"dataset": "cqa", "filters": {"min_words": "x"}, "made_from": {}}']
    + ['{"dataset": "cqa", "filters": {"unknown": 1}, "made_from": {}}']
    + ['{"filters": {"dataset": 3}, "made_from": {}}'],
)
def test_a_file_that_is_not_a_report_is_ignored(tmp_path, text):
    path = tmp_path / "report.json"
    assert output_files.read_report(path) is None
    path.write_text(text)
    assert output_files.read_report(path) is None


def test_the_folder_of_an_extraction_with_version_0_1_is_read(tmp_path):
    folder = tmp_path / "extraction"
    shutil.copytree(FIXTURES / "v0_1/extraction", folder)
    rationales = inputs.read_file(
        folder / "rationales.jsonl", FilterConfig(min_words=9)
    )
    # The settings are those of the report, and not the ones given now.
    assert rationales.result.config == DEFAULTS
    assert rationales.spec is dataset_spec.DEFAULT
    assert rationales.facts["teacher"] == "scripted"
    assert len(rationales.result.kept) == 6
    # The report of 0.1 holds the dataset among the settings of the filters.
    report = folder / "report.json"
    report.write_text(report.read_text().replace('"default"', '"svamp"'))
    other = inputs.read_file(folder / "rationales.jsonl", DEFAULTS)
    assert other.spec.name == "svamp"


def test_a_report_with_a_dataset_that_is_not_registered_is_an_error(tmp_path):
    folder = tmp_path / "extraction"
    shutil.copytree(FIXTURES / "v0_1/extraction", folder)
    report = folder / "report.json"
    report.write_text(report.read_text().replace('"default"', '"unregistered"'))
    with pytest.raises(UserError, match="'unregistered'"):
        inputs.read_file(folder / "rationales.jsonl", DEFAULTS)
