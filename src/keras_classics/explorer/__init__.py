"""The network explorer: a local page over live networks, and the server behind it."""

from __future__ import annotations
