"""Files of `torch.save`, read and written without torch: today's zip archive and its predecessor.

Both hold a pickle that says how to put tensors together, and the raw bytes of their storages.
`pickle.Unpickler` looks up and calls what a pickle names, and bounds neither time nor memory. Here
`pickletools` decodes the opcodes, which runs nothing, and the few that torch writes are carried out
on a stack: they build tensors and plain containers, and whatever else a pickle names is refused.
"""

from __future__ import annotations

import io
import math
import pickletools
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from keras_classics.errors import WeightsError
from keras_classics.weights.tensors import Array

# Bounds on what is read before any tensor is, far above what networks need. The entry of an archive
# takes 13 times its bytes in memory, an opcode up to some 200 bytes.
_MOST_BYTES = 2**23
_MOST_STEPS = 2**20
_MOST_DIMENSIONS = 64
_MOST_BITS = 128  # of an integer

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of the format before torch 1.6

_BFLOAT16 = "bfloat16"
_CODES = {  # of the numbers in a storage, as NumPy names them
    "Double": "f8",
    "Float": "f4",
    "Half": "f2",
    "BFloat16": _BFLOAT16,
    "Long": "i8",
    "Int": "i4",
    "Short": "i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "?",
    "ComplexDouble": "c16",
    "ComplexFloat": "c8",
}
_STORAGES = {
    "torch.storage.UntypedStorage": "u1",
    **{f"torch.{name}Storage": code for name, code in _CODES.items()},
    **{f"torch.cuda.{name}Storage": code for name, code in _CODES.items()},
}
_UNTYPED = {"torch.uint16": "u2", "torch.uint32": "u4", "torch.uint64": "u8"}  # without a storage


def _size(code: str) -> int:
    """Bytes of a number."""
    return 2 if code == _BFLOAT16 else np.dtype(code).itemsize


