"""The two pages: one to drop an image on, one to read the document; neither asks another host."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import Environment

_POLICY = (
    "default-src 'none'; {parts}connect-src 'self'; img-src 'self' blob: data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Page:
    """A page, and what a browser lets it do."""

    content: bytes
    policy: str


def drop_page(*, keyed: bool) -> Page:
    """The page to drop an image on, with a field for the key where one is needed."""
    return _page(_template("drop.html.jinja").render(keyed=keyed))


def docs_page(document: Mapping[str, Any]) -> Page:
    """The OpenAPI document, to read."""
    operations = [
        {"method": method.upper(), "path": path, "facts": facts}
        for path, methods in document["paths"].items()
        for method, facts in methods.items()
    ]
    schemas = {
        name: json.dumps(schema, indent=2)
        for name, schema in document["components"]["schemas"].items()
    }
    text = _template("docs.html.jinja").render(
        info=document["info"], operations=operations, schemas=schemas
    )
    return _page(text)


def _template(name: str) -> Any:
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    style = resources.files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.globals["style"] = style
    return environment.from_string(text)


def _page(text: str) -> Page:
    """A page whose own style and script are allowed by their hashes, and no others."""
    parts = ""
    for kind, element in (("style-src", "style"), ("script-src", "script")):
        found = re.findall(rf"<{element}>(.*?)</{element}>", text, flags=re.DOTALL)
        if found:
            parts += f"{kind} {' '.join(map(_hash, found))}; "
    return Page(text.encode(), _POLICY.format(parts=parts))


def _hash(source: str) -> str:
    digest = hashlib.sha256(source.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
