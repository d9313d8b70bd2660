"""Requests and answers of the Open Inference Protocol, with the binary tensor extension.

With the extension the body is JSON, as long as `Inference-Header-Content-Length` says, and the data
of the tensors one after the other; an element of a BYTES tensor stands behind its length in four
bytes, the least first.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from keras_classics.errors import ClassicsError
from keras_classics.serving.messages import (
    InferRequest,
    InferResponse,
    InputTensor,
    OutputTensor,
    RequestedOutput,
    problem_of,
)
from keras_classics.serving.settings import Settings
from keras_classics.web.uploads import UploadError

HEADER = "Inference-Header-Content-Length"
IMAGE, FILE, PROBABILITIES = "image", "file", "probabilities"
SMALL_JSON = 64 * 1024  # bytes; what stands before binary data is no larger
Images = npt.NDArray[np.uint8]


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
    wanted: tuple[Wanted, ...]
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
    request = _request(text)
    _check_parameters(request.parameters or {})
    tensor, rest = _only_input(request, binary, header_length is not None)
    count = tensor.shape[0]
    if count < 1:
        raise ClassicsError(f"{tensor.name}: shape {tensor.shape} holds no picture.")
    images: Images | None = None
    files: tuple[bytes, ...] | None = None
    if tensor.name == IMAGE:
        images = _images(tensor, rest, size)
    else:
        files = _files(tensor, rest)
    return Inference(request.id, _seconds(request), _wanted(request, classes), images, files)


def write_inference(
    name: str,
    version: str,
    asked: Inference,
    rows: npt.NDArray[np.float32],
    class_names: tuple[str, ...],
) -> tuple[bytes, int | None]:
    """The body of an answer, and how much of it is JSON; None if all of it is."""
    outputs: list[OutputTensor] = []
    binary: list[bytes] = []
    for wanted in asked.wanted:
        if wanted.classes is None:
            output = OutputTensor(name=PROBABILITIES, shape=list(rows.shape), datatype="FP32")
            raw = rows.astype("<f4", copy=False).tobytes() if wanted.binary else b""
            data: list[Any] = [] if wanted.binary else rows.ravel().tolist()
        else:
            data = _classifications(rows, wanted.classes, class_names)
            shape = [len(rows), wanted.classes]
            output = OutputTensor(name=PROBABILITIES, shape=shape, datatype="BYTES")
            raw = b"".join(_element(text.encode()) for text in data) if wanted.binary else b""
        if wanted.binary:
            output.parameters = {"binary_data_size": len(raw)}
            binary.append(raw)
        else:
            output.data = data
        outputs.append(output)
    answer = InferResponse(model_name=name, model_version=version, id=asked.id, outputs=outputs)
    text = answer.model_dump_json(exclude_none=True).encode()
    return b"".join((text, *binary)), len(text) if binary else None


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


def _request(text: bytes) -> InferRequest:
    try:
        values = json.loads(text, parse_constant=_no_number)
        return InferRequest.model_validate(values)
    except ValidationError as error:
        raise ClassicsError(problem_of(error.errors(include_input=False))) from None
    except (ValueError, RecursionError) as error:
        words = " ".join(str(error).split())[:100]
        raise ClassicsError(f"the request is no JSON: {words}.") from None


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def _check_parameters(parameters: dict[str, Any]) -> None:
    """Refuse what would change the answer, were it not ignored."""
    for name in ("sequence_id", "sequence_start", "sequence_end"):
        if parameters.get(name) not in (None, 0, "", False):  # these ask for nothing
            raise ClassicsError(
                f"{name}: sequences are not supported; each request is answered alone."
            )


def _only_input(
    request: InferRequest, binary: bytes, divided: bool
) -> tuple[InputTensor, bytes | None]:
    """The one input, and its binary data if it has some."""
    names = [tensor.name for tensor in request.inputs]
    unknown = next((name for name in names if name not in (IMAGE, FILE)), None)
    if unknown is not None:
        raise ClassicsError(f"input {unknown[:64]!r} is not one; {IMAGE} and {FILE} are.")
    if len(names) != 1:
        raise ClassicsError(f"inputs {', '.join(names)}: one of {IMAGE} and {FILE} is to be sent.")
    (tensor,) = request.inputs
    parameters = tensor.parameters or {}
    if any(name.startswith("shared_memory") for name in parameters):
        raise ClassicsError(f"{tensor.name}: shared memory is not supported.")
    size = parameters.get("binary_data_size")
    if size is None:
        if tensor.data is None:
            raise ClassicsError(f"{tensor.name}: data or binary_data_size is missing.")
        if binary:
            raise ClassicsError(f"{len(binary)} bytes behind the JSON belong to no tensor.")
        return tensor, None
    if tensor.data is not None:
        raise ClassicsError(f"{tensor.name}: data and binary_data_size; send one of the two.")
    if not divided:
        raise ClassicsError(f"{tensor.name}: binary_data_size without the header {HEADER}.")
    if type(size) is not int or size != len(binary):
        raise ClassicsError(
            f"{tensor.name}: binary_data_size {size!r}, but {len(binary)} bytes stand behind the "
            "JSON."
        )
    return tensor, binary


def _values(tensor: InputTensor, what: str, dtype: type | None = None) -> npt.NDArray[Any]:
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


def _images(tensor: InputTensor, binary: bytes | None, size: tuple[int, int]) -> Images:
    height, width = size
    if tensor.datatype != "UINT8":
        raise ClassicsError(f"{IMAGE}: datatype {tensor.datatype[:20]!r}; UINT8 is needed.")
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


def _files(tensor: InputTensor, binary: bytes | None) -> tuple[bytes, ...]:
    if tensor.datatype != "BYTES":
        raise ClassicsError(f"{FILE}: datatype {tensor.datatype[:20]!r}; BYTES is needed.")
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


def _seconds(request: InferRequest) -> float | None:
    """Triton's `timeout`, in microseconds."""
    timeout = (request.parameters or {}).get("timeout")
    if timeout is None:
        return None
    if type(timeout) is not int or not 0 < timeout < 2**63:
        raise ClassicsError(f"timeout: {str(timeout)[:20]} is no time in microseconds.")
    return timeout / 1e6


def _wanted(request: InferRequest, classes: int) -> tuple[Wanted, ...]:
    binary = _flag(request.parameters or {}, "binary_data_output", False)
    outputs = request.outputs or [RequestedOutput(name=PROBABILITIES)]
    found: list[Wanted] = []
    for output in outputs:
        parameters = output.parameters or {}
        if output.name != PROBABILITIES:
            raise ClassicsError(f"output {output.name[:64]!r} is not one; {PROBABILITIES} is.")
        if any(name.startswith("shared_memory") for name in parameters):
            raise ClassicsError(f"{output.name}: shared memory is not supported.")
        top = parameters.get("classification")
        if top is not None and (type(top) is not int or top < 1):
            raise ClassicsError(f"classification: {str(top)[:20]} is no number of classes.")
        wanted = _flag(parameters, "binary_data", binary)
        found.append(Wanted(wanted, None if top is None else min(top, classes)))
    if len(found) > 1:
        raise ClassicsError(f"outputs: {PROBABILITIES} is asked for {len(found)} times.")
    return tuple(found)


def _flag(parameters: dict[str, Any], name: str, otherwise: bool) -> bool:
    value = parameters.get(name, otherwise)
    if type(value) is not bool:
        raise ClassicsError(f"{name}: {str(value)[:20]} is neither true nor false.")
    return value


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
