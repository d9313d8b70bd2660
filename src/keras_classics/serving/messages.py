"""The messages of all addresses; the OpenAPI document is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    RootModel,
    field_validator,
    model_validator,
)

Parameters = dict[str, Any]
_LONGEST = 200  # characters of what is wrong
Size = Annotated[int, Field(ge=1, le=2**31 - 1)]
Shape = Annotated[list[Size], Field(min_length=1, max_length=4)]


class Message(BaseModel):
    """What is sent or answered as JSON."""

    model_config = ConfigDict(strict=True)


class Problem(Message):
    """Why a request was not answered."""

    error: str = Field(description="One line: what is wrong, and what to do.")


PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": description}
    for status, description in {
        400: "The request is not one.",
        404: "No such model or version.",
        408: "The body did not arrive in time.",
        413: "Too many bytes, pixels or pictures.",
        415: "Not an image, or a content type that is not taken.",
        422: "An image that is damaged.",
        429: "Too many pictures are waiting; Retry-After says when to try again.",
        500: "A bug, or the network failed; the log says more.",
        504: "Not answered in time.",
        507: "Not enough memory.",
    }.items()
}
"""What may become of a request with pictures."""
PROBLEMS[429]["headers"] = {
    "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}
}


class Live(Message):
    """The server runs."""

    live: bool


class Ready(Message):
    """The server takes requests."""

    ready: bool


class ModelReady(Message):
    """A model takes requests."""

    name: str
    ready: bool


class ServerMetadata(Message):
    """What the server is."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(Message):
    """A tensor that a model takes or gives."""

    name: str
    datatype: str
    shape: list[int] = Field(description="-1 is the number of pictures.")


class InputMetadata(TensorMetadata):
    """A tensor that a model takes, or another one in its place."""

    parameters: Parameters = Field(
        description="optional: it need not be sent; one_of: the inputs of which a request has one."
    )


class ModelMetadata(Message):
    """What a model takes and gives."""

    name: str
    versions: list[str] = Field(description="The newest first.")
    platform: str
    inputs: list[InputMetadata] = Field(description="A request has one of them.")
    outputs: list[TensorMetadata]
    parameters: Parameters = Field(
        description="class_names, network, fit (the resize rule), engine, precision, and the "
        "reject threshold."
    )


class IndexEntry(Message):
    """A version of a model that is served."""

    name: str
    version: str
    state: str
    reason: str


class Index(RootModel[list[IndexEntry]]):
    """All that is served."""


class InputConfig(Message):
    """A tensor that a model takes, as Triton writes it."""

    name: str
    data_type: str
    format: str
    dims: list[int]
    optional: bool


class OutputConfig(Message):
    """A tensor that a model gives, as Triton writes it."""

    name: str
    data_type: str
    dims: list[int]


class Batching(Message):
    """How requests are put together."""

    preferred_batch_size: list[int]
    max_queue_delay_microseconds: int


class ModelConfig(Message):
    """The settings of a model, as Triton writes them."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    input: list[InputConfig]
    output: list[OutputConfig]
    dynamic_batching: Batching


class TensorParameters(Message):
    """Parameters of a tensor, of which those that are not known are ignored."""

    @model_validator(mode="before")
    @classmethod
    def _not_elsewhere(cls, values: Any) -> Any:
        if isinstance(values, dict) and any(key.startswith("shared_memory") for key in values):
            raise ValueError("shared memory is not supported")
        return values


class InputParameters(TensorParameters):
    """Where the data of an input is."""

    binary_data_size: int | None = Field(default=None, ge=0, description="Bytes behind the JSON.")


class OutputParameters(TensorParameters):
    """How an output is wanted."""

    classification: int | None = Field(default=None, ge=1, description="Asks for the top classes.")
    binary_data: bool | None = Field(default=None, description="Whether it stands behind the JSON.")


class RequestParameters(Message):
    """Parameters of a request, of which those that are not known are ignored."""

    timeout: int | None = Field(
        default=None, gt=0, lt=2**63, description="Microseconds that its sender waits."
    )
    binary_data_output: bool = Field(default=False, description="The same for outputs.")
    sequence_id: int | str | None = None
    sequence_start: bool | None = None
    sequence_end: bool | None = None

    @field_validator("sequence_id", "sequence_start", "sequence_end")
    @classmethod
    def _alone(cls, value: Any) -> Any:
        if value:  # it would change the answer, were it not ignored
            raise ValueError("sequences are not supported; each request is answered alone")
        return value


class InputTensor(Message):
    """A tensor of a request: its data here, or behind the JSON (`binary_data_size`)."""

    parameters: InputParameters | None = None
    data: list[Any] | None = None


class ImageTensor(InputTensor):
    """Decoded pictures; their data are integers, flat or nested as the shape says."""

    name: Literal["image"]
    shape: Shape = Field(description="[n, height, width, 3]")
    datatype: Literal["UINT8"]


class FileTensor(InputTensor):
    """Image files; their data are strings in base64."""

    name: Literal["file"]
    shape: Shape = Field(description="[n] or [n, 1]")
    datatype: Literal["BYTES"]


class RequestedOutput(Message):
    """An output that is wanted."""

    name: Literal["probabilities"]
    parameters: OutputParameters | None = None


class InferRequest(Message):
    """A request for inference."""

    id: str | None = None
    parameters: RequestParameters | None = None
    inputs: list[Annotated[ImageTensor | FileTensor, Field(discriminator="name")]] = Field(
        min_length=1, max_length=1
    )
    outputs: list[RequestedOutput] | None = Field(default=None, max_length=1)


class OutputTensor(Message):
    """A tensor of an answer."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters | None = None
    data: list[Any] | None = None


class InferResponse(Message):
    """The answer of a model."""

    model_config = ConfigDict(protected_namespaces=())

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


class ClassProbability(Message):
    """A class, and how probable it is."""

    model_config = ConfigDict(populate_by_name=True)

    class_name: str = Field(serialization_alias="class")
    probability: float = Field(ge=0, le=1)


class Classified(Message):
    """What one picture was called."""

    file: str = Field(description="File name of the picture.")
    class_name: str = Field(serialization_alias="class", description="The most probable class.")
    probability: float = Field(ge=0, le=1, description="Of that class, calibrated.")
    accepted: bool | None = Field(
        description="Whether it is sure enough to be believed; null where the model has no "
        "threshold."
    )
    top: list[ClassProbability] = Field(description="The most probable first.")


class Classification(Message):
    """What the pictures of a request were called, in their order."""

    model: str
    version: str
    predictions: list[Classified]


def problem_of(errors: Sequence[Any]) -> str:
    """What pydantic found first, in one line."""
    first = errors[0]
    place = ".".join(str(part) for part in first["loc"] if part not in {"query", "path"})
    words = first["msg"].removeprefix("Value error, ")[:_LONGEST]
    return f"{place + ': ' if place else ''}{words}."
