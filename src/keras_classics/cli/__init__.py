"""The command line: a module a command; each parses, calls one library function, and renders."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the command `classics`."""
    from keras_classics.cli.app import run

    sys.exit(run(sys.argv[1:]))
