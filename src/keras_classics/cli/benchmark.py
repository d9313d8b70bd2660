"""`classics benchmark`: how fast a network runs here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keras_classics.cli import options
from keras_classics.host.units import counted, short

if TYPE_CHECKING:
    from rich.console import Console

    from keras_classics.engines.benchmark.measuring import Results


def benchmark(
    network: Annotated[str, typer.Argument(help="A network of the catalog, or an artefact.")],
    library: Annotated[
        list[str] | None,
        typer.Option(
            help="Measure only openvino, onnxruntime, keras or keras.applications; repeatable.",
            show_default="all",
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(help="Measure only f32, bf16 or int8; repeatable.", show_default="all"),
    ] = None,
    size: options.ShownSize = None,
    width: options.ShownWidth = None,
    classes: options.ShownClasses = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Batch size of the throughput measurement.")
    ] = 16,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Rough figures: one round of half a second, without int8."),
    ] = False,
    rounds: Annotated[
        int | None,
        typer.Option(min=1, help="Rounds that everything runs in.", show_default="5; 1 for quick"),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(min=0.01, help="Minimum seconds per round.", show_default="2; 0.5 for quick"),
    ] = None,
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
    """Measure latency and throughput on our engines, and of keras.applications.

    A network of the catalog has random weights. Whatever cannot run is listed with the reason.
    """
    from keras_classics.cli.backend import start

    start()  # which keeps TensorFlow's remarks from the terminal

    from keras_classics.cli.terminal import console
    from keras_classics.engines.benchmark.contenders import CONTENDERS
    from keras_classics.engines.benchmark.measuring import benchmark as run
    from keras_classics.engines.benchmark.plot import FORMS, draw
    from keras_classics.errors import ClassicsError, nearest
    from keras_classics.host.files import write_bytes

    if output is not None and output.suffix.lower() not in (".json", *FORMS):
        raise ClassicsError(f"{output}: the file must end in .json, {', '.join(FORMS)}.")
    if output is not None and not output.parent.is_dir():
        raise ClassicsError(f"{output}: no such folder to write in.")
    chosen = [each for each in CONTENDERS if precision or not quick or each.precision != "int8"]
    for what, names in (("library", library), ("precision", precision)):
        known = dict.fromkeys(getattr(each, what) for each in CONTENDERS)
        for name in names or ():
            if name not in known:
                raise ClassicsError(
                    f"--{what} {name}: not one of {', '.join(known)}{nearest(name, known, '.')}"
                )
        chosen = [each for each in chosen if not names or getattr(each, what) in names]
    if not chosen:
        raise ClassicsError(
            f"--library {' '.join(library or ())}: cannot run in {' '.join(precision or ())}."
        )
    remarks = console(error=True)
    with remarks.status("starting") as status:

        def foresee(expected: float) -> None:
            minutes = "a minute" if expected < 90 else f"{expected / 60:.0f} minutes"
            remarks.print(f"This will take about {minutes}.")

        found = run(
            network,
            contenders=chosen,
            size=size,
            width=width,
            classes=classes,
            batch=batch_size,
            rounds=rounds or (1 if quick else 5),
            seconds=seconds or (0.5 if quick else 2.0),
            threads=threads,
            foresee=foresee,
            tell=status.update,
        )
    if output is not None:
        is_json = output.suffix.lower() == ".json"
        write_bytes(output, f"{found.to_json()}\n".encode() if is_json else draw(found, output))
    if as_json:
        typer.echo(found.to_json())
    else:
        _show(console(), found)


def _show(screen: Console, found: Results) -> None:
    from keras_classics.cli.terminal import new_table, show_table

    compared = found.rows[0].to_reference is not None
    ratio = ["ratio"] if compared else []
    table = new_table(
        ["library"],
        ["p50 ms", "p95 ms", "p99 ms", "images/s", *ratio, "memory"],
        title=f"{found.network}, {found.size} × {found.size}, width {found.width:g}, "
        f"{short(found.macs, 'MACs')}",
    )
    for row in found.rows:
        times = (row.p50_ms, row.p95_ms, row.p99_ms, row.images_per_s)
        table.add_row(
            row.name,
            *(f"{value:.1f}" for value in times),
            *([f"{row.to_reference:.2f}"] if row.to_reference is not None else []),
            short(row.memory, "B"),
        )
    show_table(screen, table)
    screen.print(f"{found.machine['processor']}, {found.machine['cores']} cores")
    screen.print("p50, p95, p99: percentiles of the latency of one image")
    screen.print(
        f"images/s: in batches of {found.batch}, median of {counted(found.rounds, 'round')}"
    )
    if compared:
        screen.print(f"ratio: images/s relative to keras.applications' {found.reference}")
    for name, why in found.missing.items():
        screen.print(f"left out: {name}: {why}", markup=False, soft_wrap=True)
