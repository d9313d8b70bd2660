"""Folders of images: finding, splitting, decoding, fitting, augmenting and batching them.

Import what you need from the modules: none but `batches` loads Keras, so that a mistake in a folder
is reported before a backend has started.
"""

from __future__ import annotations
