"""What tuning varies: learning rate, input size, width, and the strength of the augmentation."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from keras_classics.data.augment import Augmentation
from keras_classics.data.mixing import Mixing
from keras_classics.errors import ClassicsError
from keras_classics.training.config import Sizes, TrainConfig, input_sizes, rate_for_width
from keras_classics.training.recipe import Recipe
from keras_classics.training.task import Task

RATES = 10.0  # the recipe's learning rate is divided and multiplied by up to so much
SIZES = WIDTHS = (0.5, 0.75, 1.0, 1.5, 2.0)  # multiples of the recipe's
SIZE_STEP = 8  # pixels, to which multiples are rounded
STRENGTHS = (0.0, 2.0)  # of the augmentation; 1 is the recipe's
STRENGTH_STEP = 0.1
STRONGEST = 4.0
# The amounts that are multiplied by the strength, and the most that each may be.
AMOUNTS = {
    "shift": 1.0,
    "zoom": 0.9,
    "rotate": 180.0,
    "brightness": 1.0,
    "contrast": 1.0,
    "magnitude": 10.0,
    "magnitude_std": 10.0,
    "pca": 1.0,
    "erase": 1.0,
}
LEAST_AREA = 0.01  # of the picture, that a view may show


@dataclass(frozen=True)
class Settings:
    """One point of the space."""

    learning_rate: float
    size: int  # pixels
    width: float
    augmentation: float  # multiplies the recipe's amounts

    def __str__(self) -> str:
        return (
            f"learning rate {self.learning_rate:.3g}, {self.size} pixels, width {self.width:g}, "
            f"augmentation × {self.augmentation:g}"
        )


@dataclass(frozen=True)
class Space:
    """The points that are tried; a range of one value, or a choice of one, is not varied.

    Attributes:
        learning_rate: lowest and highest; drawn evenly in the logarithm.
        size: pixels to choose from.
        width: to choose from.
        augmentation: lowest and highest strength.
        default: the point that is tried first: the recipe's own, or the nearest to it.
        recipe: that the strength is of.
        base: the configuration whose settings are varied.
        own: the recipe's settings, which `base` has without being told.
        faster: what a recipe's rate is multiplied with, where trained weights are the beginning.
    """

    learning_rate: tuple[float, float]
    size: tuple[int, ...]
    width: tuple[float, ...]
    augmentation: tuple[float, float]
    default: Settings
    own: Settings
    recipe: Recipe
    base: TrainConfig
    faster: float = 1.0

    @property
    def varied(self) -> tuple[str, ...]:
        """The names of what is not fixed."""
        fields = (field.name for field in dataclasses.fields(Settings))
        return tuple(name for name in fields if len(set(getattr(self, name))) > 1)

    def suggest(self, trial: Any) -> Settings:
        """A point, as Optuna's sampler draws it for its trial."""
        drawn: dict[str, Any] = {}
        for name in self.varied:
            low, *_, high = getattr(self, name)
            match name:
                case "learning_rate":
                    drawn[name] = trial.suggest_float(name, low, high, log=True)
                case "augmentation":
                    drawn[name] = trial.suggest_float(name, low, high, step=STRENGTH_STEP)
                case _:
                    drawn[name] = trial.suggest_categorical(name, list(getattr(self, name)))
        return self.settings(drawn)

    def settings(self, drawn: Mapping[str, Any]) -> Settings:
        """The point of what was drawn, as `suggest` gave it."""
        found = dataclasses.asdict(self.default) | dict(drawn)
        found["learning_rate"] = self._rounded(found["learning_rate"])
        found["augmentation"] = round(found["augmentation"], 3)
        return Settings(**found)

    def config(self, settings: Settings) -> TrainConfig:
        """A run with these settings; what is as in the recipe is left to the recipe."""
        own = self.own
        changes = [*self.base.changes]
        if settings.augmentation != 1:
            augmentation, mixing = scaled(
                self.recipe.augmentation, self.recipe.mixing, settings.augmentation
            )
            changes += _lines("augmentation", self.recipe.augmentation, augmentation)
            changes += _lines("mixing", self.recipe.mixing, mixing)
        told: dict[str, Any] = {
            name: getattr(settings, name)
            for name in ("learning_rate", "size", "width")
            if getattr(settings, name) != getattr(own, name)
        }
        return dataclasses.replace(self.base, **told, changes=tuple(changes))

    def to_dict(self) -> dict[str, Any]:
        """The ranges as plain values for JSON."""
        return {
            field.name: list(getattr(self, field.name)) for field in dataclasses.fields(Settings)
        }

    def _rounded(self, rate: float) -> float:
        """Three digits, which can be read and typed; the recipe's own stays what it is."""
        return rate if rate == self.default.learning_rate else float(f"{rate:.3g}")


