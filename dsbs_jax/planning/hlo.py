"""Reads the text of a compiled program (XLA's HLO).

    %body (p: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
      %p = (s32[], f32[8,4]{1,0}) parameter(0)
      ...
    }

Only what costs need is read: shapes, operands, called computations and attributes.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator, Mapping, Sequence

# Bits of an element. Types of other names have no data.
_BITS = {
    "pred": 8,
    "s4": 4,
    "u4": 4,
    "s8": 8,
    "u8": 8,
    "f8e4m3fn": 8,
    "f8e5m2": 8,
    "s16": 16,
    "u16": 16,
    "bf16": 16,
    "f16": 16,
    "s32": 32,
    "u32": 32,
    "f32": 32,
    "s64": 64,
    "u64": 64,
    "f64": 64,
}
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\](?:\{([^{}]*)\})?")
_SPACE = re.compile(r"S\((\d+)\)")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = ")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_OPCODE = re.compile(r"\s*([\w\-]+)\(")
_COMMENT = re.compile(r"/\*.*?\*/")
_CALLS = re.compile(
    r"(?:calls|to_apply|body|condition|branch_computations|true_computation|"
    r"false_computation)=(\{[^}]*\}|%?[\w.\-]+)"
)


class Array(tuple[str, tuple[int, ...], int]):
    """An array of a result: type of its elements, shape, memory space (0 is HBM)."""

    def __new__(cls, dtype: str, shape: tuple[int, ...], space: int) -> "Array":
        """Creates the array."""
        return super().__new__(cls, (dtype, shape, space))

    @property
    def dtype(self) -> str:
        """Type of the elements, as HLO names it."""
        return self[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return self[1]

    @property
    def in_hbm(self) -> bool:
        """Whether it is in the device's main memory, not on the chip or the host."""
        return self[2] == 0

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size without the padding of tiles."""
        return self.elements * _BITS.get(self.dtype, 0) // 8


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One instruction.

    Attributes:
        name: Its name, unique in the program.
        opcode: For example "fusion".
        results: The arrays of its result; several for a tuple.
        operands: Names of its operands.
        arguments: The text between the parentheses.
        attributes: The text after the parentheses.
        is_root: Whether its result is that of the computation.
    """

    name: str
    opcode: str
    results: tuple[Array, ...]
    operands: tuple[str, ...]
    arguments: str
    attributes: str
    is_root: bool

    @functools.cached_property
    def calls(self) -> tuple[str, ...]:
        """Names of the computations that it calls."""
        found = _CALLS.findall(self.attributes.partition(", metadata=")[0])
        return tuple(
            name.strip().lstrip("%")
            for text in found
            for name in text.strip("{}").split(",")
        )

    def attribute(self, name: str) -> str | None:
        """Returns the text of an attribute up to the next one, or None."""
        found = re.search(rf"(?:^|, ){name}=(.*?)(?=, \w+=|$)", self.attributes)
        return found[1] if found else None


