"""Measuring: what is timed is right, is what was asked for, and leaves nothing changed."""

import inspect
import subprocess
import sys
from dataclasses import replace
from functools import cache
from itertools import chain, repeat
from types import SimpleNamespace
from typing import ClassVar, get_args

import onnxruntime
import pytest
import torch
from torch import nn

from stdc_search import latency
from stdc_search.deploy.quantize import quantized
from stdc_search.device import bench, disturbance
from stdc_search.device import runtimes as device_runtimes
from stdc_search.device.disturbance import CpuTime
from stdc_search.device.hardware import physical_cores
from stdc_search.device.loop import WINDOW
from stdc_search.device.runtimes import openvino_core
from stdc_search.latency import (
    Entry,
    MismatchError,
    UnavailableError,
    devices,
    measure,
    measure_network,
    race,
    runtimes,
)
from stdc_search.latency.fixed import fixed_work
from stdc_search.latency.runtimes import check, prepare, reference
from stdc_search.latency.typical import with_regions
from stdc_search.spec.choices import PRECISIONS, Runtime
from stdc_search.spec.measurement import LatencySpec, RuntimeSpec
from tests.onnx_files import conv
from tests.tiny_networks import SIZE, classifier, exported, segmenter

RUNTIMES = [name for name in get_args(Runtime) if name != "compile"]  # which takes a minute and has a test of its own
SPECS = [
    RuntimeSpec(runtime=name, output=output, precision=precision, threads=1)
    for name in RUNTIMES
    for precision in PRECISIONS[name]
    if precision != "fp16"
    for output in ("labels", "logits")
]


CHECKS = 2
"""Calls of a network by which a runtime's result is compared with eager PyTorch's."""


class Ticks:
    """A clock that gains as many milliseconds a reading as it is told."""

    def __init__(self, *milliseconds):
        self.now = 0
        self.steps = iter(milliseconds)

    def __call__(self):
        self.now += next(self.steps, 1) * 10**6
        return self.now


class Spy(nn.Module):
    """Notes torch's number of threads at each call."""

    threads: ClassVar[list[int]] = []

    def forward(self, image):
        self.threads.append(torch.get_num_threads())
        return image


class Broken(nn.Module):
    def forward(self, image):
        raise ArithmeticError


@pytest.fixture(scope="module", autouse=True)
def one_export_each():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtimes, "to_onnx", exported)
        patch.setattr(runtimes, "quantized", lambda content, images: quantized_once(content))
        patch.setattr(latency, "with_regions", lambda module, images: module)  # it copies, to be exported anew
        yield


@cache
def quantized_once(content):
    return quantized(content, torch.randn(4, 3, *SIZE, generator=torch.Generator().manual_seed(2)))


@pytest.fixture(scope="module")
def calibration():
    return torch.randn(4, 3, *SIZE, generator=torch.Generator().manual_seed(2))


def result(spec, module, images, calibration=None):
    runner = prepare(spec, module, images, 1, calibration)
    return torch.from_numpy(runner.fetch(runner.run(runner.load(images.numpy()))))


@pytest.fixture
def tiny():
    return segmenter()


@pytest.fixture
def image():
    return torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def name_of(spec):
    return f"{spec.runtime}-{spec.precision}-{spec.output}"


def what_is_missing(spec):
    """Why this CPU cannot run a spec; empty if it can."""
    if spec.runtime != "openvino" or spec.precision in ("fp32", "int8"):
        return ""
    have = openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "" if spec.precision.upper() in have else f"OpenVINO has no {spec.precision} on this CPU: {', '.join(have)}"


@pytest.mark.parametrize("spec", SPECS, ids=name_of)
def test_runtimes_give_labels_of_a_byte_a_pixel_or_scores_at_image_size(spec, tiny, image, calibration):
    if reason := what_is_missing(spec):
        pytest.skip(reason)
    found = result(spec, tiny, image, calibration)
    if spec.output == "labels":
        assert (found.shape, found.dtype) == ((1, *SIZE), torch.uint8)
        assert found.unique().numel() > 1
    else:
        assert (found.shape, found.dtype) == ((1, 5, *SIZE), torch.float32)


