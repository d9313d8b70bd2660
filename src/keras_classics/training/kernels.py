"""Layers computed in another way while they are trained: the same numbers, to rounding, sooner.

Each function is a context in which some layers of a model have another `call`. Nothing of it is
left in a model: configuration, weights and what is saved are Keras' own. All are for processors; on
a GPU the compiler does as much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import keras

from keras_classics.architectures.rebuild import graph_of, normed
from keras_classics.training.batch_norm import batch_norms

FUSED_DTYPES = ("float32", "bfloat16", "float16")
WIDE = 3  # the widest kernel whose gradient oneDNN has a fast kernel for, if depthwise


@contextmanager
def folded_batch_norm(model: keras.Model) -> Iterator[None]:
    """Let convolutions and dense layers do the work of the frozen batch norms behind them.

    A frozen batch norm multiplies each channel by a number and adds another, which the layer before
    it can do with its kernel and bias: `conv(x, kernel * scale) + bias * scale + offset`. Outputs,
    and the gradients of the kernel as it is, are the same, to rounding, without passes over feature
    maps. The layers are themselves again afterwards. Batch norm that is trained, or that reads
    anything else than a linear layer that nobody else reads, is left as it is.

    Args:
        model: Flat; compiled before or afterwards.
    """
    pairs = [(norm, layer) for norm, layer in normed(graph_of(model)) if not norm.trainable]
    with _called(
        model,
        {layer: partial(_folded_call, layer, norm) for norm, layer in pairs}
        | {norm: _handed_on for norm, _ in pairs},
    ):
        yield


class _Folded:
    """A layer to Keras' own `call`, but for its kernel and bias."""

    def __init__(self, layer: Any, kernel: Any, bias: Any) -> None:
        self._layer, self.kernel, self.bias, self.use_bias = layer, kernel, bias, True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)


def _folded_call(layer: Any, norm: Any, inputs: Any, training: bool | None = None) -> Any:  # noqa: ARG001
    """As the layer's own `call`, and then that of the frozen batch norm."""
    ops, cast = keras.ops, partial(keras.ops.cast, dtype=layer.variable_dtype)
    scale = ops.rsqrt(cast(norm.moving_variance) + norm.epsilon)
    if norm.scale:
        scale *= cast(norm.gamma)
    bias = (cast(layer.bias) if layer.use_bias else 0.0) - cast(norm.moving_mean)
    bias *= scale
    if norm.center:
        bias += cast(norm.beta)
    kernel = cast(layer.kernel)
    if type(layer) is keras.layers.DepthwiseConv2D:  # (h, w, c, multiplier), c before it
        scale = ops.reshape(scale, kernel.shape[-2:])
    folded = (ops.cast(each, layer.compute_dtype) for each in (kernel * scale, bias))
    call = _depthwise_call if _is_slow_depthwise(layer) else type(layer).call
    return call(_Folded(layer, *folded), inputs)


def _handed_on(inputs: Any, training: bool | None = None, mask: Any = None) -> Any:  # noqa: ARG001
    return inputs


@contextmanager
def fast_depthwise(model: keras.Model) -> Iterator[None]:
    """Let TensorFlow find the gradients of depthwise convolutions by oneDNN's fast kernels.

    It has none for bfloat16, and for the gradient of a kernel none where that is wider than three.
    So gradients are computed in float32, and those of wide kernels in parts. They are the same, to
    rounding. The layers are themselves again afterwards. Other backends, channels that come first
    and dilated kernels are left to Keras; so are folded layers, which do the same by themselves.

    Args:
        model: Flat; compiled before or afterwards.
    """
    layers = [x for x in model.layers if _is_slow_depthwise(x) and "call" not in vars(x)]
    with _called(model, {layer: partial(_depthwise_call, layer) for layer in layers}):
        yield


def _is_slow_depthwise(layer: Any) -> bool:
    """Whether TensorFlow's own gradient would be slow, and ours could stand in for it."""
    return (
        keras.backend.backend() == "tensorflow"
        and type(layer) is keras.layers.DepthwiseConv2D
        and layer.data_format == "channels_last"
        and tuple(layer.dilation_rate) == (1, 1)
        and (
            layer.compute_dtype == "bfloat16"
            or (layer.compute_dtype == "float32" and layer.kernel_size[1] > WIDE)
        )
    )


