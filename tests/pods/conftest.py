"""Fixtures that run T5X's binaries in the test's own process and read their output."""

import importlib
import sys

import gin
import pytest

from dsbs_jax import cli

ENGINES = {"train": "train", "eval": "evaluate", "infer": "infer"}


@pytest.fixture(scope="session")
def pod_settings(tiny_settings):
    """Returns gin files and bindings of a small run: (engine, method, **macros)."""

    def make(engine="train", method="step_by_step", **macros):
        files, bindings = tiny_settings(method, **macros)
        return [f"t5x/{engine}.gin", *files[:-1]], bindings

    return make


@pytest.fixture
def run_t5x(pod_settings, monkeypatch):
    """Runs one of T5X's binaries as from the command line: (engine, **macros)."""

    def run(engine="train", method="step_by_step", extra_files=(), raw=(), **macros):
        from t5x import gin_utils

        module = importlib.import_module(f"t5x.{engine}")
        # T5X's gin files refer to the binary, which is a script, as `__main__`.
        monkeypatch.setitem(sys.modules, "__main__", module)
        files, bindings = pod_settings(engine, method, **macros)
        gin.clear_config()
        gin_utils.parse_gin_flags(
            [str(cli.config_dir()), *module._DEFAULT_GIN_SEARCH_PATHS],
            [files[0], *extra_files, *files[1:]],
            [*bindings, *raw],
        )
        try:
            entry = getattr(module, ENGINES[engine])
            return gin.get_configurable(entry)()
        finally:
            gin.clear_config()

    return run


@pytest.fixture
def make_pod_model(pod_settings):
    """Creates `DistillationModel` from the gin files, without dropout: (**macros)."""

    def make(**macros):
        from dsbs_jax.pods import models

        (_, *files), bindings = pod_settings(DROPOUT_RATE=0.0, **macros)
        gin.clear_config()
        gin.add_config_file_search_path(str(cli.config_dir()))
        gin.parse_config_files_and_bindings(["t5x/student.gin", *files], bindings)
        return gin.get_configurable(models.DistillationModel)()

    yield make
    gin.clear_config()


@pytest.fixture
def scalars():
    """Reads a TensorBoard folder: {tag: {step: value}}."""

    def read(folder):
        from tensorboard.backend.event_processing import event_accumulator
        from tensorboard.util import tensor_util

        events = event_accumulator.EventAccumulator(
            str(folder), size_guidance={event_accumulator.TENSORS: 0}
        )
        events.Reload()
        return {
            tag: {
                event.step: tensor_util.make_ndarray(event.tensor_proto).item()
                for event in events.Tensors(tag)
            }
            for tag in events.Tags()["tensors"]
            # T5X and the local engine also write settings and answers, as texts.
            if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"
        }

    return read
