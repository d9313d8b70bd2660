"""The process that converts: `python -m keras_classics.exporting.worker`, started by `exporting`.

Keras runs on one backend a process, converters write past Python to the terminal, and memory that
they held is back when they have ended. The request comes as a line of JSON on standard input; what
goes on is answered in lines of JSON on standard output, from which all else is kept away.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, TextIO

from keras_classics.errors import ClassicsError, out_of_memory
from keras_classics.exporting.export import Request


def main() -> None:
    """Do what the line on standard input asks for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that began this one ends it
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    line = sys.stdin.readline()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _work(json.loads(line), answers)
    # Not by way of the destructors of three frameworks, some of which hang or crash.
    answers.flush()
    os._exit(0)


def _end_with_parent() -> None:
    """Standard input ends when the process is gone that holds its other end."""
    sys.stdin.read()
    os._exit(1)


def _work(asked: dict[str, Any], answers: TextIO) -> None:
    def say(**values: object) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    try:
        # Which takes seconds, and may not fail without a word.
        from keras_classics.exporting.conversion import convert  # noqa: PLC0415

        convert(
            Request(**asked["request"]),
            Path(asked["folder"]),
            lambda what, done, total: say(what=what, done=done, total=total),
        )
        say(finished=True)
    except ClassicsError as error:
        say(error=str(error))
    except OSError as error:
        say(os_error=error.strerror or str(error), at=str(error.filename or ""))
    except Exception as error:
        if out_of_memory(error):
            say(out_of_memory=True)
        else:
            say(bug=f"{type(error).__name__}: {error}", trace=traceback.format_exc())


if __name__ == "__main__":
    main()
