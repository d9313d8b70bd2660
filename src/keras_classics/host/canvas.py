"""matplotlib with its own settings, whatever the user's are, and for one figure at a time.

Its settings are those of the whole process: two threads that change them disturb each other.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from matplotlib import style

_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def canvas(**settings: Any) -> Iterator[None]:
    """Within it, figures are made from matplotlib's defaults and these settings alone.

    Args:
        settings: By matplotlib's names, with `_` in the place of the dot.
    """
    own = {name.replace("_", ".", 1): value for name, value in settings.items()}
    # A name with two dollars is no formula.
    with _ONE_AT_A_TIME, style.context(["default", {"text.parse_math": False}, own]):
        yield
