"""`classics explain`: why a network answers as it does, as a picture and a JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from keras_classics.artefact import Classifier
    from keras_classics.data.sources import Source
    from keras_classics.explanation.explain import Explanation
    from keras_classics.explanation.methods import Settings

FOLDER = Path("explanations")  # where pictures go that have no other place


def explain(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="[ARTEFACT] IMAGES...",
            help="The folder that `classics train` wrote, unless there are --weights; then files, "
            "folders and .zip archives (all images inside) and patterns.",
        ),
    ],
    weights: Annotated[
        str | None,
        typer.Option(help="Published weights, see `classics weights`: ImageNet's classes."),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="grad-cam, grad-cam++, layer-cam, score-cam; or, of pixels, "
            "integrated-gradients, smooth-grad, occlusion."
        ),
    ] = "grad-cam",
    block: Annotated[
        str | None,
        typer.Option(
            help="Block or layer, see `classics summary`.",
            show_default="the last whose maps are at least 4 x 4",
        ),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="NAME|INDEX",
            help="To be explained; several times.",
            show_default="the most probable",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE.png|FOLDER",
            help="The picture, with the JSON beside it; of several images the folder for them.",
            show_default=f"the folder {FOLDER}",
        ),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="The JSON.", show_default="beside the picture"),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check/--no-check", help="Curves of deletion and insertion, and random weights."
        ),
    ] = True,
    cascade: Annotated[
        bool,
        typer.Option("--cascade", help="In the JSON: random weights block by block, from the top."),
    ] = False,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Of integrated gradients.", show_default="50")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Of SmoothGrad.", show_default="25")
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(min=0, help="Of SmoothGrad, a part of the range.", show_default="0.15"),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(min=1, help="Of occlusion, pixels.", show_default="a quarter of the image"),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(min=1, help="Of occlusion, pixels.", show_default="a quarter of the window"),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(min=1, help="Of Score-CAM: only so many, that vary most.", show_default="all"),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Of SmoothGrad's noise and of the random weights.")
    ] = 0,
) -> None:
    """Show why a network answers as it does, and how far the explanation can be believed."""
    from keras_classics.cli.backend import start

    start()
    from keras_classics.artefact import load
    from keras_classics.cli.terminal import console, counting, show_skipped
    from keras_classics.cli.weights import classifier_of
    from keras_classics.data.sources import find_images
    from keras_classics.errors import ClassicsError, DataError, ImageError
    from keras_classics.explanation.explain import explain as explain_one
    from keras_classics.explanation.explain import probe_of

    chosen = {"steps": steps, "samples": samples, "noise": noise, "window": window}
    settings = _settings(method, {**chosen, "stride": stride, "channels": channels}, seed)
    artefact, images = (None, places) if weights else (places[0], places[1:])
    if not images:
        raise ClassicsError("an ARTEFACT and IMAGES are needed, or --weights and IMAGES.")
    sources = find_images(images)
    files = _Files(images, sources, method, out, json_file)
    remarks = console(error=True)
    if weights:
        classifier: Classifier = classifier_of(weights)
    else:
        with remarks.status("loading"):
            classifier = load(str(artefact))
    probe = probe_of(classifier)
    done: list[tuple[Explanation, Path]] = []
    skipped: list[ImageError] = []
    with counting(remarks, "images") as progress:
        for i, source in enumerate(sources):
            progress(i, len(sources))
            try:
                explanation = explain_one(
                    classifier,
                    source,
                    method=method,
                    block=block,
                    classes=classes,
                    check=check,
                    cascade=cascade,
                    settings=settings,
                    probe=probe,
                )
            except ImageError as error:
                skipped.append(error)
                continue
            picture, numbers = files.of(source)
            explanation.write_picture(picture)
            explanation.write_json(numbers)
            done.append((explanation, picture))
    if not done:
        raise (
            skipped[0]
            if len(skipped) == 1
            else DataError(f"none of the {len(skipped)} images can be read; first {skipped[0]}")
        )
    _show(done)
    show_skipped(remarks, skipped)


def _settings(method: str, given: dict[str, Any], seed: int) -> Settings:
    """What the options say, of which each must concern the method."""
    from keras_classics.errors import ClassicsError
    from keras_classics.explanation.methods import METHODS, Settings, find_method

    reads = find_method(method).reads
    named = {name: value for name, value in given.items() if value is not None}
    for name in named:
        if name not in reads:
            others = ", ".join(each.name for each in METHODS.values() if name in each.reads)
            raise ClassicsError(f"--{name}: belongs to --method {others}, not to {method}.")
    return Settings(**named, seed=seed)


class _Files:
    """Where the pictures and JSONs go; nothing goes into a folder of images unasked."""

    def __init__(
        self,
        images: list[str],
        sources: list[Source],
        method: str,
        out: Path | None,
        json_file: Path | None,
    ) -> None:
        """Checks, before anything is computed, that files can be written.

        Raises:
            OutputError: If they cannot.
            ClassicsError: If one file is named for several images.
        """
        from keras_classics.errors import ClassicsError, OutputError
        from keras_classics.training.output import check_file, check_outside

        one = out is not None and out.suffix.lower() == ".png" and not out.is_dir()
        if len(sources) > 1 and (one or json_file):
            raise ClassicsError(
                f"{json_file if json_file else out}: one file for {len(sources)} images; give "
                "--out FOLDER."
            )
        self.method = method
        self.json = check_file(json_file, "", ".json", data=None) if json_file else None
        self.picture = check_file(out, "", ".png", data=None) if one else None
        self.folder = out or FOLDER
        self.taken: set[Path] = set()
        if self.picture is not None:
            return
        if out is None:
            for folder in filter(Path.is_dir, map(Path, images)):
                check_outside(self.folder, folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self.folder}: not a folder, and none can be made there; a picture is called "
                "FILE.png."
            ) from error
        check_file(self.folder / "picture.png", "", "", data=None)

    def of(self, source: Source) -> tuple[Path, Path]:
        """The files of an image, which are new unless they were named."""
        if self.picture is not None:
            return self.picture, self.json or self.picture.with_suffix(".json")
        stem, number = f"{source.path.stem}-{self.method}", 1
        while True:
            name = stem if number == 1 else f"{stem}-{number}"
            picture = self.folder / f"{name}.png"
            numbers = self.json or self.folder / f"{name}.json"
            if picture not in self.taken and not picture.exists():
                self.taken.add(picture)
                return picture, numbers
            number += 1


def _show(done: list[tuple[Explanation, Path]]) -> None:
    from rich.text import Text

    from keras_classics.cli.terminal import console, new_table, show_table

    checked = any(each.checks for explanation, _ in done for each in explanation.classes)
    figures = ["probability", "deletion", "insertion", "random weights"]
    table = new_table(["image", "class"], figures if checked else figures[:1])
    table.columns[0].no_wrap = False
    table.columns[0].overflow = "fold"  # a path that is cut cannot be copied
    unlike = True
    for explanation, _ in done:
        for each in explanation.classes:
            cells = [f"{each.probability:.1%}"]
            if each.checks:
                sane = each.checks.sanity
                unlike &= sane.passed
                cells += [
                    f"{each.checks.deletion.areas[0]:.3f}",
                    f"{each.checks.insertion.areas[0]:.3f}",
                    f"{sane.full.rank_correlation:.2f}{'' if sane.passed else ' !'}",
                ]
            table.add_row(Text(str(explanation.path)), Text(each.name, style="bold"), *cells)
    screen = console()
    show_table(screen, table)
    if checked:
        screen.print(
            "areas under the curves: deletion should be small, insertion large; random weights: "
            "rank correlation with the map of an untrained network"
        )
    if not unlike:
        screen.print("! too like it: that map shows the image more than what the network learnt")
    for _, picture in done:
        screen.print(Text(f"picture: {picture}"), soft_wrap=True)
