"""Import of TensorFlow, which only reads data here."""

import os
import sys


def import_quietly() -> None:
    """Imports TensorFlow without its messages, and keeps it off accelerators.

    On import its libraries write about missing accelerators to file descriptor 2,
    at every log level, so the descriptor is redirected during the import. Errors of the
    import are raised as usual. A TensorFlow that the program has imported already is
    left unchanged.
    """
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    sys.stderr.flush()
    standard_error = os.dup(2)
    with open(os.devnull, "w") as discarded:
        os.dup2(discarded.fileno(), 2)
    try:
        import tensorflow as tf
        import tensorflow_text  # noqa: F401 (registers the operations of tokenizers)

        tf.config.set_visible_devices([], "GPU")
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)
