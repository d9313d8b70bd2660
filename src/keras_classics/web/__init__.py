"""What every server here needs: a socket, bounds on what arrives, and who may ask."""

from __future__ import annotations
