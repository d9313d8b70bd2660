"""The Open Inference Protocol, as the real client of Triton speaks it."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tritonclient import http as triton
from tritonclient.http import aio

from serving.fakes import (
    NAMES,
    SIZE,
    FakeEngine,
    encoded,
    expected,
    opened,
    pictures,
    running,
)


@pytest.fixture(scope="module")
def server(serving):
    models = (
        opened("fake", "1"),
        opened("fake", "9", FakeEngine(seed=9)),
        opened("fake", "10", FakeEngine(seed=10)),
    )
    with running(serving, *models) as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    with triton.InferenceServerClient(f"{server.host}:{server.port}") as client:
        yield client


def image_input(images, binary=True):
    tensor = triton.InferInput("image", list(images.shape), "UINT8")
    return tensor.set_data_from_numpy(images, binary_data=binary)


def file_input(files):
    tensor = triton.InferInput("file", [len(files)], "BYTES")
    return tensor.set_data_from_numpy(np.array(files, dtype=object))


def test_health_and_what_it_is(server, client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("fake")
    assert client.is_model_ready("fake", "9")
    assert not client.is_model_ready("fake", "2")
    assert not client.is_model_ready("nobody")
    metadata = client.get_server_metadata()
    assert server.get("/v2/").json() == server.get("/v2").json() == metadata
    assert metadata["name"] == "keras-classics"
    assert set(metadata["extensions"]) == {
        "binary_tensor_data", "classification", "model_configuration"
    }  # fmt: skip


def test_what_a_model_takes_and_gives(client):
    found = client.get_model_metadata("fake")
    assert found["versions"] == ["10", "9", "1"]
    assert found["platform"] == "keras_keras"
    one = {"optional": True, "one_of": ["image", "file"]}
    assert found["inputs"] == [
        {"name": "image", "datatype": "UINT8", "shape": [-1, *SIZE, 3], "parameters": one},
        {"name": "file", "datatype": "BYTES", "shape": [-1], "parameters": one},
    ]
    assert found["outputs"] == [
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(NAMES)]}
    ]
    assert found["parameters"]["class_names"] == list(NAMES)
    assert found["parameters"]["threshold"] == 0.5
    assert found["parameters"]["fit"] == "stretch"


def test_the_settings_as_triton_writes_them(client):
    config = client.get_model_config("fake", "9")
    assert config["name"] == "fake"
    assert config["max_batch_size"] == 64
    assert (config["platform"], config["backend"]) == ("", "keras")
    assert [each["optional"] for each in config["input"]] == [True, True]
    assert config["input"][0]["dims"] == [*SIZE, 3]
    assert config["output"][0] == {
        "name": "probabilities", "data_type": "TYPE_FP32", "dims": [len(NAMES)]
    }  # fmt: skip
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 5000


def test_the_index(client):
    found = client.get_model_repository_index()
    assert [(each["name"], each["version"], each["state"]) for each in found] == [
        ("fake", "1", "READY"), ("fake", "9", "READY"), ("fake", "10", "READY")
    ]  # fmt: skip


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
@pytest.mark.parametrize("answer", [None, "gzip", "deflate"])
def test_decoded_pictures(client, binary, compression, answer):
    images = pictures(40)  # enough for the answer to be compressed
    result = client.infer(
        "fake",
        [image_input(images, binary)],
        model_version="1",
        request_id="mine-1",
        outputs=[triton.InferRequestedOutput("probabilities", binary_data=binary)],
        request_compression_algorithm=compression,
        response_compression_algorithm=answer,
    )
    np.testing.assert_array_equal(result.as_numpy("probabilities"), expected(images))
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == (
        "mine-1", "fake", "1"
    )  # fmt: skip


def test_without_outputs_the_client_asks_for_binary_data(client):
    result = client.infer("fake", [image_input(pictures(2))], model_version="1")
    np.testing.assert_array_equal(result.as_numpy("probabilities"), expected(pictures(2)))
    output = result.get_output("probabilities")
    assert output["parameters"] == {"binary_data_size": 2 * len(NAMES) * 4}
    assert "data" not in output


def test_image_files(client):
    images = pictures(5)
    files = [encoded(image) for image in images]
    result = client.infer("fake", [file_input(files)], model_version="1")
    np.testing.assert_array_equal(result.as_numpy("probabilities"), expected(images))


def test_the_newest_version_answers_unless_another_one_is_asked(client):
    images = pictures(1)
    for version, seed in (("", 10), ("10", 10), ("9", 9), ("1", 0)):
        result = client.infer("fake", [image_input(images)], model_version=version)
        np.testing.assert_array_equal(result.as_numpy("probabilities"), expected(images, seed))
        assert result.get_response()["model_version"] == (version or "10")


@pytest.mark.parametrize("binary", [True, False])
def test_the_top_classes(client, binary):
    images = pictures(3)
    output = triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=2)
    found = client.infer("fake", [image_input(images)], "1", [output]).as_numpy("probabilities")
    assert found.shape == (3, 2)
    for row, texts in zip(expected(images), found, strict=True):
        best = np.argsort(-row)[:2]
        words = [text.decode() if binary else text for text in texts]
        assert words == [f"{row[i]:f}:{i}:{NAMES[i]}" for i in best]


def test_more_classes_than_there_are(client):
    output = triton.InferRequestedOutput("probabilities", class_count=1000)
    found = client.infer("fake", [image_input(pictures(1))], "1", [output])
    assert found.as_numpy("probabilities").shape == (1, len(NAMES))


def test_the_client_that_works_asynchronously(server):
    images = pictures(20)

    async def ask():
        async with aio.InferenceServerClient(f"{server.host}:{server.port}") as client:
            assert await client.is_server_ready()
            assert (await client.get_model_metadata("fake"))["name"] == "fake"
            return await asyncio.gather(
                *(
                    client.infer(
                        "fake",
                        [aio_input(image[None])],
                        model_version="1",
                        request_compression_algorithm=how,
                        response_compression_algorithm=how,
                    )
                    for image, how in zip(images, [None, "gzip", "deflate", None] * 5, strict=True)
                )
            )

    def aio_input(images):
        tensor = aio.InferInput("image", list(images.shape), "UINT8")
        return tensor.set_data_from_numpy(images)

    for image, result in zip(images, asyncio.run(ask()), strict=True):
        np.testing.assert_array_equal(result.as_numpy("probabilities"), expected(image[None]))


def test_the_client_s_own_threads(server):
    images = pictures(30)
    address = f"{server.host}:{server.port}"
    with triton.InferenceServerClient(address, concurrency=8) as client:
        asked = [
            client.async_infer("fake", [image_input(image[None])], model_version="1")
            for image in images
        ]
        for image, waiting in zip(images, asked, strict=True):
            found = waiting.get_result().as_numpy("probabilities")
            np.testing.assert_array_equal(found, expected(image[None]))


def test_errors_as_the_client_reads_them(client):
    for model, version, words in (
        ("nobody", "", "model 'nobody' is not served; fake can be had"),
        ("fake", "2", "version '2' of fake is not served; 10, 9, 1 can be had"),
    ):
        with pytest.raises(triton.InferenceServerException, match=words) as error:
            client.infer(model, [image_input(pictures(1))], model_version=version)
        assert error.value.status() == "404"
    with pytest.raises(triton.InferenceServerException, match="not an image") as error:
        client.infer("fake", [file_input([b"no image at all"])])
    assert error.value.status() == "415"


@pytest.mark.parametrize(
    ("shape", "nested"), [([2], False), ([2, 1], False), ([2, 1], True), ([2, 1, 1], True)]
)
def test_files_within_json(server, shape, nested):
    images = pictures(2)
    data = [base64.b64encode(encoded(image)).decode() for image in images]
    if nested:
        data = np.reshape(np.array(data, object), shape).tolist()
    tensor = {"name": "file", "shape": shape, "datatype": "BYTES", "data": data}
    answer = server.post("/v2/models/fake/versions/1/infer", json={"inputs": [tensor]}).json()
    assert answer["outputs"][0]["shape"] == [2, len(NAMES)]
    np.testing.assert_allclose(
        np.reshape(answer["outputs"][0]["data"], (2, -1)), expected(images), rtol=1e-6
    )


@pytest.mark.parametrize("binary", [True, False])
def test_files_one_in_each_row(client, binary):
    """As clients send a batch of texts."""
    images = pictures(2)
    files = [encoded(image) for image in images]
    if not binary:
        files = [base64.b64encode(data) for data in files]
    tensor = triton.InferInput("file", [2, 1], "BYTES")
    tensor.set_data_from_numpy(np.array(files, object).reshape(2, 1), binary_data=binary)
    found = client.infer("fake", [tensor], model_version="1").as_numpy("probabilities")
    np.testing.assert_array_equal(found, expected(images))


def test_nested_data(server):
    images = pictures(2)
    tensor = {
        "name": "image", "shape": list(images.shape), "datatype": "UINT8", "data": images.tolist()
    }  # fmt: skip
    answer = server.post("/v2/models/fake/versions/1/infer", json={"inputs": [tensor]}).json()
    np.testing.assert_allclose(
        np.reshape(answer["outputs"][0]["data"], (2, -1)), expected(images), rtol=1e-6
    )


def test_each_request_is_answered_alone(server, client):
    """A sequence would be another question; none at all is as Triton's clients write it, too."""
    for options in ({"sequence_id": 42}, {"sequence_id": "a", "sequence_start": True}):
        with pytest.raises(triton.InferenceServerException, match="sequence_id: sequences are not"):
            client.infer("fake", [image_input(pictures(1))], **options)
    for name in ("sequence_start", "sequence_end"):
        answer = server.infer(pictures(1), parameters={name: True})
        assert answer.status_code == 400
        assert answer.json()["error"].startswith(f"parameters.{name}: sequences are not supported")
    for none in (0, "", None):
        parameters = {"sequence_id": none, "sequence_start": False, "sequence_end": False}
        assert server.infer(pictures(1), parameters=parameters).status_code == 200


