"""What the text of a compiled program says of its cost.

All are counts but for the cycles, which are the estimate that the compiler for a TPU
writes beside each kernel.
"""

import math
import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$")
_INSTRUCTION = re.compile(
    r"\s*(ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*?)\)(, .*|$)"
)
_ARRAY = re.compile(r"\b([a-z]+)(\d*)\w*\[([\d,]*)\]")
_CALLED = re.compile(r"(?:calls|to_apply)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"(?:_computations?=)\{?([^}=]*?)(?:\}|, \w+=|$)")
_BODY = re.compile(r"body=%?([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')

# nothing is computed, and nothing is moved in a kernel of its own
_FREE = frozenset(
    "parameter constant tuple get-tuple-element bitcast after-all partition-id "
    "replica-id opt-barrier add-dependency".split()
)
_SLICES = ("dynamic-slice", "slice", "gather")
_UPDATE = "dynamic-update-slice"
_VIEWS = ("bitcast", "broadcast", "convert", "copy", "reshape")
# what the compiler writes where it finds no estimate
_NO_ESTIMATE = 2**63 - 1
_ROTATION = "13"  # in rounds 1, 9 and 17 of the 20 of a block of threefry


class Cost(NamedTuple):
    """Of one run of a program.

    cycles: an estimate; 0 where the compiler makes none, or none for some kernel.
    bytes: what kernels read and write, in whatever memory that is; where one reads or
        writes a slice of an array, the slice.
    kernels: those that run, in a loop once for each step.
    step_kernels: those that run in one step of a loop, added up over the loops.
    rotations: of words by 13, of which a block of threefry has three.
    unknown_loops: loops whose length nobody knows, which count as one step.
    """

    cycles: int = 0
    bytes: int = 0
    kernels: int = 0
    step_kernels: int = 0
    rotations: int = 0
    unknown_loops: int = 0

    @property
    def blocks(self) -> int:
        """The blocks of threefry that are computed, two words of 32 bits each."""
        return self.rotations // 3

    def plus(self, other: "Cost") -> "Cost":
        return Cost(*(a + b for a, b in zip(self, other, strict=True)))

    def repeated(self, trips: int | None) -> "Cost":
        """That of a loop with these steps."""
        n = 1 if trips is None else trips
        return Cost(
            cycles=n * self.cycles,
            bytes=n * self.bytes,
            kernels=n * self.kernels,
            step_kernels=self.step_kernels or self.kernels,
            rotations=n * self.rotations,
            unknown_loops=self.unknown_loops + (trips is None),
        )


class Instruction(NamedTuple):
    root: bool
    name: str
    type: str
    op: str
    arguments: tuple[str, ...]
    attributes: str


def cost(text: str, trips: int | None = None) -> Cost:
    """The cost of a program; `trips` for loops whose length the text does not tell."""
    entry = re.search(r"^ENTRY %?([\w.\-]+) ", text, re.MULTILINE)
    if entry is None:
        raise ValueError("cost: the text has no ENTRY: it is not that of a program")
    found = _Program(text, trips).cost_of(entry[1])
    return found._replace(cycles=0) if found.cycles >= _NO_ESTIMATE else found


def _computations(text: str) -> Iterator[tuple[str, list[Instruction]]]:
    name, body = None, []
    for line in text.splitlines():
        if name is None:
            if match := _COMPUTATION.match(line):
                name, body = match[2], []
        elif line.startswith("}"):
            yield name, body
            name = None
        elif match := _INSTRUCTION.match(line):
            root, out, kind, op, inside, attributes = match.groups()
            arguments = re.findall(r"%([\w.\-]+)", inside)
            if op in ("constant", "parameter"):
                arguments = [inside]
            body.append(
                Instruction(bool(root), out, kind, op, tuple(arguments), attributes)
            )


def _elements(kind: str) -> int:
    return sum(
        math.prod(int(d) for d in dims.split(",") if d)
        for _, _, dims in _ARRAY.findall(kind)
    )


def _bytes(kind: str) -> int:
    return sum(
        math.prod(int(d) for d in dims.split(",") if d) * max(1, int(bits or 8) // 8)
        for _, bits, dims in _ARRAY.findall(kind)
    )


class _Program:
    """The computations of a program by name, and what each of them costs."""

    def __init__(self, text: str, trips: int | None):
        self.bodies = {
            name: {instruction.name: instruction for instruction in body}
            for name, body in _computations(text)
        }
        self.trips = trips
        self.cost_of = cache(self._cost_of)
        self.rotations_in = cache(self._rotations_in)

    def _cost_of(self, computation: str) -> Cost:
        total = Cost()
        for instruction in self.bodies[computation].values():
            total = total.plus(self._cost_of_one(computation, instruction))
        return total

    def _cost_of_one(self, computation: str, instruction: Instruction) -> Cost:
        op, attributes = instruction.op, instruction.attributes
        if op == "while":
            body, known = _BODY.search(attributes), _TRIPS.search(attributes)
            assert body is not None
            trips = int(known[1]) if known else self.trips
            return self.cost_of(body[1]).repeated(trips)
        if op == "conditional":
            names = re.findall(r"%([\w.\-]+)", " ".join(_BRANCHES.findall(attributes)))
            return max(map(self.cost_of, names))
        cycles = sum(map(int, _CYCLES.findall(attributes)))
        called = _CALLED.findall(attributes)
        if op in ("call", "async-start"):
            return Cost(cycles).plus(self.cost_of(called[0]))
        if op in _FREE or op.endswith(("-start", "-done", "-update")):
            return Cost(cycles)
        if _elements(instruction.type) == 1 and op not in ("fusion", "copy"):
            return Cost(cycles)  # scalars are added up between kernels
        return Cost(
            cycles=cycles,
            bytes=self._moved(computation, instruction),
            kernels=1,
            rotations=self._rotations_of(computation, instruction),
        )

    def _moved(self, computation: str, kernel: Instruction) -> int:
        """What a kernel reads and writes."""
        body = self.bodies[computation]
        read = sum(
            self._read(kernel, place, _bytes(body[argument].type))
            for place, argument in enumerate(kernel.arguments)
        )
        return read + self._written(computation, kernel)

    def _read(self, user: Instruction, place: int, whole: int) -> int:
        """The bytes that an instruction reads of its argument at this place."""
        if user.op in _SLICES and place == 0:
            return min(whole, _bytes(user.type))
        if user.op == _UPDATE and place == 0:
            return 0  # it is written over
        if user.op != "fusion":
            return whole
        fused = _CALLED.findall(user.attributes)[0]
        for instruction in self.bodies[fused].values():
            if instruction.op == "parameter" and instruction.arguments == (str(place),):
                return self._used(fused, instruction.name, whole)
        return whole

    def _used(self, computation: str, name: str, whole: int) -> int:
        """The bytes of a value that a fusion needs."""
        if self.bodies[computation][name].root:
            return whole
        used = 0
        for user in self.bodies[computation].values():
            for place, argument in enumerate(user.arguments):
                if argument == name and user.op not in ("parameter", "constant"):
                    if user.op == "bitcast":
                        used += self._used(computation, user.name, whole)
                    else:
                        used += self._read(user, place, whole)
        return min(used, whole)

    def _written(self, computation: str, instruction: Instruction) -> int:
        """The bytes that an instruction writes, as the result of a kernel."""
        body, op = self.bodies[computation], instruction.op
        if op == _UPDATE:
            return _bytes(body[instruction.arguments[1]].type)
        if op == "bitcast":
            return self._written(computation, body[instruction.arguments[0]])
        if op == "tuple":
            return sum(
                self._written(computation, body[a]) for a in instruction.arguments
            )
        if op == "fusion":
            fused = _CALLED.findall(instruction.attributes)[0]
            root = next(i for i in self.bodies[fused].values() if i.root)
            return self._written(fused, root)
        return _bytes(instruction.type)

    def _rotations_in(self, computation: str) -> int:
        return sum(
            self._rotations_of(computation, instruction)
            for instruction in self.bodies[computation].values()
        )

    def _rotations_of(self, computation: str, instruction: Instruction) -> int:
        if instruction.op == "fusion":
            return sum(map(self.rotations_in, _CALLED.findall(instruction.attributes)))
        if instruction.op != "shift-left" or not instruction.type.startswith("u32"):
            return 0
        amount = self.bodies[computation][instruction.arguments[1]]
        while amount.op in _VIEWS:
            amount = self.bodies[computation][amount.arguments[0]]
        rotates = amount.op == "constant" and amount.arguments == (_ROTATION,)
        return _elements(instruction.type) if rotates else 0
