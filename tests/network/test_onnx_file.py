"""ONNX files of other tools: run, counted and composed as they stand; what cannot be used is refused in words."""

from __future__ import annotations

import os
from copy import deepcopy
from functools import partial

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from stdc_search.deploy.export import to_onnx
from stdc_search.errors import UserError
from stdc_search.evaluation.views import Views, predict
from stdc_search.latency.runtimes import UnavailableError, prepare
from stdc_search.latency.typical import with_regions
from stdc_search.network.builder import build
from stdc_search.network.cost import count, count_parts
from stdc_search.network.onnx_file import file_in
from stdc_search.spec.data import MEAN, STD
from stdc_search.spec.measurement import RuntimeSpec
from stdc_search.spec.whole import OnnxFileSpec
from tests.onnx_files import CLASSES, class_map, conv, scores, weights
from tests.tiny_networks import _SEGMENTER as SEGMENTER
from tests.tiny_networks import SIZE, exported, segmenter

IMAGE_SIZE = 32, 64


def spec(path, classes=CLASSES, **fields):
    return OnnxFileSpec.model_validate({"kind": "onnx_file", "path": path, "classes": classes, **fields})


def images(count=1, size=IMAGE_SIZE):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


def runs(network, image_size=IMAGE_SIZE):
    with torch.inference_mode():
        return build(network)(images(size=image_size))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.onnx"


def result(runner, images):
    return torch.from_numpy(runner.fetch(runner.run(runner.load(images.numpy()))))


def assert_alike(found, expected):
    """Labels are the same. Rounding, which depends on the processor, may decide pixels whose best two classes tie."""
    assert found.shape == expected.shape
    assert (found == expected).double().mean() > 0.999


def test_a_file_gives_its_scores_at_the_size_of_the_image(path):
    found = build(spec(conv(path)))(images(2))
    expected = torch.nn.functional.interpolate(scores(images(2)), IMAGE_SIZE, mode="bilinear", align_corners=True)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("output", ["logits", "labels"])
