"""`python -m keras_classics.cli`, the same as `classics`."""

from __future__ import annotations

from keras_classics.cli import main

main()
