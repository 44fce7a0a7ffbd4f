r"""Prints an example of a task, as text and as token ids.

    python -m dsbs_jax.tasks.show cqa_palm_rationale --tfds_data_dir=$HOME/data
    python -m dsbs_jax.tasks.show own_predict --gin_file=datasets/jsonl.gin \
      --gin.DATA_FILES=tickets.jsonl --gin.VOCABULARY_PATH=own.model

For a mixture, it prints an example of each of its tasks. The dataset is the one that
begins the name, or that of the gin files.
"""

from absl import flags

from dsbs_jax import cli, settings, tensorflow_import
from dsbs_jax.data import dataset_spec
from dsbs_jax.data.data_config import DataConfig
from dsbs_jax.errors import UserError

SHOWN_IDS = 60


def data_config(name: str) -> DataConfig:
    """Returns the settings of the data of a task or mixture.

    Args:
        name: Name of the task or mixture.

    Raises:
        UserError: No gin file sets DATASET and no dataset has such a name.
    """
    values = cli.given(DataConfig)
    values["MIXTURE_OR_TASK_NAME"] = name
    values.setdefault("METHOD", "finetune")
    if "DATASET" not in values:
        named = [d for d in dataset_spec.all_names() if name.startswith(f"{d}_")]
        if not named:
            raise UserError(
                f"{name!r} begins with none of {', '.join(dataset_spec.all_names())}; "
                "for another dataset, give a --gin_file that sets DATASET"
            )
        values["DATASET"] = max(named, key=len)
    return settings.from_values(DataConfig, values)


def show(config: DataConfig, split: str) -> None:
    """Prints the first example of each task.

    Raises:
        UserError: The name is unknown, or the split is missing or empty.
    """
    import seqio

    from dsbs_jax.data import mixtures, vocabulary

    data = mixtures.build(config, vocabulary.load(config.vocabulary_path))
    for task in seqio.get_subtasks(data.mixture):
        if split not in task.splits:
            raise UserError(
                f"--split is {split!r}, expected one of {', '.join(task.splits)}"
            )
        dataset = task.get_dataset(
            None, split, shuffle=False, num_epochs=1, try_in_mem_cache=False
        )
        example = next(dataset.as_numpy_iterator(), None)
        if example is None:
            raise UserError(f"task {task.name!r} has no example in split {split!r}")
        print(f"{task.name} ({split}, example {example['id'].decode()})")
        for feature in ("inputs", "targets"):
            ids = example[feature].tolist()
            more = f" … {len(ids)} ids in total" if len(ids) > SHOWN_IDS else ""
            print(f"  {feature}: {example[f'{feature}_pretokenized'].decode()!r}")
            print(f"    ids: {ids[:SHOWN_IDS]}{more}")
        print(f"  task_ids: {example['task_ids'][0]} for each of the targets\n")


def main(arguments: list[str]) -> None:
    """Shows the task that the command line names."""
    if len(arguments) != 2:
        raise UserError("expected the name of one task or mixture")
    # Only the test task depends on the method, and it is not shown.
    method = "METHOD = 'finetune'"
    cli.configure(
        flags.FLAGS.gin_file,
        [method, *flags.FLAGS.gin_bindings],
        flags.FLAGS.gin_search_paths,
        known=[DataConfig],
    )
    tensorflow_import.import_quietly()
    cli.use_tfds_data_dir()
    show(data_config(arguments[1]), flags.FLAGS.split)


if __name__ == "__main__":
    cli.define_flags()
    flags.DEFINE_string("split", "train", "The split whose first example is printed.")
    cli.run(
        main,
        positional=1,
        help_text=cli.help_text(__doc__, [DataConfig], prefix="--gin."),
    )
