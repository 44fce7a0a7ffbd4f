"""Runs docs/own_task.ipynb in a copy of its folder."""

import shutil

import nbclient
import nbformat
import pytest

from support.pages import ROOT

NOTEBOOK = "docs/own_task.ipynb"
# The notebook's calls of `fit`, with so few steps that the tests stay short.
SHORT = """
import functools
import dsbs_jax
dsbs_jax.fit = functools.partial(dsbs_jax.fit, train_steps=2)
"""


@pytest.fixture
def notebook():
    return nbformat.read(ROOT / NOTEBOOK, as_version=4)


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_outputs_are_not_committed(notebook):
    for cell in code_of(notebook):
        assert (cell.outputs, cell.execution_count) == ([], None)


@pytest.mark.scheduled
def test_notebook_runs(notebook, tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    notebook.cells.insert(0, nbformat.v4.new_code_cell(SHORT))
    nbclient.NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    ).execute()
    cells = code_of(notebook)
    outputs = [output for cell in cells for output in cell.outputs]
    printed = "".join(output.get("text", "") for output in outputs)
    assert "Expected: " in printed and "macro-F1" in printed
    assert "image/png" in str(cells[5].outputs)
    # The exported student answers as the run does.
    assert cells[-1].outputs[-1].data["text/plain"] == "True"
    assert (tmp_path / "runs/notebook_hf/model.safetensors").exists()
