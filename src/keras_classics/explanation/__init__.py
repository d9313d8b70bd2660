"""Why a network gives the answer that it gives, and how far the explanation can be believed."""

from __future__ import annotations
