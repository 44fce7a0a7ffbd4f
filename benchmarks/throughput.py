r"""Training and labelling speed of this engine beside a PyTorch loop's and T5X's.

    python benchmarks/throughput.py --release=datasets.zip
    python benchmarks/throughput.py --release=datasets.zip --work=label --forced

Each run is a process of its own; the systems take turns, and what is printed are
medians of pairs (or examples) a second, their spread, and the ratio of the medians.
All systems get the same CommonsenseQA rows, token ids, T5 v1.1 size and pairs a batch,
float32 on a CPU. The PyTorch loop is what people would write with Transformers (extra
`hf`): for each batch a forward pass over label rows and one over rationale rows, either
padded to its longest row, `alpha` between their losses, clipped AdamW, dropout 0.1. It
labels rows as they come, or, as this engine and T5X do here, sorted by their length.
T5X, where it is installed, takes its own step with its own network and this project's
objective, over rows padded to the longest of all, since its shapes are fixed.
"""

import argparse
import functools
import importlib.util
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

# Memory in pages of 2 MiB, as this project's commands set it for themselves.
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
# For each work its systems, and what their processes find in the environment.
SYSTEMS = {
    "train": {
        "dsbs_jax": HUGE_PAGES,
        "dsbs_jax unpacked": HUGE_PAGES,
        "pytorch": {},
        "pytorch, huge pages": HUGE_PAGES,
        "t5x": HUGE_PAGES,
    },
    "label": {
        "dsbs_jax": HUGE_PAGES,
        "pytorch": {},
        "pytorch, sorted": {},
        "pytorch, sorted, huge pages": HUGE_PAGES,
        "t5x": HUGE_PAGES,
    },
}
SHAPES = {
    "tiny": (64, 4, 16, 2, 128),
    "small": (512, 6, 64, 8, 1024),
    "base": (768, 12, 64, 12, 2048),
}
VOCAB_SIZE = 32_128
PIECES = 8_000
ALPHA, LEARNING_RATE, DROPOUT, CLIP = 0.5, 5e-5, 0.1, 1.0
NEW_TOKENS = 64
# Decoded at a time.
ROWS = 64
Batch = dict[str, list[list[int]]]


def parse() -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--release", required=True, help="the authors' data")
    parser.add_argument("--work", default="train", choices=("train", "label"))
    parser.add_argument("--size", default="small", choices=SHAPES)
    parser.add_argument("--pairs", type=int, default=16, help="pairs a batch")
    parser.add_argument("--batches", type=int, default=6, help="timed, each run")
    parser.add_argument("--runs", type=int, default=3, help="of each system")
    parser.add_argument("--forced", action="store_true", help="label: 64 tokens each")
    parser.add_argument("--weights", default="", help="label: Hugging Face folder")
    parser.add_argument("--vocabulary", default="", help="theirs, a SentencePiece file")
    parser.add_argument("--examples", type=int, default=0, help="label: 0 is all")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    parser.add_argument("--data", help=argparse.SUPPRESS)
    return parser.parse_args()


