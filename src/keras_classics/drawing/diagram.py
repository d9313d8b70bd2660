"""What is drawn of a model: its blocks, some of them open, repeated ones folded, and their edges.

Blocks are declared by the architectures (`architectures.tree`), never guessed. A block is folded
into the one before it if the two follow one another at the same resolution and are made alike:
`×N` if layers, settings and shapes are all equal, `~N` if the wiring is and widths differ.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal

import keras

from keras_classics.architectures.analysis import Analysis, Cost, analyse
from keras_classics.architectures.catalog import of_model
from keras_classics.architectures.tree import Block, Family, Frame, family_of
from keras_classics.architectures.wiring import Call, wiring
from keras_classics.drawing.describe import describe, kernel_of, settings
from keras_classics.drawing.series import Edge
from keras_classics.errors import ClassicsError, nearest

Level = Literal["stages", "blocks", "layers"]
LEVELS: tuple[Level, ...] = ("stages", "blocks", "layers")
LINE = 31  # characters of what a closed block is made of


@dataclass(frozen=True)
class Skip:
    """A path around others, inside a closed block."""

    kind: Literal["identity", "projection"]


@dataclass(frozen=True)
class Item:
    """A vertex of the diagram: a layer, a closed block, or an open one."""

    name: str
    kind: str  # the class of the layer, or the kind of the block
    family: Family  # its colour
    frame: Frame | None  # how a block is drawn
    source: str  # figure or table of the paper, of a block
    words: tuple[str, ...]  # what it is, in short
    members: tuple[str, ...]  # its own name and those of the blocks that are folded into it
    equal: bool  # whether these are all exactly equal
    cost: Cost  # of all of them together
    is_block: bool
    made_of: tuple[str, ...] = ()  # lines that say what a closed block is made of
    skips: tuple[Skip, ...] = ()  # of a closed block
    branches: int = 0  # of a closed block that ends in a concatenation
    inside: Diagram | None = None  # of an open block

    @property
    def fold(self) -> str:
        """`×N`, `~N` or nothing."""
        n = len(self.members)
        return "" if n == 1 else f"×{n}" if self.equal else f"~{n}"


@dataclass(frozen=True)
class Diagram:
    """A graph of items; an edge from None comes from outside, an edge to None goes there."""

    items: tuple[Item, ...]  # each after those that it depends on
    edges: tuple[Edge[str], ...]
    by_name: dict[str, Item] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {item.name: item for item in self.items})


@dataclass(frozen=True)
class Subject:
    """A model as it is to be drawn."""

    title: str
    about: str  # what kind of block it is, and where the paper has it; nothing for a model
    root: Diagram
    cost: Cost
    input_shape: tuple[int | None, ...]
    channels_first: bool


def subject(
    model: keras.Model,
    *,
    level: Level = "blocks",
    block: str | None = None,
    opened: Collection[str] | None = None,
    unfolded: bool = False,
    size: int | tuple[int, int] | None = None,
    frameless: Collection[str] = (),
) -> Subject:
    """What is to be drawn of a model.

    Args:
        model: Flat, Functional or Sequential.
        level: "stages" shows the outermost blocks, "blocks" what a stage is made of, "layers" all.
        block: Show the inside of this block alone.
        opened: The blocks whose insides are shown, in the place of what the level says.
        unfolded: Whether blocks that repeat others are shown one by one.
        size: Height and width of the input in pixels, where the model leaves them open.
        frameless: Kinds of blocks that give way to what is in them.

    Raises:
        ClassicsError: If the level, or a block, is not known; or the model cannot be measured, see
            `analyse`.
    """
    level = check_level(level)
    analysis = analyse(model, size=size)
    known = {found.name: found for found in analysis.tree.walk()}
    for name in (*(opened or ()), *([block] if block is not None else [])):
        if name not in known or known[name] is analysis.tree:
            raise ClassicsError(
                f"block {name!r} is not in {model.name!r}"
                f"{nearest(name, list(known)[1:])} `classics summary --blocks` lists them."
            )
    whole = analysis.tree if block is None else known[block]
    reader = _Reader(
        model,
        analysis,
        _opens(level, opened, whole),
        unfolded=unfolded,
        frameless=frameless,
    )
    return reader.read(whole)


def check_level(level: str) -> Level:
    """The level of that name."""
    for known in LEVELS:
        if level == known:
            return known
    raise ClassicsError(f"level={level!r}: one of {', '.join(LEVELS)} is needed.")


def _opens(level: Level, opened: Collection[str] | None, whole: Block) -> Callable[[Block], bool]:
    """Which blocks show their insides."""
    if opened is not None:
        names = set(opened)
        return lambda block: block.name in names
    if level == "layers":
        return lambda _: True
    if level == "blocks":
        # Inside a stage, its blocks; inside one block, its units.
        return lambda block: block.declared.frame == "stage" and block is not whole
    return lambda _: False


class _Reader:
    """Reads diagrams from a model."""

    def __init__(
        self,
        model: keras.Model,
        analysis: Analysis,
        opens: Callable[[Block], bool],
        *,
        unfolded: bool,
        frameless: Collection[str],
    ) -> None:
        self.model, self.analysis, self.opens = model, analysis, opens
        self.unfolded, self.frameless = unfolded, frameless
        self.costs = {cost.name: cost for cost in analysis.layers}
        self.of_block = {cost.name: cost for _, cost in analysis.blocks}
        shapes = {cost.name: cost.output_shape for cost in analysis.layers}
        self.calls, self.outputs = wiring(model, shapes)
        self.calls_of: dict[str, list[Call]] = {}
        for call in self.calls:
            self.calls_of.setdefault(call.layer, []).append(call)
        self.order = {call.name: i for i, call in enumerate(self.calls)}
        self.layers = {layer.name: layer for layer in model.layers}
        self.first = any(
            getattr(layer, "data_format", "") == "channels_first" for layer in model.layers
        )

    def read(self, whole: Block) -> Subject:
        """The diagram of a block, or of the root: all of the model."""
        is_root = whole is self.analysis.tree
        root = self.diagram(whole)
        inside = {call.name for layer in whole.layers for call in self.calls_of[layer]}
        entering = [
            operand.shape
            for call in self.calls
            if call.name in inside
            for operand in call.inputs
            if operand.source not in inside
        ]
        first = self.costs[self.analysis.layers[0].name].output_shape
        return Subject(
            title=self.model.name if is_root else whole.name,
            about="" if is_root else _about(whole, self.model.name),
            root=root,
            cost=self.analysis.model if is_root else self.of_block[whole.name],
            input_shape=first if is_root or not entering else entering[0],
            channels_first=self.first,
        )

    def diagram(self, block: Block) -> Diagram:
        """The inside of a block."""
        groups = self._groups(block)
        of_call = {call: name for name, (_, calls) in groups.items() for call in calls}
        edges = self._edges(of_call)
        items = [self._item(name, member) for name, (member, _) in groups.items()]
        drawn = Diagram(tuple(items), tuple(edges))
        return drawn if self.unfolded else self._folded(drawn, groups)

    def _groups(self, block: Block) -> dict[str, tuple[Block | str, list[str]]]:
        """The members of a block, each with its calls, in an order of the data.

        A block that data leave and enter again cannot stand for its layers: they stand instead.
        """
        members = list(block.members)
        while True:
            while any(map(self._gives_way, members)):
                members = [
                    part
                    for member in members
                    for part in (_members(member) if self._gives_way(member) else (member,))
                ]
            groups: dict[str, tuple[Block | str, list[str]]] = {}
            for member in members:
                if isinstance(member, str):
                    for call in self.calls_of[member]:
                        groups[call.name] = (member, [call.name])
                else:
                    calls = [call.name for layer in member.layers for call in self.calls_of[layer]]
                    groups[member.name] = (member, calls)
            order = self._sorted(groups)
            if order is not None:
                return {name: groups[name] for name in order}
            members = [
                part
                for member in members
                for part in (
                    _members(member)
                    if isinstance(member, Block) and self._is_left_and_entered(member)
                    else (member,)
                )
            ]

    def _gives_way(self, member: Block | str) -> bool:
        return isinstance(member, Block) and (
            member.declared.frame == "none" or member.kind in self.frameless
        )

    def _is_left_and_entered(self, block: Block) -> bool:
        inside = {call.name for layer in block.layers for call in self.calls_of[layer]}
        after: set[str] = set()  # calls outside that depend on the block
        for call in self.calls:
            sources = {operand.source for operand in call.inputs}
            if call.name in inside:
                if sources & after:
                    return True
            elif sources & (inside | after):
                after.add(call.name)
        return False

    def _sorted(self, groups: dict[str, tuple[Block | str, list[str]]]) -> list[str] | None:
        """The groups in an order of the data; None if there is none."""
        of_call = {call: name for name, (_, calls) in groups.items() for call in calls}
        needs: dict[str, set[str]] = {name: set() for name in groups}
        for edge in self._edges(of_call):
            if edge.source is not None and edge.target is not None:
                needs[edge.target].add(edge.source)
        first = {
            name: min(self.order[call] for call in calls) for name, (_, calls) in groups.items()
        }
        done: list[str] = []
        left = sorted(groups, key=first.__getitem__)
        while left:
            ready = next((name for name in left if needs[name] <= set(done)), None)
            if ready is None:
                return None
            done.append(ready)
            left.remove(ready)
        return done

    def _edges(self, of_call: dict[str, str]) -> list[Edge[str]]:
        """The edges between groups; one for each tensor that a group reads of another."""
        size = Counter(of_call.values())
        found: dict[tuple[str | None, str | None, str, int], Edge[str]] = {}
        leaves: dict[str, tuple[int | None, ...]] = {}
        for call in self.calls:
            target = of_call.get(call.name)
            for k, operand in enumerate(call.inputs):
                source = of_call.get(operand.source)
                if target is None and source is not None:
                    leaves[operand.source] = operand.shape
                if target is None or source == target:
                    continue
                # A group that reads one tensor at several places reads it once; a layer that adds
                # a tensor to itself reads it twice.
                several = k if size[target] == 1 else 0
                key = (source, target, operand.source, several)
                found.setdefault(key, Edge(source, target, k, operand.shape))
        for output in self.outputs:
            if output in of_call:
                layer = next(call.layer for call in self.calls if call.name == output)
                leaves.setdefault(output, self.costs[layer].output_shape)
        edges = list(found.values())
        edges += [Edge(of_call[call], None, 0, shape) for call, shape in leaves.items()]
        names = dict.fromkeys(of_call.values())
        reading = {edge.target for edge in edges}
        read = {edge.source for edge in edges}
        edges += [Edge(None, name) for name in names if name not in reading]
        edges += [Edge(name, None) for name in names if name not in read]
        return edges

    def _item(self, name: str, member: Block | str) -> Item:
        if isinstance(member, str):
            return Item(
                name=name,
                kind=self.costs[member].kind,
                family=family_of(self.costs[member].kind),
                frame=None,
                source="",
                words=describe([self.layers[member]]),
                members=(name,),
                equal=True,
                cost=self.costs[member],
                is_block=False,
            )
        is_open = self.opens(member)
        return Item(
            name=name,
            kind=member.kind,
            family=member.declared.family,
            frame=member.declared.frame,
            source=member.source,
            words=describe([self.layers[layer] for layer in member.layers], kind=member.declared),
            members=(name,),
            equal=True,
            cost=self.of_block[member.name],
            is_block=True,
            made_of=() if is_open else self._made_of(member),
            skips=() if is_open else tuple(self._skips(member)),
            branches=0 if is_open else self._branches(member),
            inside=self.diagram(member) if is_open else None,
        )

    def _made_of(self, block: Block) -> tuple[str, ...]:
        """The blocks of a stage, or the convolutions along the longest path of another block."""
        if block.declared.frame == "stage":
            inside = self.diagram(block).items
            return tuple(f"{item.words[0]} {item.fold}".rstrip() for item in inside)
        longest: dict[str, tuple[str, ...]] = {}  # to each call, the layers with a kernel
        gates = {
            layer: inner for inner in block.walk() if inner.kind == "squeeze_excite"
            for layer in inner.layers
        }  # fmt: skip
        gated: set[str] = set()
        calls = [call for call in self.calls if call.layer in set(block.layers)]
        for call in calls:
            before = max((longest.get(op.source, ()) for op in call.inputs), key=len, default=())
            layer = self.layers[call.layer]
            words = kernel_of(layer)
            if words and (gate := gates.get(call.layer)):
                # Squeeze-and-excite is one step, told by the channels that it squeezes to.
                words = "" if gate.name in gated else f"SE, {layer.filters}"
                gated.add(gate.name)
            longest[call.name] = before + ((words,) if words else ())
        row = longest[calls[-1].name]
        # Two units in a row are two steps of a block, and drawn as such.
        if block.declared.frame == "unit" or not row:
            return ()
        again = [(key, len(list(group))) for key, group in groupby(row)]
        lines: list[str] = []
        for words in (key if n == 1 else f"{n} of {key}" for key, n in again):
            line = f"{lines[-1]} · {words}" if lines else words
            if lines and line.count("·") < 3 and len(line) <= LINE:
                lines[-1] = line
            else:
                lines.append(words)
        return tuple(lines)

    def _skips(self, block: Block) -> Iterator[Skip]:
        """The shortcuts inside a block: one for each sum."""
        calls = [call for call in self.calls if call.layer in set(block.layers)]
        behind: dict[str, set[str]] = {}  # what a tensor depends on, itself and what enters
        for call in calls:
            behind[call.name] = {call.name}
            for operand in call.inputs:
                behind[call.name] |= behind.get(operand.source, {operand.source})
            if isinstance(self.layers[call.layer], keras.layers.Add):
                paths = [behind.get(op.source, {op.source}) for op in call.inputs]
                common = set.intersection(*paths)
                straight = any(operand.source in common for operand in call.inputs)
                yield Skip("identity" if straight else "projection")

    def _branches(self, block: Block) -> int:
        last = self.calls_of[block.end][-1]
        is_bank = isinstance(self.layers[last.layer], keras.layers.Concatenate)
        return len(last.inputs) if is_bank else 0

    def _folded(
        self, diagram: Diagram, groups: dict[str, tuple[Block | str, list[str]]]
    ) -> Diagram:
        """The diagram with blocks that repeat the one before folded into it."""
        into = {item.name: item.name for item in diagram.items}
        items: dict[str, Item] = {}
        signs: dict[str, tuple[Any, Any]] = {}
        for item in diagram.items:
            member = groups[item.name][0]
            if isinstance(member, Block):
                signs[item.name] = self._signs(member)
            before = self._only_neighbour(diagram, item.name)
            if (
                before in signs
                and isinstance(member, Block)
                and member.declared.frame != "unit"
                and signs[before][0] == signs[item.name][0]
            ):
                head = items[into[before]]
                into[item.name] = head.name
                items[head.name] = _joined(
                    head, item, equal=signs[head.name][1] == signs[item.name][1]
                )
            else:
                items[item.name] = item
        edges = dict.fromkeys(
            dataclasses.replace(
                edge,
                source=None if edge.source is None else into[edge.source],
                target=None if edge.target is None else into[edge.target],
            )
            for edge in diagram.edges
            if edge.source is None or edge.target is None or into[edge.source] != into[edge.target]
        )
        return Diagram(tuple(items.values()), tuple(edges))

    @staticmethod
    def _only_neighbour(diagram: Diagram, name: str) -> str | None:
        """What a vertex follows, if it reads this alone and alone reads it."""
        sources = [edge.source for edge in diagram.edges if edge.target == name]
        if len(sources) != 1 or sources[0] is None:
            return None
        readers = [edge.target for edge in diagram.edges if edge.source == sources[0]]
        return sources[0] if readers == [name] else None

    def _signs(self, block: Block) -> tuple[Any, Any]:
        """What two blocks have in common to be folded, and to be exactly equal."""
        calls = [call for call in self.calls if call.layer in set(block.layers)]
        number = {call.name: i for i, call in enumerate(calls)}
        axes = (1, 2) if self.first else (0, 1)
        wired, equal = [], []
        for call in calls:
            layer = self.layers[call.layer]
            shape = self.costs[call.layer].output_shape
            entering = tuple(operand.shape for operand in call.inputs)
            reads = tuple(number.get(operand.source, -1) for operand in call.inputs)
            grid = tuple(shape[axis] for axis in axes) if len(shape) == 3 else ()
            entered = tuple(
                tuple(s[axis] for axis in axes) if len(s) == 3 else () for s in entering
            )
            wired.append((block.kind, reads, settings(layer, widths=False), grid, entered))
            equal.append((settings(layer, widths=True), shape, entering))
        return wired, equal


def _members(member: Block | str) -> tuple[str | Block, ...]:
    return member.members if isinstance(member, Block) else (member,)


def _about(block: Block, model: str) -> str:
    known = of_model(model)
    words = f"{block.kind.replace('_', ' ')} of {known.title if known else model}"
    if not block.source:
        return words
    place, paper = block.cited(known.paper if known else "")
    return f"{words}; {' of '.join(filter(None, (place, paper.removeprefix('https://'))))}"


def _joined(head: Item, item: Item, *, equal: bool) -> Item:
    """One item that stands for two that follow one another."""
    one, other = head.cost, item.cost
    return dataclasses.replace(
        head,
        members=(*head.members, *item.members),
        equal=head.equal and equal,
        skips=(*head.skips, *item.skips),
        cost=dataclasses.replace(
            other,
            name=head.name,
            parameters=one.parameters + other.parameters,
            trainable=one.trainable + other.trainable,
            macs=one.macs + other.macs,
            activation_bytes=one.activation_bytes + other.activation_bytes,
        ),
    )


def walk(items: Sequence[Item]) -> Iterator[Item]:
    """All items, outer before inner."""
    for item in items:
        yield item
        if item.inside:
            yield from walk(item.inside.items)
