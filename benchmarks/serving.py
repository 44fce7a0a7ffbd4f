"""Compares engines that use a student: rows/s, time of one answer, and the server.

    python benchmarks/serving.py
    python benchmarks/serving.py --release=datasets.zip
    python benchmarks/serving.py --rows=120 --runs=1 --rationale_rows=0 --clients=0

The student is T5 v1.1 small with random weights, and all systems have the same weights.
The rows are the inputs of `examples/tickets.jsonl` in random order, or with `--release`
the test rows of CommonsenseQA, which are longer. Each answer has a fixed number of
tokens, because random weights rarely generate the end token. The systems take turns in
one process, and the table has the median of the runs. It needs the extras `hf` and
`serve`. Prints Markdown tables.
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import http.client
import itertools
import json
import os
import pathlib
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

# Idle OpenMP threads of one system must not spin while another one is measured.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from label_scoring import SMALL  # noqa: E402
from load_test import Server  # noqa: E402
from systems import workload  # noqa: E402

from dsbs_jax.student.precision import Precision  # noqa: E402

DATA = pathlib.Path(__file__).parents[1] / "examples/tickets.jsonl"
RATIONALE_TOKENS, BEAMS = 48, 4
BATCH = 32
QUANTIZATIONS: tuple[Literal["float32", "int8"], ...] = ("float32", "int8")
# Takes texts and the number of tokens of each answer.
System = Callable[[Sequence[str], int], Any]


def parse_options() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--release", help="the authors' data: datasets.zip or a folder")
    add("--rows", type=int, default=600, help="rows of a run with labels")
    add("--label_tokens", type=int, default=4, help="tokens of a label")
    add("--rationale_rows", type=int, default=60, help="rows of a run with rationales")
    add("--runs", type=int, default=5, help="runs of each system")
    add("--single", type=int, default=40, help="requests of one input")
    add(
        "--clients", type=int, default=64, help="clients of the server; 0 leaves it out"
    )
    return parser.parse_args()


def make_student(
    folder: pathlib.Path, inputs: Sequence[str], label_tokens: int
) -> dict[str, pathlib.Path]:
    """Writes the student for transformers and for CTranslate2."""
    import numpy as np

    from dsbs_jax.data import vocabulary
    from dsbs_jax.local import student_folder
    from dsbs_jax.local.config import DecodingConfig
    from dsbs_jax.student.network import parameter_shapes
    from dsbs_jax.weights import ctranslate2_format, writing

    model = folder / "own.model"
    pieces = 1000 if len(inputs) < 1000 else workload.PIECES
    vocabulary.train(inputs, model, pieces, at_most=True)
    words = vocabulary.load(str(model))
    rng = np.random.default_rng(0)
    params = {
        name: np.asarray(
            np.ones(shape) if "norm" in name else 0.05 * rng.normal(size=shape),
            np.float32,
        )
        for name, shape in parameter_shapes(SMALL).items()
    }
    hf = folder / "hf"
    writing.write_weights(hf, "hf", params, SMALL)
    for name, content in writing.tokenizer_files(words, SMALL).items():
        (hf / name).write_bytes(content)
    spec = student_folder.StudentSpec(
        network=SMALL,
        decoding=DecodingConfig(batch_size=BATCH, max_decode_length=label_tokens),
        input_length=128,
        target_length=RATIONALE_TOKENS,
        label_prefix="predict: ",
        explain_prefix="explain: ",
        vocabulary_sha256=hashlib.sha256(model.read_bytes()).hexdigest(),
    )
    student_folder.write_spec(hf, spec)
    paths = {"hf": hf}
    tokens = ctranslate2_format.tokens_of(words, SMALL.vocab_size)
    for quantization in QUANTIZATIONS:
        paths[quantization] = folder / quantization
        paths[quantization].mkdir()
        student_folder.write(paths[quantization], spec, words)
        model = paths[quantization] / ctranslate2_format.MODEL_FOLDER
        ctranslate2_format.write_model(model, params, SMALL, tokens, quantization)
    return paths


def read_inputs(release: str | None) -> list[str]:
    """Returns the inputs that are labeled."""
    if release:
        return [record.input for record in workload.read_examples(release)["test"]]
    return [json.loads(line)["input"] for line in DATA.read_text().splitlines()]


def transformers_system(folder: pathlib.Path, dtype: str, beams: int = 1) -> System:
    """Answers in the order of the rows, as a loop over a user's rows does."""
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=getattr(torch, dtype))

    def answer(rows: Sequence[str], tokens: int) -> list[str]:
        answers = []
        for start in range(0, len(rows), BATCH):
            batch = tokenizer(
                ["predict: " + text for text in rows[start : start + BATCH]],
                return_tensors="pt",
                padding=True,
                truncation=True,
                max_length=128,
            )
            with torch.inference_mode():
                ids = model.generate(
                    **batch,
                    max_new_tokens=tokens,
                    min_new_tokens=tokens,
                    num_beams=beams,
                    do_sample=False,
                )
            answers += tokenizer.batch_decode(ids, skip_special_tokens=True)
        return answers

    return answer


