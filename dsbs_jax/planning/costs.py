"""Counts what one run of a compiled program costs on one device.

XLA's own cost analysis counts the body of a loop once. Here each computation is
multiplied by the number of times that it runs.
"""

import dataclasses
import itertools
import math
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from dsbs_jax.planning.hlo import Array, Computation, Instruction, Program

# Opcodes that move no data.
_FREE = frozenset(
    [
        "parameter",
        "constant",
        "tuple",
        "get-tuple-element",
        "bitcast",
        "while",
        "conditional",
        "call",
        "after-all",
        "partition-id",
        "replica-id",
        "opt-barrier",
        "async-start",
        "async-update",
        "add-dependency",
    ]
)
_COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
)
# Custom calls that reserve or rename memory.
_FREE_CALLS = ("AllocateBuffer", "ConcatBitcast", "AssumeGatherIndicesInBound")


def product_operations(program: Program) -> int:
    """Counts the operations of all matrix products, 2 for each multiply-add."""
    return sum(
        runs * _operations(program.computations[name], instruction)
        for name, runs in program.runs.items()
        if runs
        for instruction in program.computations[name].instructions.values()
        if instruction.opcode in ("dot", "convolution")
    )


def _operations(computation: Computation, one: Instruction) -> int:
    left, right = list(computation.results_of(one.operands))[:2]
    (result,) = one.results
    if one.opcode == "dot":
        axes = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", one.attributes)
        contracted = [int(n) for n in axes[1].split(",") if n] if axes else []
        return 2 * result.elements * math.prod(left.shape[a] for a in contracted)
    return 2 * _multiply_adds(one, left, right, result)


def _multiply_adds(one: Instruction, left: Array, right: Array, result: Array) -> int:
    """Counts the multiply-adds of a convolution; padding and dilation count nothing.

    The TPU compiler writes every matrix product as a convolution, and a batch of
    products as one whose dilation leaves one pair of each spatial axis.
    """
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", one.attributes)
    if labels is None:
        raise ValueError(f"{one.name} has no dim_labels")
    of_left, of_right, of_result = labels.groups()
    window = _window(one.attributes)
    count = right.shape[of_right.index("i")]
    count *= result.shape[of_result.index("b")] * result.shape[of_result.index("f")]
    groups = re.search(r"batch_group_count=(\d+)", one.attributes)
    count //= int(groups[1]) if groups else 1
    for axis in range(len(of_result) - 2):
        name = str(axis)
        count *= _pairs(
            inputs=left.shape[of_left.index(name)],
            kernel=right.shape[of_right.index(name)],
            outputs=result.shape[of_result.index(name)],
            **{key: values[axis] for key, values in window.items()},
        )
    return count


def _window(attributes: str) -> dict[str, list[int]]:
    """Reads a window: "size=1x6 pad=0_0x5_5" -> strides, padding and dilations."""
    text = re.search(r"window=\{([^}]*)\}", attributes)
    fields = dict(part.split("=") for part in text[1].split()) if text else {}
    axes = len(fields.get("size", "").split("x")) if fields else 0

    def numbers(name: str, default: int) -> list[int]:
        values = fields.get(name)
        return [int(v) for v in values.split("x")] if values else [default] * axes

    # The padding before the first position; "-" marks negative padding.
    pads = re.findall(r"(-?\d+)_-?\d+", fields.get("pad", ""))
    return {
        "stride": numbers("stride", 1),
        "padding": [int(p) for p in pads] or [0] * axes,
        "left_dilation": numbers("lhs_dilate", 1),
        "right_dilation": numbers("rhs_dilate", 1),
    }


def _pairs(
    inputs: int,
    kernel: int,
    outputs: int,
    stride: int,
    padding: int,
    left_dilation: int,
    right_dilation: int,
) -> int:
    """Counts the pairs of a result and a kernel position that meet an input."""
    position = (
        np.arange(outputs)[:, None] * stride
        + np.arange(kernel)[None, :] * right_dilation
        - padding
    )
    inside = (position >= 0) & (position < (inputs - 1) * left_dilation + 1)
    return int(np.sum(inside & (position % left_dilation == 0)))


