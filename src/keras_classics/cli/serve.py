"""`classics serve`: classifiers over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from keras_classics.errors import ClassicsError
from keras_classics.extras import require

MEGABYTE = 1024**2


def serve(
    artefacts: Annotated[
        list[str],
        typer.Argument(
            metavar="ARTEFACT...",
            help="Folder of a run or an export: FOLDER, NAME=FOLDER or NAME:VERSION=FOLDER. "
            "Requests without a version get the newest.",
        ),
    ],
    engine: Annotated[
        Literal["auto", "keras", "openvino", "onnxruntime"],
        typer.Option(help="Inference engine; auto picks the fastest whose results match."),
    ] = "auto",
    precision: Annotated[
        Literal["f32", "bf16", "int8"] | None,
        typer.Option(help="Precision of the engine.", show_default="the export's, else f32"),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="Threads of each engine.", show_default="processors divided by workers"
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on; a public one needs an API key or --open-to-others."
        ),
    ] = "127.0.0.1",
    open_to_others: Annotated[
        bool,
        typer.Option("--open-to-others", help="Allow other machines to connect without a key."),
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")] = 8000,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            help="File with one API key per line; requests need one of them. Or set "
            "KERAS_CLASSICS_API_KEY.",
            show_default="no key",
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, max=4096, help="Maximum batch size.")] = 8,
    delay: Annotated[
        float,
        typer.Option(min=0, max=10_000, help="Milliseconds to wait for a batch to fill."),
    ] = 5.0,
    queue: Annotated[
        int,
        typer.Option(min=1, max=100_000, help="Images in progress per model; more get status 429."),
    ] = 64,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Timeout of a request, in seconds.")
    ] = 30.0,
    max_file: Annotated[
        float, typer.Option(min=0.01, max=1024, help="Maximum size of an image file, in megabytes.")
    ] = 20.0,
    max_request: Annotated[
        float, typer.Option(min=0.01, max=4096, help="Maximum size of a request, in megabytes.")
    ] = 64.0,
    max_pixels: Annotated[
        float, typer.Option(min=0.001, max=178, help="Maximum size of an image, in megapixels.")
    ] = 50.0,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Number of worker processes.")] = 1,
    watch: Annotated[
        float,
        typer.Option(
            min=0, max=3600, help="Seconds between checks for changed artefacts; 0 disables them."
        ),
    ] = 2.0,
    linger: Annotated[
        float,
        typer.Option(
            min=0,
            max=3600,
            help="Seconds to keep accepting requests after SIGTERM, while reporting not ready.",
        ),
    ] = 0.0,
) -> None:
    """Serve predictions over HTTP: image uploads, and the Open Inference Protocol v2.

    Try it at /; /openapi.json describes it. SIGTERM or Ctrl-C shuts it down gracefully.
    """
    require("serve", "fastapi", "uvicorn", "python_multipart", "prometheus_client")
    from keras_classics.data.budget import default_budget
    from keras_classics.serving.keys import VARIABLE, read_keys
    from keras_classics.serving.places import parse_places
    from keras_classics.serving.settings import Settings
    from keras_classics.web.security import is_loopback
    from keras_classics.web.server import address_of, listen

    default_budget()  # the environment may state a wrong one
    keys = read_keys(api_key_file)
    if not keys and not open_to_others and not is_loopback(host):
        raise ClassicsError(
            f"host={host}: other machines could reach it; give it a key by --api-key-file or "
            f"{VARIABLE}, or add --open-to-others if all may ask."
        )
    places = parse_places(artefacts)
    request_bytes = round(max(max_file, max_request) * MEGABYTE)
    settings = Settings(
        batch_size=batch_size,
        delay=delay / 1000,
        queue=queue,
        timeout=timeout,
        file_bytes=round(max_file * MEGABYTE),
        request_bytes=request_bytes,
        all_bytes=max(Settings.all_bytes, 2 * request_bytes),  # it may come compressed
        pixels=round(max_pixels * 10**6),
        watch=watch,
        linger=linger,
    )
    with listen(host, port) as listening:  # before the models are opened, which takes longer
        from keras_classics.cli.backend import start
        from keras_classics.cli.terminal import console
        from keras_classics.errors import one_line
        from keras_classics.serving.opening import Choice
        from keras_classics.serving.process import Job, hangups_ignored, leave, run, server_for

        address = address_of(listening, host)
        choice = Choice(engine, precision, _share(threads, workers), start)
        job = Job(places, choice.open, settings, host, keys)

        def started() -> None:
            names = one_line(", ".join(map(str, places)))
            typer.echo(f"{address}  ({names}; Ctrl-C ends it)")

        with hangups_ignored():
            if workers > 1:
                from keras_classics.serving.workers import serve_with_workers

                serve_with_workers(job, listening, workers, started)
            else:
                with console(error=True).status("opening"):
                    server = server_for(job)
                run(server, listening, started)
    typer.echo("ended.")
    leave()


def _share(threads: int | None, workers: int) -> int | None:
    """The threads of an engine; several workers share the processors out."""
    import os

    if threads is not None or workers == 1:
        return threads
    return max(1, (os.cpu_count() or 1) // workers)