@pytest.mark.parametrize("name", RUNTIMES)
def test_runtimes_give_what_the_network_gives_in_eval_mode(name, tiny, image):
    with torch.no_grad():
        expected = reference(tiny)(image)
    found = result(RuntimeSpec(runtime=name, output="logits"), tiny, image)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in RUNTIMES if name != "ncnn"])
def test_a_batch_is_done_in_one_call(name, tiny):
    images = torch.randn(3, 3, *SIZE)
    assert result(RuntimeSpec(runtime=name, batch=3), tiny, images).shape == (3, *SIZE)
    (timed,) = measure([Entry(tiny, SIZE, RuntimeSpec(runtime=name, batch=3))], warmup=1, repeats=1)
    assert timed.batch == 3
    assert timed.fps == pytest.approx(3000 / timed.median_ms)


def test_channels_last_gives_the_same(tiny, image):
    spec = RuntimeSpec(memory_format="channels_last")
    assert torch.equal(result(spec, tiny, image), result(RuntimeSpec(), tiny, image))


@pytest.mark.slow
@pytest.mark.parametrize("output", ["labels", "logits"])
def test_torch_compile_gives_what_the_network_gives(output, tiny, image):
    result(RuntimeSpec(runtime="compile", output=output), tiny, image)  # which compares


def test_a_classifier_is_timed_to_the_index_of_its_class(image):
    for name in RUNTIMES:
        label = result(RuntimeSpec(runtime=name), classifier(), image)
        assert label.shape == (1,)
        assert label == reference(classifier())(image).argmax()


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"runtime": "onnxruntime", "device": "cuda"}, "no CUDAExecutionProvider here; type: pip"),
        ({"runtime": "onnxruntime", "device": "tensorrt"}, "no TensorrtExecutionProvider here; type: pip"),
        ({"runtime": "onnxruntime", "precision": "int8"}, "needs images for calibration; add the section `data`"),
        ({"device": "cuda"}, "torch finds no GPU here"),
        ({"precision": "fp16"}, "on a CPU use bf16 or fp32"),
    ],
)
def test_what_is_not_here_says_what_to_do(spec, told, tiny):
    if torch.cuda.is_available() or "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("it is here")
    with pytest.raises(UnavailableError, match=told):
        measure([Entry(tiny, SIZE, RuntimeSpec(**spec))])


def test_without_openvino_it_is_said_what_to_install(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UnavailableError, match="type: pip install openvino"):
        measure([Entry(tiny, SIZE, RuntimeSpec(runtime="openvino"))])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_precision_that_the_cpu_lacks_is_refused_with_those_that_it_has(tiny, monkeypatch, precision):
    core = SimpleNamespace(get_property=lambda device, name: ["FP32", "INT8", "BIN"])
    monkeypatch.setattr(device_runtimes, "openvino_core", lambda: core)
    with pytest.raises(UnavailableError, match=f"`precision: {precision}`: this CPU has FP32, INT8"):
        measure([Entry(tiny, SIZE, RuntimeSpec(runtime="openvino", precision=precision))])


def test_a_device_that_openvino_lacks_is_refused_with_those_that_it_has(tiny):
    with pytest.raises(UnavailableError, match=r"`device: npu`: OpenVINO finds only CPU here"):
        measure([Entry(tiny, SIZE, RuntimeSpec(runtime="openvino", device="npu"))])


