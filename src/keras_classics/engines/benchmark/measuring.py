"""The benchmark: contenders in processes of their own, which run in turns.

What else the machine does hits all of them alike, and each is compared with the reference of its
own round.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np

from keras_classics.architectures import catalog
from keras_classics.classifier.card import check_artefact
from keras_classics.engines.benchmark.contenders import (
    CALL,
    CONTENDERS,
    REFERENCE,
    Contender,
    Task,
    begin,
    process_with,
    times,
)
from keras_classics.engines.benchmark.preparing import quantise, task_of, write_random
from keras_classics.errors import ClassicsError, one_line
from keras_classics.exporting import runtimes
from keras_classics.exporting.exported import Precision

LEAST_SINGLE = 10  # single images in each round
PREPARING = 2.0  # for each contender, in units of what it takes to prepare the network
PACKAGES = ("keras", "tensorflow", "openvino", "onnxruntime")

Tell = Callable[[str], None]
"""Called with what is going on."""


@dataclass(frozen=True)
class Row:
    """What was measured of one contender."""

    name: str
    library: str
    precision: Precision
    p50_ms: float  # for one image, over all rounds
    p95_ms: float
    p99_ms: float
    images_per_s: float  # median of the rounds
    rates: tuple[float, ...]  # images/s in each round
    to_reference: float | None  # median of the rounds' ratios to keras.applications
    memory: int  # bytes, of the process


@dataclass(frozen=True)
class Results:
    """A benchmark."""

    network: str
    size: int
    width: float
    macs: int  # multiply-adds for an image
    reference: str  # the network of keras.applications, in words
    batch: int
    rounds: int
    rows: tuple[Row, ...]  # the fastest first
    missing: Mapping[str, str]  # contender -> why it did not run
    machine: Mapping[str, Any]

    def to_json(self) -> str:
        """All of it as JSON."""
        return json.dumps(asdict(self), indent=2)


@dataclass
class Measured:
    """What came of one contender so far."""

    contender: Contender
    why_not: str = ""  # it did not run
    latencies: list[float] = field(default_factory=list)  # seconds for one image
    rates: list[float] = field(default_factory=list)  # images/s, one a round
    memory: int = 0  # bytes that the process held at most


def benchmark(
    network: str,
    *,
    contenders: Sequence[Contender] = CONTENDERS,
    size: int | None = None,
    width: float | None = None,
    classes: int | None = None,
    batch: int = 16,
    rounds: int = 5,
    seconds: float = 2.0,
    threads: int | None = None,
    foresee: Callable[[float], None] = lambda _: None,
    tell: Tell = lambda _: None,
) -> Results:
    """Measure latency and throughput of a network.

    Latency is that of single images, throughput that of calls of `batch` times four images.

    Args:
        network: Of the catalog, with random weights, or the folder of an artefact.
        contenders: What to run it on.
        size: Height and width of a network of the catalog, in pixels; None for the paper's.
        width: Of a network of the catalog; None for 1.
        classes: Of a network of the catalog; None for 1000.
        batch: Images at a time.
        rounds: Turns of each contender.
        seconds: Of a turn, at least; half as long for single images.
        threads: For each library; what it takes by itself if None.
        foresee: Told about how many seconds it will take, before anything is measured.
        tell: Told what is going on.

    Raises:
        ClassicsError: If there is no such network, or nothing could run.
    """
    runtimes.check_installed("tensorflow")
    folder = Path(network)
    is_artefact = network not in catalog.CATALOG and (folder.is_dir() or len(folder.parts) > 1)
    if is_artefact and not (size is width is classes is None):
        raise ClassicsError("--size, --width and --classes: those of an artefact are fixed.")
    if is_artefact:
        check_artefact(folder)
    else:
        network = catalog.find(network).name
    environment = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    if threads:
        names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
        environment |= dict.fromkeys(names, str(threads))
    with tempfile.TemporaryDirectory(prefix="keras-classics-") as place:
        if not is_artefact:
            environment["KERAS_CLASSICS_HOME"] = place  # nobody will use its conversions again
        artefact = folder if is_artefact else Path(place) / "artefact"
        tell("preparing the network")
        began = time.perf_counter()
        try:
            with process_with(environment) as process:
                if not is_artefact:
                    process.submit(
                        write_random,
                        artefact,
                        network,
                        size=size,
                        width=1.0 if width is None else width,
                        classes=1000 if classes is None else classes,
                    ).result()
                task = process.submit(
                    task_of, artefact, Path(place), batch=batch, threads=threads
                ).result()
        except BrokenProcessPool:
            raise MemoryError from None  # for lack of which it was killed
        preparing = PREPARING * (time.perf_counter() - began)
        foresee(len(contenders) * (preparing + rounds * turn_s(task, seconds)))
        measured = measure(
            contenders, task, rounds=rounds, seconds=seconds, environment=environment, tell=tell
        )
    missing = {each.contender.name: each.why_not for each in measured if each.why_not}
    if len(missing) == len(measured):
        reasons = "; ".join(f"{name}: {why}" for name, why in missing.items())
        raise ClassicsError(f"nothing ran: {reasons}.")
    return Results(
        network=task.network,
        size=task.size,
        width=task.width,
        macs=task.macs,
        reference=f"{task.peer}{'' if task.peer_width == task.width else ' (width 1)'}",
        batch=batch,
        rounds=rounds,
        rows=rows_of(measured),
        missing=missing,
        machine=_machine(threads),
    )


def turn_s(task: Task, seconds: float) -> float:
    """How long a turn takes of what is no faster than Keras."""
    alone = max(seconds / 2, LEAST_SINGLE * task.image_s)
    return alone + max(seconds, CALL * task.batch * task.image_s)


def measure(
    contenders: Sequence[Contender],
    task: Task,
    *,
    rounds: int,
    seconds: float,
    environment: Mapping[str, str],
    tell: Tell,
) -> list[Measured]:
    """Let contenders run in turns; those that fail say why, and the others go on.

    Args:
        contenders: Who runs.
        task: What they run.
        rounds: How often each has its turn.
        seconds: Of a turn, at least; half as long for single images.
        environment: Variables of their processes.
        tell: Told what is going on.
    """
    results = [Measured(contender) for contender in contenders]
    with ExitStack() as stack:
        processes = [stack.enter_context(process_with(environment)) for _ in results]
        for result, process in zip(results, processes, strict=True):
            with _failing(result):
                contender, export = result.contender, result.contender.export(task)
                tell(f"preparing {contender.name}")
                if export is not None:  # in yet another one, as converters keep memory
                    with process_with(environment) as other:
                        other.submit(quantise, task, contender.library, export).result()
                process.submit(begin, contender, task).result()
        for turn in range(rounds):
            for k in range(len(results)):  # another one begins each round
                i = (k + turn) % len(results)
                if not results[i].why_not:
                    tell(f"round {turn + 1} of {rounds}: {results[i].contender.name}")
                    with _failing(results[i]):
                        _turn(results[i], processes[i], CALL * task.batch, seconds)
    return results


def _turn(result: Measured, process: ProcessPoolExecutor, images: int, seconds: float) -> None:
    alone, _ = process.submit(times, 1, seconds / 2, LEAST_SINGLE).result()
    many, memory = process.submit(times, images, seconds, 1).result()
    result.latencies += alone
    result.rates.append(images * len(many) / sum(many))
    result.memory = max(result.memory, memory)


@contextmanager
def _failing(result: Measured) -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool:
        result.why_not = "its process was killed, most often for lack of memory"
    except Exception as error:  # of whatever library
        result.why_not = one_line(str(error) or type(error).__name__).rstrip(".")


def rows_of(measured: Sequence[Measured]) -> tuple[Row, ...]:
    """The figures of those that ran, the fastest first."""
    ran = [each for each in measured if not each.why_not]
    reference = next((each.rates for each in ran if each.contender == REFERENCE), None)
    rows = []
    for each in ran:
        p50, p95, p99 = 1000 * np.percentile(each.latencies, [50, 95, 99])
        rows.append(
            Row(
                name=each.contender.name,
                library=each.contender.library,
                precision=each.contender.precision,
                p50_ms=float(p50),
                p95_ms=float(p95),
                p99_ms=float(p99),
                images_per_s=float(np.median(each.rates)),
                rates=tuple(each.rates),
                to_reference=None
                if reference is None
                else float(np.median(np.divide(each.rates, reference))),
                memory=each.memory,
            )
        )
    return tuple(sorted(rows, key=lambda row: -row.images_per_s))


def _machine(threads: int | None) -> dict[str, Any]:
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": runtimes.versions("keras-classics", *filter(util.find_spec, PACKAGES)),
    }


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
