"""What the page and the server say to each other: every request and response, and their schema.

Images travel as PNG and arrays of numbers as little-endian bytes, both in URL-safe base64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import JsonSchemaMode, models_json_schema

Shape = list[int | None]
Pair = tuple[int, int]  # rows and columns


class Message(BaseModel):
    """The base of all: names that are not in the schema are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Problem(Message):
    """What is wrong with a request, in one line; with every status of 400 and above."""

    error: str


# The models.


class AddModel(Message):
    """Build another network of the catalog with random weights."""

    network: str = Field(max_length=100)


class Model(Message):
    """A network that the server holds."""

    id: str
    title: str
    network: str  # its name in the catalog
    input: tuple[int, int, int]  # height, width, channels
    classes: int
    class_names: list[str] | None  # None: the classes have numbers only
    trained: bool  # false: the weights are random, and so are the answers
    weights: str  # where they are from, in words
    width: float  # multiplies the paper's numbers of filters
    preprocessing: str  # from a picture to the input, in words
    probabilities: str  # what they are, in words
    paper: str  # address
    year: int


class CatalogEntry(Message):
    """A network that can be added."""

    name: str
    title: str
    paper: str
    year: int


class Method(Message):
    """A way to explain an answer by heat maps."""

    name: str
    title: str
    source: str  # address of the paper
    at_layers: bool  # maps of layers; else one of the pixels, under the name of the input
    signed: bool  # negative where a pixel speaks against the class
    at_once: bool  # maps of all layers from one pass; else one layer is asked at a time


class Limits(Message):
    """What the server takes."""

    models: int
    pictures: int  # uploaded ones; the oldest make room
    upload_bytes: int
    upload_pixels: int


class Models(Message):
    """The networks on the server, those that can be added, and what can be asked."""

    models: list[Model]
    catalog: list[CatalogEntry]
    methods: list[Method]
    limits: Limits


# The graph.


class Span(Message):
    """Input pixels on one axis: position i sees first + i * stride to last + i * stride."""

    first: int
    last: int
    stride: int


class ReceptiveField(Message):
    """The pixels that a position of a feature map sees; may stick out over the border."""

    rows: Span
    columns: Span
    exact: bool  # false: a box around the fields of branches, an upper bound
    gated: bool  # through squeeze-and-excite, the whole picture has a part in it, too


class Cost(Message):
    """What a layer or block is and costs, for one image."""

    parameters: int
    trainable: int
    macs: int
    activation_bytes: int
    output_shape: Shape  # channels last
    field: ReceptiveField | None  # None: the whole image, or not known


class Config(Message):
    """The settings of a layer that matter here; those that it does not have are null."""

    filters: int | None = None
    units: int | None = None
    kernel: Pair | None = None
    pool: Pair | None = None
    strides: Pair | None = None
    dilation: Pair | None = None
    padding: str | None = None  # "same" or "valid"
    pads: tuple[Pair, Pair] | None = None  # of ZeroPadding2D: top and bottom, left and right
    cropping: tuple[Pair, Pair] | None = None
    groups: int | None = None
    depth_multiplier: int | None = None
    use_bias: bool | None = None
    activation: str | None = None
    rate: float | None = None
    scale: bool | None = None
    center: bool | None = None
    epsilon: float | None = None
    momentum: float | None = None
    axis: int | None = None
    keepdims: bool | None = None
    data_format: str | None = None


class Layer(Message):
    """A layer of a model."""

    name: str
    kind: str  # its class
    family: str  # its colour in drawings
    block: str  # the innermost block that it is in
    config: Config
    inputs: list[str]  # layers, in the order of the operands
    output_shape: Shape
    cost: Cost
    field: ReceptiveField | None


class Block(Message):
    """A block of a model; the first of all is the root, of kind "model"."""

    name: str
    kind: str
    family: str  # its colour in drawings
    source: str  # figure, table or section of the paper
    parent: str | None
    children: list[str]  # the blocks directly inside
    layers: list[str]  # at any depth
    end: str  # the layer whose output is the block's
    cost: Cost