@dataclass(eq=False)
class _Storage:
    """Numbers in a row, read when a tensor first asks for them."""

    code: str
    count: int
    read: Callable[[], bytes] = bytes
    order: str = "<"
    _arrays: dict[str, Array] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.count * _size(self.code)

    def array(self, code: str) -> Array:
        """All numbers, (n,), as a type of NumPy's own; bfloat16 becomes float32."""
        if code not in self._arrays:
            wide = code == _BFLOAT16  # the upper half of a float32
            stored = np.frombuffer(self.read(), self.order + ("u2" if wide else code))
            values: Array = stored.astype("u4" if wide else code)
            if wide:
                values <<= 16
                values = values.view("f4")
            self._arrays[code] = values
        return self._arrays[code]


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of an open file; its storage is large enough."""

    storage: _Storage
    code: str
    offset: int  # in numbers, as the strides are
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> Array:
        """Its values; tensors of one storage share memory, as they did in torch."""
        values = self.storage.array(self.code)
        if not math.prod(self.shape):
            return np.zeros(self.shape, values.dtype)
        width = values.itemsize
        strides = tuple(width * stride for stride in self.strides)
        return np.ndarray(self.shape, values.dtype, values.data, width * self.offset, strides)


@dataclass(frozen=True)
class _Name:
    """What a pickle names, of which nothing but the name is here."""

    name: str


def _tensor(
    storage: _Storage,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    _gradient: object = None,
    _hooks: object = None,
    metadata: object = None,
    *,
    code: str = "",
) -> Tensor:
    if metadata:
        raise ValueError("conjugates and negatives that are not computed yet")
    counts = (offset, *shape, *strides)
    if len(shape) > _MOST_DIMENSIONS or any(type(n) is not int or n < 0 for n in counts):
        raise ValueError("no shape of a tensor")
    code = code or storage.code
    numbers = math.prod(shape)
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if numbers and max(numbers, last + 1) > storage.size // _size(code):
        raise ValueError("a tensor is larger than its storage")
    return Tensor(storage, code, offset, tuple(shape), strides)


def _untyped_tensor(*arguments: Any) -> Tensor:
    *common, kind = arguments[:7]
    return _tensor(*common, *arguments[7:], code=_UNTYPED[kind.name])


def _parameter(tensor: object, *_state: object) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise TypeError("a parameter that is no tensor")
    return tensor


def _key(value: Any) -> Any:
    """A key as state dicts have them; numbers are small, lest many be made that hash alike."""
    if type(value) is str or (type(value) is int and value.bit_length() < 64):
        return value
    raise TypeError("a key that is neither text nor a number")


def _dict(items: Any = ()) -> dict[Any, Any]:
    pairs = items.items() if isinstance(items, dict) else items
    return {_key(key): value for key, value in pairs}


def _set(items: Any = ()) -> set[Any]:
    return {_key(item) for item in items}


_MAKERS: dict[str, Callable[..., object]] = {
    "collections.OrderedDict": _dict,
    "collections.Counter": _dict,
    "builtins.set": _set,
    "__builtin__.set": _set,
    "torch.Size": tuple,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _untyped_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}
_KNOWN = _MAKERS.keys() | _STORAGES.keys() | _UNTYPED.keys()


def _known(name: str) -> _Name:
    """What a pickle names.

    Raises:
        WeightsError: If that is anything but tensors and plain containers.
    """
    if name not in _KNOWN:
        raise WeightsError(
            f"holds {ascii(name)[1:-1][:100]}, and is not read: only tensors and plain containers "
            "are, since anything else could run code. In torch, save the weights alone: "
            "torch.save(model.state_dict(), FILE)."
        )
    return _Name(name)


_VALUES = {
    "BINFLOAT", "BININT", "BININT1", "BININT2", "BINSTRING", "BINUNICODE", "LONG1", "LONG4", "NONE",
    "SHORT_BINSTRING", "SHORT_BINUNICODE",
}  # fmt: skip
_FRESH: dict[str, Callable[[], object]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_SET": set,
    "EMPTY_TUPLE": tuple,
    "NEWFALSE": lambda: False,
    "NEWTRUE": lambda: True,
}


def _unpickle(  # noqa: PLR0912, PLR0915  a branch for each opcode
    stream: BinaryIO, storage: Callable[[str, int, str], _Storage] | None = None
) -> Any:
    """Carry out the opcodes of one pickle, and stop behind it.

    Args:
        stream: In memory, where no more is read than there is, whatever a pickle says.
        storage: Gives a storage, by the type and number of its numbers and its key.

    Raises:
        WeightsError: If the pickle names what could run code.
        Exception: Of many kinds, if it is none that torch writes.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def pop(count: int | None = None) -> list[Any]:
        """The uppermost values; default: those above the last mark."""
        start = marks.pop() if count is None else len(stack) - count
        if start < 0:
            raise ValueError("the stack is empty")
        values = stack[start:]
        del stack[start:]
        return values

    steps = 0
    value: Any
    for opcode, value, _ in pickletools.genops(stream):
        steps += 1
        if type(value) is int and value.bit_length() > _MOST_BITS:
            raise ValueError("too large a number")
        match opcode.name:
            case "BINPUT" | "LONG_BINPUT":
                memo[value] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[value])
            case name if name in _VALUES:
                stack.append(value)
            case name if name in _FRESH:
                stack.append(_FRESH[name]())
            case "MARK":
                marks.append(len(stack))
            case "TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3" as name:
                stack.append(tuple(pop(int(name[5:]) if name[5:] else None)))
            case "SETITEM" | "SETITEMS" as name:
                items = pop(2 if name == "SETITEM" else None)
                dict.update(stack[-1], _dict(zip(items[::2], items[1::2], strict=True)))
            case "APPEND" | "APPENDS" as name:
                items = pop(1 if name == "APPEND" else None)
                list.extend(stack[-1], items)
            case "ADDITEMS":
                items = pop()
                set.update(stack[-1], _set(items))
            case "GLOBAL":
                stack.append(_known(value.replace(" ", ".", 1)))
            case "INST":  # of a class, and none is known
                raise TypeError(f"{_known(value.replace(' ', '.', 1))} is no class")
            case "STACK_GLOBAL":
                stack.append(_known("{:s}.{:s}".format(*pop(2))))
            case "REDUCE":
                maker, arguments = pop(2)
                # One argument can be gone through again and again, at a few bytes of pickle.
                steps += sum(len(each) for each in arguments if hasattr(each, "__len__"))
                if steps < _MOST_STEPS:
                    stack.append(_MAKERS[maker.name](*arguments))
            case "BUILD":  # what an OrderedDict has beside its items, such as `_metadata`
                if not all(isinstance(each, dict) for each in (pop(1)[0], stack[-1])):
                    raise TypeError("only an OrderedDict has a state")
            case "BINPERSID" if storage:
                word, kind, key, _place, count, *view = stack.pop()
                if word != "storage" or view not in ([], [None]) or count < 0:
                    raise ValueError("no storage as torch writes it")
                stack.append(storage(_STORAGES[kind.name], count, f"{key:s}"))
            case "STOP":
                (content,) = stack
                return content
            case "PROTO" | "FRAME":
                pass
            case name:
                raise ValueError(f"torch does not write {name}")
        if steps >= _MOST_STEPS:
            raise ValueError("too large a pickle")
    raise ValueError("the pickle has no end")


