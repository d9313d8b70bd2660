"""Classifiers over HTTP: the Open Inference Protocol v2, plain uploads, and what running needs."""

from __future__ import annotations