def make_batches(options: argparse.Namespace) -> list[Batch]:
    """Token ids of pairs: label and rationale rows with their inputs.

    For training random rows of the training split, for labelling the test split.
    """
    from dsbs_jax.data import vocabulary
    from dsbs_jax.released import reader as released

    splits = released.open_release(options.release).read("cqa", "palm", None)
    usable = {
        name: [r for r in split.records if r.rationale and r.label]
        for name, split in splits.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        path = options.vocabulary or os.path.join(folder, "model")
        if not options.vocabulary:
            vocabulary.train(vocabulary.texts_of(usable["train"]), path, PIECES)
        encode = vocabulary.load(path).encode
    if options.work == "label":
        chosen = usable["test"][: options.examples or None]
    else:
        order = np.random.default_rng(0).permutation(len(usable["train"]))
        order = order[: options.pairs * options.batches]
        chosen = [usable["train"][i] for i in order]
    return [
        {
            "predict": [[*encode("predict: " + r.input), 1] for r in part],
            "label": [[*encode(r.label), 1] for r in part],
            "explain": [[*encode("explain: " + r.input), 1] for r in part],
            "rationale": [[*encode(r.rationale), 1] for r in part],
        }
        for start in range(0, len(chosen), options.pairs)
        if (part := chosen[start : start + options.pairs])
    ]


def rows_to_label(batches: list[Batch]) -> list[list[int]]:
    """Token ids of all label rows, in their order."""
    return [row for batch in batches for row in batch["predict"]]


def pad(rows: list[list[int]], dtype: str = "int32") -> np.ndarray:
    """Rows as one array, 0 behind each."""
    padded = np.zeros((len(rows), max(map(len, rows))), dtype)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    return padded


def forward_flops(options: argparse.Namespace, source: float, target: float) -> float:
    """Operations of a forward pass over one row of so many tokens, without padding."""
    width, heads, head, layers, hidden = SHAPES[options.size]
    joined = heads * head
    attention, mlp = 4 * width * joined, 3 * width * hidden
    each = source * (attention + mlp + 2 * source * joined)
    each += target * (attention + mlp + 2 * target * joined)
    each += (2 * target + 2 * source) * width * joined + 2 * target * source * joined
    return 2 * (layers * each + target * width * VOCAB_SIZE)


def training_flops(options: argparse.Namespace, batch: Batch) -> float:
    """Operations of forward and backward passes over a batch, without any padding."""
    return 3 * sum(
        forward_flops(options, len(source), len(target))
        for inputs, targets in (("predict", "label"), ("explain", "rationale"))
        for source, target in zip(batch[inputs], batch[targets], strict=True)
    )


def labelling_flops(
    options: argparse.Namespace, batches: list[Batch], tokens: float
) -> float:
    """Operations of answers of so many tokens to all label rows, without padding."""
    return sum(
        forward_flops(options, len(row), tokens) for row in rows_to_label(batches)
    )


def matrix_product_rate(jax: Any) -> float:
    """Operations a second of a float32 matrix product: the best of some shapes."""
    best = 0.0
    for m, k, n in ((2048, 512, 2048), (2048, 2048, 2048), (2048, 512, 32_128)):
        left, right = jax.numpy.ones((m, k)), jax.numpy.ones((k, n))
        product = jax.jit(jax.numpy.dot)
        product(left, right).block_until_ready()
        for _ in range(5):
            began = time.perf_counter()
            product(left, right).block_until_ready()
            best = max(best, 2 * m * k * n / (time.perf_counter() - began))
    return best


def time_each(work: Callable[[Any], None], batches: list) -> tuple[float, float]:
    """Seconds for all batches: the first time, with compilation, and once more."""
    seconds = []
    for _ in range(2):
        began = time.perf_counter()
        for batch in batches:
            work(batch)
        seconds.append(time.perf_counter() - began)
    return seconds[0], seconds[1]


def make_student(options: argparse.Namespace) -> Any:
    """This project's student, of the size that is asked for."""
    from dsbs_jax.student.config import T5Config
    from dsbs_jax.student.network import Transformer

    width, heads, head, layers, hidden = SHAPES[options.size]
    config = T5Config(
        VOCAB_SIZE, width, heads, head, layers, layers, hidden, dropout_rate=DROPOUT
    )
    return Transformer(config)


def both_tasks(batch: Batch) -> dict[str, np.ndarray]:
    """A batch's label rows, then its rationale rows, each padded to the longest."""
    from dsbs_jax import task_ids

    targets = pad(batch["label"] + batch["rationale"])
    tasks = np.repeat([task_ids.LABEL, task_ids.RATIONALE], len(batch["label"]))
    return {
        "encoder_input_tokens": pad(batch["predict"] + batch["explain"]),
        "decoder_target_tokens": targets,
        "decoder_input_tokens": np.pad(targets, ((0, 0), (1, 0)))[:, :-1],
        "decoder_task_ids": np.where(targets > 0, tasks[:, None], 0).astype("i4"),
    }


def widen(batches: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    """The batches, padded to the longest rows of all."""
    widths = {k: max(b[k].shape[1] for b in batches) for k in batches[0]}
    return [
        {k: np.pad(v, ((0, 0), (0, widths[k] - v.shape[1]))) for k, v in batch.items()}
        for batch in batches
    ]


def train_dsbs_jax(options: argparse.Namespace, batches: list[Batch]) -> dict:
    """This engine's training step."""
    began = time.perf_counter()
    import jax

    from dsbs_jax.local import datasets, optimizers, packing, partitioning, step
    from dsbs_jax.local import state as states

    model, partitioner = make_student(options), partitioning.Partitioner()
    key = jax.random.key(0)
    optimizer = optimizers.adamw(optimizers.linear_decay(LEARNING_RATE, 10_000))
    abstract = states.abstract_state(model, optimizer, partitioner)
    state = states.init_state(model, optimizer, abstract, key)
    train_step = step.make_train_step(model, optimizer, partitioner, ALPHA)

    def prepared(batch: Batch) -> dict[str, np.ndarray]:
        rows = both_tasks(batch)
        rows = datasets.trim({k: np.pad(v, ((0, 0), (0, 32))) for k, v in rows.items()})
        if "unpacked" in options.run:
            return rows
        return packing.pack(rows, model.config.emb_dim // 2)

    def train(batch: dict) -> None:
        nonlocal state
        state, metrics = train_step(state, partitioner.put_batch(batch), key)
        metrics["loss"].block_until_ready()

    ready = [prepared(batch) for batch in batches]
    train(ready[0])
    first = time.perf_counter() - began
    _, seconds = time_each(train, ready)
    return {
        "rate": options.pairs * len(batches) / seconds,
        "first": first,
        "flops": sum(training_flops(options, b) for b in batches) / seconds,
        "matrix_product": matrix_product_rate(jax),
    }


def load_weights(options: argparse.Namespace) -> Any:
    """The parameters of `--weights`, which T5X's network names alike."""
    from dsbs_jax.local import partitioning
    from dsbs_jax.local import state as states
    from dsbs_jax.weights import loading as weights

    model, partitioner = make_student(options), partitioning.Partitioner()
    abstract = states.abstract_params(model, partitioner)
    return weights.load(weights.open_weights(options.weights), abstract)


def label_dsbs_jax(options: argparse.Namespace, batches: list[Batch]) -> dict:
    """This engine's greedy decoding of the label task."""
    import flax.linen as nn
    import jax

    from dsbs_jax.local import evaluation, partitioning
    from dsbs_jax.student import decoding

    model, partitioner = make_student(options), partitioning.Partitioner()
    if options.weights:
        params = load_weights(options)
    else:
        tokens = np.ones((1, 2), np.int32)
        params = jax.jit(model.init)(jax.random.key(0), tokens, tokens)
        params = nn.unbox(params)["params"]
    inputs = [np.asarray(row) for row in rows_to_label(batches)]

    class Decoder(evaluation.Decoder):
        def __call__(self, *args: Any) -> Any:
            return decoding.greedy(*args, NEW_TOKENS, not options.forced)

    predictor = evaluation.Predictor(model, Decoder(), partitioner, ROWS)
    made: list[int] = []

    def label(rows: list) -> None:
        made[:] = [len(np.trim_zeros(t)) for t in predictor(params, rows)[0]]

    first, seconds = time_each(label, [inputs])
    return {
        "rate": len(inputs) / seconds,
        "first": first,
        "tokens": float(np.mean(made)),
        "flops": labelling_flops(options, batches, float(np.mean(made))) / seconds,
        "matrix_product": matrix_product_rate(jax),
    }


def make_t5x_model(options: argparse.Namespace) -> Any:
    """T5X's network and greedy decoding, with this project's objective."""
    import seqio
    from t5x import decoding
    from t5x.examples.t5 import network

    from dsbs_jax.pods import models, optimizers

    width, heads, head, layers, hidden = SHAPES[options.size]
    config = network.T5Config(
        vocab_size=VOCAB_SIZE,
        dtype="float32",
        emb_dim=width,
        num_heads=heads,
        head_dim=head,
        num_encoder_layers=layers,
        num_decoder_layers=layers,
        mlp_dim=hidden,
        mlp_activations=("gelu", "linear"),
        dropout_rate=DROPOUT,
        logits_via_embedding=False,
    )
    vocabulary = seqio.PassThroughVocabulary(VOCAB_SIZE, eos_id=1)
    return models.DistillationModel(
        module=network.Transformer(config),
        input_vocabulary=vocabulary,
        output_vocabulary=vocabulary,
        optimizer_def=optimizers.adamw(),
        alpha=ALPHA,
        decode_fn=functools.partial(
            decoding.temperature_sample, temperature=0.0, max_decode_steps=NEW_TOKENS
        ),
    )


def label_t5x(options: argparse.Namespace, batches: list[Batch]) -> dict:
    """T5X's greedy decoding of the label task, rows padded to the longest of all."""
    import jax

    model = make_t5x_model(options)
    rows = sorted(rows_to_label(batches), key=len)
    tokens = pad(rows)
    tokens = np.pad(tokens, ((0, -len(tokens) % ROWS), (0, 0)))
    parts = [
        {
            "encoder_input_tokens": tokens[start : start + ROWS],
            "decoder_input_tokens": np.zeros((ROWS, NEW_TOKENS + 1), np.int32),
        }
        for start in range(0, len(tokens), ROWS)
    ]
    if options.weights:
        params = load_weights(options)
    else:
        shapes = {k: v.shape for k, v in parts[0].items()}
        start = jax.jit(lambda key: model.get_initial_variables(key, shapes)["params"])
        params = start(jax.random.key(0))
    predict = jax.jit(model.predict_batch)
    first, seconds = time_each(lambda p: jax.device_get(predict(params, p)), parts)
    return {"rate": len(rows) / seconds, "first": first}


def train_t5x(options: argparse.Namespace, batches: list[Batch]) -> dict:
    """T5X's training step and network."""
    began = time.perf_counter()
    import jax
    from t5x import train_state, trainer

    model = make_t5x_model(options)
    ready = widen([both_tasks(batch) for batch in batches])
    for batch in ready:
        weights = batch["decoder_target_tokens"] > 0
        batch["decoder_loss_weights"] = weights.astype(np.int32)
    shapes = {k: v.shape for k, v in ready[0].items()}
    key = jax.random.key(0)

    @jax.jit
    def start(key: jax.Array) -> Any:
        variables = model.get_initial_variables(key, shapes)
        made = train_state.FlaxOptimTrainState.create(model.optimizer_def, variables)
        return made.replace(params_axes=None)

    def update(state: Any, batch: dict, key: jax.Array) -> tuple[Any, jax.Array]:
        state, metrics = trainer.train_with_lr(
            state, batch, LEARNING_RATE, key, model, num_microbatches=None
        )
        return state, metrics["loss"].compute()

    state, train_step = start(key), jax.jit(update, donate_argnums=0)

    def train(batch: dict) -> None:
        nonlocal state
        state, loss = train_step(state, batch, key)
        loss.block_until_ready()

    train(ready[0])
    first = time.perf_counter() - began
    _, seconds = time_each(train, ready)
    return {"rate": options.pairs * len(batches) / seconds, "first": first}


def run_pytorch(options: argparse.Namespace, batches: list[Batch]) -> dict:
    """A plain loop over Transformers' model."""
    began = time.perf_counter()
    import torch
    import transformers

    width, heads, head, layers, hidden = SHAPES[options.size]
    if options.weights:
        model = transformers.T5ForConditionalGeneration.from_pretrained(options.weights)
    else:
        model = transformers.T5ForConditionalGeneration(
            transformers.T5Config(
                vocab_size=VOCAB_SIZE,
                d_model=width,
                num_heads=heads,
                d_kv=head,
                num_layers=layers,
                d_ff=hidden,
                feed_forward_proj="gated-gelu",
                tie_word_embeddings=False,
                dropout_rate=DROPOUT,
                decoder_start_token_id=0,
            )
        )
        # Untied, as v1.1 is.
        model.lm_head.weight = torch.nn.Parameter(torch.randn(VOCAB_SIZE, width))

    def tensors(rows: list[list[int]]) -> dict[str, Any]:
        tokens = torch.from_numpy(pad(rows, "int64"))
        return {"input_ids": tokens, "attention_mask": (tokens > 0).long()}

    if options.work == "label":
        model.eval()
        rows = rows_to_label(batches)
        if "sorted" in options.run:
            rows.sort(key=len)
        limits = {"max_new_tokens": NEW_TOKENS}
        if options.forced:
            limits["min_new_tokens"] = NEW_TOKENS

        def label(rows: list) -> None:
            with torch.no_grad():
                for start in range(0, len(rows), ROWS):
                    part = tensors(rows[start : start + ROWS])
                    model.generate(**part, **limits, do_sample=False, num_beams=1)

        first, seconds = time_each(label, [rows])
        return {"rate": len(rows) / seconds, "first": first}
    model.train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, weight_decay=0.0
    )

    def loss(inputs: list, targets: list) -> Any:
        labels = torch.from_numpy(pad(targets, "int64"))
        return model(**tensors(inputs), labels=labels.masked_fill(labels == 0, -100))

    def train(batch: Batch) -> None:
        label = loss(batch["predict"], batch["label"]).loss
        rationale = loss(batch["explain"], batch["rationale"]).loss
        optimizer.zero_grad()
        (ALPHA * label + (1 - ALPHA) * rationale).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()

    train(batches[0])
    first = time.perf_counter() - began
    _, seconds = time_each(train, batches)
    return {"rate": options.pairs * len(batches) / seconds, "first": first}


def run_one(options: argparse.Namespace) -> None:
    """What a child process does: one system, one line of JSON."""
    batches = json.loads(pathlib.Path(options.data).read_text())
    system = options.run.partition(" ")[0].strip(",")
    work = {
        "dsbs_jax": train_dsbs_jax if options.work == "train" else label_dsbs_jax,
        "pytorch": run_pytorch,
        "t5x": train_t5x if options.work == "train" else label_t5x,
    }[system]
    result = work(options, batches)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps(result | {"peak": peak / 2**20}))


def compared(options: argparse.Namespace) -> list[str]:
    """The systems that take part: T5X where it is installed."""
    left_out = set() if importlib.util.find_spec("t5x") else {"t5x"}
    return [system for system in SYSTEMS[options.work] if system not in left_out]


def run_in_turns(options: argparse.Namespace) -> dict[str, list[dict]]:
    """What each system's runs printed."""
    systems = compared(options)
    results: dict[str, list[dict]] = {system: [] for system in systems}
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder) / "batches.json"
        data.write_text(json.dumps(make_batches(options)))
        for number in range(options.runs):
            for system in systems:
                done = subprocess.run(
                    [sys.executable, *sys.argv, "--run", system, "--data", data],
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                    env=os.environ | SYSTEMS[options.work][system],
                )
                results[system].append(json.loads(done.stdout.splitlines()[-1]))
                rate = results[system][-1]["rate"]
                print(f"run {number + 1} {system}: {rate:.2f}/s", file=sys.stderr)
    return results


