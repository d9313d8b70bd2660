from __future__ import annotations

from dataclasses import replace

from keras_classics.engines.benchmark import preparing
from keras_classics.engines.benchmark.contenders import Contender
from keras_classics.engines.benchmark.preparing import Prepared, Wanted, prepare

ONE, OTHER = Contender("openvino", "int8"), Contender("onnxruntime", "int8")
BARE = Prepared("vgg16", 1.0, 224, 10, "made/artefact", {}, {}, {"ours": 1, "torch": 1})


def test_each_export_has_a_process_and_who_lacks_memory_is_left_out(monkeypatch):
    asked = []

    def process(wanted):
        asked.append(wanted)
        if wanted.contenders == (OTHER,):
            raise MemoryError
        exports = {each.name: f"made/{each.name}" for each in wanted.contenders}
        return replace(BARE, exports=exports)

    monkeypatch.setattr(preparing, "_in_another_process", process)
    wanted = Wanted("made", (ONE, OTHER), network="vgg16")
    prepared = prepare(wanted)
    assert prepared.exports == {"openvino int8": "made/openvino int8"}
    assert prepared.failed == {"onnxruntime int8": "not enough memory to convert it"}
    assert [each.contenders for each in asked] == [(), (ONE,), (OTHER,)]
    assert [each.artefact for each in asked] == [None, "made/artefact", "made/artefact"]
