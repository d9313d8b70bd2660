"""The block tree: which layers form a block, which blocks a stage.

The names of the layers are the record. An architecture declares its kinds of blocks, each by the
parts that such a block has; a group of layers whose common name is followed by all of these parts
is such a block. Names survive saving and loading, so the tree does, with plain Keras too, and a
block that stands in somebody else's model under another name is found as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class BlockKind:
    """A kind of block as an architecture declares it."""

    name: str  # of the function that makes it
    parts: tuple[str, ...]  # its layers are called `{block}_{part}`; "" is the block's own name
    source: str  # figure, table or section of the paper

    def layer(self, block: str, part: str) -> str:
        """The name of a part's layer."""
        return f"{block}_{part}" if part else block


CONV_BN = BlockKind("conv_bn", parts=("conv", "bn"), source="1502.03167")


@dataclass(frozen=True)
class Block:
    """A block: its own layers and the blocks inside it, both in the order of the graph."""

    name: str
    kind: str
    source: str
    members: tuple[str | Block, ...] = field(repr=False)

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


def find_blocks(
    layers: Sequence[str],
    *,
    name: str,
    kinds: Sequence[BlockKind],
    aliases: Sequence[tuple[str, str]] = (),
) -> Block:
    """The tree of blocks of a model.

    Args:
        layers: The names of the model's layers in the order of the graph.
        name: The model's name, which becomes the root's.
        kinds: What the architectures declare.
        aliases: Published names that do not tell their block, and the names that would.

    Returns:
        The root, of kind `"model"`, which holds every layer.
    """
    telling = {layer: _telling_name(layer, aliases) for layer in layers}
    kind_of = _kinds_by_block(set(telling.values()), kinds)

    def grow(block: str, kind: str, source: str, inside: dict[str, list[str]]) -> Block:
        """One block of the tree from its layers, each with the blocks that still enclose it."""
        members: dict[str, dict[str, list[str]] | None] = {}  # in the order of the graph
        for layer, enclosing in inside.items():
            if not enclosing:
                members[layer] = None
                continue
            inner = members.setdefault(enclosing[0], {})
            assert inner is not None, "a layer that bears a block's name is inside that block"
            inner[layer] = enclosing[1:]
        return Block(
            name=block,
            kind=kind,
            source=source,
            members=tuple(
                member
                if inner is None
                else grow(member, kind_of[member].name, kind_of[member].source, inner)
                for member, inner in members.items()
            ),
        )

    return grow(name, "model", "", {layer: _enclosing(telling[layer], kind_of) for layer in layers})


def _telling_name(layer: str, aliases: Sequence[tuple[str, str]]) -> str:
    """A layer's name or, where the published one misleads, the name that tells its block."""
    for published, telling in aliases:
        if layer.endswith(published):
            return layer.removesuffix(published) + telling
    return layer


def _kinds_by_block(names: set[str], kinds: Sequence[BlockKind]) -> dict[str, BlockKind]:
    """Every block among the names, with the kind of which it has the most parts."""
    found: dict[str, BlockKind] = {}
    for kind in sorted(kinds, key=lambda kind: len(kind.parts)):
        last = kind.layer("", kind.parts[-1])
        for name in names:
            block = name.removesuffix(last)
            if name.endswith(last) and all(kind.layer(block, part) in names for part in kind.parts):
                found[block] = kind
    return found


def _enclosing(name: str, blocks: Mapping[str, BlockKind]) -> list[str]:
    """The blocks whose names `name` continues, outermost first."""
    words = name.split("_")
    beginnings = ("_".join(words[:n]) for n in range(1, len(words) + 1))
    return [beginning for beginning in beginnings if beginning in blocks]
