"""Numbers as people read them."""

from __future__ import annotations


def short(number: float, unit: str = "") -> str:
    """A number in three digits, and its unit: 25.6 M, 102 MB, 512 B."""
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= 0.9995 * size:  # in three digits that is one
            return f"{number / size:.3g} {prefix}{unit}"
    return f"{number:.0f} {unit}".rstrip()


def counted(number: int, what: str) -> str:
    """A number of things: 1 epoch, 20,000 epochs."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