@contextmanager
def open_pth(path: Path) -> Iterator[Any]:
    """What a file of `torch.save` holds: each `Tensor`, plain containers, numbers and text.

    The values of tensors are read when they are asked for, as long as the file is open. All that is
    read takes at most three times the size of the file, and 0.3 GB besides.

    Raises:
        WeightsError: If it holds anything else; the message does not name the file.
        Exception: Of many kinds, if it is no such file, or incomplete.
    """
    with path.open("rb") as stream:
        zipped = stream.read(2) == b"PK"
        stream.seek(0)
        if not zipped:
            yield _former(stream)
            return
        length = stream.seek(0, io.SEEK_END)
        _check_directory(stream, length)
        with zipfile.ZipFile(stream) as archive:
            yield _zipped(archive, length)


def _check_directory(stream: BinaryIO, length: int) -> None:
    """Refuse an archive that lists more than memory should hold, before the list is read."""
    stream.seek(-98, io.SEEK_END)
    wide, place, end = stream.read(56), stream.read(20), stream.read()
    (size,) = struct.unpack_from("<L", end, 12)
    if place.startswith(b"PK\6\7"):  # the same with 64 bits a number, and where that stands
        (size,) = struct.unpack_from("<Q", wide, 40)
        if struct.unpack_from("<Q", place, 8) != (length - 98,):
            raise ValueError("the end of the archive is elsewhere")
    if not (end.startswith(b"PK\5\6") and end.endswith(b"\0\0")) or size > _MOST_BYTES:
        raise ValueError("not the end of an archive that torch writes")


def _zipped(archive: zipfile.ZipFile, length: int) -> Any:
    """The content of an archive: NAME/data.pkl, with the storages in NAME/data/."""
    entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise WeightsError("is a compressed archive; save the weights with torch.save.")
    if sum(entry.file_size for entry in entries) > length:
        raise ValueError("the archive holds more than the file")
    for entry in entries:
        if not entry.CRC:  # so torch.serialization.set_crc32_options(False) leaves it
            del entry.CRC
    folder = entries[0].filename.partition("/")[0]
    pickled, order = f"{folder}/data.pkl", f"{folder}/byteorder"
    written = archive.read(order) if order in archive.NameToInfo else b"little"
    sign = {b"little": "<", b"big": ">"}[written]
    found: dict[str, _Storage] = {}

    def storage(code: str, count: int, key: str) -> _Storage:
        name = f"{folder}/data/{key}"
        read = partial(archive.read, name) if count else bytes
        known = found.setdefault(key, _Storage(code, count, read, sign))
        size = archive.getinfo(name).file_size if count else 0
        if (known.code, known.size) != (code, size):
            raise ValueError("a storage has another size")
        return known

    if archive.getinfo(pickled).file_size > _MOST_BYTES:
        raise ValueError("too large a pickle")
    return _unpickle(io.BytesIO(archive.read(pickled)), storage)


