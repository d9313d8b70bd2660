"""`classics explore`: a local page over live networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from keras_classics.errors import ClassicsError
from keras_classics.extras import require

if TYPE_CHECKING:
    from keras_classics.explorer.models import Held


def explore(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NETWORK|WEIGHTS|ARTEFACT]...",
            help="A network of the catalog (random weights), published weights (`classics "
            "weights`), or the folder of an artefact; several to compare them.",
            show_default="EfficientNet-Lite0 with ImageNet's weights",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="For one network: imagenet, another published name, or such a file.",
            show_default="random",
        ),
    ] = None,
    width: Annotated[
        float | None,
        typer.Option(help="Multiplier of the number of filters.", show_default="1"),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="Height and width of the input, in pixels.",
            show_default="the paper's",
        ),
    ] = None,
    classes: Annotated[int | None, typer.Option(min=1, show_default="1000")] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Images to open: a file, a folder, a .zip or a pattern."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; a public one needs --open-to-others.")
    ] = "127.0.0.1",
    open_to_others: Annotated[
        bool,
        typer.Option("--open-to-others", help="Allow other machines to connect."),
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Port; 0 picks a free one.", show_default="8420, or any free one"
        ),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")
    ] = True,
) -> None:
    """Explore networks in the browser: architecture, feature maps, heat maps.

    Nothing leaves this machine. Ctrl-C ends it.
    """
    require("explore", "starlette", "uvicorn")
    from keras_classics.web.security import is_loopback
    from keras_classics.web.server import address_of, listen, serve

    if not open_to_others and not is_loopback(host):
        raise ClassicsError(
            f"host={host}: other machines could reach it, and there is no password; add "
            "--open-to-others if they may, or leave --host out."
        )
    listening = listen(host, port)  # before the models are built, which takes longer
    with listening:
        from keras_classics.cli.backend import start

        start()
        from keras_classics.cli.terminal import console
        from keras_classics.explorer.application import application
        from keras_classics.explorer.models import Models
        from keras_classics.explorer.samples import samples

        options = {"width": width, "size": size, "classes": classes}
        named = _named(names or [], weights, options)
        _download(named)
        with console(error=True).status("building"):
            models = [_open(name, options) for name in named]
            shelf = Models(models)
            app = application(shelf, samples(shelf, data), host=host)
        address = address_of(listening, host)

        def started() -> None:
            typer.echo(f"{address}  ({', '.join(each.id for each in shelf)}; Ctrl-C ends it)")
            if browser:
                import webbrowser

                webbrowser.open(address)

        serve(app, listening, started=started)
        typer.echo("ended.")


def _named(
    names: list[str], weights: str | None, options: dict[str, float | int | None]
) -> list[str]:
    """What is to be opened: networks, published weights and artefacts."""
    from keras_classics.explorer.models import published_name
    from keras_classics.weights.records import DEFAULT, RECORDS

    if weights is not None and len(names) > 1:
        raise ClassicsError(
            f"--weights: for one network, not {len(names)}; name published weights in their place."
        )
    named = names or [DEFAULT]
    if weights is not None:
        named = [published_name(weights, *names)]
    if weights is not None or any(name in RECORDS for name in named):
        for option, value in options.items():
            if value is not None:
                raise ClassicsError(
                    f"--{option}: that of published weights is fixed; leave it out."
                )
    return named


def _download(names: list[str]) -> None:
    """Fetch the published weights that are named, before our eyes if need be."""
    from keras_classics.cli.weights import downloading
    from keras_classics.weights import download, records

    for name in names:
        if name in records.RECORDS:
            with downloading(name) as progress:
                download.fetch(records.find(name).file, progress=progress)


def _open(name: str, options: dict[str, float | int | None]) -> Held:
    """One of them; a file is one of published weights, as `_named` has seen."""
    from pathlib import Path

    from keras_classics.explorer.models import open_model, published_network

    if Path(name).is_file():
        return published_network(name)
    return open_model(name, **options)  # type: ignore[arg-type]
