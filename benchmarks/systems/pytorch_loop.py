"""A plain PyTorch loop over the T5 model of Transformers (extra `hf`)."""

import argparse
import time
from typing import Any

import torch
import transformers

from systems import workload
from systems.workload import Batch


def make_model(options: argparse.Namespace) -> Any:
    """Creates a T5 v1.1 model, or loads it from `--weights`."""
    if options.weights:
        return transformers.T5ForConditionalGeneration.from_pretrained(options.weights)
    shape = workload.SHAPES[options.size]
    # The annotations of transformers lack the settings that all its networks have.
    settings: dict[str, Any] = {
        "vocab_size": workload.VOCAB_SIZE,
        "d_model": shape.width,
        "num_heads": shape.heads,
        "d_kv": shape.head_width,
        "num_layers": shape.layers,
        "d_ff": shape.mlp_width,
        "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": False,
        "dropout_rate": workload.DROPOUT,
        "decoder_start_token_id": 0,
    }
    config = transformers.T5Config(**settings)
    model = transformers.T5ForConditionalGeneration(config)
    # Transformers ties the output to the embedding of every T5; v1.1 does not.
    head = torch.randn(workload.VOCAB_SIZE, shape.width)
    model.lm_head.weight = torch.nn.Parameter(head)
    return model


def model_inputs(rows: list[list[int]]) -> dict[str, Any]:
    """Makes int64 [B, S] tokens and their mask, padded to the longest row."""
    tokens = torch.from_numpy(workload.pad(rows, "int64"))
    return {"input_ids": tokens, "attention_mask": (tokens > 0).long()}


def label(options: argparse.Namespace, batches: list[Batch]) -> dict:
    """Decodes the label task greedily; `--run "pytorch, sorted"` sorts by length."""
    model = make_model(options).eval()
    rows = workload.rows_to_label(batches)
    if "sorted" in options.run:
        rows.sort(key=len)
    limits = {"max_new_tokens": workload.NEW_TOKENS}
    if options.forced:
        limits["min_new_tokens"] = workload.NEW_TOKENS

    def decode_all(rows: list) -> None:
        with torch.no_grad():
            for start in range(0, len(rows), workload.ROWS):
                part = model_inputs(rows[start : start + workload.ROWS])
                model.generate(**part, **limits, do_sample=False, num_beams=1)

    first, seconds = workload.time_twice(decode_all, [rows])
    return {"rate": len(rows) / seconds, "first": first}


def train(options: argparse.Namespace, batches: list[Batch]) -> dict:
    """Trains with one forward pass over label rows and one over rationale rows."""
    start = time.perf_counter()
    model = make_model(options).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=workload.LEARNING_RATE, weight_decay=0.0
    )

    autocast = torch.autocast("cpu", torch.bfloat16, "autocast" in options.run)

    def loss(inputs: list, targets: list) -> Any:
        labels = torch.from_numpy(workload.pad(targets, "int64"))
        # Transformers ignores positions with label -100.
        labels = labels.masked_fill(labels == 0, -100)
        with autocast:
            return model(**model_inputs(inputs), labels=labels).loss

    def step(batch: Batch) -> None:
        label_loss = loss(batch["predict"], batch["label"])
        rationale_loss = loss(batch["explain"], batch["rationale"])
        optimizer.zero_grad()
        alpha = workload.ALPHA
        (alpha * label_loss + (1 - alpha) * rationale_loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), workload.CLIP)
        optimizer.step()

    step(batches[0])
    first = time.perf_counter() - start
    _, seconds = workload.time_twice(step, batches)
    return {"rate": options.pairs * len(batches) / seconds, "first": first}
