"""What was measured, as figures: percentiles, ratios to the reference, share of the limit."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_classics.engines.benchmark.contenders import OURS, REFERENCE, Contender
from keras_classics.engines.benchmark.measuring import Measured
from keras_classics.errors import OutputError
from keras_classics.exporting import runtimes
from keras_classics.exporting.exported import Precision

PACKAGES = ("keras", "tensorflow", "torch", "torchvision", "timm", "openvino", "onnxruntime")


@dataclass(frozen=True)
class Row:
    """One contender."""

    library: str
    precision: Precision
    p50_ms: float  # for one image, over all rounds
    p95_ms: float
    p99_ms: float
    images_per_s: float  # median of the rounds
    to_reference: float | None  # median of the rounds' ratios to keras.applications
    to_torchvision: float | None  # the same to torchvision's best
    of_limit: float | None  # operations a second, as a share of the matrix product's
    memory: int  # bytes, of the process
    built_s: float

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.library} {self.precision}"


@dataclass(frozen=True)
class Results:
    """A benchmark."""

    network: str
    size: int
    width: float
    macs: int  # multiply-adds of our network, for one image
    batch: int
    rounds: int
    rows: tuple[Row, ...]  # the fastest first
    missing: Mapping[str, str]  # contender -> why it did not run
    limits: Mapping[str, float]  # precision -> operations/s of the largest matrix product
    machine: Mapping[str, Any]

    def to_json(self) -> str:
        """All of it as JSON."""
        return json.dumps(asdict(self), indent=2)


def results(
    measured: Sequence[Measured],
    missing: Mapping[Contender, str],
    *,
    network: str,
    size: int,
    width: float,
    macs: Mapping[str, int],
    batch: int,
    limits: Mapping[Precision, float],
    threads: int | None,
) -> Results:
    """Figures of what was measured.

    Args:
        measured: All contenders that were tried.
        missing: Those that were not, and why.
        network: Name in the catalog.
        size: Height and width in pixels.
        width: Of the network.
        macs: Multiply-adds of an image: "ours", "torch".
        batch: Images at a time.
        limits: Operations a second.
        threads: That the libraries were given; None if they chose.
    """
    ran = [each for each in measured if each.why_not is None]
    rates = {each.contender: each.rates for each in ran}
    torchvision = _best(rates, "torchvision")
    rows = [
        Row(
            library=each.contender.library,
            precision=each.contender.precision,
            **_percentiles(each.latencies),
            images_per_s=float(np.median(each.rates)),
            to_reference=_ratio(each.rates, rates.get(REFERENCE)),
            to_torchvision=_ratio(each.rates, torchvision),
            of_limit=_share(each, macs, limits),
            memory=each.memory,
            built_s=each.built_s,
        )
        for each in ran
    ]
    failed = {each.contender.name: each.why_not for each in measured if each.why_not is not None}
    return Results(
        network=network,
        size=size,
        width=width,
        macs=macs["ours"],
        batch=batch,
        rounds=max((len(each.rates) for each in ran), default=0),
        rows=tuple(sorted(rows, key=lambda row: -row.images_per_s)),
        missing={each.name: why for each, why in missing.items()} | failed,
        limits={str(precision): rate for precision, rate in limits.items()},
        machine={
            "processor": processor(),
            "cores": os.cpu_count(),
            "threads": threads,
            "system": platform.platform(terse=True),
            "python": platform.python_version(),
            "versions": runtimes.versions("keras-classics", *_installed()),
        },
    )


def _best(rates: Mapping[Contender, list[float]], library: str) -> list[float] | None:
    """The rounds of a library's fastest contender."""
    its = [each for contender, each in rates.items() if contender.library == library]
    return max(its, key=lambda rounds: float(np.median(rounds)), default=None)


def _percentiles(rounds: Sequence[Sequence[float]]) -> dict[str, float]:
    seconds = np.concatenate([np.asarray(each) for each in rounds])
    p50, p95, p99 = (float(value) * 1000 for value in np.percentile(seconds, [50, 95, 99]))
    return {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99}


def _ratio(rates: Sequence[float], reference: Sequence[float] | None) -> float | None:
    """Median of the ratios of each round, in which the machine was the same for both."""
    if reference is None:
        return None
    return float(np.median([mine / its for mine, its in zip(rates, reference, strict=False)]))


def _share(
    each: Measured, macs: Mapping[str, int], limits: Mapping[Precision, float]
) -> float | None:
    limit = limits.get(each.contender.precision)
    if limit is None:
        return None
    kind = "torch" if each.contender.library in ("torchvision", "timm") else "ours"
    return float(np.median(each.rates)) * 2 * macs[kind] / limit


def _installed() -> list[str]:
    return [name for name in PACKAGES if importlib.util.find_spec(name)]


def processor() -> str:
    """The name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def is_ours(row: Row) -> bool:
    """Whether a row is of our network."""
    return row.library in OURS


def write(path: Path, content: bytes) -> None:
    """Write a file atomically.

    Raises:
        OutputError: If it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot write: {error.strerror or error}.") from error
