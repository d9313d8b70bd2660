"""A calibration as it is applied: the temperature, and the threshold to reject by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]

TINY = float(np.finfo(np.float32).tiny)  # a logarithm needs more than none
AT_A_TIME = 4096  # images, for whose logarithms there is memory


@dataclass(frozen=True)
class Calibration:
    """What is done to a network's probabilities, and when they are better not believed."""

    temperature: float  # 1 changes nothing; above 1 the network was too sure of itself
    threshold: float  # confidences below it are better not answered; 0 answers all
    target: float  # accuracy of what is answered, for which the threshold was chosen
    promised: bool  # holds with 90 % on new images like these, not just on the validation part
    fitted_on: int  # images of the validation part
    warning: str | None  # why not to trust it

    def apply(self, probabilities: Floats) -> Floats:
        """Calibrated probabilities (n, classes)."""
        return with_temperature(probabilities, self.temperature)

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """The same from `to_dict`.

        Raises:
            ValueError: If the values are not those of a calibration.
        """
        try:
            found = cls(
                temperature=float(values["temperature"]),
                threshold=float(values["threshold"]),
                target=float(values["target"]),
                promised=bool(values["promised"]),
                fitted_on=int(values["fitted_on"]),
                warning=values["warning"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a calibration: {values}") from error
        if not (0 < found.temperature < math.inf and 0 <= found.threshold <= 1):
            raise ValueError(f"not a calibration: {values}")
        return found


def with_temperature(probabilities: Floats, temperature: float) -> Floats:
    """Probabilities (n, classes) as if the logits had been divided by a temperature."""
    if temperature == 1.0:
        return probabilities
    scaled = np.empty_like(probabilities)
    for start in range(0, len(probabilities), AT_A_TIME):
        rows = slice(start, start + AT_A_TIME)
        logs = np.log(np.maximum(probabilities[rows].astype(np.float64), TINY)) / temperature
        powers = np.exp(logs - logs.max(axis=1, keepdims=True))
        scaled[rows] = powers / powers.sum(axis=1, keepdims=True)
    return scaled
