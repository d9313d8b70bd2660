"""The block tree: which layers form a block, which blocks a stage.

The names of the layers are the record. An architecture declares its kinds of blocks, each by a
pattern of the names that its layers have. Names survive saving and loading, so the tree does, with
plain Keras too, and a block that stands in somebody else's model under another name is found there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

Family = Literal[
    "conv", "pool", "dense", "plain", "merge", "residual", "projection", "module", "stage"
]
"""The colour of a box: what a layer or block mostly is."""
Frame = Literal["kind", "name", "stage", "unit", "none"]
"""How a block is drawn: under its kind or under its own name; as a stage, which is told by the
blocks inside; as a unit, one step of a block, which is told by what it does; or never, its members
standing for it."""


@dataclass(frozen=True)
class BlockKind:
    """A kind of block as an architecture declares it: all that is said of it anywhere."""

    name: str  # the paper's word for it, mostly that of the function that makes it
    # Of the names of its layers; group 1 is the block. A prefix of the network may come before.
    pattern: str
    source: str  # figure, table or section of the paper; after an arXiv number, of another paper
    family: Family = "stage"
    frame: Frame = "kind"
    made_by: Callable[..., Any] | None = field(default=None, compare=False)  # None: `features`
    needs: tuple[str, ...] = ()  # what must follow the block's name somewhere; "": nothing
    named: str = "{}"  # the name of the block, made of group 1
    also: tuple[tuple[str, str], ...] = ()  # published names that tell nothing, and their blocks
    closing_norm: str = ""  # after its name: the norm that can start at zero, in residual blocks

    def blocks(self, names: Collection[str]) -> dict[str, list[str]]:
        """The blocks of this kind among layers, by their names, each with its layers."""
        found: dict[str, tuple[str, list[str]]] = {}
        for name in names:
            if match := _compiled(self.pattern).fullmatch(name):
                block = match["prefix"] + self.named.format(match[2])
                stem = match["prefix"] + match[2]
                found.setdefault(block, (stem, []))[1].append(name)
        blocks = {
            block: layers
            for block, (stem, layers) in found.items()
            if all(stem + need in names for need in self.needs)
        }
        for published, block in self.also:
            for name in (name for name in names if name.endswith(published)):
                whole = name.removesuffix(published) + block
                if whole in blocks:
                    blocks[whole].append(name)
        return blocks


def family_of(layer_class: str) -> Family:
    """The colour of a single layer, by the name of its class; blocks declare theirs."""
    words: dict[str, Family] = {"Conv": "conv", "Pool": "pool", "Dense": "dense"}
    words |= {"Add": "merge", "Multiply": "merge", "Concatenate": "merge"}
    return next((family for word, family in words.items() if word in layer_class), "plain")


_SOURCE = re.compile(r"(?:(\d{4}\.\d{5})(?:, )?)?(.*)")
MODEL = BlockKind("model", r"(.*)", source="")


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(f"(?P<prefix>.*?)(?:{pattern})")


@dataclass(frozen=True)
class Block:
    """A block: its own layers and the blocks inside it, both in the order of the graph."""

    name: str
    declared: BlockKind = field(repr=False)
    members: tuple[str | Block, ...] = field(repr=False)

    @property
    def kind(self) -> str:
        """The name of its kind; "model" of the root."""
        return self.declared.name

    @property
    def source(self) -> str:
        """Figure, table or section of the paper."""
        return self.declared.source

    def cited(self, paper: str) -> tuple[str, str]:
        """The place in a paper, and the paper's address: the network's, or the other one named."""
        other, place = _SOURCE.fullmatch(self.source).groups()  # type: ignore[union-attr]
        return place, f"https://arxiv.org/abs/{other}" if other else paper

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks directly inside."""
        return tuple(member for member in self.members if isinstance(member, Block))

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of all layers inside, at any depth, in the order of the graph."""
        return tuple(
            layer
            for member in self.members
            for layer in (member.layers if isinstance(member, Block) else (member,))
        )

    @property
    def end(self) -> str:
        """The name of the layer whose output is the block's output."""
        return self.layers[-1]

    def walk(self) -> Iterator[Block]:
        """This block and all blocks inside, outer before inner."""
        yield self
        for block in self.blocks:
            yield from block.walk()


def find_blocks(layers: Sequence[str], *, name: str, kinds: Sequence[BlockKind]) -> Block:
    """The tree of blocks of a model.

    Args:
        layers: The names of the model's layers in the order of the graph.
        name: The model's name, which becomes the root's.
        kinds: What the architecture declares; of two that claim a name, the one that needs more.

    Returns:
        The root, of kind `"model"`, which holds every layer.
    """
    names = frozenset(layers)
    claimed: dict[str, tuple[BlockKind, frozenset[str]]] = {}
    for kind in sorted(kinds, key=lambda kind: len(kind.needs)):
        for block, inside in kind.blocks(names).items():
            claimed[block] = kind, frozenset(inside)
    enclosing: dict[str, list[str]] = {layer: [] for layer in layers}  # outermost first
    kept: list[frozenset[str]] = []
    for block, (_, own) in sorted(claimed.items(), key=lambda c: (-len(c[1][1]), len(c[0]))):
        # Blocks lie side by side or in one another; one that crosses a larger one is none.
        if all(own <= other or not own & other for other in kept):
            kept.append(own)
            for layer in own:
                enclosing[layer].append(block)

    def grow(block: str, kind: BlockKind, inside: dict[str, list[str]]) -> Block:
        """One block of the tree from its layers, each with the blocks that still enclose it."""
        members: dict[tuple[bool, str], dict[str, list[str]]] = {}  # in the order of the graph
        for layer, around in inside.items():
            key = (True, around[0]) if around else (False, layer)
            members.setdefault(key, {})[layer] = around[1:]
        return Block(
            name=block,
            declared=kind,
            members=tuple(
                grow(member, claimed[member][0], inner) if is_block else member
                for (is_block, member), inner in members.items()
            ),
        )

    return grow(name, MODEL, enclosing)
