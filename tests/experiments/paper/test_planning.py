import dataclasses
import pathlib

import pytest

from dsbs_jax.errors import UserError
from dsbs_jax.experiments.paper import (
    cost,
    execution,
    generated,
    listing,
    planning,
    study,
)
from dsbs_jax.experiments.paper.cell import Cell
from dsbs_jax.experiments.paper.config import parse_method
from dsbs_jax.student import operations, sizes

OUTPUT = pathlib.Path("runs/paper")
BOTH = ("steps", "operations")
# Number of runs of each study, computed by hand: datasets x sizes x methods x fractions
# (or alphas) x seeds.
RUNS = {
    "table1": 4 * 4 * 4,
    "table2": 4 * 3 * 4,
    "figure4": 4 * 2 * 5 * 4,
    "figure5": 4 * 2 * 5 * 4,
    "figure6": 4 * 3 * 2 * 4,
    "figure7": 4 * 3 * 2 * 4,
    "figure8": 4 * 3 * 2 * 4 * 4,
    "figure9": 4 * 3 * 2 * 4 * 4,
    "asdiv": 2 * 3 * 2 * 4,
    "alpha": 4 * 5 * 4,
    "tickets": 4 * 4 * 5,
    "tickets_sizes": 3 * 2 * 5,
    # 7 of the 14 methods cost as much as the first one, at equal updates.
    "tickets_methods": (14 + 7) * 5,
    "rationale_controls": 3 * 5,
    "esnli_released": 4 * 4 * 5,
    # Of 11 methods one has no data, and 5 cost as much as the first one.
    "esnli_methods": (10 + 5) * 5,
    "rationale_controls_esnli": 3 * 5,
    "esnli_pretrained": 1 + 4 * 4 * 5,
}


def read(name, **changes):
    return study.read(f"experiments/{name}.gin", changes)


def test_every_study_is_listed_here():
    assert sorted(RUNS) == study.names()


@pytest.mark.parametrize("name", RUNS)
def test_runs_of_a_study_have_different_names(name):
    runs = planning.plan(read(name), OUTPUT)
    assert len({run.name for run in runs}) == len(runs) == RUNS[name]


@pytest.mark.parametrize("name", RUNS)
def test_dry_run_lists_each_run_with_its_command_and_cost(name):
    config = read(name)
    grid = execution.Grid(planning.plan(config, OUTPUT), OUTPUT, "data")
    text = listing.dry_run(config, grid, listing.choose_rate(config, grid, 50.0, "x"))
    lines = text.splitlines()
    assert lines[0] == config.title
    for run in grid.runs:
        (row,) = [line for line in lines if line.startswith(f"{run.name} ")]
        one = cost.cost_of(config, run.cell)
        assert f"{one.tokens / 1e6:,.1f}" in row
        assert f"{one.operations / 50e12 / 3600:,.2f}" in row
        folder = f"--gin.MODEL_DIR={OUTPUT / run.name} "
        (command,) = [line for line in lines if folder in line]
        assert command.startswith("python -m dsbs_jax.train ")
        assert command.endswith(" --tfds_data_dir=data")
    assert f"{len(grid.runs)} runs to train" in text
    assert "x at 50 TFLOP/s (given with --rate)" in " ".join(text.split())


@pytest.mark.parametrize("name", RUNS)
def test_commands_of_a_study_have_valid_settings(name):
    """Each distinct kind of run parses to complete training settings."""
    from dsbs_jax import cli
    from dsbs_jax.local.config import TRAIN_SETTINGS, TrainSettings

    kinds = {}
    for run in planning.plan(read(name), OUTPUT):
        kinds.setdefault((run.cell.size, run.cell.method, run.cell.dataset), run)
    for run in kinds.values():
        bindings = [f"{name} = {value!r}" for name, value in run.macros.items()]
        bindings.append("MODEL_DIR = 'x'")
        cli.configure(run.gin_files, bindings, known=TRAIN_SETTINGS)
        settings = TrainSettings.from_macros(cli.values())
        assert settings.data.method == run.cell.method
        assert settings.data.dataset == run.cell.dataset
        assert settings.loop.alpha == run.cell.alpha
        assert settings.loop.random_seed == run.seed


def test_run_of_a_proportion_is_drawn_with_its_seed():
    (run, *_) = [r for r in planning.plan(read("figure4"), OUTPUT) if r.seed == 3]
    assert run.name == "esnli-base-finetune-12.5pct-seed3"
    assert run.macros["SUBSAMPLE_FRACTION"] == 0.125
    assert run.macros["SUBSAMPLE_SEED"] == run.macros["RANDOM_SEED"] == 3


