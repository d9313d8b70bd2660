"""The catalog of the architectures, and the block tree of any model made from their blocks."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import resources

import keras

from keras_classics import architectures
from keras_classics.architectures.frame import Architecture
from keras_classics.architectures.tree import Block, BlockKind, find_blocks
from keras_classics.errors import ClassicsError, nearest

MEASURED = "measured.json"  # written by tools/record.py


class Catalog(Mapping[str, Architecture]):
    """The records of all networks, by their names, in the order of the papers.

    Each module of this package that has `NETWORKS` adds its own; they are looked for when the
    catalog is first read.
    """

    @cached_property
    def _records(self) -> dict[str, Architecture]:
        names = (module.name for module in pkgutil.iter_modules(architectures.__path__))
        modules = (importlib.import_module(f"{architectures.__name__}.{name}") for name in names)
        families = [module.NETWORKS for module in modules if hasattr(module, "NETWORKS")]
        families.sort(key=lambda family: family[0].paper)  # arXiv counts by year and month
        return {record.name: record for family in families for record in family}

    @cached_property
    def kinds(self) -> tuple[BlockKind, ...]:
        """The kinds of blocks of all networks."""
        return tuple(dict.fromkeys(kind for record in self.values() for kind in record.kinds))

    def __getitem__(self, name: str) -> Architecture:
        return self._records[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)


CATALOG = Catalog()


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


def measured() -> dict[str, tuple[int, int]]:
    """Parameters and multiply-adds of all networks as built by default, as `analyse` counts them.

    They are on record, as building all takes a minute.
    """
    text = (resources.files(architectures) / MEASURED).read_text("utf-8")
    return {name: (parameters, macs) for name, (parameters, macs) in json.loads(text).items()}


def of_model(model_name: str) -> Architecture | None:
    """The record of the network whose name a model bears."""
    return next((record for record in CATALOG.values() if record.bears(model_name)), None)


def block_tree(model: keras.Model) -> Block:
    """The tree of the blocks of a model, from the names of its layers.

    Works on the networks of the catalog, on models loaded from a file and on models of your own
    that are made from the blocks. A model that bears a network's name has that network's kinds of
    blocks; in any other, those of all networks are looked for.
    """
    names = [layer.name for layer in model.layers]
    if record := of_model(model.name):
        tree = find_blocks(names, name=model.name, kinds=record.kinds)
        if tree.blocks:
            return tree
    return find_blocks(names, name=model.name, kinds=CATALOG.kinds)
