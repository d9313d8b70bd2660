"""The built page, as it lies in the package."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable


@dataclass(frozen=True)
class File:
    """A file of the page."""

    content: bytes
    media_type: str


def page_files() -> dict[str, File]:
    """All files of the page by their paths; they are read once, so that no path leads elsewhere."""
    found: dict[str, File] = {}

    def collect(folder: Traversable, prefix: str) -> None:
        for entry in folder.iterdir():
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                collect(entry, f"{prefix}{entry.name}/")
            else:
                found[prefix + entry.name] = File(entry.read_bytes(), _media_type(entry.name))

    root = resources.files(__package__).joinpath("page")
    if root.is_dir():
        collect(root, "/")
    if "/index.html" in found:
        found["/"] = found["/index.html"]
    return found


def _media_type(name: str) -> str:
    """By the ending, whatever this machine's own tables say."""
    own = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    for ending, kind in own.items():
        if name.endswith(ending):
            return kind
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
