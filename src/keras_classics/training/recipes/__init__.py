"""The recipes that come with the package, and those of one's own.

A recipe is a TOML file whose lines are the fields of `training.recipe.Recipe`. It may also say:

- `extends = "quick"`: begin with the lines of another recipe, by name or file;
- `networks = [...]`: which networks it is meant for, any without it;
- `[for.NETWORK]`: lines that hold for one network;
- `[for.with_TRAIT]` and `[for.without_TRAIT]`: for all that have batch_norm or residuals, or not.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from keras_classics.errors import ClassicsError, nearest
from keras_classics.training.recipe import Recipe

PAPER = "paper"  # stands for the recipe of the paper of whatever network is trained
SCRATCH, TRANSFER = "quick", "transfer"  # the defaults with random weights and with trained ones
_RECIPE = TypeAdapter(Recipe)
_MOST_EXTENDED = 8  # recipes that extend one another; more of them go in a circle


@dataclass(frozen=True)
class RecipeFile:
    """A recipe as it is written."""

    name: str  # of a recipe of the package, or the path of a file
    text: str

    def lines(self) -> dict[str, Any]:
        """Its lines.

        Raises:
            ClassicsError: If it is not TOML.
        """
        try:
            return tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            raise ClassicsError(f"{self.name}: is not TOML: {error}.") from None


def names() -> tuple[str, ...]:
    """The recipes that come with the package, as files name them."""
    found = (entry.name for entry in resources.files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml")))


def networks_of(name: str) -> tuple[str, ...]:
    """The networks that a recipe of the package is meant for; empty: any."""
    return tuple(read(name).lines().get("networks", ()))


def read(name: str, network: str | None = None) -> RecipeFile:
    """A recipe as it is written.

    Args:
        name: Of a recipe of the package, "paper" for that of the network's paper, or the path of a
            TOML file.
        network: Decides which paper's.

    Raises:
        ClassicsError: If there is none, or the file cannot be read.
    """
    if name in names():
        text = resources.files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
        return RecipeFile(name, text)
    if name == PAPER:
        return read(_paper(network))
    path = Path(name)
    if path.suffix == ".toml" or len(path.parts) > 1:
        try:
            return RecipeFile(name, path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            raise ClassicsError(f"{name}: is not a text file; a recipe is TOML.") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ClassicsError(f"{name}: the recipe cannot be read ({reason}).") from None
    known = (PAPER, *names())
    hint = nearest(name, known, f"there are {', '.join(known)}")
    raise ClassicsError(f"recipe {name!r} is not known{hint} A file of your own ends in .toml.")


def find(name: str, network: str, changes: Sequence[str] = ()) -> Recipe:
    """A recipe for a network.

    Args:
        name: As in `read`.
        network: A name of the catalog.
        changes: Lines in the place of the recipe's: "epochs=20", "optimizer.learning_rate=1e-3".

    Raises:
        ClassicsError: If there is no such recipe, it is meant for other networks, or a line is not
            one of a recipe's or has a value that cannot be.
    """
    file = read(name, network)
    lines = _resolved(file, network, depth=0)
    meant = lines.pop("networks", ())
    if meant and network not in meant:
        raise ClassicsError(f"recipe {file.name!r}: is for {', '.join(meant)}, not {network}.")
    for change in changes:
        _change(lines, change)
    lines.setdefault("about", "")
    lines["name"] = file.name
    try:
        return from_dict(lines)
    except ValidationError as error:
        raise ClassicsError(_explained(error, file.name, changes)) from None


def is_for_trained_weights(name: str, network: str) -> bool:
    """Whether a recipe begins with trained weights: it says how they are fine-tuned.

    Raises:
        ClassicsError: As in `read`.
    """
    return name != PAPER and "transfer" in _resolved(read(name, network), network, depth=0)


def from_dict(values: dict[str, Any]) -> Recipe:
    """The recipe of the values that `dataclasses.asdict` makes of it, or JSON or TOML hold.

    Raises:
        pydantic.ValidationError: A ValueError that names what cannot be.
    """
    # By way of JSON, whose lists may be tuples, while a number may not be a string.
    recipe: Recipe = _RECIPE.validate_json(json.dumps(values, default=str))
    return recipe


def _paper(network: str | None) -> str:
    for name in names():
        if name.startswith(f"{PAPER}_") and (network is None or network in networks_of(name)):
            return name
    raise ClassicsError(
        f"recipe 'paper': there is none for {network}; `classics recipes` lists them."
    )


def _resolved(file: RecipeFile, network: str, depth: int) -> dict[str, Any]:
    """Its lines on top of those that it extends, with those for the network."""
    lines = file.lines()
    special = lines.pop("for", {})
    base = lines.pop("extends", None)
    if not isinstance(special, dict) or not isinstance(base, str | None):
        raise ClassicsError(f'{file.name}: `extends = "NAME"` and `[for.NETWORK]` are needed.')
    if base is not None:
        if depth == _MOST_EXTENDED:
            raise ClassicsError(f"{file.name}: extends recipes that extend it.")
        beside = Path(file.name).parent / base if base.endswith(".toml") else base
        below = _resolved(read(str(beside), network), network, depth + 1)
        below.pop("about", None)
        lines = _merged(below, lines)
    for name in (*_traits(network), network):
        lines = _merged(lines, special.get(name, {}))
    return lines


def _traits(network: str) -> list[str]:
    """What a network has and has not, as recipes call it."""
    from keras_classics.architectures.catalog import CATALOG  # noqa: PLC0415  lists need no Keras
    from keras_classics.architectures.frame import TRAITS  # noqa: PLC0415

    record = CATALOG.get(network)
    own = record.traits if record else frozenset(TRAITS)
    return [f"with_{trait}" if trait in own else f"without_{trait}" for trait in TRAITS]


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = (
            _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return merged


def _change(lines: dict[str, Any], change: str) -> None:
    """Put one "key.key=value" into the lines."""
    key, equals, text = change.partition("=")
    *parents, last = (part.strip() for part in key.split("."))
    if not equals or not last or not all(parents):
        raise ClassicsError(f"{change!r}: a line such as optimizer.learning_rate=0.001 is needed.")
    for parent in parents:
        lines = lines.setdefault(parent, {})
        if not isinstance(lines, dict):
            raise ClassicsError(f"{change!r}: {parent} is a line of a recipe, not a section.")
    lines[last] = _value(text)


def _value(text: str) -> Any:
    """A value as TOML writes it, or as people do: .5, and words without quotation marks."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        with suppress(ValueError):
            return float(text)
        return text.strip()


def _explained(error: ValidationError, name: str, changes: Sequence[str]) -> str:
    """What is wrong with the first line that is wrong."""
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    where = ".".join(place)
    given = any(change.partition("=")[0].strip() == where for change in changes)
    what = where if given else f"recipe {name}: {where}"
    if first["type"] == "unexpected_keyword_argument":
        section: Any = Recipe
        for part in place[:-1]:
            section = get_type_hints(section)[part]
            section = next(kind for kind in (*get_args(section), section) if is_dataclass(kind))
        known = [field.name for field in fields(section)]
        hint = nearest(place[-1], known, f"there are {', '.join(known)}")
        return f"{what}: there is no such line{hint}"
    message = first["msg"][:1].lower() + first["msg"][1:]
    return f"{what} = {first['input']!r}: {message}."