class Graph(Message):
    """All of a model that does not depend on a picture."""

    model: str
    blocks: list[Block]  # outer before inner
    layers: list[Layer]  # each after those that it reads


class Function(Message):
    """A function as it stands in this package."""

    function: str
    file: str  # from the package on
    first_line: int
    code: str


class Code(Function):
    """The function that makes blocks of a kind."""

    block: str
    kind: str
    helpers: list[Function]  # those of the same file that it calls
    source: str  # figure, table or section
    paper: str  # address


# The pictures.


class Picture(Message):
    """A picture that the server holds."""

    id: str
    name: str
    sample: bool  # made or shipped by the package, or from the artefact's own data
    width: int
    height: int
    animated: bool  # or several pages: the first picture is used, and the note says so
    label: str | None  # what it shows, where that is known
    note: str | None  # what had to be said when it was read


class Pictures(Message):
    """All pictures, samples first."""

    pictures: list[Picture]


# The inference.


class Cut(Message):
    """An operand of a merging layer that counts for nothing: as zeros, in a product as ones."""

    layer: str = Field(max_length=200)
    operand: int = Field(ge=0, le=1000)


Name = Annotated[str, Field(max_length=200)]
Cuts = Annotated[list[Cut], Field(max_length=500)]


class PredictRequest(Message):
    """What is it?"""

    model: Name
    picture: Name
    cuts: Cuts = []


class Answer(Message):
    """A class and how sure the network is of it."""

    index: int
    name: str
    probability: float
    score: float  # before the softmax


class Prediction(Message):
    """The most probable classes, at most five."""

    top: list[Answer]
    milliseconds: float


class MapsRequest(Message):
    """Feature maps of a layer or of a block's end."""

    model: Name
    picture: Name
    layer: Name
    offset: int = Field(default=0, ge=0)
    count: int = Field(default=64, ge=1, le=256)
    channel: int | None = Field(default=None, ge=0)  # of which the numbers are wanted, too
    scale: Literal["channel", "layer"] = "channel"  # black and white are the extremes of what
    cuts: Cuts = []


class Maps(Message):
    """Feature maps as one picture of gray tiles, row by row; what is no map has 1 x 1 tiles."""

    layer: str
    shape: tuple[int, int, int]  # height, width, channels
    offset: int
    count: int
    sprite: str  # PNG, base64
    tile: Pair  # height and width of a tile in the sprite; larger maps are made smaller
    columns: int
    low: float  # of the whole layer
    high: float
    ranges: list[tuple[float, float]]  # of each tile's channel
    channel: int | None
    values: str | None  # of that channel: float32, height * width, base64
    milliseconds: float


class CamRequest(Message):
    """Where does the network look?"""

    model: Name
    picture: Name
    method: str = Field(default="grad-cam", max_length=50)
    class_index: int | None = None  # None: the most probable one
    # None: the ends of all outer blocks; of methods that take seconds a layer, the last of them.
    layers: list[Name] | None = Field(default=None, max_length=64)
    control: bool = False


class CamMap(Message):
    """A heat map in the resolution of its layer."""

    layer: str  # the name asked for
    shape: Pair
    values: str  # uint8, height * width, base64: 0 to 255 for low to high
    low: float
    high: float


class Cam(Message):
    """Class activation maps, and those of the same network with random weights."""

    class_index: int
    class_name: str
    probability: float
    signed: bool
    maps: list[CamMap]
    control: list[CamMap] | None
    milliseconds: float


class CurvesRequest(Message):
    """Does the map show what the answer depends on?"""

    model: Name
    picture: Name
    layer: Name
    method: str = Field(default="grad-cam", max_length=50)
    class_index: int | None = None
    control: bool = False
    steps: int = Field(default=16, ge=4, le=64)


class Curve(Message):
    """The probability of the class over the fraction of the pixels that is gone, or there."""

    fraction: list[float]
    probability: list[float]
    area: float


class CurvePair(Message):
    """Pixels taken away, and put in, those first that the map shows the brightest."""

    deletion: Curve
    insertion: Curve


class Curves(CurvePair):
    """The curves of a map, and those of the map that random weights give, on the same network."""

    class_index: int
    class_name: str
    control: CurvePair | None
    milliseconds: float


