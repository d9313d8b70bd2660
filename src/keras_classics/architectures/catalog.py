"""The catalog of the architectures, and the block tree of any model made from their blocks."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import keras

from keras_classics.architectures import inception_v3, resnet, vgg
from keras_classics.architectures.frame import Architecture
from keras_classics.architectures.tree import Block, find_blocks
from keras_classics.errors import ClassicsError, nearest

CATALOG: Mapping[str, Architecture] = MappingProxyType(
    {
        architecture.name: architecture
        for architecture in (
            vgg.VGG16,
            resnet.RESNET50,
            resnet.RESNET50_V1_5,
            resnet.RESNET50_D,
            inception_v3.INCEPTION_V3,
            inception_v3.INCEPTION_V3_TORCH,
        )
    }
)


def find(name: str) -> Architecture:
    """The record of a network by its name in the catalog, in any case, or its constructor's.

    Raises:
        ClassicsError: If there is none; the message names the nearest.
    """
    for architecture in CATALOG.values():
        if name.lower() in (architecture.name, architecture.title.lower()):
            return architecture
    raise ClassicsError(
        f"network {name!r} is not known{nearest(name.lower(), CATALOG)} "
        f"The catalog: {', '.join(CATALOG)}."
    )


def block_tree(model: keras.Model) -> Block:
    """The tree of the blocks of a model, from the names of its layers.

    Works on the networks of the catalog, on models loaded from a file and on models of your own
    that are made from the blocks.
    """
    architectures = CATALOG.values()
    return find_blocks(
        [layer.name for layer in model.layers],
        name=model.name,
        kinds=list(dict.fromkeys(kind for a in architectures for kind in a.kinds)),
        aliases=[alias for a in architectures for alias in a.aliases],
    )