def test_openvino_runs_on_the_device_that_is_named(tiny, monkeypatch):
    real, asked = openvino_core(), []

    def compile_model(model, device, how):
        asked.append((device, how))
        return real.compile_model(model, "CPU", how)

    core = SimpleNamespace(
        available_devices=["CPU", "GPU.0"],
        get_property=lambda device, name: asked.append(device) or ["FP32"],
        read_model=real.read_model,
        compile_model=compile_model,
    )
    monkeypatch.setattr(device_runtimes, "openvino_core", lambda: core)
    (timed,) = measure([Entry(tiny, SIZE, RuntimeSpec(runtime="openvino", device="gpu"))], warmup=1, repeats=3)
    assert timed.device == "gpu"
    name, (device, how) = asked
    assert (name, device) == ("GPU", "GPU") and "INFERENCE_NUM_THREADS" not in how


SIGNALLED = """
import signal
import sys
from pathlib import Path
from stdc_search.device.runtimes import Settings, open_file

seen = []
signal.signal(signal.SIGCHLD, lambda *_: seen.append(True))
held = [open_file(Settings("openvino", None, "fp32", 1), Path(sys.argv[1]).read_bytes()) for _ in range(2)]
del held[0], held[0]
signal.raise_signal(signal.SIGCHLD)
assert seen
"""


def test_signals_are_handled_after_openvino_was_used_and_dropped(tmp_path):
    path = conv(tmp_path / "net.onnx", image=(1, 3, 48, 64))
    subprocess.run([sys.executable, "-c", SIGNALLED, path], check=True, timeout=120)


def test_a_runtime_that_runs_another_network_is_not_timed(tiny, image, monkeypatch):
    content = exported(tiny, SIZE, "labels")
    monkeypatch.setattr(runtimes, "to_onnx", lambda *_, **__: content)
    other = nn.Conv2d(3, 5, 1)
    with pytest.raises(MismatchError, match="onnxruntime gives other labels than eager PyTorch: in fp32 their"):
        measure([Entry(other, SIZE, RuntimeSpec(runtime="onnxruntime"))], warmup=1, repeats=1)


def test_labels_of_tied_classes_may_be_swapped():
    logits = torch.tensor([[1.0, 1.0 - 1e-4, 0.5]])
    check(torch.tensor([1]), logits, RuntimeSpec(output="labels"))
    with pytest.raises(MismatchError):
        check(torch.tensor([2]), logits, RuntimeSpec(output="labels"))


def test_logits_may_differ_by_rounding_only():
    logits = torch.tensor([[1.0, 2.0]])
    check(logits + 1e-4, logits, RuntimeSpec(output="logits"))
    for wrong in (logits + 0.1, logits * float("nan")):
        with pytest.raises(MismatchError):
            check(wrong, logits, RuntimeSpec(output="logits"))


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_lower_precisions_may_differ_by_their_own_rounding_only(precision):
    logits = torch.randn(1, 5, 20, 20, generator=torch.Generator().manual_seed(0))
    spec = RuntimeSpec(runtime="openvino", output="logits", precision=precision)
    check(logits + 0.03 * logits.roll(1, 0).roll(1, 1), logits, spec)
    for wrong in (logits.roll(1, 1), logits * float("nan")):
        with pytest.raises(MismatchError):
            check(wrong, logits, spec)


def test_a_latency_says_what_was_timed_and_how(tiny):
    calibration = torch.randn(4, 3, *SIZE)
    specs = [spec for spec in SPECS if not what_is_missing(spec)]
    entries = [Entry(tiny, SIZE, spec, calibration=calibration) for spec in specs]
    latencies = measure(entries, warmup=1, repeats=4, clock=Ticks())
    for spec, timed in zip(specs, latencies, strict=True):
        assert (timed.runtime, timed.output) == (spec.runtime, spec.output)
        assert (timed.image_size, timed.samples) == (SIZE, 4)
        assert (timed.precision, timed.source) == (spec.precision, "measured")
        assert (timed.median_ms, timed.p5_ms, timed.p95_ms, timed.fps) == (1, 1, 1, 1000)
        assert (timed.cv, timed.drift, timed.steady) == (0, 0, True)


