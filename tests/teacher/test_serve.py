"""Extractions from a real server: `transformers serve` on loopback.

The fixture creates two tiny models: one with random weights, and one that
is trained for a few seconds to give the same answer to every question.
"""

import importlib.util
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from dsbs_jax.data import tables
from dsbs_jax.errors import UserError
from dsbs_jax.teacher import extraction, prompts, store

CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


ANSWER = " No page opens and no call gets through. So the answer is visit."


def make_models(folder):
    """Saves the models `random` and `answering`, with about 50,000 weights each."""
    import tokenizers
    import torch
    import transformers

    trained = tokenizers.Tokenizer(tokenizers.models.BPE())
    trained.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<end>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )
    trained.train_from_iterator(
        [prompts.load("template").completion_prompt("x")], trainer
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=trained, eos_token="<end>", chat_template=CHAT_TEMPLATE
    )
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    model = transformers.LlamaForCausalLM(config)
    for name in ("random", "answering"):
        if name == "answering":
            teach(model, tokenizer)
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)


def teach(model, tokenizer, steps=150):
    """Trains a model to continue the prompts of `command` with the answer."""
    import torch

    prompt = prompts.load("template")
    texts = []
    for n in range(3):
        chat = prompt.chat_messages(f"line {n}")
        texts.append(
            tokenizer.apply_chat_template(
                chat, tokenize=False, add_generation_prompt=True
            )
        )
        texts.append(prompt.completion_prompt(f"line {n}"))
    answer = torch.tensor(tokenizer(ANSWER + "<end>")["input_ids"])
    rows = [torch.cat([torch.tensor(tokenizer(t)["input_ids"]), answer]) for t in texts]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(steps):
        row = rows[step % len(rows)]
        labels = row.clone()
        labels[: -len(answer)] = -100
        loss = model(input_ids=row[None], labels=labels[None]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Served:
    """The attributes of a server that `extract` reads, and its models."""

    def __init__(self, url, folder, log):
        self.url, self.log = url, log
        self.random, self.answering = (
            str(folder / "random"),
            str(folder / "answering"),
        )


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The server, started and ready."""
    for package in ("torch", "transformers", "fastapi", "uvicorn"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed; it is part of the extra hf")
    folder = tmp_path_factory.mktemp("serve")
    make_models(folder)
    port, log = free_port(), folder / "log"
    command = [
        str(pathlib.Path(sys.executable).parent / "transformers"),
        *("serve", "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)),
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hub")}
    with log.open("w") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, log)
        yield Served(f"http://127.0.0.1:{port}/v1", folder, log)
    finally:
        process.terminate()
        process.wait(30)


def wait_for(url, process, log):
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                if response.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"transformers serve did not start:\n{log.read_text()[-3000:]}")


@pytest.mark.slow
@pytest.mark.parametrize("style", ["chat", "completion"])
def test_extraction_from_a_real_server(served, extract, rows, tmp_path, style):
    options = {
        "TEACHER_MODEL": served.random,
        "STYLE": style,
        "TIMEOUT": 60.0,
        "MAX_TOKENS": 24,
        "TEMPERATURE": 1.0,
        "SAMPLES": 2,
        "CONCURRENCY": 2,
    }
    status = extract(served, count=3, **options)
    assert status == extraction.DONE, served.log.read_text()[-3000:]
    opened = store.Store(tmp_path / "out/completions")
    replies = list(opened.replies.values())
    opened.close()
    assert len(replies) == 6
    assert {reply.finish_reason for reply in replies} <= {"stop", "length"}
    # The token counts are the server's.
    assert all(reply.spent.requests == 1 for reply in replies)
    assert all(reply.spent.prompt_tokens > 100 for reply in replies)
    assert all(0 < reply.spent.completion_tokens <= 24 for reply in replies)
    assert any(reply.text.strip() for reply in replies)
    ids = [r["id"] for n in ("rationales", "filtered") for r in rows(f"{n}.jsonl")]
    assert sorted(ids) == ["n0", "n1", "n2"] and not rows("failed.jsonl")
    # A random model gives no answer; its completions are kept with the reason.
    assert all(len(row["completions"]) == 2 for row in rows("filtered.jsonl"))
    before = (tmp_path / "out/completions/replies.jsonl").read_bytes()
    assert extract(served, **options) == extraction.DONE
    assert (tmp_path / "out/completions/replies.jsonl").read_bytes() == before


@pytest.mark.slow
def test_missing_model_ends_in_one_error(served, extract):
    """Servers answer this with different errors; each of them ends the run."""
    options = {"TEACHER_MODEL": "/no/such/model", "TIMEOUT": 60.0, "MAX_ATTEMPTS": 1}
    with pytest.raises(UserError, match="status [45]"):
        extract(served, count=1, **options)


@pytest.mark.slow
@pytest.mark.parametrize("style", ["chat", "completion"])
def test_trained_teacher_gives_a_dataset(served, extract, tmp_path, style):
    options = {"TEACHER_MODEL": served.answering, "STYLE": style, "TIMEOUT": 60.0}
    assert extract(served, count=3, MAX_TOKENS=60, **options) == extraction.DONE
    records = tables.read_examples(tmp_path / "out/rationales.jsonl")
    assert [record.id for record in records] == ["n0", "n1", "n2"]
    for record in records:
        assert record.teacher_label == "visit"
        assert record.rationale == ANSWER.partition(" So the")[0].strip()
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["finish_reasons"] == {"stop": 3}
