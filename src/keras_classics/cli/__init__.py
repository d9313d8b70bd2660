"""The command line: a module a command; each parses, calls one library function, and renders."""

from __future__ import annotations

import io
import signal
import sys


def main() -> None:
    """Entry point of the command `classics`."""
    # A file or pipe may take fewer characters than a terminal, on Windows above all.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        from keras_classics.cli.app import run

        code = run(sys.argv[1:])
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done but the leaving
    except KeyboardInterrupt:  # before the application could take care of it
        sys.stderr.write("error: interrupted.\n")
        code = 130
    sys.exit(code)
