"""Which engine a model is opened with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keras_classics.deployment.engine import Engine, Precision
from keras_classics.deployment.engines import open_engine


@dataclass(frozen=True)
class Choice:
    """Engine, precision and threads, as they were asked for."""

    engine: str = "auto"
    precision: Precision | None = None
    threads: int | None = None

    def open(self, path: Path) -> Engine:
        """An engine over an artefact or an export.

        Raises:
            ClassicsError: If it is torn, or the engine not to be had.
        """
        return open_engine(path, engine=self.engine, precision=self.precision, threads=self.threads)
