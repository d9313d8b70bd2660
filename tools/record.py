"""Puts on record what follows from the networks: to be run when one of them is added.

    python tools/record.py

These are the outputs by which an installation is checked (`weights/golden.json`), what the networks
cost (`architectures/measured.json`), the public names for editors and type checkers
(`__init__.pyi`), and the README's table. Outputs that are on record already are left as they are;
tests compare all four with what the code gives now.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import keras_classics
from keras_classics import CATALOG, analyse, build
from keras_classics.architectures.catalog import MEASURED, measured
from keras_classics.networks import constructor
from keras_classics.weights.golden import golden_outputs, record_outputs

ROOT = Path(__file__).parent.parent
STUB = ROOT / "src" / "keras_classics" / "__init__.pyi"
README = ROOT / "README.md"
COSTS = ROOT / "src" / "keras_classics" / "architectures" / MEASURED
HEAD = '''"""The public names, for editors and type checkers. Written by tools/record.py."""

from collections.abc import Callable
from typing import ParamSpec

import keras

from keras_classics.architectures.frame import Arguments
'''
MAKER = """
P = ParamSpec("P")
def _constructor(arguments: Callable[P, Arguments]) -> Callable[P, keras.Model]: ...
"""
COLUMNS = ("network", "constructor", "paper", "parameters", "GMACs", "input", "minimum input")


def stub() -> str:
    """The text of `__init__.pyi`."""
    by_home = itertools.groupby(
        sorted(keras_classics._HOME.items(), key=lambda item: (item[1], item[0])),
        key=lambda item: item[1],
    )
    lines = [
        f"from keras_classics.{home} import {name} as {name}"
        for home, names in by_home
        for name, _ in names
    ]
    made = []
    for record in CATALOG.values():
        # Those whose arguments keras.applications has in another order.
        typed = "_constructor(Arguments)" if not record.positional else "..."
        kind = "" if not record.positional else ": Callable[..., keras.Model]"
        made.append(f"{record.title}{kind} = {typed}")
        made.append(f'"""{constructor(record.title).__doc__.splitlines()[0]}"""')
    version = "__version__: str"
    return "\n".join([HEAD + "\n".join(lines), MAKER, version, *made, ""])


def costs() -> str:
    """The text of `measured.json`."""
    found = {name: analyse(build(name)).model for name in CATALOG}
    lines = [json.dumps({name: [cost.parameters, cost.macs]})[1:-1] for name, cost in found.items()]
    return "{\n  " + ",\n  ".join(lines) + "\n}\n"


def table() -> str:
    """The README's table of the networks."""
    figures = measured()
    rows = [f"| {' | '.join(COLUMNS)} |", "|---|---|---|---:|---:|---:|---:|"]
    for record in CATALOG.values():
        parameters, macs = figures[record.name]
        cells = (
            f"`{record.name}`",
            f"`{record.title}`",
            f"[{record.paper.rpartition('/')[2]}]({record.paper})",
            f"{parameters:,}",
            f"{macs / 1e9:.3f}",
            str(record.default_size),
            str(record.least_size),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def with_table(text: str, rows: str) -> str:
    """The README with another table of the networks."""
    head, _, rest = text.partition(f"| {' | '.join(COLUMNS)} |")
    return f"{head}{rows}\n\n{rest.partition(chr(10) * 2)[2]}"


if __name__ == "__main__":
    record_outputs(record for record in CATALOG.values() if golden_outputs(record) is None)
    COSTS.write_text(costs(), encoding="utf-8")
    STUB.write_text(stub(), encoding="utf-8")
    README.write_text(with_table(README.read_text("utf-8"), table()), encoding="utf-8")