class LedgerRequest(Message):
    """What does each shortcut and each branch carry?"""

    model: Name
    picture: Name
    cuts: Cuts = []


class Norm(Message):
    """The size of a tensor: root mean square of its numbers, and Euclidean norm."""

    rms: float
    l2: float


class ResidualNorms(Message):
    """Of the shortcut, the residual and their sum; what is cut is zero."""

    x: Norm
    f: Norm
    sum: Norm


class ResidualRow(Message):
    """The account of a residual block."""

    block: str
    add_layer: str
    kind: Literal["identity", "projection"]
    shortcut: int  # operand of the sum
    residual: int
    norms: ResidualNorms
    cosine: float | None  # between x and F(x); None where one is zero
    cut: list[int]  # the operands that are cut


class BranchRow(Message):
    """The account of a branch that ends in a concatenation."""

    block: str
    layer: str  # the concatenation
    operand: int
    branch: str  # the layer that ends the branch
    channels: int
    norm: Norm
    cut: bool


class Ledger(Message):
    """The accounts of all shortcuts and branches, and what the network says then."""

    rows: list[ResidualRow]
    branches: list[BranchRow]
    top: list[Answer]
    milliseconds: float


class FiltersRequest(Message):
    """The kernels of a convolution that reads the picture itself."""

    model: Name
    layer: Name | None = None  # None: the first


class Filters(Message):
    """Kernels as one picture of coloured tiles, each scaled to its own extremes."""

    layer: str
    shape: tuple[int, int, int, int]  # height, width, channels in, channels out
    sprite: str  # PNG, base64
    tile: Pair
    columns: int
    low: float
    high: float


@dataclass(frozen=True)
class Endpoint:
    """An address, what it takes and what it gives."""

    method: Literal["GET", "POST"]
    path: str
    response: type[Message] | str  # a media type where it is no JSON
    request: type[Message] | str | None = None


ENDPOINTS = (
    Endpoint("GET", "/api/models", Models),
    Endpoint("POST", "/api/models", Model, AddModel),
    Endpoint("GET", "/api/models/{model}/graph", Graph),
    Endpoint("GET", "/api/models/{model}/code/{block}", Code),
    Endpoint("GET", "/api/models/{model}/drawing.svg", "image/svg+xml"),
    Endpoint("GET", "/api/models/{model}/drawing.png", "image/png"),
    Endpoint("GET", "/api/models/{model}/drawing.pdf", "application/pdf"),
    Endpoint("GET", "/api/drawing.css", "text/css"),
    Endpoint("GET", "/api/pictures", Pictures),
    Endpoint("POST", "/api/pictures", Picture, "*/*"),
    Endpoint("GET", "/api/pictures/{picture}.png", "image/png"),
    Endpoint("POST", "/api/predict", Prediction, PredictRequest),
    Endpoint("POST", "/api/maps", Maps, MapsRequest),
    Endpoint("POST", "/api/cam", Cam, CamRequest),
    Endpoint("POST", "/api/curves", Curves, CurvesRequest),
    Endpoint("POST", "/api/ledger", Ledger, LedgerRequest),
    Endpoint("POST", "/api/filters", Filters, FiltersRequest),
)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of every message under `$defs`, and the endpoints that use them."""
    requests = [each.request for each in ENDPOINTS if isinstance(each.request, type)]
    responses: list[type[BaseModel]] = [Problem]
    responses += [each.response for each in ENDPOINTS if isinstance(each.response, type)]
    modes: list[tuple[type[BaseModel], JsonSchemaMode]] = []
    modes += [(model, "validation") for model in requests]
    modes += [(model, "serialization") for model in responses]
    _, schema = models_json_schema(modes, title="keras-classics explorer")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "endpoints": [
            {
                "method": each.method,
                "path": each.path,
                "request": _name(each.request),
                "response": _name(each.response),
                "error": Problem.__name__,
            }
            for each in ENDPOINTS
        ],
    }


def _name(message: type[Message] | str | None) -> str | None:
    return message.__name__ if isinstance(message, type) else message
