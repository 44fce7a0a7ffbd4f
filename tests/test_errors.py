import pytest
from etils import epath

from dsbs_jax.data import tokenizer_json
from dsbs_jax.errors import UserError, describe, reason
from dsbs_jax.json_input import JsonError
from dsbs_jax.released import archives
from dsbs_jax.reports import saved_report
from dsbs_jax.weights import (
    huggingface_files,
    orbax_format,
    peft_format,
    run_checkpoints,
    t5x_native,
)

MISSING = FileNotFoundError(2, "No such file or directory", "a.jsonl")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MISSING, "No such file or directory"),
        (OSError("the network failed\nin detail"), "the network failed"),
        (OSError(), "OSError"),
        (JsonError("not UTF-8 at byte 3"), "not UTF-8 at byte 3"),
    ],
)
def test_the_reason_has_no_path_and_no_number(error, expected):
    assert reason(error) == expected


def test_a_command_prints_the_path_and_the_reason():
    assert describe(MISSING) == "a.jsonl: No such file or directory"
    assert describe(UserError("a.jsonl: line 3: label is blank")) == (
        "a.jsonl: line 3: label is blank"
    )


def read_overlay(folder):
    (folder / "checkpoints" / "frozen.json").mkdir(parents=True)
    checkpoint = epath.Path(folder / "checkpoints" / "checkpoint_1")
    return run_checkpoints.open_run(checkpoint)


@pytest.mark.parametrize(
    ("read", "name"),
    [
        (lambda f: saved_report.read_report(f / "report.json"), "report.json"),
        (huggingface_files.read_config, "config.json"),
        (lambda f: peft_format.open_adapters(f, None), "adapter_config.json"),
        (lambda f: orbax_format.open_item(epath.Path(f), ()), "_METADATA"),
        (lambda f: t5x_native.open_checkpoint(epath.Path(f)), "checkpoint"),
        (lambda f: tokenizer_json.convert(f / "tokenizer.json"), "tokenizer.json"),
        (lambda f: archives.Zip(f / "a.zip"), "a.zip"),
        (
            lambda f: huggingface_files.SafetensorsFiles([f / "m.safetensors"]),
            "m.safetensors",
        ),
        (read_overlay, "frozen.json"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_once(tmp_path, monkeypatch, read, name):
    monkeypatch.setattr(run_checkpoints, "open_updated", lambda _: None)
    with pytest.raises(UserError) as caught:
        read(tmp_path)
    message = str(caught.value)
    assert name in message and message.count(str(tmp_path)) == 1
    assert "Errno" not in message
