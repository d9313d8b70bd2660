"""Predicts a folder into a file, killed again and again, and goes on each time.

    python killed_predictions.py PICTURES FOLDER ENDING KILLS SEED

A process that has imported everything forks: its children predict, and are killed by SIGKILL at
random moments. Prints a line of JSON: when they were killed, and what was done by then.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from engines.doubles import Double, done_of
from keras_classics.classifier.prediction import Options
from keras_classics.engines import bulk, journal
from keras_classics.errors import OutputError

OPTIONS = Options(top_k=2, batch_size=2, threads=2)


def work(pictures: str, out: Path, tell: Callable[..., None] | None = None) -> None:
    journal.COMMIT_EVERY = 0.0  # after every batch
    bulk.predict_to(out, Double(seconds=0.004), pictures, OPTIONS, progress=tell)


def child(pictures: str, out: Path, pipe: int) -> None:
    """Predict in this process, and tell the one that watches of every batch."""
    partial = journal.partial_of(out)
    begun = partial.exists() and partial.stat().st_size
    try:
        work(pictures, out, lambda *_: os.write(pipe, b"b"))
    except BaseException as error:
        # It was killed when the file was in its place, and nothing was left that knows the job.
        over = isinstance(error, OutputError) and "exists; choose another" in str(error)
        if begun or not over:
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
    os._exit(0)


def main() -> None:
    pictures, folder, ending, kills, seed = sys.argv[1:]
    chance = random.Random(int(seed))
    whole, broken = (Path(folder, name + ending) for name in ("whole", "broken"))
    work(pictures, whole)
    moments = []
    partial = journal.partial_of(broken)
    while partial.exists() or not broken.exists():
        read, write = os.pipe()
        number = os.fork()
        if number == 0:
            os.close(read)
            child(pictures, broken, write)
        os.close(write)
        if len(moments) < int(kills):
            # Before it has listed, while it opens, and in the middle of rows and commits.
            for _ in range(chance.choice((0, 2, 4, 6, 8))):
                os.read(read, 1)
            time.sleep(chance.uniform(0.0, 0.01))
            os.kill(number, signal.SIGKILL)
        if os.waitpid(number, 0)[1] not in (0, signal.SIGKILL):
            raise SystemExit("a child failed")
        os.close(read)
        moments.append(done_of(broken))
    left = sorted(path.name for path in Path(folder).iterdir())
    sys.stdout.write(json.dumps({"moments": moments, "left": left}) + "\n")


if __name__ == "__main__":
    main()
