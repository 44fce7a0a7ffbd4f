from dsbs_jax.experiments.paper import titles
from dsbs_jax.experiments.paper.cell import Cell


def test_cell_is_named_with_what_differs_from_the_default():
    cell = Cell("svamp", "base", "step_by_step", "palm", 0.125, 0.5)
    assert titles.short(cell) == "step-by-step, PaLM 540B, 12.5\u00a0%"
    assert titles.line(cell, "fraction") == "step-by-step, PaLM 540B"
    cell = Cell("svamp_asdiv", "base", "step_by_step_unlabeled", "mine", 1, 0.3)
    expected = "step-by-step, unlabeled, mine, with ASDiv, alpha 0.3"
    assert titles.short(cell) == expected
    assert titles.short(Cell("cqa", "base", "finetune")) == "standard finetuning"
    cell = Cell("cqa", "base", "finetune", steps=2_000, variant="low_rate")
    assert titles.short(cell) == "standard finetuning, low rate, 2,000 updates"


def test_missing_number_is_a_dash():
    assert titles.number(None) == "–"
    assert titles.number(1.005, sign=True) == "+1.00"
