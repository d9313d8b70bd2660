"""From an artefact to production: exported, quantised, run on other engines, served, measured."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_classics.deployment.exported import Export, ExportError, read_export
    from keras_classics.deployment.exporting import export

__all__ = ["Export", "ExportError", "export", "read_export"]

# Where each name lives; fetched on first use, as each needs other packages.
_HOME = {
    "Export": "exported",
    "ExportError": "exported",
    "export": "exporting",
    "read_export": "exported",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