def test_two_task_methods_have_two_examples_of_each_row():
    runs = {run.name: run for run in planning.plan(read("figure6"), OUTPUT)}
    both = runs["cqa-xxl-step_by_step-palm-seed0"].macros
    label = runs["cqa-xxl-finetune-seed0"].macros
    assert (both["BATCH_SIZE"], label["BATCH_SIZE"]) == (64, 32)
    assert both["TRAIN_STEPS"] == label["TRAIN_STEPS"] == 4_000
    assert both["INITIAL_CHECKPOINT_PATH"] == "hub:google/t5-v1_1-xxl"


def test_alpha_is_part_of_the_name_unless_it_is_the_default():
    names = [run.name for run in planning.plan(read("alpha"), OUTPUT)][:2]
    assert names == [
        "esnli-base-step_by_step-palm-seed0",
        "esnli-base-step_by_step-palm-alpha0.1-seed0",
    ]


def test_studies_share_runs():
    first = {run.name for run in planning.plan(read("table1"), OUTPUT)}
    second = {run.name for run in planning.plan(read("table2"), OUTPUT)}
    assert "cqa-base-step_by_step-palm-seed0" in first & second


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ("tickets", "rationale_controls", 5),
        ("tickets", "tickets_sizes", 10),
        ("esnli_released", "rationale_controls_esnli", 5),
        ("esnli_released", "esnli_methods", 20),
    ],
)
def test_studies_in_one_folder_agree_on_the_runs_that_they_share(first, second, shared):
    plans = [
        {run.name: run for run in planning.plan(read(name), OUTPUT)}
        for name in (first, second)
    ]
    names = plans[0].keys() & plans[1].keys()
    assert len(names) == shared
    for name in names:
        assert plans[0][name] == plans[1][name]


def test_human_rationales_are_a_teacher_with_files_of_its_own():
    runs = {r.name: r for r in planning.plan(read("esnli_released"), OUTPUT)}
    palm = runs["esnli_released-tiny-step_by_step-palm-seed0"]
    human = runs["esnli_released-tiny-step_by_step-human-seed0"]
    assert (palm.macros["TEACHER"], human.macros["TEACHER"]) == ("palm", "human")
    folders = {
        str(generated.folder_of(OUTPUT, name))
        for name in ("esnli_released", "esnli_released_human")
    }
    read_from = [str(run.macros["DATA_FILES"]) for run in (palm, human)]
    assert {f for f in folders if any(f"{f}/" in text for text in read_from)} == folders
    assert palm.macros["DATASET"] == human.macros["DATASET"] == "esnli_released"


def test_runs_start_from_the_student_that_is_pretrained_first():
    config = read("esnli_pretrained")
    first, *others = planning.plan(config, OUTPUT)
    assert first.name == "texts-tiny-pretrain-seed0"
    assert set(first.macros["DATA_FILES"]) == {"train"}
    assert "INITIAL_CHECKPOINT_PATH" not in first.macros
    for run in others:
        assert run.macros["INITIAL_CHECKPOINT_PATH"] == str(OUTPUT / first.name)
    random = planning.plan(read("esnli_released"), OUTPUT)
    assert [run.name for run in others] == [run.name for run in random]
    texts = planning.TEXTS_OF_A_PAIR * config.pairs["tiny"]
    assert first.macros["BATCH_SIZE"] == texts
    expected = texts * config.pretrain_steps["tiny"] * sum(config.tokens["texts"][:2])
    assert cost.cost_of(config, first.cell).tokens == expected


def test_a_size_starts_from_one_checkpoint():
    given = {"initial_checkpoints": {"tiny": "runs/other"}}
    with pytest.raises(UserError, match="PRETRAIN_STEPS and INITIAL_CHECKPOINTS"):
        read("esnli_pretrained", **given)


def test_checkpoint_of_a_size_is_given_on_the_command_line(tmp_path):
    folder = tmp_path / "t5"
    folder.mkdir()
    (folder / "spiece.model").touch()
    texts = [f"large={folder}", "base=gs://bucket/t5/checkpoint_0"]
    given = study.parse_checkpoints(texts)
    config = read("figure6", initial_checkpoints=given)
    runs = {run.name: run.macros for run in planning.plan(config, OUTPUT)}
    large, base = runs["cqa-large-finetune-seed0"], runs["cqa-base-finetune-seed0"]
    assert large["INITIAL_CHECKPOINT_PATH"] == large["VOCABULARY_PATH"] == str(folder)
    assert base["INITIAL_CHECKPOINT_PATH"] == "gs://bucket/t5/checkpoint_0"
    # A T5X folder has no vocabulary, so the run reads the published one.
    assert "VOCABULARY_PATH" not in base
    xxl = runs["cqa-xxl-finetune-seed0"]
    assert xxl["VOCABULARY_PATH"] == "hub:google/t5-v1_1-xxl"