def hbm_bytes(program: Program) -> int:
    """Counts the bytes that are read from and written to the main memory.

    Each instruction outside of fusions reads its operands and writes its results.
    Arrays in the memories on the chip are not counted. A slice of an operand, and a
    result that is updated in place, count as the slice.
    """
    return sum(
        runs * _bytes(program, program.computations[name], instruction)
        for name, runs in program.runs.items()
        if runs and name not in program.fused
        for instruction in program.computations[name].instructions.values()
    )


def _bytes(program: Program, computation: Computation, one: Instruction) -> int:
    opcode = one.opcode
    if opcode in _FREE or opcode.endswith("-done"):
        return 0
    if opcode == "custom-call" and any(f'"{n}"' in one.attributes for n in _FREE_CALLS):
        return 0
    operands = [[a for a in computation.instructions[n].results] for n in one.operands]
    if opcode == "fusion":
        inner = program.computations[one.calls[0]]
        return _fusion_bytes(program, inner, operands, one.results)
    if opcode in ("copy-start", "slice-start"):
        # The result is a tuple with the operand, the new array and a semaphore.
        target = one.results[0 if opcode == "copy-start" else 1]
        return _in_hbm([target]) + min(target.bytes, _in_hbm(operands[0]))
    if opcode in ("dynamic-slice", "slice", "gather"):
        return _in_hbm(one.results) + min(one.results[0].bytes, _in_hbm(operands[0]))
    if opcode == "dynamic-update-slice":
        return 2 * _in_hbm(operands[1])
    return _in_hbm(one.results) + sum(map(_in_hbm, operands))


def _fusion_bytes(
    program: Program,
    inner: Computation,
    operands: Sequence[Sequence[Array]],
    results: Sequence[Array],
) -> int:
    """Counts what a fusion reads and writes.

    Args:
        program: The program.
        inner: The fusion's body.
        operands: The arrays of each of its operands.
        results: The arrays of its result.
    """
    total = 0
    for number, arrays in enumerate(operands):
        read = _read(program, inner, inner.parameter(number))
        total += int(min(read, _in_hbm(arrays)))
    root = inner.root
    outputs = root.operands if root.opcode == "tuple" else (root.name,)
    remaining = iter(results)
    for name in outputs:
        # An output is several arrays if it is a reduction of several arrays.
        count = len(inner.instructions[name].results)
        written = _in_hbm(itertools.islice(remaining, count))
        source = _without_bitcasts(inner, name)
        if source.opcode == "dynamic-update-slice" and written:
            written = next(inner.results_of(source.operands[1:2])).bytes
        total += written
    return total


def _read(program: Program, inner: Computation, one: Instruction) -> float:
    """Returns how many bytes of an instruction its users read; infinity is all.

    Args:
        program: The program.
        inner: The body of a fusion.
        one: A parameter of it, or a bitcast of one.
    """
    total = 0.0
    for user in inner.users[one.name]:
        if user.opcode == "bitcast":
            total += _read(program, inner, user)
        elif user.opcode == "dynamic-slice":
            total += user.results[0].bytes
        elif user.opcode == "fusion":
            nested = program.computations[user.calls[0]]
            total += sum(
                _read(program, nested, nested.parameter(number))
                for number, name in enumerate(user.operands)
                if name == one.name
            )
        elif user.opcode != "dynamic-update-slice" or user.operands[0] != one.name:
            return math.inf
    return total


def _without_bitcasts(inner: Computation, name: str) -> Instruction:
    one = inner.instructions[name]
    while one.opcode == "bitcast":
        one = inner.instructions[one.operands[0]]
    return one


def _in_hbm(arrays: Iterable[Array]) -> int:
    return sum(a.bytes for a in arrays if a.in_hbm)


@dataclasses.dataclass(frozen=True)
class Collective:
    """Communication of one kind over the same axes of the mesh, in a run.

    Attributes:
        kind: For example "all-reduce".
        axes: The mesh axes over which it communicates, joined by " x ".
        count: How often it runs.
        bytes: Bytes of the arrays on one device: those that are reduced, those that an
            all-gather makes, those that are sent.
        sent: Bytes that one device sends in a ring.
    """

    kind: str
    axes: str
    count: int
    bytes: int
    sent: int


