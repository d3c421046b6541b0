"""Runtimes that can be asked for, and those that a command line puts in a spec's place."""

import pytest

from stdc_search.spec.base import replace
from stdc_search.spec.choices import PRECISIONS
from stdc_search.spec.measurement import LatencySpec, RuntimeSpec, varied
from stdc_search.spec.problems import SpecError


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"runtime": "eager", "precision": "int8"}, "precision: eager does not support int8; use one of fp32, bf16"),
        ({"runtime": "onnxruntime", "precision": "bf16"}, "precision: onnxruntime does not support bf16; use one of"),
        ({"runtime": "eager", "device": "tensorrt"}, "device: only onnxruntime runs networks in TensorRT"),
        ({"runtime": "openvino", "device": "cuda"}, "device: openvino does not run on CUDA; use"),
        ({"runtime": "ncnn", "device": "cuda"}, "device: ncnn does not run on CUDA; use"),
        ({"runtime": "ncnn", "batch": 2}, "batch: ncnn takes one image at a time; remove it"),
        ({"runtime": "onnxruntime", "device": "npu"}, "device: is Intel's, which only OpenVINO runs on; use"),
        ({"runtime": "openvino", "memory_format": "channels_last"}, "memory_format: openvino chooses its own"),
    ],
)
def test_what_a_runtime_does_not_have_is_refused_with_what_works(values, told):
    with pytest.raises(SpecError) as refused:
        replace(RuntimeSpec(), values)
    assert str(refused.value).startswith(told)


def test_a_spec_names_its_own_runtimes():
    spec = LatencySpec(also=(RuntimeSpec(runtime="openvino"),))
    assert varied(spec, None, None, None) == [spec, *spec.also]


def test_others_take_their_place_in_each_precision():
    spec = LatencySpec(memory_format="channels_last", output="logits", also=(RuntimeSpec(runtime="openvino"),))
    found = varied(spec, ["onnxruntime", "openvino"], ["fp32", "int8"], 3)
    assert [(one.runtime, one.precision) for one in found] == [
        ("onnxruntime", "fp32"),
        ("onnxruntime", "int8"),
        ("openvino", "fp32"),
        ("openvino", "int8"),
    ]
    assert {(one.output, one.threads) for one in found} == {("logits", 3)}


def test_combinations_that_do_not_exist_are_left_out_with_a_word():
    with pytest.warns(UserWarning, match="^left out: eager does not support int8$"):
        found = varied(LatencySpec(), ["eager", "onnxruntime"], ["fp32", "int8"], None)
    assert [(one.runtime, one.precision) for one in found] == [
        ("eager", "fp32"),
        ("onnxruntime", "fp32"),
        ("onnxruntime", "int8"),
    ]
    with pytest.raises(SpecError, match="runtime"):
        varied(LatencySpec(), ["eager", "onnx"], ["fp32"], None)


def test_a_precision_alone_is_asked_of_the_specs_own_runtimes():
    spec = LatencySpec(runtime="openvino", also=(RuntimeSpec(runtime="onnxruntime"),))
    assert [one.precision for one in varied(spec, None, ["int8"], None)] == ["int8", "int8"]


def test_a_precision_from_the_command_line_is_named_as_its_option():
    with pytest.raises(SpecError, match=r"^--precision: eager does not support int8"):
        varied(LatencySpec(), ["eager"], ["int8"], None)


def test_each_runtime_has_fp32():
    assert all("fp32" in precisions for precisions in PRECISIONS.values())
