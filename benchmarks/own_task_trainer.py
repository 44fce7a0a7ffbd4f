"""Trains a step-by-step student with Transformers' Seq2SeqTrainer only.

    python benchmarks/own_task_trainer.py --data=tickets.jsonl \
      --model=google/t5-v1_1-small --output=runs/trainer

The script makes splits, trains both tasks with the weighted loss, keeps the checkpoint
whose generated labels are best, and labels new rows. docs/comparison.md counts its
lines. Needs the extra `hf`, and the packages datasets and accelerate.
"""

import argparse
from typing import Any

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets, load_dataset
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
)

ALPHA = 0.5
INPUT_LENGTH, TARGET_LENGTH, ANSWER_LENGTH = 96, 64, 8
BATCH_SIZE = 32
LEARNING_RATE = 2e-3
EVAL_PERIOD = 100
TASKS = [("predict: ", "label"), ("explain: ", "rationale")]


class StepByStepTrainer(Seq2SeqTrainer):
    """Minimizes alpha · mean(label) + (1 − alpha) · mean(rationale)."""

    def compute_loss(  # type: ignore[override]
        self, model: Any, inputs: dict, return_outputs: bool = False, **_: Any
    ) -> Any:
        """Computes the mean over the tokens of each task, and their weighted sum."""
        tasks = inputs.pop("task")
        outputs = model(**inputs)
        losses = torch.nn.functional.cross_entropy(
            outputs.logits.transpose(1, 2), inputs["labels"], reduction="none"
        )
        tokens = inputs["labels"] != -100
        loss = 0.0
        for task, weight in enumerate([ALPHA, 1 - ALPHA]):
            chosen = tokens & (tasks == task)[:, None]
            loss += weight * losses[chosen].sum() / chosen.sum().clamp(min=1)
        return (loss, outputs) if return_outputs else loss


def cut(length: int) -> dict[str, Any]:
    """Returns the arguments with which a tokenizer cuts a text."""
    return {"truncation": True, "max_length": length}


def task_rows(rows: Dataset, tokenizer: Any, task: int) -> Dataset:
    """Makes the tokens of one task, without rows that lack its target."""
    prefix, target = TASKS[task]

    def tokenize(row: dict) -> dict:
        tokens = tokenizer(prefix + row["input"], **cut(INPUT_LENGTH))
        targets = tokenizer(text_target=row[target], **cut(TARGET_LENGTH))
        return {**tokens, "labels": targets["input_ids"], "task": task}

    present = rows.filter(lambda row: row[target] is not None)
    return present.map(tokenize, remove_columns=rows.column_names)


def train(data: str, model_name: str, output: str, steps: int) -> Dataset:
    """Trains a student, writes it to `output`, and returns the test rows."""
    rows = load_dataset("json", data_files=data, split="train")
    rows = rows.train_test_split(test_size=0.3, seed=0)
    held_out = rows["test"].train_test_split(test_size=2 / 3, seed=0)
    tokenizer = AutoTokenizer.from_pretrained(model_name)
    model = AutoModelForSeq2SeqLM.from_pretrained(model_name)

    def accuracy(prediction: Any) -> dict:
        pair = prediction.predictions, prediction.label_ids
        ids = [np.where(x < 0, tokenizer.pad_token_id, x) for x in pair]
        texts = [tokenizer.batch_decode(x, skip_special_tokens=True) for x in ids]
        return {"accuracy": np.mean([a == b for a, b in zip(*texts, strict=True)])}

    trainer = StepByStepTrainer(
        model=model,
        args=Seq2SeqTrainingArguments(
            output_dir=output,
            max_steps=steps,
            per_device_train_batch_size=BATCH_SIZE,
            per_device_eval_batch_size=BATCH_SIZE,
            learning_rate=LEARNING_RATE,
            eval_strategy="steps",
            eval_steps=EVAL_PERIOD,
            save_steps=EVAL_PERIOD,
            load_best_model_at_end=True,
            metric_for_best_model="accuracy",
            predict_with_generate=True,
            generation_max_length=ANSWER_LENGTH,
            remove_unused_columns=False,
        ),
        train_dataset=concatenate_datasets(
            [task_rows(rows["train"], tokenizer, task) for task in range(len(TASKS))]
        ),
        eval_dataset=task_rows(held_out["train"], tokenizer, 0).remove_columns("task"),
        data_collator=DataCollatorForSeq2Seq(tokenizer, model),
        processing_class=tokenizer,
        compute_metrics=accuracy,
    )
    trainer.train()
    trainer.save_model(output)
    return held_out["test"]


def answer(folder: str, inputs: list[str]) -> list[str]:
    """Loads a trained student and labels new inputs."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    answers: list[str] = []
    for start in range(0, len(inputs), BATCH_SIZE):
        texts = [TASKS[0][0] + text for text in inputs[start : start + BATCH_SIZE]]
        limits = cut(INPUT_LENGTH)
        tokens = tokenizer(texts, padding=True, return_tensors="pt", **limits)
        ids = model.generate(**tokens, max_new_tokens=ANSWER_LENGTH)
        answers += tokenizer.batch_decode(ids, skip_special_tokens=True)
    return answers


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name in ("data", "model", "output"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--steps", type=int, default=600)
    options = parser.parse_args()
    test = train(options.data, options.model, options.output, options.steps)
    answers = answer(options.output, list(test["input"]))
    right = sum(a == b for a, b in zip(answers, test["label"], strict=True))
    print(f"{right} of {len(answers)} test rows are right")
