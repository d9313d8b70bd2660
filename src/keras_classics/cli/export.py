"""`classics export`: an artefact in a format that runs without Keras."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from keras_classics.cli import options

if TYPE_CHECKING:
    from rich.console import Console

    from keras_classics.exporting.exported import Export


def export(
    to: Annotated[
        Literal["openvino", "onnx", "litert", "saved_model", "torch_export"],
        typer.Option(help="Format to export to.", show_default=False),
    ],
    artefact: Annotated[
        Path | None,
        typer.Argument(
            help="Folder written by `classics train`, unless --weights is given.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        Literal["f32", "bf16", "int8"],
        typer.Option(help="Precision; not every format supports every one."),
    ] = "f32",
    weights: Annotated[
        str | None, typer.Option(help="Published weights; see `classics weights`.")
    ] = None,
    fitted: Annotated[
        bool,
        typer.Option(
            "--fitted",
            help="Take batches of images resized to the network's size; default: one image of any "
            "size, resized inside.",
        ),
    ] = False,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw",
            help="Export the network alone: preprocessed float input, uncalibrated output.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder to write.", show_default="in the artefact's exports/"
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Images of the run: held-out ones to compare on, training ones to calibrate int8. "
            "With --weights: any images in folders named by synset; a fifth calibrates.",
            show_default="where they were, if they still are",
        ),
    ] = None,
    root: options.Root = None,
    calibration_pictures: Annotated[
        int, typer.Option(min=1, help="Calibration images for int8.")
    ] = 300,
    accept: Annotated[
        bool,
        typer.Option(
            "--accept", help="Accept bf16 or int8 even if it disagrees with Keras too often."
        ),
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Export an artefact to run without Keras, and compare both on real images."""
    import json

    from keras_classics.cli.terminal import console
    from keras_classics.exporting.export import export as export_to
    from keras_classics.exporting.exported import EXPORT, ExportError, read_export

    if fitted and raw:
        raise ExportError("--fitted and --raw: choose one of the two.")
    kind: Literal["image", "fitted", "raw"] = "raw" if raw else "fitted" if fitted else "image"
    remarks = console(error=as_json)
    with remarks.status("exporting") as status:

        def show(what: str, done: int, total: int) -> None:
            status.update(f"{what} {done:,} of {total:,}" if total else what)

        folder = export_to(
            artefact,
            to=to,
            weights=weights,
            precision=precision,
            input=kind,
            out=out,
            data=data,
            root=root,
            calibration_pictures=calibration_pictures,
            accept=accept,
            progress=show,
        )
    if as_json:
        content = json.loads((folder / EXPORT).read_text(encoding="utf-8"))
        typer.echo(json.dumps({"folder": str(folder), **content}, indent=2))
    else:
        _show(remarks, folder, read_export(folder, verify=False))


def _show(screen: Console, folder: Path, export: Export) -> None:
    from rich.markup import escape

    agreement = export.agreement
    screen.print(f"compared with Keras on {agreement.pictures:,} pictures: {escape(agreement.of)}")
    limit = f", {agreement.tolerance:.2g} is allowed" if agreement.tolerance else ""
    screen.print(f"largest difference of a probability {agreement.largest_difference:.2g}{limit}")
    if agreement.rounded:
        screen.print(
            f"{agreement.rounded} more, where the resize rule rounds a grey level otherwise: "
            f"{agreement.largest_rounded:.2g}"
        )
    needed = f", {agreement.least_top1:.0%} is needed" if agreement.least_top1 else ""
    if needed and agreement.by_accuracy and agreement.accuracy is not None:
        needed += ", or an accuracy of at most 1 point less"
    screen.print(f"top-1 agrees on {agreement.top1_agreement:.2%}{needed}")
    if agreement.accuracy is not None and agreement.keras_accuracy is not None:
        screen.print(
            f"accuracy there {agreement.accuracy:.2%}, of the Keras model "
            f"{agreement.keras_accuracy:.2%}"
        )
    how = export.quantisation
    if how and "layers" in how:
        whose = " that the run was trained on" if how.get("part", "train") == "train" else ""
        screen.print(
            f"{how['layers_in_int8']} of {how['layers']} layers compute in int8, by "
            f"{how['pictures']} pictures{whose}"
        )
    if agreement.accepted:
        screen.print("[yellow]it agrees less than it should, and was accepted[/]")
    size = sum((folder / name).stat().st_size for name in export.files)
    screen.print(
        f"{export.target} in {export.precision}, {size / 1e6:,.1f} MB: "
        f"[bold]{escape(str(folder))}[/]",
        soft_wrap=True,
    )