class Sleeper(nn.Module):
    """Takes as many milliseconds a call as it is told, by a clock that stands still otherwise."""

    def __init__(self, clock, *milliseconds):
        super().__init__()
        self.clock, self.milliseconds = clock, iter(milliseconds)

    def __deepcopy__(self, memo):
        return self

    def forward(self, image):
        self.clock.now += next(self.milliseconds) * 10**6
        return image


def test_median_p95_and_fps_come_from_the_samples():
    clock = Ticks(*repeat(0, 1000))
    before = chain(repeat(1, CHECKS), repeat(1, 2 * WINDOW))
    module = Sleeper(clock, *before, 8, 4, 100, 2, 6)
    (timed,) = measure([Entry(module, SIZE, RuntimeSpec(output="logits"))], warmup=2, repeats=5, clock=clock)
    assert (timed.median_ms, timed.p95_ms, timed.fps) == (6, 100, 1000 / 6)


@pytest.fixture
def idle(monkeypatch):
    """A machine whose readings of CPU times, and whose fixed work, are made up."""
    monkeypatch.setattr(disturbance, "_fastest", {})
    start = CpuTime(wall=0, busy=0, own=0, cores=2)

    def use(busy):
        both = iter([start, CpuTime(wall=10, busy=busy, own=11, cores=2)])
        monkeypatch.setattr(bench, "cpu_time", lambda: next(both))

    use(11)
    return use


def test_a_latency_notes_the_load_of_others(idle, tiny):
    idle(20)
    (timed,) = measure([Entry(tiny, SIZE, RuntimeSpec(threads=1))], warmup=1, repeats=1)
    assert timed.other_load == pytest.approx(0.45)


def test_the_load_of_others_is_not_noted_of_a_gpu(idle, tiny, monkeypatch):
    idle(20)
    cpu = prepare(RuntimeSpec(), tiny, torch.randn(1, 3, *SIZE), 1)
    monkeypatch.setattr(latency, "prepare", lambda *_, **__: replace(cpu, device="cuda"))
    (timed,) = measure([Entry(tiny, SIZE, RuntimeSpec(threads=1))], warmup=1, repeats=1)
    assert (timed.device, timed.other_load) == ("cuda", None)


def test_fixed_work_takes_turns_with_the_networks(idle, monkeypatch):
    clock, done = Ticks(*repeat(0, 1000)), []

    def work():
        done.append("work")
        clock.now += 3 * 10**6

    monkeypatch.setattr(devices, "fixed_work", lambda: {"cpu": lambda: work})
    module = Sleeper(clock, *repeat(50, 100))
    timings = measure([Entry(module, SIZE, RuntimeSpec(output="logits"))] * 2, warmup=1, repeats=4, clock=clock)
    assert [(timed.median_ms, timed.samples) for timed in timings] == [(50, 4)] * 2
    assert [(timed.reference_ms, timed.reference_fastest_ms) for timed in timings] == [(3, 3)] * 2
    assert len(done) == 1 + 4  # once to be ready


def test_a_device_without_fixed_work_has_no_time_of_it(idle, tiny, monkeypatch):
    monkeypatch.setattr(devices, "fixed_work", dict)
    (timed,) = measure([Entry(tiny, SIZE, RuntimeSpec(threads=1))], warmup=1, repeats=1)
    assert (timed.reference_ms, timed.reference_fastest_ms) == (None, None)


def test_further_runtimes_stand_beside_the_first(tiny):
    also = (RuntimeSpec(runtime="onnxruntime", threads=1), RuntimeSpec(output="logits", threads=1))
    first, others = measure_network(tiny, SIZE, LatencySpec(warmup=1, repeats=3, threads=1, also=also))
    assert (first.runtime, first.output) == ("eager", "labels")
    assert [(other.runtime, other.output) for other in others] == [
        ("onnxruntime", "labels"),
        ("eager", "logits"),
    ]
    assert {latency.samples for latency in (first, *others)} == {3}


