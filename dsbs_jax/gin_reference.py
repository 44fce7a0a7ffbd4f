"""Writes gin/local/*.gin: every setting of a command, with its default and help.

python -m dsbs_jax.gin_reference
"""

from dsbs_jax import cli, eval, files, infer, settings, train
from dsbs_jax.local import config


def reference_files() -> dict[str, str]:
    """Returns the content of each file by its path in the gin folder."""
    return {
        "local/train.gin": settings.gin_reference(
            train.__doc__ or "", config.TRAIN_SETTINGS
        ),
        "local/eval.gin": settings.gin_reference(
            eval.__doc__ or "", config.EVAL_SETTINGS
        ),
        "local/infer.gin": settings.gin_reference(
            infer.__doc__ or "", config.INFER_SETTINGS
        ),
    }


def main(_: list[str]) -> None:
    """Writes the files into the checkout."""
    for name, text in reference_files().items():
        files.write(cli.config_dir() / name, text)


if __name__ == "__main__":
    cli.run(main, help_text=__doc__ or "")