def direct_system(folder: pathlib.Path) -> System:
    """CTranslate2 without dsbs_jax, which sorts the rows by length."""
    import ctranslate2
    import sentencepiece

    model = ctranslate2.Translator(
        str(folder / "ctranslate2"), intra_threads=os.cpu_count()
    )
    words = sentencepiece.SentencePieceProcessor(
        str(folder / "vocabulary/sentencepiece.model")
    )

    def answer(rows: Sequence[str], tokens: int) -> list[str]:
        pieces = words.encode(["predict: " + row for row in rows], out_type=str)
        results = model.translate_batch(
            [[*row[:127], "</s>"] for row in pieces],
            max_batch_size=BATCH,
            beam_size=1,
            min_decoding_length=tokens,
            max_decoding_length=tokens,
            max_input_length=0,
        )
        return [words.decode(result.hypotheses[0]) for result in results]

    return answer


def student_system(
    folder: pathlib.Path, engine: str, beams: int = 1, precision: Precision = "float32"
) -> System:
    """`Student.predict`, and `Student.explain` for answers longer than a label."""
    from dsbs_jax.api import opening
    from dsbs_jax.api.student import Student

    opened = opening.open_student(str(folder))
    decoding = dataclasses.replace(opened.spec.decoding, num_beams=beams)
    network = dataclasses.replace(opened.spec.network, precision=precision)
    spec = dataclasses.replace(opened.spec, decoding=decoding, network=network)
    opened = dataclasses.replace(opened, spec=spec)
    student = Student(spec, opened.words, opened.engine(engine))

    def answer(rows: Sequence[str], tokens: int) -> Any:
        if tokens == spec.decoding.max_decode_length:
            return student.predict(rows)
        return student.explain(rows, max_length=tokens)

    return answer


def rates(
    systems: dict[str, System], rows: Sequence[str], tokens: int, runs: int
) -> dict[str, list[float]]:
    """Returns the rows per second of each run; the systems take turns."""
    found: dict[str, list[float]] = {name: [] for name in systems}
    for answer in systems.values():
        answer(rows, tokens)  # compiles
    for run in range(runs):
        for name, answer in systems.items():
            start = time.perf_counter()
            answer(rows, tokens)
            found[name].append(len(rows) / (time.perf_counter() - start))
            print(
                f"run {run + 1}: {name} {found[name][-1]:.1f} rows/s", file=sys.stderr
            )
    return found


def answer_one(system: System, tokens: int, row: str) -> None:
    """Answers one row."""
    system([row], tokens)


def latencies(answer: Callable[[str], None], rows: Sequence[str]) -> list[float]:
    """Returns the milliseconds of each request of one input."""
    for row in rows:
        answer(row)  # compiles for each length
    times = []
    for row in rows:
        start = time.perf_counter()
        answer(row)
        times.append(1000 * (time.perf_counter() - start))
    return times


def show(title: str, found: dict[str, list[float]]) -> None:
    """Prints the rates as a table."""
    base = statistics.median(next(iter(found.values())))
    print(f"\n| {title} | rows/s, median (runs) | ratio |\n| --- | --- | --- |")
    for name, values in found.items():
        middle = statistics.median(values)
        print(
            f"| {name} | {middle:.1f} ({min(values):.1f}–{max(values):.1f}) | "
            f"{middle / base:.2f} |"
        )