def test_an_exported_network_labels_images_as_the_network_does(path, output):
    path.write_bytes(exported(segmenter(), SIZE, output))
    image = torch.randint(256, (3, 150, 200), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    own, file = (predict(module, image, Views(SIZE), SIZE) for module in (segmenter(), build(spec(path))))
    assert own.unique().numel() > 1
    assert_alike(own, file)


def test_a_files_own_normalisation_is_used(path):
    raw = torch.rand(1, 3, *IMAGE_SIZE)
    ours = (raw - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    module = build(spec(conv(path), mean=[0, 0, 0], std=[1 / 255] * 3))
    torch.testing.assert_close(module.scores(ours), scores(255 * raw), rtol=1e-3, atol=1e-2)


def test_the_default_normalisation_is_that_of_our_networks():
    assert OnnxFileSpec.model_fields["mean"].default == MEAN
    assert OnnxFileSpec.model_fields["std"].default == STD


@pytest.mark.parametrize("keep", [False, True])
def test_a_class_map_becomes_scores_of_0_and_1(path, keep):
    best = helper.make_node("ArgMax", ["scores"], ["classes"], axis=1, keepdims=int(keep))
    narrow = helper.make_node("Cast", ["classes"], ["narrow"], to=TensorProto.UINT8)
    network = spec(conv(path, nodes=(best, narrow), ends=("narrow",), output=TensorProto.UINT8, rank=3 + keep))
    found = runs(network)
    expected = scores(images()).argmax(1).repeat_interleave(4, 1).repeat_interleave(4, 2)
    assert found.shape == (1, CLASSES, *IMAGE_SIZE)
    assert_alike(found.argmax(1), expected)
    assert found.unique().tolist() == [0, 1]


@pytest.mark.parametrize("make", [conv, class_map])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_runtimes_give_the_label_map_of_our_networks(path, make, runtime):
    module = with_regions(build(spec(make(path))), images(2))
    runner = prepare(RuntimeSpec(runtime=runtime, batch=2), module, images(2), 1)
    found = result(runner, images(2))
    assert (found.dtype, found.shape) == (torch.uint8, (2, *IMAGE_SIZE))
    assert_alike(found, module(images(2)).argmax(1).to(torch.uint8))


def test_what_is_timed_sees_images_normalised_for_the_file(path):
    module = build(spec(conv(path), mean=[0, 0, 0], std=[1, 1, 1]))
    runner = prepare(RuntimeSpec(runtime="onnxruntime", output="logits"), module, images(), 1)
    torch.testing.assert_close(result(runner, images()), module(images()), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("opset", [13, 20])
def test_files_of_other_opsets_are_composed(path, opset):
    content = to_onnx(build(spec(conv(path, opset=opset))), IMAGE_SIZE, "labels")
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", max(opset, 18))]


def test_functions_of_a_file_are_inlined(path):
    model = onnx.load(
        conv(path, nodes=(helper.make_node("Twice", ["scores"], ["twice"], domain="mine"),), ends=("twice",))
    )
    opsets = [helper.make_opsetid("", 18)]
    twice = helper.make_function("mine", "Twice", ["x"], ["y"], [helper.make_node("Add", ["x", "x"], ["y"])], opsets)
    model.functions.append(twice)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    onnx.save(model, path)
    module = build(spec(path))
    torch.testing.assert_close(module.scores(images()), 2 * scores(images()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("runtime", ["eager", "compile"])
def test_pytorch_does_not_run_a_file(path, runtime):
    with pytest.raises(UnavailableError, match=f"runtime: {runtime}.* runs only in onnxruntime and openvino"):
        prepare(RuntimeSpec(runtime=runtime), build(spec(conv(path))), images(), 1)


def test_a_file_is_not_converted_to_int8(path):
    with pytest.raises(UnavailableError, match="`precision: int8`: an ONNX file is not converted"):
        prepare(RuntimeSpec(runtime="openvino", precision="int8"), build(spec(conv(path))), images(), 1, images(4))


def test_a_copy_runs_the_same_session(path):
    module = build(spec(conv(path)))
    assert file_in(deepcopy(module)) is file_in(module)


def test_a_file_costs_what_its_operators_cost(path):
    cost = count(spec(conv(path)), IMAGE_SIZE)
    macs = 8 * 16 * weights().size
    assert (cost.parameters, cost.macs, cost.paper_flops) == (weights().size, macs, macs)
    assert cost.fvcore_flops == macs + 4 * CLASSES * 32 * 64  # up-sampling of the scores


def test_sizes_and_single_constants_are_no_parameters(path):
    """YOLO26's files have both."""
    scales = helper.make_tensor("", TensorProto.FLOAT, (4,), (1, 1, 4, 4))
    half, bias = (helper.make_tensor("", TensorProto.FLOAT, sides, (0.5,)) for sides in ((), (1,)))
    nodes = (
        *(helper.make_node("Constant", [], [name], value=value) for name, value in (("s", scales), ("h", half))),
        helper.make_node("Constant", [], ["b"], value=bias),
        helper.make_node("Resize", ["scores", "", "s"], ["large"], mode="linear"),
        helper.make_node("Mul", ["large", "h"], ["half"]),
        helper.make_node("Add", ["half", "b"], ["end"]),
    )
    cost = count(spec(conv(path, nodes=nodes, ends=("end",))), IMAGE_SIZE)
    assert cost.parameters == weights().size + 1


def test_an_exported_network_costs_what_the_network_costs(path):
    """At this size no map is doubled exactly, so all kernels are those of the network. Its norms became biases."""
    path.write_bytes(exported(segmenter(), SIZE, "logits"))
    found, own = count(spec(path), SIZE), count(SEGMENTER, SIZE)
    assert found.macs == own.macs
    assert found.paper_flops < own.paper_flops


def test_sizes_that_a_file_computes_do_not_hide_costs(path):
    """Files for any size compute the sizes of what they resize."""
    nodes = (
        helper.make_node("Shape", ["images"], ["sides"], start=2),
        helper.make_node("Shape", ["scores"], ["ends"], end=2),
        helper.make_node("Concat", ["ends", "sides"], ["size"], axis=0),
        helper.make_node("Resize", ["scores", "", "", "size"], ["large"], mode="linear"),
        helper.make_node("Relu", ["large"], ["end"]),
    )
    cost = count(spec(conv(path, nodes=nodes, ends=("end",))), IMAGE_SIZE)
    assert cost.paper_flops - cost.macs == CLASSES * 32 * 64


def test_operators_that_cannot_be_counted_are_named(path):
    node = helper.make_node("Einsum", ["scores", "scores"], ["end"], equation="nchw,nchw->nchw")
    with pytest.warns(UserWarning, match="the cost does not include Einsum"):
        count(spec(conv(path, nodes=(node,), ends=("end",))), IMAGE_SIZE)


def test_a_file_is_one_part(path):
    assert [part.name for part in count_parts(spec(conv(path)), IMAGE_SIZE)] == ["body", "upsample"]


def double(path):
    return conv(path, nodes=(helper.make_node("Neg", ["scores"], ["other"]),), ends=("scores", "other"))


def two_inputs(path):
    add = helper.make_node("Add", ["images", "more"], ["both"])
    return conv(path, nodes=(add,), inputs=("images", "more"))


def custom(path):
    return conv(path, nodes=(helper.make_node("Gelu", ["scores"], ["end"], domain="com.microsoft"),), ends=("end",))


def unknown(path):
    return conv(path, nodes=(helper.make_node("Nonsense", ["scores"], ["end"]),), ends=("end",))


def not_a_number(path):
    return conv(path, nodes=(helper.make_node("Log", ["scores"], ["end"]),), ends=("end",))


def pooled(path):
    pool = helper.make_node("GlobalAveragePool", ["scores"], ["pool"])
    return conv(path, nodes=(pool, helper.make_node("Flatten", ["pool"], ["end"])), ends=("end",), rank=2)


def enlarged(path):
    return resized(8.0, path)


def resized(scale, path):
    scales = helper.make_node("Constant", [], ["scales"], value_floats=[1.0, 1.0, scale, scale])
    return conv(path, nodes=(scales, helper.make_node("Resize", ["scores", "", "scales"], ["end"])), ends=("end",))


def external(location, path):
    """A file whose weights are said to be elsewhere; nothing may look there."""
    model = onnx.load(conv(path))
    (tensor,) = model.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    path.write_bytes(model.SerializeToString())
    return path


def huge(path):
    path.touch()
    os.truncate(path, 3 * 10**9)  # takes no room on the disk
    return path


def written(content, path):
    path.write_bytes(content)
    return path


def truncated(path):
    return written(conv(path).read_bytes()[:-200], path)


def folder(path):
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda path: path, "does not exist; give the path of an ONNX file, relative to the spec's file"),
        (folder, "is not a file"),
        (partial(written, b""), "is not an ONNX file"),
        (partial(written, b"import os\nprint('hello')\n"), "is truncated, or is not an ONNX file; export it again"),
        (truncated, "is truncated, or is not an ONNX file; export it again"),
        (partial(external, "net.onnx.data"), r"keeps its weights in another file \(net.onnx.data\)"),
        (partial(external, "../../secret"), r"another file \(../../secret\), which is not read"),
        (partial(external, "/etc/passwd"), r"another file \(/etc/passwd\), which is not read"),
        (custom, "uses custom operators: com.microsoft.Gelu; export it with ONNX's own operators only"),
        (two_inputs, r"must have one input, float32 N, 3, H, W; it has images: .*; more: "),
        (partial(conv, dtype=TensorProto.FLOAT16, output=TensorProto.FLOAT16), "it has images: float16 n, 3, h, w"),
        (partial(conv, image=(1, 32, 64, 3)), "it has images: float32 1, 32, 64, 3"),
        (double, r"has 2 outputs \(scores, other\); keep .*extract_model\(old, new, \['images'\], \['scores'\]\)"),
        (partial(conv, image=(1, 3, 64, 64)), "takes images of 1 x 3 x 64 x 64 .*, not 1 x 3 x 32 x 64; change"),
        (partial(conv, classes=7), "it has 7 classes, not 5; write `classes: 7`"),
        (partial(class_map, classes=7), "its classes go from 0 to 6, but `classes` 5 allows 0 to 4"),
        (not_a_number, "its scores are not all finite"),
        (pooled, r"its output has the shape \(1, 5\); scores must be N, classes, h, w"),
        (enlarged, r"its output has the shape \(1, 5, 64, 128\)"),
        (partial(conv, opset=99), "ONNX Runtime cannot load it: "),
        (unknown, "is not valid ONNX: No Op registered for Nonsense .*; export it again"),
    ],
)
def test_what_cannot_be_used_is_refused_in_words(path, make, complaint):
    with pytest.raises(UserError, match=complaint) as caught:
        runs(spec(make(path)))
    assert str(path) in str(caught.value)


def test_a_file_of_more_than_2_gb_is_refused_unread(path, monkeypatch):
    monkeypatch.setattr("stdc_search.spec.base.hashlib.file_digest", lambda *_: pytest.fail("it was read"))
    network = OnnxFileSpec.model_validate(
        {"kind": "onnx_file", "path": {"path": huge(path), "digest": ""}, "classes": CLASSES}
    )
    with pytest.raises(UserError, match=r"has 3\.0 GB, but an ONNX file cannot have more than 2 GB"):
        build(network)


def test_the_digest_tells_files_apart(tmp_path):
    one, other = (spec(conv(tmp_path / f"{classes}.onnx", classes=classes), classes) for classes in (3, 4))
    again = spec(conv(tmp_path / "again.onnx", classes=3), 3)
    assert one.path.digest == again.path.digest != other.path.digest


@pytest.mark.parametrize(("scale", "interpolates"), [(2.0, True), (4.0, False)])
def test_only_the_label_map_of_smaller_scores_is_interpolated(path, scale, interpolates):
    module = with_regions(build(spec(resized(scale, path))), images())
    nodes = onnx.load_from_string(to_onnx(module, IMAGE_SIZE, "labels")).graph.node
    assert ("NonZero" in {node.op_type for node in nodes}) == interpolates
