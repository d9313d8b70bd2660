"""`classics benchmark`: how fast a network runs here, beside others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keras_classics.cli import options
from keras_classics.host.units import short

if TYPE_CHECKING:
    from rich.console import Console

    from keras_classics.engines.benchmark.results import Results


def benchmark(
    network: Annotated[str, typer.Argument(help="A network of the catalog, or an artefact.")],
    library: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this one, several times: openvino, onnxruntime, keras, keras.applications, "
            "torchvision, timm.",
            show_default="all that are installed",
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(help="Only this one, several times: f32, bf16, int8.", show_default="all"),
    ] = None,
    size: options.ShownSize = None,
    width: options.ShownWidth = None,
    classes: options.ShownClasses = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Batch size of the throughput measurement.")
    ] = 16,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds per contender.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.01, help="Minimum seconds per round.")] = 3.0,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads of each library.", show_default="its own choice"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write all figures (.json) or a plot (.svg, .png, .pdf).",
            show_default=False,
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Measure latency and throughput: our engines, keras.applications, torchvision, timm.

    A network of the catalog has random weights. Whatever is not installed is left out, and said.
    """
    from keras_classics.cli.backend import start

    start()  # which keeps TensorFlow's remarks from the terminal

    from keras_classics.cli.terminal import console, counting
    from keras_classics.engines.benchmark.course import benchmark as run
    from keras_classics.engines.benchmark.plot import FORMS, draw
    from keras_classics.engines.benchmark.results import write
    from keras_classics.errors import ClassicsError

    if output is not None and output.suffix.lower() not in (".json", *FORMS):
        raise ClassicsError(f"{output}: the file ends with .json, {', '.join(FORMS)}.")
    if output is not None and not output.parent.is_dir():
        raise ClassicsError(f"{output}: no such folder to write in.")
    is_artefact = _is_artefact(network)
    if is_artefact and not (size is width is classes is None):
        raise ClassicsError("--size, --width and --classes: those of a trained model are fixed.")
    remarks = console(error=True)
    with counting(remarks, "preparing") as progress:
        found = run(
            network,
            is_artefact=is_artefact,
            libraries=library or (),
            precisions=precision or (),
            size=size,
            width=1.0 if width is None else width,
            classes=1000 if classes is None else classes,
            batch=batch_size,
            rounds=rounds,
            seconds=seconds,
            threads=threads,
            tell=lambda _, done, total: progress(done, total),
        )
    if output is not None:
        is_json = output.suffix.lower() == ".json"
        write(output, f"{found.to_json()}\n".encode() if is_json else draw(found, output))
    if as_json:
        typer.echo(found.to_json())
    else:
        _show(console(), found)


def _is_artefact(network: str) -> bool:
    """Whether a name means a folder, and not a network of the catalog.

    Raises:
        ClassicsError: If it is neither.
    """
    from keras_classics.architectures import catalog

    if network in catalog.CATALOG:
        return False
    if Path(network).is_dir():
        return True
    catalog.find(network)
    return False


def _show(screen: Console, found: Results) -> None:
    from keras_classics.cli.terminal import new_table, show_table

    table = new_table(
        ["library"],
        ["precision", "p50 ms", "p95 ms", "p99 ms", "images/s"],
        title=f"{found.network}, {found.size} × {found.size}, width {found.width:g}, "
        f"{short(found.macs, 'MACs')}",
    )
    for heading in ("× keras.app.", "× torchvision", "of limit", "memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in found.rows:
        table.add_row(
            row.library,
            row.precision,
            *(f"{value:.1f}" for value in (row.p50_ms, row.p95_ms, row.p99_ms, row.images_per_s)),
            *(
                "" if value is None else f"{value:.2f}"
                for value in (row.to_reference, row.to_torchvision)
            ),
            "" if row.of_limit is None else f"{row.of_limit:.0%}",
            short(row.memory, "B"),
        )
    show_table(screen, table)
    limits = ", ".join(f"{name} {short(rate, 'op/s')}" for name, rate in found.limits.items())
    machine = found.machine
    screen.print(f"{machine['processor']}, {machine['cores']} cores; matrix products: {limits}")
    screen.print(
        f"ms: one image at a time. images/s: {found.batch} at a time, median of {found.rounds} "
        "rounds. ratios: of throughput, to keras.applications' predict and to the faster of "
        "torchvision's."
    )
    for name, why in found.missing.items():
        screen.print(f"left out: {name}: {why}", markup=False, highlight=False)
