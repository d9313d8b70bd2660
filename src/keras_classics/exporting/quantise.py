"""int8: which numbers of a network are rounded to 8 bits, and by which pictures that is decided.

OpenVINO and ONNX are quantised by NNCF, with its correction of biases and without: either can be
much the nearer to f32, so the nearer one stays. Where it no longer calls enough pictures as the
Keras model does, it is done again with accuracy control: the layers that cost most go back to f32,
one after the other. If that puts all of them back, or no more pictures are called so than before,
the plain one stays, to be judged as it is. LiteRT has a converter of its own.

NNCF's slow correction of biases is not used: on the networks measured it is no nearer than none,
and in ONNX it crashes. It runs pieces of the network, in which NNCF 3.4 names a tensor that several
branches begin with as several inputs, as in Inception, and ONNX Runtime 1.32 loses the output of a
convolution that it fuses with the addition of a residual block.

Sources: Krishnamoorthi, Quantizing deep convolutional networks for efficient inference,
arXiv:1806.08342; https://docs.openvino.ai, "Quantizing with accuracy control".
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_classics.exporting import runtimes

MOST_PUT_BACK = 20  # layers, beyond which a network is better left in f32
RANKED_BY = 100  # pictures

Batch = npt.NDArray[Any]


def _nobody(what: str, done: int, total: int) -> None:
    """Is told what goes on where nobody listens."""


@dataclass(frozen=True)
class Calibration:
    """The pictures that decide, as the exported model takes them, and what was done with them.

    Attributes:
        batches: one picture each, of the part that may decide.
        validation: one picture each, of the validation part, by which layers are put back.
        called: the class that the Keras model gives each of these.
        most_lost: share of the validation pictures that may be called otherwise.
        seed: that drew the pictures.
        part: where these pictures are from: "train", the run's own; "data", others.
        tell: called with what goes on where that takes long, as `exporting.Tell` says.
    """

    batches: list[Batch]
    validation: list[Batch]
    called: list[int]
    most_lost: float
    seed: int
    tell: Callable[[str, int, int], None] = _nobody
    part: str = "train"

    @property
    def record(self) -> dict[str, Any]:
        """What is said of it in `export.json`."""
        return {"pictures": len(self.batches), "part": self.part, "seed": self.seed}


def quantise(model: Any, calibration: Calibration) -> tuple[Any, dict[str, Any]]:
    """A model of OpenVINO or ONNX in int8, and how that came about.

    Args:
        model: `openvino.Model` or `onnx.ModelProto`, with one input and one output.
        calibration: The pictures.
    """
    # In a thread of its own, as NNCF makes one `Core` of OpenVINO after the other, and lets them go
    # in any order: see `runtimes.openvino_core`.
    with ThreadPoolExecutor(1, thread_name_prefix="quantise") as pool:
        return pool.submit(_quantised, model, calibration).result()


def _quantised(model: Any, calibration: Calibration) -> tuple[Any, dict[str, Any]]:
    nncf = runtimes.load("nncf")
    kind = _Onnx if type(model).__module__.startswith("onnx") else _OpenVino
    name = kind.input_of(model)
    items = list(zip(calibration.validation, calibration.called, strict=True))

    def validate(given: Any, batches: Iterable[tuple[Batch, int]]) -> tuple[float, list[float]]:
        """The share of pictures that are called as the Keras model calls them."""
        run = kind.runner(given)
        same = [float(run(batch).argmax() == called) for batch, called in batches]
        return float(np.mean(same)), same

    pictures = nncf.Dataset(calibration.batches, lambda batch: {name: batch})
    options = {
        "preset": nncf.QuantizationPreset.PERFORMANCE,
        "subset_size": len(calibration.batches),
        # A resize rule in front of the network is exact arithmetic on pixels, not a layer.
        "ignored_scope": nncf.IgnoredScope(names=sorted(kind.front(model)), validate=False),
    }
    run = kind.runner(kind.compiled(model))
    in_f32 = [run(batch) for batch in calibration.validation]

    def nearness(given: Any) -> tuple[float, float]:
        """The share of pictures that are called alike, then how near the outputs are."""
        run = kind.runner(kind.compiled(given))
        rows = [run(batch) for batch in calibration.validation]
        same = [
            row.argmax() == called for row, called in zip(rows, calibration.called, strict=True)
        ]
        return float(np.mean(same)), -float(np.abs(np.subtract(rows, in_f32)).mean())

    by = "NNCF"
    # NNCF would round what depthwise convolutions read channel by channel.
    activations = nncf.quantization.advanced_parameters.QuantizationParameters(
        per_channel=None if kind.reads_channels else False
    )
    ways = [
        nncf.AdvancedQuantizationParameters(
            disable_bias_correction=not corrected, activations_quantization_params=activations
        )
        for corrected in (True, False)
    ]
    made = [nncf.quantize(model, pictures, **options, advanced_parameters=way) for way in ways]
    near = [nearness(each) for each in made]
    nearer = near.index(max(near))
    quantised, (agreement, _) = made[nearer], near[nearer]
    if agreement < 1 - calibration.most_lost:
        tried = itertools.count(1)

        def watched(given: Any, batches: Iterable[tuple[Batch, int]]) -> tuple[float, list[float]]:
            calibration.tell(f"accuracy control: network {next(tried)}", 0, 0)
            return validate(given, batches)

        calibration.tell(f"accuracy control: {agreement:.1%} agree", 0, 0)
        controlled = nncf.quantize_with_accuracy_control(
            model,
            pictures,
            nncf.Dataset(items, lambda item: {name: item[0]}),
            watched,
            max_drop=calibration.most_lost,
            advanced_quantization_parameters=ways[nearer],
            advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
                max_num_iterations=MOST_PUT_BACK, ranking_subset_size=RANKED_BY
            ),
            **options,
        )
        _, left = kind.layers(controlled)
        reached, _ = nearness(controlled)
        if left and reached > agreement:  # without any layer it is in f32, which nobody asked for
            by, quantised, agreement = "NNCF with accuracy control", controlled, reached
    layers, in_int8 = kind.layers(quantised)
    return quantised, {
        **calibration.record,
        "by": by,
        "validation_pictures": len(items),
        "validation_top1_agreement": agreement,
        "layers": layers,
        "layers_in_int8": in_int8,
    }


class _OpenVino:
    """What `quantise` asks of a model of OpenVINO."""

    reads_channels = True  # whether its engine convolves channels with a scale each in int8

    @staticmethod
    def input_of(model: Any) -> str:
        return str(model.inputs[0].any_name)

    @staticmethod
    def compiled(model: Any) -> Any:
        hint = {"INFERENCE_PRECISION_HINT": "f32"}
        return runtimes.openvino_core().compile_model(model, "CPU", hint)

    @staticmethod
    def runner(compiled: Any) -> Callable[[Batch], Batch]:
        return lambda batch: np.asarray(compiled(batch)[0])

    @staticmethod
    def front(model: Any) -> set[str]:
        """What is done to the pixels before the first convolution; names tell too little of it."""
        ops = model.get_ordered_ops()
        kinds = ("Convolution", "GroupConvolution")
        waiting = [op.input_value(0) for op in ops if op.get_type_name() in kinds][:1]
        found: set[str] = set()
        while waiting:
            node = waiting.pop().get_node()
            if node.get_friendly_name() not in found:
                found.add(node.get_friendly_name())
                waiting += node.input_values()
        return found

    @staticmethod
    def layers(model: Any) -> tuple[int, int]:
        """Convolutions and products with weights, and how many of them have 8 bits."""
        front = _OpenVino.front(model)
        layers = [
            op
            for op in model.get_ops()
            if op.get_type_name() in ("Convolution", "GroupConvolution", "MatMul")
            and op.get_friendly_name() not in front
        ]
        return len(layers), sum(_OpenVino._has_8_bits(op.input_value(1)) for op in layers)

    @staticmethod
    def _has_8_bits(output: Any) -> bool:
        """Whether weights are held in 8 bits, and made floats again on their way."""
        node = output.get_node()
        while node.get_type_name() in ("Multiply", "Subtract", "Convert", "Reshape", "Transpose"):
            node = node.input_value(0).get_node()
        return bool(node.get_type_name() == "FakeQuantize" or node.get_element_type().size == 1)


class _Onnx:
    """What `quantise` asks of a model of ONNX."""

    # ONNX Runtime 1.32 computes a convolution whose input has several scales in f32, between
    # roundings: EfficientNet-Lite0 in int8 took three times as long as in f32.
    reads_channels = False

    @staticmethod
    def input_of(model: Any) -> str:
        return str(model.graph.input[0].name)

    @staticmethod
    def compiled(model: Any) -> Any:
        return model  # which is what NNCF hands to a validation, too

    @staticmethod
    def runner(model: Any) -> Callable[[Batch], Batch]:
        runtime = runtimes.load("onnxruntime")
        content = model.SerializeToString()
        session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
        name = _Onnx.input_of(model)
        return lambda batch: np.asarray(session.run(None, {name: batch})[0])

    @staticmethod
    def front(model: Any) -> set[str]:
        """As of OpenVINO's."""
        nodes = model.graph.node
        made_by = {name: node for node in nodes for name in node.output}
        waiting = [node.input[0] for node in nodes if node.op_type == "Conv"][:1]
        found: set[str] = set()
        while waiting:
            node = made_by.get(waiting.pop())
            if node is not None and node.name not in found:
                found.add(node.name)
                waiting += node.input
        return found

    @staticmethod
    def layers(model: Any) -> tuple[int, int]:
        """Convolutions and products with weights, and how many of them have 8 bits."""
        front = _Onnx.front(model)
        made_by = {name: node.op_type for node in model.graph.node for name in node.output}
        weights = [
            made_by.get(node.input[1])
            for node in model.graph.node
            if node.op_type in ("Conv", "MatMul", "Gemm") and node.name not in front
        ]
        return len(weights), weights.count("DequantizeLinear")
