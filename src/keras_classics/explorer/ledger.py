"""The ledger: what each shortcut, residual and branch carries into the layer that merges them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from keras_classics.explanation.probe import Array
from keras_classics.explanation.program import neutral_of
from keras_classics.explorer import schema
from keras_classics.explorer.graph import innermost_blocks, operands
from keras_classics.explorer.models import Held


def ledger_rows(
    held: Held, values: Mapping[str, Array], cuts: Collection[tuple[str, int]]
) -> tuple[list[schema.ResidualRow], list[schema.BranchRow]]:
    """The accounts of the sums of two, and of all other layers that merge.

    Args:
        held: The model.
        values: Of all layers for one picture, by name: (1, ...).
        cuts: Operands that count for nothing, each as layer and place.
    """
    reads = operands(held)
    block_of = innermost_blocks(held.analysis.tree)
    weighted = {
        layer.name for layer in held.model.layers if getattr(layer, "kernel", None) is not None
    }
    before = _ancestors(reads)
    rows: list[schema.ResidualRow] = []
    branches: list[schema.BranchRow] = []
    for layer in held.model.layers:
        sources = reads[layer.name]
        if len(sources) < 2:
            continue
        block = block_of[layer.name].name
        cut = [i for i in range(len(sources)) if (layer.name, i) in cuts]
        entering = [
            np.full_like(values[source], neutral_of(layer)) if i in cut else values[source]
            for i, source in enumerate(sources)
        ]
        if type(layer).__name__ == "Add" and len(sources) == 2:
            depths = _depths(sources, before, weighted)
            shortcut = int(depths[1] < depths[0])
            x, f = entering[shortcut], entering[1 - shortcut]
            rows.append(
                schema.ResidualRow(
                    block=block,
                    add_layer=layer.name,
                    kind="projection" if depths[shortcut] else "identity",
                    shortcut=shortcut,
                    residual=1 - shortcut,
                    norms=schema.ResidualNorms(x=norm(x), f=norm(f), sum=norm(values[layer.name])),
                    cosine=cosine(x, f),
                    cut=cut,
                )
            )
            continue
        branches += [
            schema.BranchRow(
                block=block,
                layer=layer.name,
                operand=i,
                branch=source,
                channels=value.shape[-1],
                norm=norm(value),
                cut=i in cut,
            )
            for i, (source, value) in enumerate(zip(sources, entering, strict=True))
        ]
    return rows, branches


def norm(values: Array) -> schema.Norm:
    """Root mean square and Euclidean norm of a tensor."""
    flat = values.ravel()
    l2 = float(np.sqrt(np.dot(flat, flat)))
    return schema.Norm(rms=l2 / max(1, flat.size) ** 0.5, l2=l2)


def cosine(a: Array, b: Array) -> float | None:
    """The cosine of the angle between two tensors; None if one is zero."""
    a, b = a.ravel(), b.ravel()
    length = float(np.sqrt(np.dot(a, a))) * float(np.sqrt(np.dot(b, b)))
    return float(np.dot(a, b)) / length if length else None


def _ancestors(reads: Mapping[str, Sequence[str]]) -> dict[str, frozenset[str]]:
    """All layers that each layer depends on, itself among them."""
    found: dict[str, frozenset[str]] = {}
    for layer, sources in reads.items():  # in the order of the graph
        found[layer] = frozenset({layer}).union(*(found[source] for source in sources))
    return found


def _depths(
    sources: Sequence[str], before: Mapping[str, frozenset[str]], weighted: Collection[str]
) -> list[int]:
    """How many convolutions each of the two operands has to itself: the shortcut has fewer."""
    first, second = (before[source] for source in sources)
    return [len(own & set(weighted)) for own in (first - second, second - first)]
