"""Requests and answers of the Open Inference Protocol, with the binary tensor extension.

With the extension the body is JSON, as long as `Inference-Header-Content-Length` says, and the data
of the tensors one after the other; an element of a BYTES tensor stands behind its length in four
bytes, the least first.
"""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from keras_classics.errors import ClassicsError
from keras_classics.serving.messages import (
    FileTensor,
    ImageTensor,
    InferRequest,
    InferResponse,
    OutputParameters,
    OutputTensor,
    RequestedOutput,
    RequestParameters,
    problem_of,
)
from keras_classics.serving.settings import Settings
from keras_classics.web.uploads import UploadError

HEADER = "Inference-Header-Content-Length"
IMAGE, FILE, PROBABILITIES = "image", "file", "probabilities"
SMALL_JSON = 64 * 1024  # bytes; what stands before binary data is no larger
Images = npt.NDArray[np.uint8]
_Tensor = ImageTensor | FileTensor


@dataclass(frozen=True)
class Wanted:
    """How the probabilities are wanted."""

    binary: bool
    classes: int | None  # the top classes as text; None for the tensor


@dataclass(frozen=True)
class Inference:
    """A request that has been understood: decoded pictures, or image files."""

    id: str | None
    seconds: float | None  # that its sender waits
    wanted: Wanted
    images: Images | None
    files: tuple[bytes, ...] | None

    @property
    def count(self) -> int:
        """Of the pictures."""
        found = self.files if self.images is None else self.images
        assert found is not None
        return len(found)


def json_length(body: bytes, header_length: str | None) -> int:
    """How many bytes of a body are JSON.

    Raises:
        ClassicsError: If the header is no such length.
    """
    if header_length is None:
        return len(body)
    if not (header_length.isascii() and header_length.isdecimal() and len(header_length) < 12):
        raise ClassicsError(f"{HEADER}: {header_length[:20]!r} is no length.")
    length = int(header_length)
    if not 0 < length <= len(body):
        raise ClassicsError(f"{HEADER}: {length} of a body of {len(body)} bytes.")
    return length


def read_inference(
    body: bytes,
    header_length: str | None,
    size: tuple[int, int],
    classes: int,
    settings: Settings,
) -> Inference:
    """A request from the bytes of its body.

    Args:
        body: All of it, decompressed.
        header_length: The header of that name; None where the body is JSON alone.
        size: Height and width of the network's input.
        classes: Of the network.
        settings: The bounds of its JSON.

    Raises:
        ClassicsError: If it is not one that this model can answer.
    """
    length = json_length(body, header_length)
    text, binary = body[:length], body[length:]
    _check_size(text, SMALL_JSON if binary else settings.json_bytes, settings.json_values)
    try:
        request = InferRequest.model_validate_json(text)
    except ValidationError as error:
        raise ClassicsError(problem_of(error.errors(include_input=False))) from None
    (tensor,) = request.inputs
    rest = _binary_of(tensor, binary, divided=header_length is not None)
    options = request.parameters or RequestParameters()
    seconds = None if options.timeout is None else options.timeout / 1e6
    wanted = _wanted(request.outputs, classes, binary=options.binary_data_output)
    if isinstance(tensor, ImageTensor):
        return Inference(request.id, seconds, wanted, _images(tensor, rest, size), None)
    return Inference(request.id, seconds, wanted, None, _files(tensor, rest))


def write_inference(
    name: str,
    version: str,
    asked: Inference,
    rows: npt.NDArray[np.float32],
    class_names: tuple[str, ...],
) -> tuple[bytes, int | None]:
    """The body of an answer, and how much of it is JSON; None if all of it is."""
    wanted = asked.wanted
    data: list[Any]
    if wanted.classes is None:
        output = OutputTensor(name=PROBABILITIES, shape=list(rows.shape), datatype="FP32")
        raw = rows.astype("<f4", copy=False).tobytes() if wanted.binary else b""
        data = [] if wanted.binary else rows.ravel().tolist()
    else:
        data = _classifications(rows, wanted.classes, class_names)
        shape = [len(rows), wanted.classes]
        output = OutputTensor(name=PROBABILITIES, shape=shape, datatype="BYTES")
        raw = b"".join(_element(text.encode()) for text in data) if wanted.binary else b""
    if wanted.binary:
        output.parameters = {"binary_data_size": len(raw)}
    else:
        output.data = data
    answer = InferResponse(model_name=name, model_version=version, id=asked.id, outputs=[output])
    text = answer.model_dump_json(exclude_none=True).encode()
    return text + raw, len(text) if wanted.binary else None


