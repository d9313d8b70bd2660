"""The words and figures of a drawing: sizes, shapes, and the sentence that a screen reader says."""

from __future__ import annotations

from keras_classics.architectures.analysis import Cost, Field
from keras_classics.drawing.diagram import Item
from keras_classics.host.units import short


def shape_of(shape: tuple[int | None, ...]) -> str:
    """Sides of a tensor: 56 × 56 × 256."""
    return " × ".join("?" if side is None else str(side) for side in shape)


def box_title(item: Item) -> str:
    """The first line of a box."""
    return item.name if item.frame in ("name", "stage") else item.words[0]


def name_of(item: Item) -> str:
    """The name of a box, where its title is not the name."""
    if item.frame in ("name", "stage"):
        return item.words[0]
    if len(item.members) > 1:
        return f"{item.members[0]} – {item.members[-1]}"
    return item.name if item.name != item.words[0] else ""


def below_title(item: Item) -> list[str]:
    """The other lines of a box: what it does besides or is made of, its name, its figures."""
    inside = [f"{item.branches} branches"] if item.branches else list(item.made_of)
    plain = item.family == "plain" and not item.cost.parameters
    lines = [*item.words[1:], *inside, name_of(item), *([] if plain else figures(item.cost))]
    return [line for line in lines if line]


def field_of(field: Field | None) -> str:
    """A receptive field: RF 35, or of a row and a column: RF 35 × 47."""
    if field is None:
        return ""
    rows, columns = field.size
    sides = str(rows) if rows == columns else f"{rows} × {columns}"
    return f"RF {sides}" if field.exact else f"RF up to {sides}"


def figures(cost: Cost, *, apart: bool = False) -> list[str]:
    """Parameters, multiply-adds and receptive field, in one line or one a line."""
    parts = [short(cost.parameters) if cost.parameters else ""]
    parts += [short(cost.macs) if cost.macs else "", field_of(cost.field)]
    if apart:
        parts[0] = parts[0] and f"{parts[0]} params"
        parts[1] = parts[1] and f"{parts[1]} MACs"
        return [part for part in parts if part]
    line = " · ".join(part for part in parts if part)
    return [line] if line else []


def spoken(item: Item) -> str:
    """One sentence that says what a box stands for."""
    cost = item.cost
    kind = item.kind.replace("_", " ") if item.is_block else item.words[0]
    said = [f"{item.name}: {kind}" + (f" ({item.source})" if item.source else "")]
    if len(item.members) > 1:
        how = "exactly equal" if item.equal else "same wiring, other widths"
        said.append(f"stands for {len(item.members)}, {how}: {', '.join(item.members)}")
    said.append(f"output {shape_of(cost.output_shape)}")
    if cost.parameters:
        said.append(f"{cost.parameters:,} parameters")
    if cost.macs:
        said.append(f"{cost.macs:,} multiply-adds")
    if cost.field:
        said.append(f"receptive field {field_of(cost.field).removeprefix('RF ')} pixels")
    return "; ".join(said)