@pytest.mark.parametrize("text", ["base", "=x", "base="])
def test_checkpoint_needs_size_and_path(text):
    with pytest.raises(UserError, match="--initial_checkpoint is"):
        study.parse_checkpoints([text])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "0 of --table, --figure and --study"),
        ({"table": 1, "figure": 4}, "2 of --table"),
        ({"table": 3}, "--table is 3, expected one of 1, 2"),
        ({"study": "paper"}, "--study is 'paper', expected the path"),
    ],
)
def test_one_existing_study_is_needed(given, message):
    choice = {"table": None, "figure": None, "study": None, **given}
    with pytest.raises(UserError, match=message):
        study.file_of(**choice)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "expected one of finetune"),
        ("finetune/palm", "expected no teacher"),
        ("step_by_step", "expected a teacher"),
        ("step_by_step+cosine", "expected a teacher"),
    ],
)
def test_method_and_teacher_are_checked(text, message):
    with pytest.raises(UserError, match=message):
        parse_method(text)


def test_variant_is_the_method_with_other_settings():
    config = read("tickets_methods", seeds=(0,), budgets=("steps",))
    runs = {run.name: run for run in planning.plan(config, OUTPUT)}
    name = "tickets_methods-tiny-step_by_step-teacher-50pct"
    plain, variant = runs[f"{name}-seed0"], runs[f"{name}-alpha_cosine-seed0"]
    changes = {"ALPHA_SCHEDULE": "cosine", "ALPHA_END": 0.9}
    assert variant.macros == {**plain.macros, **changes}
    assert variant.gin_files == plain.gin_files
    # The setting is an integer, which gin distinguishes.
    first = runs[f"{name}-explain_first-seed0"]
    assert repr(first.macros["EXPLAIN_FIRST_STEPS"]) == "250"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("finetune+wide",), "variants": {}}, "VARIANTS: it has no entry"),
        ({"variants": {"a/b": {}}}, "'a/b', expected letters, digits and '_'"),
        ({"variants": {"x": {"ALPHAS": 1}}}, "'x': ALPHAS is not a setting; did you"),
        ({"variants": {"x": {"ALPHA": "a"}}}, "'x': ALPHA is 'a', expected float"),
    ],
)
def test_variants_are_checked(changes, message):
    config = read("tickets_methods")
    with pytest.raises(UserError, match=message):
        dataclasses.replace(config, **changes)


@pytest.mark.parametrize(
    "change",
    [
        {"TRAIN_STEPS": 5},
        {"METHOD": "distill"},
        {"DATASET": "cqa"},
        {"ALPHA": 0.9},
        {"SUBSAMPLE_FRACTION": 0.5},
    ],
)
def test_variant_changes_no_setting_of_the_grid(change):
    config = dataclasses.replace(
        read("tickets_methods"),
        methods=("finetune+long",),
        variants={"long": change},
    )
    with pytest.raises(UserError, match=f"'long': {[*change][0]} is a setting of the"):
        planning.plan(config, OUTPUT)


def test_sizes_need_steps_and_pairs():
    with pytest.raises(UserError, match="STEPS has entries for base, large, xxl"):
        read("table1", sizes=("small",))
    with pytest.raises(UserError, match="size is 'huge'"):
        read("table1", sizes=("huge",))


def test_cost_is_computed_by_hand():
    config = read("table1")
    size = sizes.size_of("base")
    source, label, rationale = config.tokens["cqa"]
    both = cost.cost_of(config, Cell("cqa", "base", "step_by_step", "palm", 1, 0.5))
    assert both.tokens == 640_000 * (2 * source + label + rationale)
    work = sum(
        operations.training_operations(size, source, target)
        for target in (label, rationale)
    )
    assert both.operations == pytest.approx(640_000 * work)
    assert both.bytes == 3 * 12 * operations.parameter_count(size)
    one = cost.cost_of(config, Cell("cqa", "base", "finetune"))
    assert one.tokens == 640_000 * (source + label)


