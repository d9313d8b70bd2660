"""What a file of weights holds, and what becomes of each tensor on its way into a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class FileTensor:
    """A tensor of a file, already in Keras' arrangement."""

    name: str  # in the file
    shape: tuple[int, ...]  # in the file
    value: Array
    change: str = ""  # what was done to it, in words

    def changed(self, value: Array, change: str) -> FileTensor:
        """The tensor after one more change."""
        return FileTensor(
            self.name, self.shape, value, "; ".join(filter(None, [self.change, change]))
        )


@dataclass(frozen=True)
class FileLayer:
    """A layer with weights as a file holds it."""

    name: str
    tensors: tuple[FileTensor, ...]


@dataclass(frozen=True)
class Contents:
    """All layers of a file, as far as they can be the network's."""

    layers: tuple[FileLayer, ...]
    # What each layer computes beside its weights, where the file says it: strides and so on.
    behaviour: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()  # that show already while reading, a phrase each
    left_out: tuple[FileTensor, ...] = ()  # tensors that no network needs


@dataclass(frozen=True)
class Placement:
    """One line of the report on a load: where a tensor came from, where it went, and how."""

    there: str  # its name in the file; "" where the network's own was kept
    here: str  # layer/weight; "" where the network does not need it
    shape_there: tuple[int, ...]
    shape_here: tuple[int, ...]
    change: str  # what was done to it; "" for nothing
