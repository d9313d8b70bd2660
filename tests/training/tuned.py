"""Tunes on a folder, and kills itself in the third epoch of the second trial.

python tuned.py DATA FOLDER
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from keras_classics.training.config import TrainConfig
from keras_classics.training.events import EpochEnd
from keras_classics.training.search_space import Ranges
from keras_classics.training.tuning import TrialBegin, TuneConfig, tune


def config(data: Path, out: Path, **changes: object) -> TuneConfig:
    """A tuning whose trials take a second."""
    base = TrainConfig(
        folder=data, network="vgg16", weights="none", width=0.0625, epochs=3, batch_size=16
    )
    ranges = Ranges(size=(32,), width=(0.0625,))
    return TuneConfig(**{"base": base, "seconds": 600.0, "ranges": ranges, "out": out} | changes)


def main() -> None:
    data, out = map(Path, sys.argv[1:])
    at = {"trial": 0}

    def tell(event: object) -> None:
        if isinstance(event, TrialBegin):
            at["trial"] = event.number
        if isinstance(event, EpochEnd) and (at["trial"], event.epoch) == (1, 1):
            os.kill(os.getpid(), signal.SIGKILL)

    tune(config(data, out, trials=2), tell)


if __name__ == "__main__":
    main()
