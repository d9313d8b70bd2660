"""A benchmark from first to last."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence

from keras_classics.engines.benchmark.contenders import CONTENDERS, Contender, Task, why_not
from keras_classics.engines.benchmark.limits import measured_limits
from keras_classics.engines.benchmark.measuring import measure
from keras_classics.engines.benchmark.preparing import TARGET_OF, Prepared, Wanted, prepare
from keras_classics.engines.benchmark.results import Results, results
from keras_classics.errors import ClassicsError, nearest

Tell = Callable[[str, int, int], None]
"""Called with what is done now, the number of steps done, and of all."""

LIBRARIES = tuple(dict.fromkeys(contender.library for contender in CONTENDERS))


def benchmark(
    network: str,
    *,
    is_artefact: bool,
    libraries: Sequence[str] = (),
    precisions: Sequence[str] = (),
    size: int | None = None,
    width: float = 1.0,
    classes: int = 1000,
    batch: int = 16,
    rounds: int = 5,
    seconds: float = 3.0,
    threads: int | None = None,
    tell: Tell | None = None,
) -> Results:
    """Measure latency and throughput of a network on all that is installed, in one run.

    Every contender has a process of its own; they run in turns. Latency is that of single images,
    throughput that of calls of `batch` times four images.

    Args:
        network: Of the catalog, with random weights, or the folder of an artefact.
        is_artefact: Which of the two.
        libraries: Only these; all if empty.
        precisions: Only these; all if empty.
        size: Height and width of a network of the catalog, in pixels.
        width: Of a network of the catalog.
        classes: Of a network of the catalog.
        batch: Images at a time.
        rounds: Turns of each contender.
        seconds: Of a turn.
        threads: For each library; what it takes by itself if None.
        tell: Told how it goes on.

    Raises:
        ClassicsError: If there is no such network, library or precision, or nothing could run.
    """
    tell = tell or (lambda *_: None)
    chosen = _chosen(libraries, precisions)
    ours = tuple(each for each in chosen if each.library in TARGET_OF)
    with tempfile.TemporaryDirectory(prefix="keras-classics-") as folder:
        tell("preparing the engines", 0, 0)
        prepared = prepare(
            Wanted(
                folder=folder,
                contenders=tuple(each for each in ours if why_not(each, network, width) is None),
                **(
                    {"artefact": network}
                    if is_artefact
                    else {"network": network, "size": size, "width": width, "classes": classes}
                ),
            )
        )
        missing = _missing(chosen, prepared)
        tell("measuring matrix products", 0, 0)
        limits = measured_limits(threads)
        task = Task(
            network=prepared.network,
            size=prepared.size,
            classes=prepared.classes,
            artefact=prepared.artefact,
            exports=prepared.exports,
            threads=threads,
        )
        measured = measure(
            [each for each in chosen if each not in missing],
            task,
            batch=batch,
            rounds=rounds,
            seconds=seconds,
            tell=tell,
        )
        # What a machine can do at most may be seen at another moment.
        again = measured_limits(threads)
    found = results(
        measured,
        missing,
        network=prepared.network,
        size=prepared.size,
        width=prepared.width,
        macs=prepared.macs,
        batch=batch,
        limits={kind: max(rate, again[kind]) for kind, rate in limits.items()},
        threads=threads,
    )
    if not found.rows:
        raise ClassicsError(
            "nothing ran: " + "; ".join(f"{name}: {why}" for name, why in found.missing.items())
        )
    return found


def _chosen(libraries: Sequence[str], precisions: Sequence[str]) -> list[Contender]:
    known = tuple(dict.fromkeys(contender.precision for contender in CONTENDERS))
    for what, names, all_of_them in (
        ("library", libraries, LIBRARIES),
        ("precision", precisions, known),
    ):
        for name in names:
            if name not in all_of_them:
                raise ClassicsError(
                    f"{what} {name!r}: not one of {', '.join(all_of_them)}"
                    f"{nearest(name, all_of_them, '.')}"
                )
    chosen = [
        contender
        for contender in CONTENDERS
        if contender.library in (libraries or LIBRARIES)
        and contender.precision in (precisions or known)
    ]
    if not chosen:
        raise ClassicsError(f"{', '.join(libraries)} runs nothing in {', '.join(precisions)}.")
    return chosen


def _missing(chosen: Sequence[Contender], prepared: Prepared) -> dict[Contender, str]:
    missing = {}
    for contender in chosen:
        why = why_not(contender, prepared.network, prepared.width)
        why = why or prepared.failed.get(contender.name)
        if why is not None:
            missing[contender] = why
    return missing
