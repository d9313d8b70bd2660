"""The constructors: same names, arguments and defaults as in keras.applications, and a few more.

Change the import and existing code goes on working:

    from keras_classics import ResNet50  # was: from keras.applications import ResNet50

They are made from the records of the catalog, each when it is first asked for; all take the
arguments of `architectures.frame.Arguments`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras
from keras import KerasTensor

from keras_classics.architectures import catalog, frame
from keras_classics.architectures.frame import Architecture, Arguments, taking_arguments
from keras_classics.weights.records import has_imagenet
from keras_classics.weights.requests import check_request, load_requested


@taking_arguments(Arguments)
def build(network: str | Architecture, arguments: Arguments) -> keras.Model:
    """Build any network of the catalog by its name, or one from a record of your own.

    The first argument is a name such as "resnet50_d", see `keras_classics.CATALOG`, or a record.
    """
    architecture = catalog.find(network) if isinstance(network, str) else network
    check_request(architecture, arguments)
    prefix = arguments.prefix
    own = "input_layer" if prefix else f"{architecture.name}_input_layer"
    model = frame.graph(architecture, arguments, input_name=own)
    if arguments.weights is not None:
        load_requested(
            model,
            architecture,
            arguments.weights,
            include_top=arguments.include_top,
            auxiliary=arguments.auxiliary,
            prefix=prefix,
            upstream=_upstream(arguments.input_tensor),
        )
    return model


def _upstream(input_tensor: KerasTensor | None) -> frozenset[str]:
    """The names of the layers before the network."""
    if input_tensor is None:
        return frozenset()
    before = keras.Model(keras.utils.get_source_inputs(input_tensor), input_tensor)
    return frozenset(layer.name for layer in before.layers)


@functools.cache
def constructor(title: str) -> Callable[..., keras.Model]:
    """The constructor of a network by its title, such as `ResNet50`.

    Raises:
        LookupError: If the catalog has no network of this title.
    """
    titles = {record.title: record for record in catalog.CATALOG.values()}
    architecture = titles[title]
    signature = _signature(architecture)
    renamed = dict(architecture.renamed)
    there = {here: name for name, here in renamed.items()}

    def construct(*args: Any, **kwargs: Any) -> keras.Model:
        given = {there.get(name, name): value for name, value in kwargs.items()}
        if len(given) < len(kwargs):
            raise TypeError(f"{title}() got two names of one argument: {', '.join(renamed)}")
        bound = signature.bind(*args, **given)
        bound.apply_defaults()
        given = {renamed.get(name, name): value for name, value in bound.arguments.items()}
        return build(architecture, **given)

    construct.__name__ = construct.__qualname__ = title
    construct.__signature__ = signature  # type: ignore[attr-defined]
    construct.__doc__ = (
        f"{title}, {architecture.paper}.\n\n{_own_names(architecture)}{frame.documentation()}"
    )
    return construct


def _signature(architecture: Architecture) -> inspect.Signature:
    """The arguments in keras.applications' order, with the network's own defaults."""
    own = inspect.signature(Arguments).parameters
    defaults: dict[str, Any] = {}
    if "{" not in architecture.model_name:
        defaults["name"] = architecture.model_name
    if has_imagenet(architecture.name):
        defaults["weights"] = "imagenet"
    parameters = {
        name: parameter.replace(default=defaults.get(name, parameter.default))
        for name, parameter in own.items()
    }
    here = dict(architecture.renamed)
    ordered = [
        parameters.pop(here.get(name, name)).replace(
            name=name, kind=inspect.Parameter.POSITIONAL_OR_KEYWORD
        )
        for name in architecture.positional
    ]
    return inspect.Signature([*ordered, *parameters.values()], return_annotation=keras.Model)


def _own_names(architecture: Architecture) -> str:
    return "".join(
        f"As in keras.applications, `{there}` is what the other networks call `{here}`.\n\n"
        for there, here in architecture.renamed
    )


def titles() -> list[str]:
    """The names of all constructors."""
    return [record.title for record in catalog.CATALOG.values()]
