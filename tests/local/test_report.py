import collections

from dsbs_jax.local import report
from dsbs_jax.local.datasets import TaskSize


def test_sizes_tell_how_many_examples_are_truncated(capsys):
    size = TaskSize(
        "jars_predict",
        rows=1_234,
        truncated={"inputs": 12, "targets": 0},
        longest={"inputs": 99, "targets": 4},
        targets=collections.Counter(),
        target_lengths=collections.Counter(),
    )
    report.print_task_sizes([size], {"inputs": 64, "targets": 16, "task_ids": 16})
    assert capsys.readouterr().out == (
        "jars_predict: 1,234 training examples; inputs up to 99 tokens, 12 truncated "
        "to 64; targets up to 4 tokens, 0 truncated to 16\n"
    )


def test_table_aligns_columns():
    assert report.table([["name", "%"], ["a", "9.50"], ["longer", "100.00"]]) == (
        "name         %\na         9.50\nlonger  100.00"
    )


def test_results_table_lists_student_and_teacher():
    scores = {"jars_predict": {"accuracy": 62.5}}
    results = {
        "best": {"step": 20, "validation": scores, "test": scores},
        "last": {"step": 30, "validation": {}, "test": {}},
        "teacher_test": {
            "sage": {"rows": 8, "unparsable": 1, "accuracy": 75.0},
            "teacher": {"rows": 8, "unparsable": 0, "accuracy": 50.0},
        },
    }
    lines = report.results_table(results).splitlines()
    assert [line.split("  ", 1)[0] for line in lines] == [
        "accuracy, %",
        "student, best checkpoint (step 20)",
        "student, last checkpoint (step 30)",
        "teacher sage (1 of 8 rows without a label)",
        "teacher (0 of 8 rows without a label)",
    ]
    assert [line.split()[-2:] for line in lines] == [
        ["validation", "test"],
        ["62.50", "62.50"],
        ["-", "-"],
        ["-", "75.00"],
        ["-", "50.00"],
    ]