def _depthwise_call(layer: Any, inputs: Any) -> Any:
    """As `keras.layers.DepthwiseConv2D.call`: (b, h, w, c) -> (b, h', w', c * multiplier)."""
    import tensorflow as tf

    options = {"strides": [1, *layer.strides, 1], "padding": layer.padding.upper()}

    @tf.custom_gradient  # type: ignore[untyped-decorator]  # TensorFlow ships no types
    def convolve(x: Any, kernel: Any) -> Any:
        def gradient(upstream: Any) -> tuple[Any, Any]:
            images, k, dy = (tf.cast(each, "float32") for each in (x, kernel, upstream))
            dx = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
                input_sizes=tf.shape(x), filter=k, out_backprop=dy, **options
            )
            dk = _kernel_gradient(images, kernel.shape, dy, **options)
            return tf.cast(dx, x.dtype), tf.cast(dk, kernel.dtype)

        return tf.nn.depthwise_conv2d(x, kernel, **options), gradient

    outputs = convolve(inputs, tf.convert_to_tensor(layer.kernel))
    if layer.use_bias:
        outputs = tf.nn.bias_add(outputs, layer.bias)
    return outputs if layer.activation is None else layer.activation(outputs)


def _kernel_gradient(x: Any, shape: Any, dy: Any, *, strides: list[int], padding: str) -> Any:
    """(b, h, w, c), the kernel's (kh, kw, c, m), (b, h', w', c * m) -> (kh, kw, c, m)."""
    import tensorflow as tf

    find = partial(tf.raw_ops.DepthwiseConv2dNativeBackpropFilter, out_backprop=dy, strides=strides)
    height, width, *channels = shape
    if width <= WIDE:
        return find(input=x, filter_sizes=[height, width, *channels], padding=padding)
    if padding == "SAME":
        size, step = tf.shape(x)[1:3], strides[1:3]
        zeros = tf.maximum((size - 1) // step * step + [height, width] - size, 0)
        around = tf.stack([zeros // 2, zeros - zeros // 2], axis=1)
        x = tf.pad(x, tf.pad(around, [[1, 1], [0, 0]]))
    parts = []
    for first in range(0, width, WIDE):
        wide = min(WIDE, width - first)
        columns = x[:, :, first : first + wide - width or None]
        sizes = [height, wide, *channels]
        parts.append(find(input=columns, filter_sizes=sizes, padding="VALID"))
    return tf.ensure_shape(tf.concat(parts, axis=1), shape)


@contextmanager
def fused_batch_norm(model: keras.Model) -> Iterator[None]:
    """Let TensorFlow's fused kernel compute batch norm, not the dozen operations of Keras' layer.

    Outputs, gradients and moving statistics are those of Keras' layer, to rounding. The layers are
    themselves again afterwards. Other backends, channels that come first, masks, renormalisation
    and synchronised statistics are left to Keras.

    Args:
        model: Flat; compiled before or afterwards.
    """
    layers = [layer for layer in batch_norms(model) if _can_be_fused(layer)]
    with _called(model, {layer: partial(_fused_call, layer) for layer in layers}):
        yield


def _can_be_fused(layer: Any) -> bool:
    return (
        keras.backend.backend() == "tensorflow"
        and type(layer).call is keras.layers.BatchNormalization.call
        and "call" not in vars(layer)  # not folded
        and layer.input_spec.ndim == 4
        and layer.axis in (-1, 3)
        and not layer.renorm
        and not layer.synchronized
    )


def _fused_call(layer: Any, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
    """As `keras.layers.BatchNormalization.call`: (b, h, w, c) -> (b, h, w, c)."""
    import tensorflow as tf

    if mask is not None or keras.backend.standardize_dtype(inputs.dtype) not in FUSED_DTYPES:
        return keras.layers.BatchNormalization.call(layer, inputs, training=training, mask=mask)
    cast = partial(keras.ops.cast, dtype="float32")
    mean, variance = cast(layer.moving_mean), cast(layer.moving_variance)
    batch_s_own = bool(training and layer.trainable)
    outputs, batch_mean, batch_variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=cast(layer.gamma) if layer.scale else tf.ones_like(mean),
        offset=cast(layer.beta) if layer.center else tf.zeros_like(mean),
        mean=[] if batch_s_own else mean,
        variance=[] if batch_s_own else variance,
        epsilon=layer.epsilon,
        is_training=batch_s_own,
    )
    if batch_s_own:
        # The kernel's variance is an estimate of the population's (Bessel); Keras' is the batch's.
        number = tf.cast(tf.size(inputs) // inputs.shape[-1], "float32")
        batch_variance *= (number - 1.0) / number
        keep = layer.momentum
        layer.moving_mean.assign(mean * keep + batch_mean * (1.0 - keep))
        layer.moving_variance.assign(variance * keep + batch_variance * (1.0 - keep))
    return keras.ops.cast(outputs, layer.compute_dtype)


@contextmanager
def _called(model: keras.Model, calls: Mapping[Any, Callable[..., Any]]) -> Iterator[None]:
    """Compute some layers of a model in another way, until the end."""
    try:
        for layer, call in calls.items():
            layer.call = call
        _forget_functions(model)
        yield
    finally:
        for layer in calls:
            vars(layer).pop("call", None)
        _forget_functions(model)


def _forget_functions(model: keras.Model) -> None:
    """What was traced keeps the kernels that it was traced with."""
    model.train_function = model.test_function = model.predict_function = None