@dataclasses.dataclass(frozen=True)
class Computation:
    """The instructions of a computation by name, in their order."""

    name: str
    instructions: Mapping[str, Instruction]

    @property
    def root(self) -> Instruction:
        """The instruction whose result the computation returns."""
        return next(one for one in self.instructions.values() if one.is_root)

    @functools.cached_property
    def users(self) -> Mapping[str, Sequence[Instruction]]:
        """The instructions that use each instruction, by its name."""
        users: dict[str, list[Instruction]] = {name: [] for name in self.instructions}
        for one in self.instructions.values():
            for name in set(one.operands):
                users[name].append(one)
        return users

    def parameter(self, number: int) -> Instruction:
        """Returns a parameter by its number."""
        return next(
            one
            for one in self.instructions.values()
            if one.opcode == "parameter" and one.arguments == str(number)
        )

    def results_of(self, names: Sequence[str]) -> Iterator[Array]:
        """Yields the arrays of some instructions."""
        for name in names:
            yield from self.instructions[name].results


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled program.

    Attributes:
        header: Its first line, with the aliases of inputs and outputs.
        computations: All computations by name.
        entry: Name of the computation that runs.
    """

    header: str
    computations: Mapping[str, Computation]
    entry: str

    @functools.cached_property
    def runs(self) -> dict[str, int]:
        """How many times each computation runs, by name; loops are multiplied.

        Bodies of fusions are included, functions of reductions and sorts are not: they
        run once for each element.
        """
        runs = dict.fromkeys(self.computations, 0)
        self._count(self.entry, 1, runs)
        return runs

    def _count(self, name: str, times: int, runs: dict[str, int]) -> None:
        runs[name] += times
        for instruction in self.computations[name].instructions.values():
            trips = 1
            if instruction.opcode == "while":
                trips = trip_count(self, instruction)
            elif instruction.opcode not in _CALLERS:
                continue
            for called in instruction.calls:
                self._count(called, times * trips, runs)

    @functools.cached_property
    def fused(self) -> frozenset[str]:
        """Names of the computations that are bodies of fusions.

        Their intermediate results are not in memory.
        """
        found: set[str] = set()
        waiting = [
            called
            for _, instruction in self.instructions()
            if instruction.opcode == "fusion"
            for called in instruction.calls
        ]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                inner = self.computations[name].instructions.values()
                waiting += [called for one in inner for called in one.calls]
        return frozenset(found)

    def instructions(self) -> Iterator[tuple[Computation, Instruction]]:
        """Yields every instruction with its computation."""
        for computation in self.computations.values():
            for instruction in computation.instructions.values():
                yield computation, instruction


# Opcodes whose computations run as often as they do.
_CALLERS = frozenset({"fusion", "call", "conditional", "async-start"})


def parse(text: str) -> Program:
    """Reads a program.

    Raises:
        ValueError: The text has no entry computation.
    """
    computations: dict[str, Computation] = {}
    entry = header = ""
    current: dict[str, Instruction] | None = None
    for line in text.splitlines():
        if line.startswith("HloModule"):
            header = line
        elif current is None or not line.startswith(" "):
            found = _COMPUTATION.match(line)
            if found:
                current = {}
                computations[found[2]] = Computation(found[2], current)
                entry = found[2] if found[1] else entry
        elif instruction := _instruction(line):
            current[instruction.name] = instruction
    if not entry:
        raise ValueError("the text of the program has no ENTRY computation")
    return Program(header, computations, entry)


def _instruction(line: str) -> Instruction | None:
    line = _COMMENT.sub("", line)
    start = _INSTRUCTION.match(line)
    if not start:
        return None
    rest = line[start.end() :]
    # A tuple's type is in parentheses; the type of one array has no space.
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
    opcode = _OPCODE.match(rest, end)
    if not opcode:
        return None
    close = _closing(rest, opcode.end() - 1)
    arguments = rest[opcode.end() : close]
    return Instruction(
        name=start[2],
        opcode=opcode[1],
        results=tuple(arrays(rest[:end])),
        operands=tuple(re.findall(r"%([\w.\-]+)", arguments)),
        arguments=arguments,
        attributes=rest[close + 1 :].lstrip(", "),
        is_root=bool(start[1]),
    )


def _closing(text: str, start: int) -> int:
    """Returns the position of the parenthesis that closes the one at `start`."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] == "(") - (text[i] == ")")
        if not depth:
            return i
    raise ValueError(f"a parenthesis is not closed: {text:.80}")


def arrays(text: str) -> Iterator[Array]:
    """Yields the arrays of a type: "(s32[], f32[8]{0:S(1)})" -> two arrays."""
    for dtype, shape, rest in _ARRAY.findall(text):
        if dtype in _BITS:
            space = _SPACE.search(rest)
            lengths = tuple(int(n) for n in shape.split(",") if n)
            yield Array(dtype, lengths, int(space[1]) if space else 0)


def trip_count(program: Program, loop: Instruction) -> int:
    """Returns how often the body of a while loop runs.

    JAX's loops count from 0 to a constant. The compiler notes the count, or the
    condition compares the counter with the constant. A loop that may also end earlier,
    as in decoding, has its largest count.

    Raises:
        ValueError: The condition compares with no constant.
    """
    noted = re.search(r'known_trip_count":?\{"n":"?(\d+)', loop.attributes)
    if noted:
        return int(noted[1])
    names = re.search(r"condition=%?([\w.\-]+)", loop.attributes)
    if names:
        for computation in _called(program, names[1]):
            limit = _limit(computation)
            if limit is not None:
                return limit
        # The comparison may be fused, and then has the constant as an operand.
        constants = list(_constants(program.computations[names[1]]))
        if len(constants) == 1:
            return constants[0]
    raise ValueError(f"the loop {loop.name} has no constant number of iterations")


def _called(program: Program, name: str) -> Iterator[Computation]:
    computation = program.computations[name]
    yield computation
    for instruction in computation.instructions.values():
        for called in instruction.calls:
            yield from _called(program, called)


def _limit(computation: Computation) -> int | None:
    for one in computation.instructions.values():
        if one.opcode != "compare" or one.attribute("direction") not in ("LT", "GT"):
            continue
        for name in one.operands:
            operand = computation.instructions.get(name)
            if operand and operand.opcode == "constant" and operand.arguments.isdigit():
                return int(operand.arguments)
    return None


def _constants(computation: Computation) -> Iterator[int]:
    for one in computation.instructions.values():
        is_counter = [a.dtype for a in one.results] == ["s32"]
        if one.opcode == "constant" and is_counter and one.arguments.isdigit():
            yield int(one.arguments)
