"""The bundle in the package is the one of the sources, small, and asks no host but its own."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import re
from importlib import resources
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "page"
BUNDLE = Path(str(resources.files("keras_classics") / "explorer" / "page"))
RECORD = "sources.sha256"

needs_sources = pytest.mark.skipif(not SOURCES.is_dir(), reason="no sources of the page here")


def files(folder):
    """Name and content of each file that counts, in the order of the names."""
    return {
        name: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
        and (name := path.relative_to(folder).as_posix()) != RECORD
        and not {"node_modules", "__pycache__"} & set(path.relative_to(folder).parts)
    }


def digest(folder):
    total = hashlib.sha256()
    for name, content in sorted(files(folder).items()):
        total.update(f"{name}\n{hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()


def script(name):
    """A Python script of the page's sources as a module."""
    spec = importlib.util.spec_from_file_location(name, SOURCES / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@needs_sources
def test_the_bundle_is_built_from_these_sources():
    recorded = dict(line.split() for line in (BUNDLE / RECORD).read_text().splitlines())
    assert recorded["bundle"] == digest(BUNDLE), "changed by hand: run `npm run build` in page/"
    assert recorded["sources"] == digest(SOURCES), "stale: run `npm run build` in page/"


def test_the_bundle_is_below_one_megabyte():
    zipped = {name: len(gzip.compress(content)) for name, content in files(BUNDLE).items()}
    assert sum(zipped.values()) < 1_000_000, zipped
    # The library of free layouts, half of all, comes only when it is asked for.
    first = sum(size for name, size in zipped.items() if not re.search("elk|free", name))
    assert first < 150_000


# Names of XML vocabularies and texts for people, which no browser fetches.
NAMES = re.compile(
    r"https?://(www\.w3\.org/|www\.eclipse\.org/|/org/eclipse/|json-schema\.org/"
    r"|bit\.ly/|github\.com/|preactjs\.com|openjsf\.org|rolldown\.rs/)"
)


def test_no_file_names_a_foreign_host_to_be_asked():
    for name, content in files(BUNDLE).items():
        if name.endswith((".woff2", ".txt")):  # a font, and licences, which nothing loads
            continue
        text = content.decode()
        if name.endswith((".html", ".css")):
            assert not re.search(r"(?:src|href|url|import)\s*[=(]?\s*[\"']?\s*(?:https?:)?//", text)
        if name.endswith(".html"):
            assert "<style" not in text
            assert not re.search(r"<script(?![^>]*\ssrc=)", text)
        alien = [a for a in re.findall(r"https?://[^\s\"'`<>\\)]+", text) if not NAMES.match(a)]
        assert not alien, (name, alien)
        assert not re.search(r"(?:fetch|import|Worker|importScripts)\(\s*[\"'`]https?:", text), name


def test_everything_that_the_page_loads_is_in_the_bundle():
    html = (BUNDLE / "index.html").read_text()
    named = re.findall(r"(?:src|href)=\"\./([^\"]+)\"", html)
    assert {Path(name).suffix for name in named} == {".js", ".css", ".svg"}
    for name in named:
        assert (BUNDLE / name).is_file(), name


def test_the_licences_of_all_that_is_in_it():
    text = (BUNDLE / "licences.txt").read_text(encoding="utf-8")
    for name in ("preact", "@preact/signals", "@preact/signals-core", "uplot", "elkjs"):
        assert re.search(rf"^{name} \d+\.\d+\.\d+, ", text, flags=re.MULTILINE), name
    assert "Eclipse Public License - v 2.0" in text
    assert "SIL OPEN FONT LICENSE" in text


@needs_sources
def test_the_types_are_those_of_the_schema():
    from keras_classics.explorer.schema import json_schema

    text = json.dumps(
        json_schema()["$defs"], sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    head = (SOURCES / "src" / "types.ts").read_text(encoding="utf-8").splitlines()[:2]
    assert head[1] == f"// {hashlib.sha256(text.encode()).hexdigest()}", (
        "stale: run `npm run types` and `npm run build` in page/"
    )


@needs_sources
def test_the_colours_are_those_of_the_drawing():
    kept = (SOURCES / "src" / "drawing.css").read_text(encoding="utf-8")
    assert kept == script("drawing_css").page_css(), (
        "stale: run `python page/scripts/drawing_css.py`, and `npm run build` in page/"
    )


@needs_sources
def test_the_graphs_of_the_unit_tests_are_those_of_the_server():
    fixtures = script("fixtures")
    for name, graph in fixtures.graphs().items():
        kept = json.loads(gzip.decompress((fixtures.FOLDER / f"{name}.json.gz").read_bytes()))
        assert kept == graph, "stale: run `python page/scripts/fixtures.py`"
