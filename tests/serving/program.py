"""A server over fake engines as a program of its own: FOLDER HOST-PORT... its signals are real.

    python program.py FOLDER [--workers N] [--seconds S] [--timeout S] [--linger S] [--watch S]
        [--stuck S] [--ending S]

The answers of a folder follow from its file `model.seed`; its file `crash` ends the process. While
there is a file `wait` it is not opened; that it is tried shows a file `opening`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

from keras_classics.errors import ArtefactError, ClassicsError  # noqa: E402
from keras_classics.serving import answering, process  # noqa: E402
from keras_classics.serving.places import parse_places  # noqa: E402
from keras_classics.serving.process import Job, hangups_ignored, leave, run, server_for  # noqa: E402
from keras_classics.serving.settings import Settings  # noqa: E402
from keras_classics.web.server import address_of, listen  # noqa: E402
from serving.fakes import FakeEngine  # noqa: E402


class Opener:
    def __init__(self, seconds):
        self.seconds = seconds

    def __call__(self, path):
        if (path / "crash").exists():
            os._exit(9)
        (path / "opening").touch()
        while (path / "wait").exists():
            time.sleep(0.01)
        text = (path / "model.seed").read_text()
        if not text.isdecimal():
            raise ArtefactError(f"{path}: torn.")
        return FakeEngine(seed=int(text), seconds=self.seconds)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--ending", type=int, default=5)
    for option, otherwise in (
        ("seconds", 0.0), ("timeout", 10.0), ("linger", 0.0), ("watch", 0.0), ("stuck", 0.0)
    ):  # fmt: skip
        parser.add_argument(f"--{option}", type=float, default=otherwise)
    options = parser.parse_args()
    process._ENDING_SECONDS = options.ending
    process._LEAVING_SECONDS = 0.5
    if options.stuck:
        answering.fitted = lambda *_: time.sleep(options.stuck)
    settings = Settings(
        timeout=options.timeout, linger=options.linger, watch=options.watch, batch_size=2
    )
    with listen("127.0.0.1", 0) as listening:
        job = Job(
            parse_places([f"fake={options.folder}"]), Opener(options.seconds), settings, "127.0.0.1"
        )

        def started():
            sys.stdout.write(address_of(listening, "127.0.0.1") + "\n")
            sys.stdout.flush()

        try:
            with hangups_ignored():
                if options.workers:
                    from keras_classics.serving.workers import serve_with_workers

                    serve_with_workers(job, listening, options.workers, started)
                else:
                    run(server_for(job), listening, started)
        except ClassicsError as error:
            sys.stderr.write(f"error: {error}\n")
            sys.exit(2)
    sys.stdout.write("ended.\n")
    leave(0.5)


if __name__ == "__main__":
    main()
