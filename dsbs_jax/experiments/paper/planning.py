"""The runs of a grid: their names, gin files, settings and commands."""

import dataclasses
import itertools
import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from dsbs_jax.data.methods import METHODS, PRETRAIN, info_of
from dsbs_jax.errors import UserError
from dsbs_jax.experiments.paper import cost, generated
from dsbs_jax.experiments.paper.cell import TEXTS_OF_A_PAIR, Cell
from dsbs_jax.experiments.paper.config import Budget, GridConfig, parse_method

TRAIN_MODULE = "dsbs_jax.train"
# Settings of a cell, also where the gin files set them.
_OF_CELLS = {
    "ALPHA",
    "DATASET",
    "METHOD",
    "SUBSAMPLE_FRACTION",
    "SUBSAMPLE_SEED",
    "TEACHER",
}


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """One run of a grid.

    Attributes:
        cell: What the run has in common with other seeds.
        seed: The seed.
        gin_files: The gin files of the run, in order.
        macros: The settings that override the files.
    """

    cell: Cell
    seed: int
    gin_files: tuple[str, ...]
    macros: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the run folder in the folder of the grid."""
        return f"{self.cell.name}-seed{self.seed}"

    def arguments(self, output: pathlib.Path, tfds_data_dir: str | None) -> list[str]:
        """Returns the arguments of `python -m dsbs_jax.train`.

        Args:
            output: The folder of the grid.
            tfds_data_dir: Folder of the prepared datasets.
        """
        macros = {"MODEL_DIR": str(output / self.name), **self.macros}
        flags = [f"--gin_file={file}" for file in self.gin_files]
        flags += [f"--gin.{name}={_text(value)}" for name, value in macros.items()]
        return flags + ([f"--tfds_data_dir={tfds_data_dir}"] if tfds_data_dir else [])

    def command(self, output: pathlib.Path, tfds_data_dir: str | None) -> str:
        """Returns the command of the run as one line for a shell."""
        arguments = self.arguments(output, tfds_data_dir)
        return shlex.join(["python", "-m", TRAIN_MODULE, *arguments])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def plan(config: GridConfig, output: pathlib.Path) -> list[PlannedRun]:
    """Returns the runs of a grid; all cells of one seed come before the next seed.

    Args:
        config: The grid.
        output: The folder of the grid, where generated data are.
    """
    pretraining = [
        _pretraining(config, size, output)
        for size in config.sizes
        if size in config.pretrain_steps
    ]
    return pretraining + [
        _planned(config, cell, seed, output)
        for seed in config.seeds
        for cell in cells(config)
    ]


def _pretraining(config: GridConfig, size: str, output: pathlib.Path) -> PlannedRun:
    """Returns the run from whose student the other runs of a size start."""
    cell = Cell(generated.TEXTS, size, PRETRAIN)
    files, macros = _data_settings(config, cell, output)
    # Without validation and test rows, the run has no scores.
    macros["DATA_FILES"] = {"train": macros["DATA_FILES"]["train"]}
    macros |= {
        "TRAIN_STEPS": config.pretrain_steps[size],
        "BATCH_SIZE": TEXTS_OF_A_PAIR * config.pairs[size],
        "RANDOM_SEED": 0,
    }
    gin_files = _gin_files(config, cell, files)
    return PlannedRun(cell, 0, gin_files, macros)


def cells(config: GridConfig) -> list[Cell]:
    """Returns the cells of a grid in the order of its settings, without repetitions.

    Cells of methods that read other fields than their dataset has are left out.
    """
    return [cell for cell in _all_cells(config) if _has_data(cell)]


def cells_without_data(config: GridConfig) -> list[Cell]:
    """Returns the cells of methods that read fields their dataset lacks.

    A method has one cell for all budgets, with `steps` 0.
    """
    found = [cell for cell in _all_cells(config) if not _has_data(cell)]
    return list(dict.fromkeys(dataclasses.replace(cell, steps=0) for cell in found))


def _has_data(cell: Cell) -> bool:
    return generated.has_fields(cell.source, cell.method)


def _all_cells(config: GridConfig) -> list[Cell]:
    found: dict[Cell, None] = {}
    for dataset, size, name in itertools.product(
        config.datasets, config.sizes, config.methods
    ):
        choice = parse_method(name)
        info = METHODS[choice.method]
        alphas = config.alphas if info.two_tasks and config.alphas else (info.alpha,)
        for fraction, alpha, budget in itertools.product(
            config.fractions_of(dataset), alphas, config.budgets
        ):
            cell = Cell(
                dataset,
                size,
                choice.method,
                choice.teacher,
                fraction,
                alpha,
                variant=choice.variant,
            )
            found[_with_budget(config, cell, budget)] = None
    return list(found)


def _with_budget(config: GridConfig, cell: Cell, budget: Budget) -> Cell:
    """Returns a cell of STEPS with the updates of its budget.

    Equal operations are those that the first of METHODS needs for STEPS.
    """
    if budget == "steps":
        return cell
    choice = parse_method(config.methods[0])
    first = dataclasses.replace(cell, **choice._asdict())
    work, budgeted = (cost.cost_of(config, one).operations for one in (cell, first))
    steps = max(1, round(config.steps[cell.size] * budgeted / work))
    if steps == config.steps[cell.size]:
        return cell  # one run for both budgets
    return dataclasses.replace(cell, steps=steps)


def _planned(
    config: GridConfig, cell: Cell, seed: int, output: pathlib.Path
) -> PlannedRun:
    files, macros = _data_settings(config, cell, output)
    if cell.teacher:
        macros["TEACHER"] = cell.teacher
    if cell.fraction < 1:
        macros |= {"SUBSAMPLE_FRACTION": cell.fraction, "SUBSAMPLE_SEED": seed}
    if not cell.has_default_alpha:
        macros["ALPHA"] = cell.alpha
    if info_of(cell.method).each_rationale:
        # Also if empty, so that a finished run with weights is not taken for this run.
        macros["TEACHER_WEIGHTS"] = config.teacher_weights
    macros["TRAIN_STEPS"] = cell.updates(config.steps)
    macros["BATCH_SIZE"] = config.pairs[cell.size] * (2 if cell.two_tasks else 1)
    checkpoint = config.initial_checkpoints.get(cell.size)
    if cell.size in config.pretrain_steps:
        checkpoint = str(output / _pretraining(config, cell.size, output).name)
    if checkpoint:
        macros["INITIAL_CHECKPOINT_PATH"] = checkpoint
    macros["RANDOM_SEED"] = seed
    changes = config.variants.get(cell.variant, {})
    if taken := (macros.keys() | _OF_CELLS) & changes.keys():
        raise UserError(
            f"VARIANTS, {cell.variant!r}: {', '.join(sorted(taken))} is a setting of "
            "the grid, expected other settings"
        )
    macros |= changes
    return PlannedRun(cell, seed, _gin_files(config, cell, files), macros)


def _gin_files(
    config: GridConfig, cell: Cell, data_files: Sequence[str]
) -> tuple[str, ...]:
    return (
        f"sizes/{cell.size}.gin",
        f"methods/{cell.method}.gin",
        *data_files,
        *config.run_files,
        "local/train.gin",
    )


def _data_settings(
    config: GridConfig, cell: Cell, output: pathlib.Path
) -> tuple[list[str], dict[str, Any]]:
    """Returns the gin files and settings of a run's data."""
    name = cell.dataset
    if name in generated.DATASETS:
        folder = generated.folder_of(output, cell.source)
        macros: dict[str, Any] = {
            "DATASET": name,
            "DATA_FILES": generated.files_of(folder),
            "VOCABULARY_PATH": str(folder / generated.VOCABULARY),
        }
        return ["datasets/jsonl.gin"], macros
    words = config.vocabulary or _vocabulary_of(
        config.initial_checkpoints.get(cell.size, "")
    )
    macros = {"VOCABULARY_PATH": words} if words else {}
    if name in config.data:
        macros |= {"DATASET": name, "DATA_FILES": config.data[name]}
        return ["datasets/jsonl.gin"], macros
    return [f"datasets/{name}.gin"], macros


def _vocabulary_of(checkpoint: str) -> str | None:
    """Returns a checkpoint that holds its vocabulary: on the hub, or a folder."""
    folder = pathlib.Path(checkpoint)
    names = ("spiece.model", "tokenizer.json")
    has_vocabulary = any((folder / name).is_file() for name in names)
    return checkpoint if checkpoint.startswith("hub:") or has_vocabulary else None