def test_equal_operations_are_those_of_the_first_method():
    config = read("tickets_methods", seeds=(0,))
    runs = planning.plan(config, OUTPUT)
    first = cost.cost_of(config, runs[0].cell).operations
    assert runs[0].cell.method == "step_by_step"
    by_name = {}
    for run in runs:
        work = cost.cost_of(config, run.cell).operations
        steps = run.macros["TRAIN_STEPS"]
        choice = run.cell.method, run.cell.teacher, run.cell.variant
        by_name.setdefault(choice, []).append(steps)
        # Within half an update.
        if run.cell.steps:
            assert run.cell.steps == steps
            assert abs(work - first) <= work / steps / 2
            assert f"-{steps}steps-seed0" in run.name
        else:
            assert steps == 1_000
    assert by_name["step_by_step", "teacher", ""] == [1_000]
    assert by_name["step_by_step", "teacher", "alpha_cosine"] == [1_000]
    assert by_name["mutual_information", "teacher", ""] == [1_000]
    assert by_name["counterfactual", "teacher", ""][1] < 1_000
    assert by_name["finetune", "", ""][1] > 1_000
    shorter = read("tickets_methods", seeds=(0,), budgets=("operations",))
    assert len(planning.plan(shorter, OUTPUT)) == 14


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "tickets_methods",
            {
                "counterfactual": 549,
                "step_by_step_multi": 957,
                "single_task": 1_456,
                "single_task_unlabeled": 1_456,
                "label_then_rationale": 1_735,
                "finetune": 2_598,
                "distill": 2_598,
            },
        ),
        (
            "esnli_methods",
            {
                "step_by_step": 875,
                "step_by_step_multi": 891,
                "single_task": 1_204,
                "label_then_rationale": 1_499,
                "finetune": 2_725,
            },
        ),
    ],
)
def test_updates_at_equal_operations_are_those_of_the_documentation(name, expected):
    cells = planning.cells(read(name, budgets=("operations",)))
    changed = [cell for cell in cells if cell.steps]
    assert {cell.method: cell.steps for cell in changed} == expected
    assert len(changed) == len(expected)


def test_fixed_texts_are_counted_by_hand():
    lengths = {"d": (50, 4, 20), "d/counterfactual/t": (50, 4, 24)}
    fixed = {
        "predict: ": 1,
        "explain: ": 2,
        "[Factual] ": 3,
        "[Counterfactual] ": 5,
        " So the answer is ": 10,
    }
    config = read("tickets_methods", tokens=lengths, fixed_tokens=fixed)
    expected = {
        "finetune": 54,
        "label_then_rationale": 74,
        "single_task": 84,
        "step_by_step": 51 + 4 + 52 + 20,
        "mutual_information": 51 + 4 + 52 + 20,
        "counterfactual": (53 + 3 + 38) + (55 + 5 + 38),
    }
    for method, tokens in expected.items():
        cell = Cell("d", "tiny", method, "t")
        assert cost.cost_of(config, cell).tokens == 16_000 * tokens


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budgets": ("flops",)}, "BUDGETS"),
        ({"budgets": ()}, "BUDGETS"),
        (
            {"fixed_tokens": {"predict:": 5}},
            "FIXED_TOKENS has 'predict:', expected one",
        ),
        (
            {"tokens": {"d/step_by_stepp/t": (1, 1, 1)}},
            "TOKENS has 'd/step_by_stepp/t': found the method 'step_by_stepp/t', "
            "expected one of finetune",
        ),
        ({"tokens": {"d/step_by_step": (1, 1, 1)}}, "TOKENS .* expected a teacher"),
    ],
)
def test_budgets_texts_and_lengths_are_checked(changes, message):
    config = read("tickets_methods")
    with pytest.raises(UserError, match=message):
        dataclasses.replace(config, **changes)


def test_weights_of_teachers_are_settings_of_one_method():
    weights = {"palm": 0.5, "human_2": 0.0}
    config = read("esnli_methods", seeds=(0,), teacher_weights=weights)
    runs = planning.plan(config, OUTPUT)
    weighted = [r for r in runs if "TEACHER_WEIGHTS" in r.macros]
    assert {r.cell.method for r in weighted} == {"step_by_step_multi"}
    assert all(r.macros["TEACHER_WEIGHTS"] == weights for r in weighted)
    with pytest.raises(UserError, match="TEACHER_WEIGHTS"):
        dataclasses.replace(config, teacher_weights={"palm": -0.5})


@pytest.mark.parametrize("budgets", [("steps",), ("operations",), BOTH])
def test_methods_without_data_are_not_planned(budgets):
    config = read("esnli_methods", seeds=(0,), budgets=budgets)
    (cell,) = planning.cells_without_data(config)
    assert (cell.method, cell.steps) == ("counterfactual", 0)
    assert "counterfactual" not in {c.method for c in planning.cells(config)}
    assert planning.cells_without_data(read("tickets_methods")) == []


def test_recorded_rate_names_its_measurement():
    rate = cost.recorded_rate("cpu-2-cores")
    assert "measured" in rate.source
    with pytest.raises(UserError, match="--device is 'abacus'"):
        cost.recorded_rate("abacus")


def test_rate_of_finished_runs_is_operations_per_second():
    config = read("table1")
    run = planning.plan(config, OUTPUT)[0]
    rate = cost.rate_of_finished(config, [(run.cell, 100.0), (run.cell, 300.0)])
    work = cost.cost_of(config, run.cell).operations
    assert rate.operations == pytest.approx(2 * work / 400)
    assert cost.rate_of_finished(config, []) is None


def test_unknown_lengths_are_an_error():
    config = read("table1", tokens={})
    with pytest.raises(UserError, match="TOKENS has no entry for 'mine'"):
        cost.cost_of(config, Cell("mine", "base", "finetune"))
