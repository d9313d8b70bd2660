"""The process of one contender: it is built, and then runs when it is told to.

    python -m keras_classics.engines.benchmark.worker '{"contender": ..., "task": ...}'

Lines of JSON on standard input are orders, lines on standard output are answers; whatever the
libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, TextIO

import psutil

from keras_classics.engines.benchmark.contenders import Contender, Task, build, images_for


def main() -> None:
    """Build, and run for each order until there are no more."""
    asked = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a library that prints does not disturb the answers
    try:
        _serve(asked, answers)
    except KeyboardInterrupt:
        pass
    except Exception as error:
        _say(answers, error=" ".join(str(error).split()) or type(error).__name__)


def _serve(asked: dict[str, Any], answers: TextIO) -> None:
    contender, task = Contender(**asked["contender"]), Task(**asked["task"])
    began = time.perf_counter()
    run = build(contender, task)
    images = images_for(contender, task, asked["most"])
    _say(answers, built=time.perf_counter() - began)
    for line in sys.stdin:
        order = json.loads(line)
        took: list[float] = []
        until = time.perf_counter() + order["seconds"]
        while len(took) < order["least"] or time.perf_counter() < until:
            started = time.perf_counter()
            run(images[: order["images"]], order["batch"])
            took.append(time.perf_counter() - started)
        _say(answers, seconds=took, memory=psutil.Process().memory_info().rss)


def _say(answers: TextIO, **values: Any) -> None:
    answers.write(json.dumps(values) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
