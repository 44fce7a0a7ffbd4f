"""Prints what an example of a task looks like, as text and as token ids.

    python -m dsbs_jax.tasks.show cqa_palm_rationale --tfds_data_dir=$HOME/data
    python -m dsbs_jax.tasks.show own_predict --gin_file=datasets/jsonl.gin \
      --gin.FILES="'tickets.jsonl'"

A mixture's tasks are shown one after another.
"""

from absl import flags

from dsbs_jax import cli
from dsbs_jax.errors import UserError

SHOWN_IDS = 60


def show(name: str, split: str) -> None:
    """Prints the first example of each task behind a name.

    Raises:
        UserError: Nothing is registered under the name, or the split is empty.
    """
    import seqio

    try:
        tasks = seqio.get_subtasks(seqio.get_mixture_or_task(name))
    except ValueError as error:
        raise UserError(str(error).splitlines()[0]) from error
    for task in tasks:
        dataset = task.get_dataset(
            None, split, shuffle=False, num_epochs=1, try_in_mem_cache=False
        )
        example = next(dataset.as_numpy_iterator(), None)
        if example is None:
            raise UserError(f"task {task.name!r} has no example in split {split!r}")
        print(f"{task.name} ({split}, example {example['id'].decode()})")
        for feature in ("inputs", "targets"):
            ids = example[feature].tolist()
            more = f" … {len(ids)} in all" if len(ids) > SHOWN_IDS else ""
            print(f"  {feature}: {example[f'{feature}_pretokenized'].decode()!r}")
            print(f"    ids: {ids[:SHOWN_IDS]}{more}")
        print(f"  task_ids: {example['task_ids'][0]} for each of the targets\n")


def main(arguments: list[str]) -> None:
    """Shows the task named on the command line."""
    if len(arguments) != 2:
        raise UserError("expected the name of one task or mixture")
    cli.quiet_tensorflow()
    from dsbs_jax.data import registration
    from dsbs_jax.tasks import anli1, cqa, esnli, svamp  # noqa: F401

    files = flags.FLAGS.gin_file
    bindings = ["METHOD = 'finetune'"]
    if not files:
        files = ["datasets/common.gin"]
        bindings += ["DATASET = 'cqa'", "TEACHER = 'palm'"]
    cli.configure(
        files, bindings + flags.FLAGS.gin_bindings, flags.FLAGS.gin_search_paths
    )
    cli.use_tfds_data_dir()
    # Registers one's own data, where the files name some.
    registration.configured_mixture()
    show(arguments[1], flags.FLAGS.split)


if __name__ == "__main__":
    cli.define_flags()
    flags.DEFINE_string("split", "train", "The split to show an example of.")
    cli.run(main, positional=1)
