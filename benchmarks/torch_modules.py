"""Libraries of torch models, imported without the operators that they do not need."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any
from unittest import mock


def torch_module(name: str) -> Any:
    """A module of torch models, where torchvision's wheel may be built for another torch.

    Its compiled operators then do not register, which breaks the import, but no model needs them.
    """
    import torch

    def no_registration(*_: Any, **__: Any) -> Callable[[Any], Any]:
        return lambda function: function

    with (
        warnings.catch_warnings(),
        mock.patch.object(torch.library, "register_fake", no_registration),
    ):
        warnings.simplefilter("ignore")
        return importlib.import_module(name)
