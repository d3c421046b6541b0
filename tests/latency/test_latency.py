"""Measuring: what is timed is right, is what was asked for, and leaves nothing changed."""

import inspect
from typing import ClassVar, get_args

import onnxruntime
import pytest
import torch
from torch import nn

from stdc_search.latency import Entry, MismatchError, measure, measure_network, runtimes
from stdc_search.latency.machine import physical_cores
from stdc_search.latency.runtimes import check, prepare
from stdc_search.spec.measurement import LatencySpec, RuntimeSpec
from tests.tiny_networks import SIZE, exported, segmenter

RUNTIMES = get_args(RuntimeSpec.model_fields["runtime"].annotation)
SPECS = [RuntimeSpec(runtime=name, output=output, threads=1) for name in RUNTIMES for output in ("labels", "logits")]


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
        yield


@pytest.fixture
def tiny():
    return segmenter()


@pytest.fixture
def image():
    return torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", RUNTIMES)
def test_labels_are_one_byte_a_pixel_at_image_size(name, tiny, image):
    labels = prepare(RuntimeSpec(runtime=name), tiny, image, 1).run()
    assert (labels.shape, labels.dtype) == ((1, *SIZE), torch.uint8)
    assert labels.unique().numel() > 1


@pytest.mark.parametrize("name", RUNTIMES)
def test_logits_are_scores_of_each_class_at_image_size(name, tiny, image):
    logits = prepare(RuntimeSpec(runtime=name, output="logits"), tiny, image, 1).run()
    assert (logits.shape, logits.dtype) == ((1, 5, *SIZE), torch.float32)


def test_runtimes_give_what_the_network_gives_in_eval_mode(tiny, image):
    with torch.no_grad():
        expected = runtimes.deployed(tiny, "logits")(image)
    for name in RUNTIMES:
        result = prepare(RuntimeSpec(runtime=name, output="logits"), tiny, image, 1).run()
        torch.testing.assert_close(result.cpu(), expected, rtol=1e-4, atol=1e-4)


def test_a_classifier_is_timed_to_the_index_of_its_class(image):
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1000))
    label = prepare(RuntimeSpec(), network, image, 1).run()
    assert label.shape == (1,)
    assert label == network(image).argmax()


def test_a_runtime_that_runs_another_network_is_not_timed(tiny, image, monkeypatch):
    content = runtimes.to_onnx(tiny, SIZE, "labels")
    monkeypatch.setattr(runtimes, "to_onnx", lambda *_: content)
    other = nn.Conv2d(3, 5, 1)
    with pytest.raises(MismatchError, match=r"onnxruntime does not give the labels of eager PyTorch: \d"):
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


def test_a_latency_says_what_was_timed_and_how(tiny):
    entries = [Entry(tiny, SIZE, spec) for spec in SPECS]
    latencies = measure(entries, warmup=1, repeats=4, clock=Ticks())
    for spec, latency in zip(SPECS, latencies, strict=True):
        assert (latency.runtime, latency.output) == (spec.runtime, spec.output)
        assert (latency.image_size, latency.samples) == (SIZE, 4)
        assert (latency.precision, latency.source) == ("fp32", "measured")
        assert (latency.median_ms, latency.p95_ms, latency.fps) == (1, 1, 1000)


def test_median_p95_and_fps_come_from_the_samples():
    samples = [8, 4, 100, 2, 6]
    clock = Ticks(*(step for sample in samples for step in (50, sample)))
    entry = Entry(nn.Identity(), SIZE, RuntimeSpec(output="logits"))
    (latency,) = measure([entry], warmup=2, repeats=5, clock=clock)
    assert (latency.median_ms, latency.p95_ms, latency.fps) == (6, 100, 1000 / 6)


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
    (latency,) = measure([Entry(nn.Identity(), SIZE, RuntimeSpec(output="logits"))], warmup=1, repeats=1)
    assert latency.threads == physical_cores()


def test_threads_are_restored_after_an_exception():
    before = torch.get_num_threads()
    spec = RuntimeSpec(output="logits", threads=before + 1)
    with pytest.raises(ArithmeticError):
        measure([Entry(Broken(), SIZE, spec)], warmup=1, repeats=1)
    assert torch.get_num_threads() == before


def test_a_network_comes_out_as_it_went_in(tiny):
    state = {name: tensor.clone() for name, tensor in tiny.state_dict().items()}
    measure([Entry(tiny, SIZE, spec) for spec in SPECS], warmup=1, repeats=1)
    assert all(module.training for module in tiny.modules())
    assert all(torch.equal(tensor, state[name]) for name, tensor in tiny.state_dict().items())
    assert all(parameter.requires_grad for parameter in tiny.parameters())


def test_measuring_draws_no_random_numbers(tiny):
    before = torch.get_rng_state()
    measure([Entry(tiny, SIZE, spec) for spec in SPECS], warmup=1, repeats=1)
    assert torch.equal(torch.get_rng_state(), before)
