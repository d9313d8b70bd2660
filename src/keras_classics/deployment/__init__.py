"""From an artefact to production: exported, quantised, run on other engines, served, measured."""

from __future__ import annotations
