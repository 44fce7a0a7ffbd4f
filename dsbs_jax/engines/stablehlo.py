"""Greedy decoding with exported StableHLO programs."""

import json
import pathlib
from collections.abc import Sequence

import jax
import numpy as np
from jax import export
from safetensors.numpy import load_file

from dsbs_jax.student.decoding import EOS
from dsbs_jax.weights.stablehlo_format import (
    DECODE_STEP,
    ENCODE,
    PARAMS,
    PROGRAMS,
)


class StableHloDecoder:
    """Decodes with the programs of a folder, on JAX's default device."""

    def __init__(self, folder: pathlib.Path) -> None:
        """Reads the folder that `stablehlo_format.write_model` wrote."""
        self._encode = export.deserialize(bytearray((folder / ENCODE).read_bytes()))
        self._step = export.deserialize(bytearray((folder / DECODE_STEP).read_bytes()))
        self._params = jax.device_put(load_file(folder / PARAMS))
        self._input_length = json.loads((folder / PROGRAMS).read_text())["input_length"]

    def generate(
        self, inputs: Sequence[np.ndarray], max_length: int
    ) -> tuple[list[list[int]], list[float]]:
        """Decodes inputs greedily, as `Engine.generate`, in one batch.

        Args:
            inputs: Token ids of each input with the end token, int32 [S].
            max_length: Longest answer in tokens, at most T of the programs.
        """
        padded = np.zeros((len(inputs), self._input_length), np.int32)
        for row, ids in zip(padded, inputs, strict=True):
            row[: len(ids)] = ids
        cache = jax.jit(self._encode.call)(self._params, padded)
        step = jax.jit(self._step.call)
        last = np.zeros(len(inputs), np.int32)
        ended = np.zeros(len(inputs), bool)
        total = np.zeros(len(inputs))
        tokens = []
        for position in range(max_length):
            logits, cache = step(self._params, last, cache, np.int32(position))
            scores = np.asarray(jax.nn.log_softmax(logits))
            last = np.where(ended, 0, scores.argmax(-1)).astype(np.int32)
            total += np.where(ended, 0, scores.max(-1))
            tokens.append(last)
            ended |= last == EOS
            if ended.all():
                break
        return np.stack(tokens, axis=1).tolist(), total.tolist()