@dataclass(frozen=True)
class Ranges:
    """What a user wants varied: nothing for the usual, one value to fix it, else the range.

    Attributes:
        learning_rate: lowest and highest.
        size: pixels to choose from.
        width: to choose from.
        augmentation: lowest and highest strength.
    """

    learning_rate: tuple[float, ...] = ()
    size: tuple[int, ...] = ()
    width: tuple[float, ...] = ()
    augmentation: tuple[float, ...] = ()

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            ClassicsError: With the argument and what is possible.
        """
        for name, values, below, possible in (
            ("learning_rate", self.learning_rate, 10.0, "above 0 and below 10"),
            ("width", self.width, math.inf, "above 0"),
        ):
            for value in values:
                if not 0 < value < below:
                    raise ClassicsError(f"{name}={value:g}: {possible} is needed.")
        for value in self.augmentation:
            if not 0 <= value <= STRONGEST:
                raise ClassicsError(f"augmentation={value:g}: 0 to {STRONGEST:g} is needed.")
        for name in ("learning_rate", "augmentation"):
            values = getattr(self, name)
            if len(values) > 2 or sorted(values) != list(values):
                raise ClassicsError(
                    f"{name}={', '.join(f'{value:g}' for value in values)}: one value, or the "
                    "lowest and the highest, is needed."
                )


def space_of(task: Task, ranges: Ranges) -> Space:
    """The space around a task's recipe.

    Args:
        task: Whose settings are varied; the width of trained weights is not.
        ranges: What the user wants of it.

    Raises:
        ClassicsError: If the network cannot take a size.
    """
    base, recipe, origin = task.config, task.recipe, task.origin
    own = Settings(
        learning_rate=recipe.optimizer.learning_rate,
        size=_sizes_of(task, base.size).train,
        width=base.width or (origin.width if origin else recipe.width),
        augmentation=1.0,
    )
    rates = ranges.learning_rate or (own.learning_rate / RATES, own.learning_rate * RATES)
    for pixels in ranges.size:
        _sizes_of(task, pixels)
    if origin and set(ranges.width) - {origin.width}:
        raise ClassicsError(
            f"width={ranges.width[0]:g}: the weights have width {origin.width:g}; leave it out."
        )
    sizes = ranges.size or _sizes(task, own.size)
    # Not wider than the paper's network unless the recipe's is.
    widths = tuple(own.width * each for each in WIDTHS if own.width * each <= max(own.width, 1.0))
    widths = ranges.width or ((origin.width,) if origin else widths)
    augments = recipe.augmentation != Augmentation() or recipe.mixing.mixup or recipe.mixing.cutmix
    strengths = ranges.augmentation or (STRENGTHS if augments else (1.0,))
    default = Settings(
        learning_rate=min(max(own.learning_rate, rates[0]), rates[-1]),
        size=min(sizes, key=lambda pixels: abs(pixels - own.size)),
        width=min(widths, key=lambda width: abs(width - own.width)),
        augmentation=min(max(1.0, strengths[0]), strengths[-1]),
    )
    return Space(
        learning_rate=(rates[0], min(rates[-1], 9.99)),
        size=tuple(sorted(set(sizes))),
        width=tuple(sorted(set(widths))),
        augmentation=(strengths[0], strengths[-1]),
        default=default,
        own=own,
        recipe=recipe,
        base=base,
        faster=rate_for_width(recipe, origin),
    )


def _sizes_of(task: Task, pixels: int | None) -> Sizes:
    config = dataclasses.replace(task.config, size=pixels)
    return input_sizes(config, task.recipe, task.architecture, task.origin)


def _sizes(task: Task, size: int) -> tuple[int, ...]:
    """Multiples of the recipe's size that the network takes."""
    found = []
    for multiple in SIZES:
        pixels = size if multiple == 1 else round(size * multiple / SIZE_STEP) * SIZE_STEP
        with suppress(ClassicsError):
            _sizes_of(task, max(pixels, 1))
            found.append(pixels)
    return tuple(found)


def scaled(
    augmentation: Augmentation, mixing: Mixing, strength: float
) -> tuple[Augmentation, Mixing]:
    """A recipe's augmentation, so much stronger; 1 leaves it, 0 takes all of it away.

    Amounts and probabilities are multiplied, up to what they may be. The area of a random view
    reaches down so much further, its aspect in the logarithm, and the range of scale jitter becomes
    so much longer. The alphas of mixup and CutMix are multiplied. What has no amount (mirroring,
    colour distortion, TrivialAugment) stays as it is above 0.
    """
    if strength == 0:
        return Augmentation(), Mixing()
    changed: dict[str, Any] = {
        name: _digits(min(getattr(augmentation, name) * strength, most))
        for name, most in AMOUNTS.items()
    }
    low, high = augmentation.area
    changed["area"] = (_digits(max(high - (high - low) * strength, LEAST_AREA)), high)
    narrow, wide = augmentation.aspect
    changed["aspect"] = (_digits(narrow**strength), _digits(wide**strength))
    near, far = augmentation.shorter_side
    changed["shorter_side"] = (near, _digits(near + (far - near) * strength))
    return dataclasses.replace(augmentation, **changed), dataclasses.replace(
        mixing,
        mixup=_digits(min(mixing.mixup * strength, 100.0)),
        cutmix=_digits(min(mixing.cutmix * strength, 100.0)),
    )


def _digits(value: float) -> float:
    """Without the 17th digit, which nobody wants to read."""
    return float(f"{value:.6g}")


def _lines(section: str, before: Any, after: Any) -> list[str]:
    """The lines of a recipe's section that differ."""
    return [
        f"{section}.{name}={toml_value(value)}" for name, value in differing(before, after).items()
    ]


def differing(before: Any, after: Any) -> dict[str, Any]:
    """The fields of a dataclass that are not as they were."""
    return {
        field.name: getattr(after, field.name)
        for field in dataclasses.fields(after)
        if getattr(after, field.name) != getattr(before, field.name)
    }


def toml_value(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)  # TOML's escapes are those of JSON
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Sequence):
        return f"[{', '.join(map(toml_value, value))}]"
    return repr(value)
