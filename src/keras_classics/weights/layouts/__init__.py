"""How libraries of torch name the layers of the networks: a module of this package a family.

Only networks that compute the same are paired: torch has no ResNet50 with the stride on the first
1x1 convolution, no Inception V3 whose average pooling leaves out the padding, and torchvision's
EfficientNet and MobileNetV2 pad otherwise. Each module has `LAYOUTS`; a new one is found by itself.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
from dataclasses import dataclass
from typing import Any

Rules = tuple[tuple[str, str], ...]

# `{2}`: the second group of the pattern; `{2-1}`: the same as a number, less one; `a` counts as 0.
_FIELD = re.compile(r"\{(\d)([+-]\d+)?\}")


@dataclass(frozen=True)
class Layout:
    """How a library of torch names the layers of a network, and how it shapes its dense ones.

    Args:
        name: The library's, as the argument `layout` has it.
        network: Name in the catalog.
        rules: Patterns of our names of layers and what torch's modules are called instead, with
            `{1}` for the text of a group and `{1-1}` or `{1+0}` for its number; the first that
            fits holds.
        flattened: Dense layers that read flattened (c, h, w).
        convolved: Dense layers that are convolutions there.
        strangers: Published files with the same names whose network computes otherwise: how their
            SHA-256 begins.
    """

    name: str
    network: str
    rules: Rules
    flattened: frozenset[str] = frozenset()
    convolved: frozenset[str] = frozenset()
    strangers: frozenset[str] = frozenset()

    def module(self, layer: str) -> str | None:
        """From the name of a layer to that of torch's module; None where there is none."""
        for pattern, name in self.rules:
            if found := re.fullmatch(pattern, layer):
                return _FIELD.sub(functools.partial(_filled, found), name)
        return None


def _filled(found: re.Match[str], field: re.Match[str]) -> str:
    text, offset = found[int(field[1])], field[2]
    if offset is None:
        return text
    return str((int(text) if text.isdigit() else ord(text) - ord("a")) + int(offset))


@functools.cache
def all_layouts() -> tuple[Layout, ...]:
    """Those of all families; of a network's, the first is the one that is written by default."""
    return tuple(layout for family in _families() for layout in family.LAYOUTS)


def layouts_of(network: str) -> tuple[Layout, ...]:
    """All ways in which torch's libraries name a network's layers."""
    return tuple(layout for layout in all_layouts() if layout.network == network)


def _families() -> list[Any]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [importlib.import_module(f"{__name__}.{name}") for name in names]
