import dataclasses
import json

import pytest

from dsbs_jax.errors import UserError
from dsbs_jax.experiments import demo


def test_demo_has_the_settings_of_the_published_runs(tmp_path):
    data = {
        "DATASET": "demo_800",
        "DATA_FILES": "x.jsonl",
        "VOCABULARY_PATH": "x.model",
    }
    for method, rows, alpha in (("finetune", 16, 1.0), ("step_by_step", 32, 0.5)):
        settings = demo._settings(method, data)
        loop, optimizer = settings.loop, settings.optimizer
        assert (loop.batch_size, loop.alpha, loop.train_steps) == (rows, alpha, 1000)
        assert (optimizer.schedule, optimizer.warmup_steps) == ("cosine", 100)
        assert optimizer.learning_rate == 2e-3
        assert settings.student["DROPOUT_RATE"] == 0.0
        assert settings.student["VOCAB_SIZE"] == 512
        assert settings.decoding.max_decode_length == 8


@pytest.mark.slow
def test_demo_writes_scores_table_and_figure(tmp_path, monkeypatch, capsys):
    make = demo._settings

    def shorter(method, data):
        settings = make(method, data)
        loop = dataclasses.replace(
            settings.loop, train_steps=2, eval_period=2, log_period=1
        )
        optimizer = dataclasses.replace(settings.optimizer, warmup_steps=1)
        return dataclasses.replace(settings, loop=loop, optimizer=optimizer)

    monkeypatch.setattr(demo, "_settings", shorter)
    demo.run(demo.DemoConfig(output_dir=str(tmp_path), sizes=(60,), seeds=(0,)))
    rows = json.loads((tmp_path / "results.json").read_text())
    assert [row["method"] for row in rows] == ["finetune", "step_by_step"]
    assert "teacher: " in (tmp_path / "table.txt").read_text()
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.count("right answer: ") == demo.PRINTED_EXAMPLES


@pytest.mark.parametrize(
    "fields", [{"sizes": ()}, {"sizes": (0,)}, {"seeds": (-1,)}, {"seeds": ()}]
)
def test_demo_needs_positive_sizes_and_seeds(fields):
    with pytest.raises(UserError, match="(SIZES|SEEDS) is "):
        demo.DemoConfig(**fields)