def test_entries_may_differ_in_size(tiny):
    sizes = [(32, 64), (64, 96)]
    latencies = measure([Entry(tiny, size, RuntimeSpec(threads=1)) for size in sizes], warmup=1, repeats=1)
    assert [latency.image_size for latency in latencies] == sizes


def test_defaults_are_those_of_the_spec():
    parameters = inspect.signature(measure).parameters
    for name in ("warmup", "repeats"):
        assert parameters[name].default == LatencySpec.model_fields[name].default


def test_eager_runs_with_the_threads_of_its_spec():
    Spy.threads.clear()
    before = torch.get_num_threads()
    entries = [Entry(Spy(), SIZE, RuntimeSpec(output="logits", threads=threads)) for threads in (before + 1, 1)]
    latencies = measure(entries, warmup=1, repeats=1)
    assert [latency.threads for latency in latencies] == [before + 1, 1]
    assert sorted(Spy.threads[-2:]) == [1, before + 1]
    assert torch.get_num_threads() == before


def test_onnx_runtime_runs_with_the_threads_of_its_spec(tiny, image, monkeypatch):
    seen = []

    class Session(onnxruntime.InferenceSession):
        def __init__(self, content, options, providers):
            seen.append(options.intra_op_num_threads)
            super().__init__(content, options, providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    prepare(RuntimeSpec(runtime="onnxruntime"), tiny, image, 3)
    assert seen == [3]


def test_threads_are_one_a_core_by_default():
    (timed,) = measure([Entry(nn.Identity(), SIZE, RuntimeSpec(output="logits"))], warmup=1, repeats=1)
    assert timed.threads == physical_cores()


def test_threads_are_restored_after_an_exception():
    before = torch.get_num_threads()
    spec = RuntimeSpec(output="logits", threads=before + 1)
    with pytest.raises(ArithmeticError):
        measure([Entry(Broken(), SIZE, spec)], warmup=1, repeats=1)
    assert torch.get_num_threads() == before


def test_a_network_comes_out_as_it_went_in(tiny):
    state = {name: tensor.clone() for name, tensor in tiny.state_dict().items()}
    measure([Entry(tiny, SIZE, RuntimeSpec(runtime=name)) for name in RUNTIMES], warmup=1, repeats=1)
    assert all(module.training for module in tiny.modules())
    assert all(torch.equal(tensor, state[name]) for name, tensor in tiny.state_dict().items())
    assert all(parameter.requires_grad for parameter in tiny.parameters())


def test_measuring_draws_no_random_numbers(tiny):
    before = torch.get_rng_state()
    measure([Entry(tiny, SIZE, RuntimeSpec(runtime=name)) for name in RUNTIMES], warmup=1, repeats=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_networks_are_placed_by_their_times(tiny):
    ticks = Ticks()
    spec = RuntimeSpec(output="logits")
    modules = [Sleeper(ticks, *repeat(ms, 100)) for ms in (30, 10, 20, 10)]
    timings = race([Entry(module, SIZE, spec) for module in modules], repeats=20, clock=ticks)
    assert [timing.place for timing in timings] == [4, 1, 3, 1]


def test_an_untrained_networks_labels_have_the_borders_of_a_street(tiny):
    images = torch.randn(1, 3, 96, 128)
    labels = reference(with_regions(tiny, images))(images).argmax(1)
    borders = (labels[:, 1:] != labels[:, :-1]).float().mean()
    assert labels.unique().numel() == 5
    assert 0.005 < borders < 0.1
    assert tiny.training
    assert with_regions(classifier(), images) is classifier()


def test_a_gpu_has_fixed_work_if_torch_can_use_it(monkeypatch):
    for can, kinds in ((True, ["cpu", "gpu"]), (False, ["cpu"])):
        monkeypatch.setattr(torch.cuda, "is_available", lambda can=can: can)
        assert list(fixed_work()) == kinds


@pytest.mark.gpu
def test_the_fixed_work_of_a_gpu_runs():
    assert fixed_work()["gpu"]()().shape == (1, 256, 128, 128)
