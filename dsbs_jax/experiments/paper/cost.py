"""What a grid costs: tokens, operations, hours and disk space, before it runs.

Operations are those of training without padding, from the mean lengths in `TOKENS`.
Evaluation and compilation are not counted. Hours are operations / rate, and the rate is
measured: given by the user, recorded in `devices.json` with its command, or that of the
finished runs of the same grid.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterable

from dsbs_jax import json_input
from dsbs_jax.data.dataset_spec import EXPLAIN_PREFIX, PREDICT_PREFIX
from dsbs_jax.data.methods import ANSWER_MARKER, info_of, prefixes_of
from dsbs_jax.errors import UserError
from dsbs_jax.experiments.paper.cell import TEXTS_OF_A_PAIR, Cell
from dsbs_jax.experiments.paper.config import GridConfig
from dsbs_jax.student import operations, sizes

# Bytes of a parameter in a checkpoint: weights and AdamW's two moments in float32.
_CHECKPOINT_BYTES = 12
# The last two checkpoints and the best one.
_CHECKPOINTS = 3


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of runs.

    Attributes:
        tokens: Tokens of inputs and targets that training reads.
        operations: Floating-point operations of training.
        bytes: Disk space of the checkpoints.
    """

    tokens: float = 0.0
    operations: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        """Adds the cost of further runs."""
        return Cost(
            self.tokens + other.tokens,
            self.operations + other.operations,
            self.bytes + other.bytes,
        )


@dataclasses.dataclass(frozen=True)
class Rate:
    """Operations of training per second.

    Attributes:
        operations: Operations per second.
        device: Name of the device.
        source: How the rate was measured.
    """

    operations: float
    device: str
    source: str


@functools.cache
def recorded_rates() -> dict[str, Rate]:
    """Returns the recorded rates by the name of the device."""
    path = pathlib.Path(__file__).with_name("devices.json")
    listed = json_input.parse(path.read_bytes(), tuple[Rate, ...])
    return {rate.device: rate for rate in listed}


def recorded_rate(device: str) -> Rate:
    """Returns the recorded rate of a device.

    Raises:
        UserError: No rate of this device was recorded.
    """
    rates = recorded_rates()
    if device not in rates:
        raise UserError(
            f"--device is {device!r}, expected one with a recorded rate "
            f"({', '.join(rates)}), or --rate with a rate that you measured"
        )
    return rates[device]


def rate_of_finished(
    config: GridConfig, finished: Iterable[tuple[Cell, float]]
) -> Rate | None:
    """Returns the rate of runs that are done.

    Args:
        config: The grid.
        finished: The cell of each run, and its seconds, which include evaluation and
            compilation.
    """
    runs = list(finished)
    seconds = sum(seconds for _, seconds in runs)
    if not seconds:
        return None
    work = sum(cost_of(config, cell).operations for cell, _ in runs)
    source = f"measured: {len(runs)} finished runs of this grid"
    return Rate(work / seconds, "this machine", source)


def cost_of(config: GridConfig, cell: Cell) -> Cost:
    """Returns the cost of one run.

    Raises:
        UserError: `TOKENS` has no lengths for the dataset.
    """
    size = sizes.size_of(cell.size)
    rows = config.pairs[cell.size] * cell.updates(config.steps)
    if cell.is_pretraining:
        texts = TEXTS_OF_A_PAIR * config.pairs[cell.size]
        rows = texts * config.pretrain_steps[cell.size]
    width = config.embedding_rows
    examples = _examples(config, cell)
    work = sum(operations.training_operations(size, *one, width) for one in examples)
    weights = operations.parameter_count(size, width)
    space = weights * _CHECKPOINT_BYTES * _CHECKPOINTS
    return Cost(rows * sum(map(sum, examples)), rows * work, space)


def _examples(config: GridConfig, cell: Cell) -> list[tuple[int, int]]:
    """Returns the tokens of input and target of each example of a training row."""
    method = "/".join([cell.method, *([cell.teacher] if cell.teacher else [])])
    names = f"{cell.dataset}/{method}", cell.dataset
    found = [config.tokens[name] for name in names if name in config.tokens]
    if not found:
        raise UserError(
            f"TOKENS has no entry for {cell.dataset!r}, expected the mean tokens of "
            "input, label and rationale"
        )
    source, label, rationale = found[0]
    info = info_of(cell.method)

    def fixed(text: str) -> int:
        return config.fixed_tokens.get(text, 0)

    if info.rationale_first:
        target = rationale + fixed(ANSWER_MARKER) + label
        if not cell.two_tasks:
            return [(source, target)]
        # The counterfactual method repeats the prefix of the input in the target.
        prefixes = map(fixed, prefixes_of(info))
        return [(source + prefix, prefix + target) for prefix in prefixes]
    if cell.two_tasks or info.paired:
        return [
            (source + fixed(PREDICT_PREFIX), label),
            (source + fixed(EXPLAIN_PREFIX), rationale),
        ]
    return [(source, label + rationale if info.label_first else label)]
