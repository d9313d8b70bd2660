"""The machine beneath everything: files, memory, signals, streams, and how numbers are written."""