def collectives(program: Program, mesh: Mapping[str, int]) -> list[Collective]:
    """Returns the collectives of a program, those with most bytes sent first.

    Args:
        program: The program.
        mesh: The size of each axis of the device mesh, in the mesh's order.
    """
    totals: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for name, runs in program.runs.items():
        computation = program.computations[name]
        for one in computation.instructions.values() if runs else ():
            kind = one.opcode.removesuffix("-start")
            if kind not in _COLLECTIVES:
                continue
            groups = device_groups(one, math.prod(mesh.values()))
            size = len(groups[0])
            if size < 2:
                continue
            held = sum(a.bytes for a in computation.results_of(one.operands))
            data = held * size if kind == "all-gather" else held
            total = totals[kind, axes_of(groups, mesh)]
            total[0] += runs
            total[1] += runs * data
            total[2] += runs * _sent(kind, data, size)
    found = [Collective(*key, *total) for key, total in totals.items()]
    return sorted(found, key=lambda one: -one.sent)


def _sent(kind: str, data: int, devices: int) -> int:
    """Returns the bytes that one of `devices` sends in a ring."""
    if kind == "collective-permute":
        return data
    # An all-reduce is a reduce-scatter and an all-gather.
    rounds = 2 if kind == "all-reduce" else 1
    return rounds * data * (devices - 1) // devices


def device_groups(one: Instruction, devices: int) -> list[list[int]]:
    """Returns the devices that communicate with each other, by position in the mesh.

    HLO writes groups in three ways, here for pairs of four devices:

        {{0,1},{2,3}}    [2,2]<=[4]    mesh['a'=2,'b'=2] {'b'}
    """
    text = one.attributes
    pairs = re.search(r"source_target_pairs=\{\{(.*?)\}\}", text)
    groups = re.search(r"replica_groups=\{\{(.*?)\}\}", text)
    if found := pairs or groups:
        return [[int(n) for n in g.split(",")] for g in found[1].split("},{")]
    listed = re.search(
        r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text
    )
    if listed:
        ids = np.arange(devices).reshape(_ints(listed[2]))
        if listed[3]:
            ids = ids.transpose(_ints(listed[3]))
        return ids.reshape(_ints(listed[1])).tolist()
    named = re.search(r"replica_groups=mesh\[([^\]]*)\] ?\{([^}]*)\}", text)
    if named:
        axes = dict(re.findall(r"'(\w+)'=(\d+)", named[1]))
        chosen = re.findall(r"'(\w+)'", named[2])
        ids = np.arange(devices).reshape([int(n) for n in axes.values()])
        kept = [i for i, axis in enumerate(axes) if axis not in chosen]
        moved = [i for i, axis in enumerate(axes) if axis in chosen]
        size = math.prod(ids.shape[i] for i in moved)
        return ids.transpose(kept + moved).reshape(-1, size).tolist()
    return [list(range(devices))]


def _ints(text: str) -> list[int]:
    return [int(n) for n in text.split(",")]


def axes_of(groups: Iterable[Iterable[int]], mesh: Mapping[str, int]) -> str:
    """Names the mesh axes along which the devices of a group differ."""
    varying = set()
    for group in groups:
        places = np.stack(np.unravel_index(list(group), tuple(mesh.values())))
        different = np.any(places != places[:, :1], axis=1)
        varying |= {
            axis for axis, differs in zip(mesh, different, strict=True) if differs
        }
    return " x ".join(axis for axis in mesh if axis in varying)


def result_types(program: Program, opcode: str) -> set[str]:
    """Returns the element types that instructions of an opcode compute."""
    return {
        array.dtype
        for _, one in program.instructions()
        if one.opcode == opcode
        for array in one.results
    }


def most_positions(program: Program, vocab_size: int, widths: Collection[int]) -> int:
    """Returns the most positions whose logits exist as one array, in any memory.

    Args:
        program: The program.
        vocab_size: V of one device.
        widths: D, and the part of D on a device if parameters are spread. A matrix of
            one of these and V is a weight or its gradient, not logits.
    """
    weights = [sorted((vocab_size, width)) for width in widths]
    return max(
        (
            array.elements // vocab_size
            for computation, one in program.instructions()
            if computation.name not in program.fused
            for array in one.results
            if vocab_size in array.shape and sorted(array.shape) not in weights
        ),
        default=0,
    )
