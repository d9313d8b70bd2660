"""The stages of a network: its blocks by the size of their feature maps, and the top.

Derived from the built graph. A block belongs as a whole to the size that it ends with, wherever in
it the stride stands; what is no feature map any more belongs to the top.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import keras

from keras_classics.architectures.analysis import Cost, analyse
from keras_classics.architectures.tree import Block
from keras_classics.architectures.wiring import wiring

TOP = "top"


@dataclass(frozen=True)
class Stage:
    """A stage: blocks that follow one another with feature maps of one size, or the top."""

    name: str  # of its block, of the first and the last one, or "top"
    layers: tuple[str, ...]  # those with weights that are trained, block by block
    parameters: int


def stages(model: keras.Model, *, size: int | tuple[int, int] | None = None) -> tuple[Stage, ...]:
    """The stages of a flat model, from the image to the top.

    ResNet50 gives conv1 to conv5, VGG16 block1 to block5, Inception V3 its stem and its grids (35,
    17 and 8 for the paper's input), each followed by the top. A block that ends in no feature map,
    such as a side classifier, is part of the top; the layers of a squeeze-and-excite gate are with
    the maps that they scale.

    Args:
        model: Built from any layers.
        size: Height and width of the input in pixels, where the model leaves them open.

    Raises:
        ClassicsError: If the model cannot be measured; see `analyse`.
    """
    analysis = analyse(model, size=size)
    costs = {cost.name: cost for cost in analysis.layers}
    first = any(getattr(layer, "data_format", "") == "channels_first" for layer in model.layers)
    spatial = slice(1, None) if first else slice(None, -1)
    weighted = {
        layer.name
        for layer in model.layers
        if layer.weights and not isinstance(layer, keras.layers.Normalization)
    }
    gates = _gates(model, costs)
    found: dict[tuple[int | None, ...], list[tuple[str, list[Cost]]]] = {}
    for member in analysis.tree.members:
        block, names = (
            (member.name, member.layers) if isinstance(member, Block) else (member, (member,))
        )
        inside = [costs[name] for name in names if name in weighted]
        if inside:
            # The pooling that ends a block of VGG16 or a stem has no weights: it does not count.
            end, last = costs[names[-1]].output_shape, inside[-1].output_shape
            is_map = len(end) == len(last) == 3
            grid = tuple(last[spatial]) if is_map else ()
            if found and inside[-1].name in gates:
                grid = next(reversed(found))
            found.setdefault(grid, []).append((block, inside))
    top = found.pop((), [])
    groups = [*found.values(), *([top] if top else [])]
    return tuple(
        Stage(
            name=TOP if group is top else _name([block for block, _ in group]),
            layers=tuple(cost.name for _, inside in group for cost in inside),
            parameters=sum(cost.parameters for _, inside in group for cost in inside),
        )
        for group in groups
    )


def _gates(model: keras.Model, costs: Mapping[str, Cost]) -> set[str]:
    """Layers that give no maps of the image and yet have a part in later ones: squeeze-excite's."""
    calls, _ = wiring(model)
    layer_of = {call.name: call.layer for call in calls}
    needed: set[str] = set()
    for call in reversed(calls):
        if costs[call.layer].field is not None or call.layer in needed:
            needed.update(layer_of[operand.source] for operand in call.inputs)
    return {name for name in needed if costs[name].field is None}


def _name(blocks: list[str]) -> str:
    return blocks[0] if len(blocks) == 1 else f"{blocks[0]}-{blocks[-1]}"