def _former(stream: BinaryIO) -> Any:
    """The content of a file as torch wrote it before 1.6: five pickles, then the storages."""
    found: dict[str, _Storage] = {}

    def storage(code: str, count: int, key: str) -> _Storage:
        known = found.setdefault(key, _Storage(code, count))
        if (known.code, known.count) != (code, count):
            raise ValueError("a storage has another size")
        return known

    def read(place: int, size: int) -> bytes:
        stream.seek(place)
        return stream.read(size)

    head = io.BytesIO(stream.read(_MOST_BYTES))
    magic, protocol, _system = (_unpickle(head) for _ in range(3))
    if (magic, protocol) != (_MAGIC, _PROTOCOL):
        raise ValueError("not the beginning of a file of torch.save")
    content = _unpickle(head, storage)
    keys = [_key(key) for key in _unpickle(head)]
    if sorted(keys) != sorted(found):
        raise ValueError("storages are missing")
    place, end = head.tell(), stream.seek(0, io.SEEK_END)
    for each in (found[key] for key in keys):  # each behind the number of its numbers
        if struct.unpack("<q", read(place, 8)) != (each.count,):
            raise ValueError("a storage has another size")
        each.read = partial(read, place + 8, each.size)
        place += 8 + each.size
    if place > end:
        raise ValueError("storages are incomplete")
    return content


def write_pth(tensors: Mapping[str, Array], path: Path) -> None:
    """Write a state dict as `torch.save` does; the same tensors make the same bytes.

    Raises:
        KeyError: If torch has no storage of such numbers.
    """
    names = {np.dtype(code): name for name, code in _CODES.items() if code != _BFLOAT16}
    pickled = [b"\x80\2}("]  # protocol 2; a dict of what follows
    storages: dict[str, Array] = {}
    for key, (name, value) in enumerate(tensors.items()):
        storages[f"data/{key}"] = array = np.asarray(value, order="C")
        strides = (stride // array.itemsize for stride in array.strides)
        pickled += [
            _text(name),
            b"ctorch._utils\n_rebuild_tensor_v2\n((",
            _text("storage"),
            b"ctorch\n%bStorage\n" % names[array.dtype].encode(),
            _text(str(key)),
            _text("cpu"),
            _numbers(array.size),
            b"tQ",
            _numbers(0),
            b"(%bt(%bt" % (_numbers(*array.shape), _numbers(*strides)),
            b"\x89ccollections\nOrderedDict\n)RtR",  # no gradient, no hooks
        ]
    entries: dict[str, bytes | Array] = {
        "data.pkl": b"".join([*pickled, b"u."]),
        "byteorder": sys.byteorder.encode(),
        **storages,
        "version": b"3\n",
    }
    with path.open("wb") as stream, zipfile.ZipFile(stream, "w") as archive:
        for name, content in entries.items():
            entry = zipfile.ZipInfo(f"archive/{name}")
            # What is mapped into memory begins at a multiple of 64 bytes.
            gap = -(stream.tell() + 30 + len(entry.filename) + 4) % 64
            entry.extra = struct.pack("<2sH", b"FB", gap) + bytes(gap)
            archive.writestr(entry, content if isinstance(content, bytes) else content.tobytes())


def _text(value: str) -> bytes:
    """The opcode of a text."""
    return struct.pack("<cL", b"X", len(value.encode())) + value.encode()


def _numbers(*values: int) -> bytes:
    """An opcode for each number."""
    return b"".join(struct.pack("<ci", b"J", value) for value in values)