def show_latencies(found: dict[str, list[float]]) -> None:
    """Prints the times of single requests as a table."""
    print("\n| one input at a time | p50, ms | p95, ms |\n| --- | --- | --- |")
    for name, values in found.items():
        p95 = statistics.quantiles(values, n=20)[-1]
        print(f"| {name} | {statistics.median(values):.1f} | {p95:.1f} |")


def measure_server(
    student: pathlib.Path, rows: Sequence[str], options: argparse.Namespace
) -> tuple[list[float], list[float]]:
    """Returns rows/s with many clients, and the times of single requests in ms."""
    with tempfile.TemporaryDirectory() as folder:
        log = pathlib.Path(folder) / "log"
        server = Server(
            str(student),
            ["--max_batch_size", str(BATCH), "--queue_size", "10000"],
            log,
        )
        try:
            server.wait()

            def client(part: Sequence[str]) -> None:
                with contextlib.closing(
                    http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
                ) as connection:
                    for row in part:
                        post(connection, row)

            def post(connection: http.client.HTTPConnection, row: str) -> None:
                body = json.dumps({"input": row})
                headers = {"Content-Type": "application/json"}
                connection.request("POST", "/v1/predict", body, headers)
                response = connection.getresponse()
                content = response.read()
                assert response.status == 200, content

            found = []
            parts = [rows[i :: options.clients] for i in range(options.clients)]
            with concurrent.futures.ThreadPoolExecutor(options.clients) as pool:
                list(pool.map(client, parts))
                for _ in range(options.runs):
                    start = time.perf_counter()
                    list(pool.map(client, parts))
                    found.append(len(rows) / (time.perf_counter() - start))
            with contextlib.closing(
                http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
            ) as connection:
                times = latencies(
                    lambda row: post(connection, row), rows[: options.single]
                )
        finally:
            server.process.terminate()
            server.process.wait()
    return found, times


def main(options: argparse.Namespace) -> None:
    """Measures all systems and prints the tables."""
    from dsbs_jax import tensorflow_import

    tensorflow_import.import_quietly()
    inputs, tokens = read_inputs(options.release), options.label_tokens
    random.Random(0).shuffle(inputs)
    rows = list(itertools.islice(itertools.cycle(inputs), options.rows))
    with tempfile.TemporaryDirectory() as scratch:
        paths = make_student(pathlib.Path(scratch), inputs, tokens)
        systems = {
            "transformers float32, unsorted": transformers_system(
                paths["hf"], "float32"
            ),
            "transformers bfloat16, unsorted": transformers_system(
                paths["hf"], "bfloat16"
            ),
            "CTranslate2 int8, called directly": direct_system(paths["int8"]),
            "dsbs_jax, jax": student_system(paths["hf"], "jax"),
            "dsbs_jax, jax mixed": student_system(
                paths["hf"], "jax", precision="mixed"
            ),
            "dsbs_jax, ctranslate2 float32": student_system(
                paths["float32"], "ctranslate2"
            ),
            "dsbs_jax, ctranslate2 int8": student_system(paths["int8"], "ctranslate2"),
        }
        found = rates(systems, rows, tokens, options.runs)
        one = rows[: options.single]
        single = {
            name: latencies(functools.partial(answer_one, system, tokens), one)
            for name, system in systems.items()
        }
        if options.clients:
            name = f"dsbs-jax serve, int8, {options.clients} clients"
            found[name], single["dsbs-jax serve, int8"] = measure_server(
                paths["int8"], rows, options
            )
        show(f"labels of {tokens} tokens", found)
        show_latencies(single)
        few = rows[: options.rationale_rows]
        if few:
            show(
                f"rationales of {RATIONALE_TOKENS} tokens",
                rates(systems, few, RATIONALE_TOKENS, options.runs),
            )
            beams = {
                "transformers float32, unsorted": transformers_system(
                    paths["hf"], "float32", BEAMS
                ),
                "dsbs_jax, jax": student_system(paths["hf"], "jax", BEAMS),
            }
            show(
                f"labels with {BEAMS} beams",
                rates(beams, few, tokens, options.runs),
            )


if __name__ == "__main__":
    main(parse_options())