@pytest.mark.parametrize(
    ("engine", "platform", "tritons"),
    [
        ("keras", "keras_keras", ""), ("openvino", "openvino_ir", ""),
        ("onnxruntime", "onnx_onnxv1", "onnxruntime_onnx"),
    ],
)  # fmt: skip
def test_platforms(serving, engine, platform, tritons):
    fake = FakeEngine()
    fake.name = engine
    with running(serving, opened(engine=fake)) as server:
        assert server.get("/v2/models/fake").json()["platform"] == platform
        config = server.get("/v2/models/fake/config").json()
        assert (config["platform"], config["backend"]) == (tritons, engine)


def test_the_client_s_time_limit(serving):
    with (
        running(serving, opened(engine=FakeEngine(seconds=0.5))) as server,
        triton.InferenceServerClient(f"{server.host}:{server.port}") as client,
    ):
        with pytest.raises(triton.InferenceServerException, match="not answered within"):
            client.infer("fake", [image_input(pictures(1))], timeout=100_000)
        client.infer("fake", [image_input(pictures(1))], timeout=20_000_000)


def good():
    images = pictures(1)
    return {
        "inputs": [
            {
                "name": "image", "shape": list(images.shape), "datatype": "UINT8",
                "data": images.ravel().tolist(),
            }
        ]
    }  # fmt: skip


