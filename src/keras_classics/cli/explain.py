"""`classics explain`: why a network answers as it does, as a picture and a JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from keras_classics.classifier.artefact import Classifier
    from keras_classics.data.sources import Source
    from keras_classics.explanation.explain import Explanation
    from keras_classics.explanation.faithfulness import Sanity
    from keras_classics.explanation.inside import Inside
    from keras_classics.explanation.methods import Offer

    Answer = Explanation | Inside

FOLDER = Path("explanations")  # where pictures go that have no other place


def explain(
    places: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ARTEFACT] IMAGES",
            help="The folder that `classics train` wrote, or none, for ImageNet's classes; then "
            "files, folders and .zip archives (all images inside) and patterns. Filters and "
            "feature visualisation need no image.",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Published weights, see `classics weights`: ImageNet's classes.",
            show_default="those installed, where no artefact is named",
        ),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="grad-cam, grad-cam++, layer-cam, score-cam; or, of pixels, "
            "integrated-gradients, smooth-grad, occlusion; or, of a layer and no class, "
            "feature-maps, filters, feature-visualisation."
        ),
    ] = "grad-cam",
    block: Annotated[
        str | None,
        typer.Option(
            help="Block or layer, see `classics summary`.",
            show_default="the last whose maps are at least 4 x 4; of filters the first",
        ),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            metavar="NAME|INDEX",
            help="Class to explain; repeatable.",
            show_default="the most probable",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE.png|FOLDER",
            help="PNG to write, with its JSON beside it; a folder for several images.",
            show_default=f"the folder {FOLDER}",
        ),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="The JSON.", show_default="beside the picture"),
    ] = None,
    check: Annotated[
        bool | None,
        typer.Option(
            "--check/--no-check",
            help="Check the map: deletion and insertion curves, comparison with random weights.",
            show_default="check, where a class is explained",
        ),
    ] = None,
    cascade: Annotated[
        bool | None,
        typer.Option(
            "--cascade", help="In the check, randomise weights block by block from the top."
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Steps of integrated gradients and feature visualisation.",
            show_default="50 and 128",
        ),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="SmoothGrad samples.", show_default="25")
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(
            min=0, help="SmoothGrad noise, as a fraction of the input range.", show_default="0.15"
        ),
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Occlusion window, in pixels.",
            show_default="a quarter of the image",
        ),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Occlusion stride, in pixels.",
            show_default="a quarter of the window",
        ),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="For Score-CAM and feature maps: use only the channels that vary most.",
            show_default="all of Score-CAM; 35 feature maps, 64 filters, 9 visualisations",
        ),
    ] = None,
    channel: Annotated[
        list[int] | None,
        typer.Option(
            min=0,
            metavar="INDEX",
            help="Channel, for feature maps, filters and feature visualisation; repeatable.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Random seed of SmoothGrad's noise, the random weights and feature visualisation.",
            show_default="0",
        ),
    ] = None,
) -> None:
    """Show what a network looks at, how reliable that is, and what it has learned."""
    from keras_classics.cli.backend import start

    start()
    from keras_classics.classifier.artefact import load
    from keras_classics.cli.terminal import console, counting, show_left_out, show_skipped
    from keras_classics.cli.weights import classifier_of, model_and_images, say_installed
    from keras_classics.data.sources import find_images, left_out
    from keras_classics.errors import ClassicsError, DataError, ImageError
    from keras_classics.explanation.explain import probe_of
    from keras_classics.explanation.inside import OFFERS
    from keras_classics.explanation.methods import find_offer
    from keras_classics.weights.records import DEFAULT

    how = find_offer(method, OFFERS)
    given = {
        "block": block, "class": classes, "check": check, "cascade": cascade, "steps": steps,
        "samples": samples, "noise": noise, "window": window, "stride": stride,
        "channels": channels, "channel": channel, "seed": seed,
    }  # fmt: skip
    told = {name: value for name, value in given.items() if value not in (None, [])}
    _check_options(how, told)
    artefact, images = model_and_images(places or [], weights, needs_images=how.needs_image)
    if images and not how.needs_image:
        raise ClassicsError(
            f"{images[0]}: --method {how.name} shows the network alone; leave out the image."
        )
    sources: list[Source | None] = [*find_images(images)] if images else [None]
    files = _Files(images, sources, method, out, json_file)
    remarks = console(error=True)
    if artefact is None:
        classifier: Classifier = classifier_of(weights or DEFAULT)
        if weights is None:
            say_installed()
    else:
        with remarks.status("loading"):
            classifier = load(artefact)
    make = _maker(classifier, how, told)
    probe = probe_of(classifier)
    done: list[tuple[Answer, Path]] = []
    skipped: list[ImageError] = []
    with counting(remarks, "images") as progress:
        for i, source in enumerate(sources):
            progress(i, len(sources))
            try:
                answer = make(source, probe=probe)
            except ImageError as error:
                skipped.append(error)
                continue
            picture, numbers = files.of(source.path.stem if source else answer.network)
            answer.write_picture(picture)
            answer.write_json(numbers)
            done.append((answer, picture))
    if not done:
        raise (
            skipped[0]
            if len(skipped) == 1
            else DataError(f"none of the {len(skipped)} images can be read; first {skipped[0]}")
        )
    _show(done)
    show_skipped(remarks, skipped)
    show_left_out(remarks, left_out(images))


def _check_options(how: Offer, told: dict[str, Any]) -> None:
    """Each option that is given must concern the method."""
    from keras_classics.errors import ClassicsError
    from keras_classics.explanation.inside import OFFERS

    for name in told:
        if name not in how.options:
            others = ", ".join(each.name for each in OFFERS.values() if name in each.options)
            raise ClassicsError(f"--{name}: belongs to --method {others}, not to {how.name}.")


def _maker(classifier: Classifier, how: Offer, told: dict[str, Any]) -> Callable[..., Answer]:
    """What makes the answer to an image, or to none, of either kind of method."""
    from keras_classics.explanation.explain import explain as explain_one
    from keras_classics.explanation.inside import Choice, View, look
    from keras_classics.explanation.methods import Settings

    block = told.get("block")
    settings = {name: told[name] for name in ("seed", *how.reads) if name in told}
    if isinstance(how, View):
        if "channel" in settings:
            settings["channel"] = tuple(settings["channel"])
        choice = Choice(**settings)
        return partial(look, classifier, how.name, block=block, choice=choice)
    return partial(
        explain_one,
        classifier,
        method=how.name,
        block=block,
        classes=told.get("class"),
        check=told.get("check", True),
        cascade=told.get("cascade", False),
        settings=Settings(**settings),
    )


def _verdict(sanity: Sanity) -> str:
    """The correlation with the map of random weights, marked where that is too high."""
    if sanity.passed is None:
        return "no contrast"
    return f"{sanity.full.rank_correlation:.2f}{'' if sanity.passed else ' !'}"


class _Files:
    """Where the pictures and JSONs go; nothing goes into a folder of images unasked."""

    def __init__(
        self,
        images: list[str],
        sources: Sequence[Source | None],
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
        from keras_classics.host.staging import check_file, check_outside

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
                f"{self.folder}: not a folder, and none can be created there; name a picture "
                "FILE.png."
            ) from error
        check_file(self.folder / "picture.png", "", "", data=None)

    def of(self, name: str) -> tuple[Path, Path]:
        """The files of an image, or a network, by name; they are new unless they were named."""
        from keras_classics.host.staging import file_stem

        if self.picture is not None:
            return self.picture, self.json or self.picture.with_suffix(".json")
        number = 1
        while True:
            stem = f"{file_stem(name)}-{self.method}" + (f"-{number}" if number > 1 else "")
            picture = self.folder / f"{stem}.png"
            numbers = self.json or self.folder / f"{stem}.json"
            old = picture.exists() or (self.json is None and numbers.exists())
            if picture not in self.taken and not old:
                self.taken.add(picture)
                return picture, numbers
            number += 1


def _show(done: list[tuple[Answer, Path]]) -> None:
    """All answers are of one kind, as they are of one method."""
    from rich.text import Text

    from keras_classics.cli.terminal import console
    from keras_classics.explanation.inside import Inside

    screen = console()
    explanations = []
    for answer, _ in done:
        if isinstance(answer, Inside):
            screen.print(Text(answer.summary), soft_wrap=True)
        else:
            explanations.append(answer)
    if explanations:
        _show_explanations(explanations)
    for _, picture in done:
        screen.print(Text(f"picture: {picture}"), soft_wrap=True)


def _show_explanations(explanations: list[Explanation]) -> None:
    from rich.text import Text

    from keras_classics.cli.terminal import console, new_table, show_table

    checked = any(each.checks for explanation in explanations for each in explanation.classes)
    figures = ["probability", "deletion", "insertion", "random weights"]
    table = new_table(["image", "class"], figures if checked else figures[:1])
    table.columns[0].no_wrap = False
    table.columns[0].overflow = "fold"  # a path that is cut cannot be copied
    unlike = True
    for explanation in explanations:
        for each in explanation.classes:
            cells = [f"{each.probability:.1%}"]
            if each.checks:
                sane = each.checks.sanity
                unlike &= sane.passed is not False
                cells += [
                    f"{each.checks.deletion.areas[0]:.3f}",
                    f"{each.checks.insertion.areas[0]:.3f}",
                    _verdict(sane),
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
        screen.print(
            "! too similar: that map shows the image more than what the network has learned"
        )
