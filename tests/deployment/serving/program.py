"""A server over fake engines as a program of its own: FOLDER HOST-PORT... its signals are real.

    python program.py FOLDER [--workers N] [--seconds S] [--timeout S] [--linger S] [--watch S]

The answers of a folder follow from its file `model.seed`; its file `crash` ends the process.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]
sys.path.insert(0, str(TESTS))

from deployment.serving.fakes import FakeEngine  # noqa: E402
from keras_classics.deployment.serving.places import parse_places  # noqa: E402
from keras_classics.deployment.serving.process import Control, Job, server_for  # noqa: E402
from keras_classics.deployment.serving.settings import Settings  # noqa: E402
from keras_classics.errors import ArtefactError, ClassicsError  # noqa: E402
from keras_classics.web.server import address_of, listen  # noqa: E402


class Opener:
    def __init__(self, seconds):
        self.seconds = seconds

    def __call__(self, path):
        if (path / "crash").exists():
            os._exit(9)
        text = (path / "model.seed").read_text()
        if not text.isdecimal():
            raise ArtefactError(f"{path}: torn.")
        return FakeEngine(seed=int(text), seconds=self.seconds)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--workers", type=int, default=1)
    for option, otherwise in (("seconds", 0.0), ("timeout", 10.0), ("linger", 0.0), ("watch", 0.0)):
        parser.add_argument(f"--{option}", type=float, default=otherwise)
    options = parser.parse_args()
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
            if options.workers > 1:
                from keras_classics.deployment.serving.workers import serve_with_workers

                serve_with_workers(job, listening, options.workers, started)
            else:
                Control(server_for(job)).run(listening, started)
        except ClassicsError as error:
            sys.stderr.write(f"error: {error}\n")
            sys.exit(2)
    sys.stdout.write("ended.\n")


if __name__ == "__main__":
    main()