def changed(**fields):
    message = good()
    message["inputs"][0].update(fields)
    return message


COUNT = SIZE[0] * SIZE[1] * 3
BAD = {
    "no object": ("[]", "should be an object"),
    "nothing": ("", "Invalid JSON"),
    "torn": ('{"inputs": [', "Invalid JSON"),
    "no text": (b"\xff\xfe\x00", "Invalid JSON"),
    "deep": ('{"inputs": ' + "[" * 100_000, "Invalid JSON"),
    "not a number": (json.dumps(good()).replace("]}", ", NaN]}", 1), f"must be {COUNT} integers"),
    "infinite": ('{"inputs": Infinity}', "inputs: Input should be a valid array"),
    "a very long number": ('{"inputs": ' + "9" * 5000 + "}", "Invalid JSON"),
    "no inputs": ({"inputs": []}, "inputs"),
    "inputs missing": ({}, "inputs: Field required"),
    "three inputs": ({"inputs": good()["inputs"] * 3}, "inputs"),
    "twice the same": ({"inputs": good()["inputs"] * 2}, "at most 1 item"),
    "unknown input": (changed(name="pixels"), "inputs.0: Input tag 'pixels'"),
    "shape missing": ({"inputs": [{"name": "image", "datatype": "UINT8"}]}, "shape"),
    "shape of words": (changed(shape=["1"]), "shape"),
    "negative": (changed(shape=[-1, *SIZE, 3]), "shape"),
    "no picture": (changed(shape=[0, *SIZE, 3], data=[]), "greater than or equal to 1"),
    "huge": (changed(shape=[2**31 - 1, *SIZE, 3]), f"must be {(2**31 - 1) * COUNT} integers"),
    "huger": (changed(shape=[10**30, *SIZE, 3]), "shape"),
    "other size": (changed(shape=[1, SIZE[1], SIZE[0], 3]), "[n, 6, 8, 3] is needed"),
    "flat": (changed(shape=[COUNT]), "[n, 6, 8, 3] is needed"),
    "other type": (changed(datatype="FP32"), "datatype: Input should be 'UINT8'"),
    "too few": (changed(data=[0] * (COUNT - 1)), f"must be {COUNT} integers"),
    "floats": (changed(data=[0.5] * COUNT), f"must be {COUNT} integers"),
    "true": (changed(data=[True] * COUNT), f"must be {COUNT} integers"),
    "words": (changed(data=["0"] * COUNT), f"must be {COUNT} integers"),
    "none": (changed(data=[None] * COUNT), f"must be {COUNT} integers"),
    "above": (changed(data=[256] * COUNT), "from 0 to 255"),
    "below": (changed(data=[-1] * COUNT), "from 0 to 255"),
    "larger than any": (changed(data=[10**40] * COUNT), "integers"),
    "ragged": (changed(data=[[1, 2], [3]]), "ragged"),
    "nested otherwise": (
        changed(data=np.zeros((1, SIZE[1], SIZE[0], 3), int).tolist()),
        f"must be {COUNT} integers, flat or nested as the shape says",
    ),
    "no data": (changed(data=None), "data or binary_data_size is missing"),
    "shared": (changed(parameters={"shared_memory_region": "a"}), "shared memory"),
    "size and data": (changed(parameters={"binary_data_size": COUNT}), "send one of the two"),
    "size without header": (
        changed(parameters={"binary_data_size": COUNT}, data=None), "without the header"
    ),
    "no base64": (
        {"inputs": [{"name": "file", "shape": [1], "datatype": "BYTES", "data": ["ä"]}]}, "base64"
    ),
    "no strings": (
        {"inputs": [{"name": "file", "shape": [1], "datatype": "BYTES", "data": [7]}]}, "1 strings"
    ),
    "strings nested otherwise": (
        {"inputs": [
            {"name": "file", "shape": [2, 1], "datatype": "BYTES", "data": [["AA", "AA"]]}
        ]},
        "must be 2 strings, flat or nested as the shape says",
    ),
    "ragged strings": (
        {"inputs": [
            {"name": "file", "shape": [2, 1], "datatype": "BYTES", "data": [["AA"], "AA"]}
        ]},
        "must be 2 strings in base64",
    ),
    "file of numbers": (
        {"inputs": [{"name": "file", "shape": [1], "datatype": "UINT8", "data": [7]}]}, "BYTES"
    ),
    "files in a table": (
        {"inputs": [{"name": "file", "shape": [2, 2], "datatype": "BYTES", "data": []}]}, "[n]"
    ),
    "a long name": (changed(name="a" * 10_000), "inputs.0: Input tag"),
    "unknown output": ({**good(), "outputs": [{"name": "logits"}]}, "should be 'probabilities'"),
    "output twice": ({**good(), "outputs": [{"name": "probabilities"}] * 2}, "at most 1 item"),
    "classes": (
        {**good(), "outputs": [{"name": "probabilities", "parameters": {"classification": 0}}]},
        "classification: Input should be greater",
    ),
    "shared output": (
        {**good(), "outputs": [
            {"name": "probabilities", "parameters": {"shared_memory_region": "a"}}
        ]},
        "shared memory",
    ),
    "a flag": ({**good(), "parameters": {"binary_data_output": "yes"}}, "valid boolean"),
    "a time": ({**good(), "parameters": {"timeout": -1}}, "parameters.timeout: "),
    "parameters": ({**good(), "parameters": 5}, "parameters"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_requests(server, name):
    body, words = BAD[name]
    content = json.dumps(body) if isinstance(body, dict) else body
    answer = server.post(
        "/v2/models/fake/infer", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400, answer.text
    assert list(answer.json()) == ["error"]
    assert words in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert len(answer.json()["error"]) < 300


def binary(size, data, header=None, **fields):
    """A request with binary data, its lengths as they are told."""
    message = changed(parameters={"binary_data_size": size}, **fields)
    del message["inputs"][0]["data"]
    text = json.dumps(message).encode()
    return text + data, {"inference-header-content-length": str(header or len(text))}


PIXELS = bytes(COUNT)
FILES = {"name": "file", "shape": [2], "datatype": "BYTES"}


@pytest.mark.parametrize(
    ("body", "headers", "words"),
    [
        (*binary(COUNT, PIXELS[1:]), "143 bytes stand behind"),
        (*binary(COUNT, PIXELS + b"x"), "145 bytes stand behind"),
        (*binary(COUNT - 1, PIXELS[1:]), "shape [1, 6, 8, 3] has 144"),
        (*binary(-1, PIXELS), "binary_data_size: Input should be greater"),
        (*binary(10**30, PIXELS), "binary_data_size"),
        (*binary(str(COUNT), PIXELS), "binary_data_size: Input should be a valid integer"),
        (*binary(float(COUNT), PIXELS), "binary_data_size: Input should be a valid integer"),
        (*binary(COUNT, PIXELS, header=10**6), "1000000 of a body of"),
        (*binary(COUNT, PIXELS, header=10**30), "is no length"),
        (*binary(COUNT, PIXELS, header="-5"), "'-5' is no length"),
        (*binary(COUNT, PIXELS, header="٣"), "is no length"),
        (*binary(COUNT, PIXELS, header="0"), "0 of a body"),
        (*binary(COUNT, PIXELS, header="20"), "Invalid JSON"),
        (*binary(8, b"\x01\0\0\0aXXX", **FILES), "not 2 elements"),
        (*binary(4, b"\xff\xff\xff\xff", **FILES), "not 2 elements"),
        (*binary(3, b"\x00\x00\x00", **FILES), "not 2 elements"),
        (*binary(15, b"\x01\0\0\0a" * 3, **FILES), "not 2 elements"),
        (*binary(0, b"", **FILES), "not 2 elements"),
    ],
)
def test_bad_binary_data(server, body, headers, words):
    headers = {name: value.encode() for name, value in headers.items()}
    answer = server.post("/v2/models/fake/infer", content=body, headers=headers)
    assert answer.status_code == 400, answer.text
    assert words in answer.json()["error"]


def test_binary_data_of_nothing_but_json(server):
    """As the header says that all of it is JSON."""
    content = json.dumps(good()).encode()
    headers = {"inference-header-content-length": str(len(content))}
    assert server.post("/v2/models/fake/infer", content=content, headers=headers).status_code == 200
    answer = server.post("/v2/models/fake/infer", content=content + b"xyz", headers=headers)
    assert "3 bytes behind the JSON belong to no tensor" in answer.json()["error"]


@pytest.mark.parametrize(
    ("content", "encoding", "status"),
    [
        (gzip.compress(json.dumps(good()).encode()), "gzip", 200),
        (zlib.compress(json.dumps(good()).encode()), "Deflate", 200),
        (json.dumps(good()).encode(), "identity", 200),
        (json.dumps(good()).encode(), "gzip", 400),
        (gzip.compress(json.dumps(good()).encode())[:-9], "gzip", 400),
        (gzip.compress(json.dumps(good()).encode()) + b"more", "gzip", 400),
        (json.dumps(good()).encode(), "br", 415),
        (json.dumps(good()).encode(), "gzip, gzip", 415),
    ],
)
def test_compressed_requests(server, content, encoding, status):
    headers = {"content-encoding": encoding}
    answer = server.post("/v2/models/fake/infer", content=content, headers=headers)
    assert answer.status_code == status, answer.text


def test_a_bomb_is_not_unpacked(serving):
    bomb = gzip.compress(bytes(200 * 1024**2))
    assert len(bomb) < 300_000
    with running(serving, request_bytes=1024**2) as server:
        answer = server.post(
            "/v2/models/fake/infer", content=bomb, headers={"content-encoding": "gzip"}
        )
        assert answer.status_code == 413
        assert "when decompressed" in answer.json()["error"]


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip;q=0", None), ("gzip; Q=0.000", None), ("gzip;q=0, deflate", "deflate"),
        ("deflate;q=0.5, gzip;q=0.1", "gzip"), ("identity", None), ("GZIP", "gzip"), ("", None),
    ],
)  # fmt: skip
def test_codings_that_are_taken(server, accepted, coding):
    headers = {"accept-encoding": accepted}
    body = {"inputs": [{**good()["inputs"][0], "shape": [30, *SIZE, 3], "data": [7] * 30 * COUNT}]}
    answer = server.post("/v2/models/fake/infer", json=body, headers=headers)
    assert answer.headers.get("content-encoding") == coding
    assert answer.json()["outputs"][0]["shape"] == [30, len(NAMES)]


def test_many_answers_are_written_as_few(serving, monkeypatch):
    """In a thread, beside the loop."""
    from keras_classics.serving import classify, protocol
    from serving import fakes

    images = pictures(5)
    files = [("file", (f"{i}.png", fakes.encoded(image))) for i, image in enumerate(images)]
    with running(serving) as server:

        def answers():
            return server.infer(images).content, server.post("/classify", files=files).content

        few = answers()
        for module in (classify, protocol):
            monkeypatch.setattr(module, "FEW", 0)
        assert answers() == few


HUGE = 2_000_000
LARGE = {
    "lists": (b"[" + b"[]," * HUGE + b"[]]", "holds more than 1,000,000 values"),
    "numbers": (b"[" + b"1," * HUGE + b"1]", "holds more than 1,000,000 values"),
    "objects": (b"[" + b"{}," * HUGE + b"{}]", "holds more than 1,000,000 values"),
    "text": (b'"' + b"A" * 30_000_000 + b'"', "more than 28,027,562 bytes"),
}


@pytest.mark.parametrize("name", LARGE)
def test_json_that_would_be_larger_as_objects(server, name):
    data, words = LARGE[name]
    head = b'{"inputs": [{"name": "file", "shape": [1], "datatype": "BYTES", "data": '
    answer = server.post("/v2/models/fake/infer", content=head + data + b"}]}")
    assert answer.status_code == 413
    assert words in answer.json()["error"]
    assert len(answer.json()["error"]) < 200


def test_json_before_binary_data_is_small(server):
    body, headers = binary(COUNT, PIXELS, datatype="UINT8" + " " * 70_000)
    answer = server.post("/v2/models/fake/infer", content=body, headers=headers)
    assert answer.status_code == 413
    assert "more than 65,536 bytes" in answer.json()["error"]


def test_large_json_is_read_one_at_a_time(serving, monkeypatch):
    from keras_classics.serving import protocol

    at_once, most = [], []
    read = protocol.read_inference

    def reading(*arguments):
        at_once.append(1)
        most.append(len(at_once))
        time.sleep(0.05)
        at_once.pop()
        return read(*arguments)

    monkeypatch.setattr(protocol, "read_inference", reading)
    with running(serving, queue=1000) as server, ThreadPoolExecutor(4) as pool:
        images = pictures(200)
        for answer in pool.map(server.infer, [images] * 4):
            data = np.reshape(answer.json()["outputs"][0]["data"], (200, -1))
            np.testing.assert_allclose(data, expected(images), rtol=1e-6)
    assert most == [1] * 4


def test_more_pictures_than_there_are_places(serving):
    with running(serving, queue=4) as server:
        answer = server.infer(pictures(5))
        assert answer.status_code == 413
        assert "5 pictures in a request; at most 4" in answer.json()["error"]
        assert server.infer(pictures(4)).status_code == 200
