"""The published numbers, compared one by one with the project's list of facts."""

import json
import pathlib
import re

import pytest

from dsbs_jax.experiments.paper import published, study
from dsbs_jax.experiments.paper.cell import Cell

DATASETS = ("esnli", "anli1", "cqa", "svamp")
ROWS = {
    "standard finetuning": ("finetune", ""),
    "single-task (rationale then label)": ("single_task", "palm"),
    "step-by-step, GPT-NeoX 20B rationales": ("step_by_step", "gpt_neox"),
    "step-by-step, PaLM 540B rationales": ("step_by_step", "palm"),
}
RERUN = "step-by-step, re-run by others, last step [logs]"


@pytest.fixture(scope="module")
def table(facts):
    """The accuracies of each row of the table of published numbers."""
    section = facts.partition("## Published accuracy")[2].partition("\n## ")[0]
    rows = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and re.fullmatch(r"[\d.]+", cells[1]):
            rows[cells[0]] = dict(zip(DATASETS, map(float, cells[1:]), strict=True))
    return rows


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("dataset", DATASETS)
def test_score_is_the_published_one(table, row, dataset):
    method, teacher = ROWS[row]
    alpha = 0.5 if method == "step_by_step" else 1.0
    cell = Cell(dataset, "base", method, teacher, 1.0, alpha)
    assert published.load().score_of(cell) == table[row][dataset]


def test_no_other_score_is_called_published(table):
    scores = published.load().scores
    assert len(scores) == len(ROWS) * len(DATASETS)
    assert {score.where for score in scores} == {"Table 1", "Table 2"}
    known = {value for row in ROWS for value in table[row].values()}
    assert {score.accuracy for score in scores} <= known


def test_rerun_is_not_the_papers_number(table):
    rerun = published.load().reruns
    assert rerun.accuracy == table[RERUN]
    assert "others" in rerun.source


def test_teacher_lines_are_those_of_the_released_completions(facts):
    line = re.search(r"Few-shot CoT from the released completions .*", facts)[0]
    number = r"([\d.]*\d)"
    pattern = f"e-SNLI {number}, ANLI {number}, CQA {number}, SVAMP {number}"
    found = re.search(pattern, line)
    expected = dict(zip(DATASETS, map(float, found.groups()), strict=True))
    teacher = published.load().teacher
    assert teacher.accuracy == expected
    assert "proxy" in teacher.source


def test_every_number_of_a_statement_is_in_the_facts(facts):
    """No statement has a number that was read off a plot."""
    section = facts.partition("## Figures and claims of the paper")[2]
    for claim in published.load().claims:
        for number in re.findall(r"\d[\d.,]*\d|\d", claim.text):
            # 220M is named in the section; "11B", "2,305" and percentages too.
            assert number in section, (claim.where, claim.text, number)


def test_only_the_data_file_has_the_published_numbers():
    """Each published number is stated once in the package and its gin files."""
    root = pathlib.Path(published.__file__).parents[3]
    values = {f"{score.accuracy:.2f}" for score in published.load().scores}
    paths = [*root.glob("dsbs_jax/experiments/**/*.py"), *root.glob("gin/**/*.gin")]
    for path in paths:
        assert not values & set(re.findall(r"\d+\.\d+", path.read_text())), path


def test_file_names_its_source():
    path = pathlib.Path(published.__file__).with_name("published.json")
    assert "2305.02301" in json.loads(path.read_text())["paper"]


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ("T5 v1.1 base 220M and large 770M", ("base", "large")),
        ("T5 v1.1 XXL 11B", ("xxl",)),
    ],
)
def test_grids_have_the_papers_steps_and_batches(facts, row, names):
    (line,) = [n for n in facts.splitlines() if n.startswith(f"| {row} |")]
    batch = int(re.search(r"batch (\d+)", line)[1])
    steps = int(re.search(r"([\d,]+) steps", line)[1].replace(",", ""))
    for study_name in study.names():
        config = study.read(f"experiments/{study_name}.gin", {})
        for size in set(config.sizes) & set(names):
            assert (config.pairs[size], config.steps[size]) == (batch, steps)