def _check_size(text: bytes, most_bytes: int, most_values: int) -> None:
    """Refuse JSON that would be many times larger as objects, before there are any.

    Nothing else runs while it is read. Each value stands behind a comma or a bracket; those within
    texts are counted, too, of which a request needs few.
    """
    if len(text) > most_bytes:
        held = f"has more than {most_bytes:,} bytes"
    elif sum(map(text.count, (b",", b"[", b"{"))) > most_values:
        held = f"holds more than {most_values:,} values"
    else:
        return
    raise UploadError(
        f"the JSON of the request {held}; send the data of the tensor behind it "
        "(binary_data_size).",
        413,
    )


def _binary_of(tensor: _Tensor, binary: bytes, *, divided: bool) -> bytes | None:
    """The data of a tensor behind the JSON; None where they are in it."""
    size = None if tensor.parameters is None else tensor.parameters.binary_data_size
    if size is None:
        if tensor.data is None:
            raise ClassicsError(f"{tensor.name}: data or binary_data_size is missing.")
        if binary:
            raise ClassicsError(f"{len(binary)} bytes behind the JSON belong to no tensor.")
        return None
    if tensor.data is not None:
        raise ClassicsError(f"{tensor.name}: data and binary_data_size; send one of the two.")
    if not divided:
        raise ClassicsError(f"{tensor.name}: binary_data_size without the header {HEADER}.")
    if size != len(binary):
        raise ClassicsError(
            f"{tensor.name}: binary_data_size {size}, but {len(binary)} bytes stand behind the "
            "JSON."
        )
    return binary


def _values(tensor: _Tensor, what: str, dtype: type | None = None) -> npt.NDArray[Any]:
    """The data within JSON, which is flat or nested as the shape says."""
    count = math.prod(tensor.shape)
    try:
        values = np.array(tensor.data, dtype)
    except (ValueError, OverflowError, RecursionError):
        raise ClassicsError(f"{tensor.name}: data is ragged or no {what}.") from None
    kinds = "iu" if dtype is None else "O"
    if values.dtype.kind not in kinds or values.shape not in ((count,), tuple(tensor.shape)):
        raise ClassicsError(
            f"{tensor.name}: data must be {count} {what}, flat or nested as the shape says."
        )
    return values


def _images(tensor: ImageTensor, binary: bytes | None, size: tuple[int, int]) -> Images:
    height, width = size
    if tensor.shape[1:] != [height, width, 3]:
        raise ClassicsError(
            f"{IMAGE}: shape {tensor.shape}; [n, {height}, {width}, 3] is needed. {FILE} takes "
            "image files of any size."
        )
    count = math.prod(tensor.shape)
    if binary is not None:
        if len(binary) != count:
            raise ClassicsError(f"{IMAGE}: {len(binary)} bytes; shape {tensor.shape} has {count}.")
        return np.frombuffer(binary, np.uint8).reshape(tensor.shape)
    values = _values(tensor, "integers")
    if values.min() < 0 or values.max() > 255:
        raise ClassicsError(f"{IMAGE}: integers from 0 to 255 are needed.")
    return values.astype(np.uint8).reshape(tensor.shape)


def _files(tensor: FileTensor, binary: bytes | None) -> tuple[bytes, ...]:
    count = math.prod(tensor.shape)
    if count != tensor.shape[0]:
        raise ClassicsError(f"{FILE}: shape {tensor.shape}; [n] is needed.")
    if binary is not None:
        return _elements(binary, count)
    data = _values(tensor, "strings", object).ravel().tolist()
    if not all(isinstance(text, str) for text in data):
        raise ClassicsError(f"{FILE}: data must be {count} strings in base64.")
    try:
        return tuple(base64.b64decode(text, validate=True) for text in data)
    except (binascii.Error, ValueError):
        raise ClassicsError(f"{FILE}: image files within JSON are to be in base64.") from None


def _elements(binary: bytes, count: int) -> tuple[bytes, ...]:
    found: list[bytes] = []
    position = 0
    while position < len(binary) and len(found) < count:
        end = position + 4
        length = int.from_bytes(binary[position:end], "little")
        if end + length > len(binary):
            break
        found.append(binary[end : end + length])
        position = end + length
    if len(found) != count or position != len(binary):
        raise ClassicsError(
            f"{FILE}: the {len(binary)} bytes behind the JSON are not {count} elements, each "
            "behind its length in 4 bytes."
        )
    return tuple(found)


def _element(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


def _wanted(outputs: list[RequestedOutput] | None, classes: int, *, binary: bool) -> Wanted:
    asked = outputs[0].parameters if outputs else None
    asked = asked or OutputParameters()
    top = None if asked.classification is None else min(asked.classification, classes)
    return Wanted(binary if asked.binary_data is None else asked.binary_data, top)


def _classifications(
    rows: npt.NDArray[np.float32], top: int, class_names: tuple[str, ...]
) -> list[str]:
    """As Triton writes them: probability, index and name."""
    best = np.argsort(-rows, axis=1, kind="stable")[:, :top]
    return [
        f"{row[i]:f}:{i}:{class_names[i]}"
        for row, indices in zip(rows, best, strict=True)
        for i in indices
    ]