def compare(options: argparse.Namespace) -> None:
    """Runs the systems in turns and prints the tables."""
    results = run_in_turns(options)
    trains = options.work == "train"
    unit, first = ("pairs/s", "step") if trains else ("examples/s", "pass")
    print(f"| system | {unit}, median (runs) | peak GiB | first {first}, s |")
    print("| --- | --- | --- | --- |")
    medians = {}
    for system, runs in results.items():
        rates = sorted(run["rate"] for run in runs)
        medians[system] = statistics.median(rates)
        first = statistics.median(run["first"] for run in runs)
        print(
            f"| {system} | {medians[system]:.2f} ({rates[0]:.2f}–{rates[-1]:.2f}) | "
            f"{max(run['peak'] for run in runs):.1f} | {first:.0f} |"
        )
    print()
    for system in [s for s in results if s != "dsbs_jax"]:
        print(f"dsbs_jax : {system} = {medians['dsbs_jax'] / medians[system]:.2f}")
    last = results["dsbs_jax"][-1]
    product = last["matrix_product"]
    print(
        f"model operations {last['flops'] / 1e9:.0f} GFLOP/s, matrix product "
        f"{product / 1e9:.0f} GFLOP/s: {100 * last['flops'] / product:.0f} %; "
        f"at its rate {last['rate'] * product / last['flops']:.1f} {unit}"
    )
    if "tokens" in last:
        print(f"tokens an answer, mean: {last['tokens']:.1f}")


if __name__ == "__main__":
    chosen = parse()
    run_one(chosen) if chosen.run else compare(chosen)
