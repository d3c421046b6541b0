"""How the sections of a run fit together, and what makes a candidate of one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from stdc_search.spec.base import dump, replace, value_at
from stdc_search.spec.data import CamvidSpec, CityscapesSpec, FolderSpec, ImagenetSpec, ScenesSpec
from stdc_search.spec.encodings import BinarySpec, ColoursSpec, IdsSpec
from stdc_search.spec.heads import DetailSpec, HeadSpec
from stdc_search.spec.measurement import EvaluationSpec, LatencySpec, RuntimeSpec, WindowSpec
from stdc_search.spec.network import SegmenterSpec
from stdc_search.spec.problems import SpecError
from stdc_search.spec.run import RunSpec, load
from stdc_search.spec.search import LimitSpec, SearchSpec
from stdc_search.spec.splits import SplitByColumn, SplitByList, SplitByShare
from stdc_search.spec.start import PRESETS, StartSpec
from stdc_search.spec.training import (
    AdamwSpec,
    ClassificationLossSpec,
    CosineSpec,
    EmaSpec,
    OhemSpec,
    PolySpec,
    ResizedCropSpec,
    ScaledCropSpec,
    SegmentationLossSpec,
    SgdSpec,
    TrainingSpec,
)
from stdc_search.spec.vary import Choice, FloatRange, IntRange
from tests.random_networks import classifiers, networks, segmenters

Complaints = Callable[..., list[str]]
RUN = "image_size: [64, 96]\nnetwork: {kind: segmenter, classes: 11}\ndata: {kind: scenes}\ntraining: {epochs: 1}\n"


def run_with(vary: dict[str, Any], **search: Any) -> RunSpec:
    return RunSpec(
        image_size=(64, 96),
        network=SegmenterSpec(kind="segmenter", classes=11),
        data=ScenesSpec(kind="scenes"),
        training=TrainingSpec(epochs=1),
        search=SearchSpec(vary=vary, trials=3, **search),
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "image_size: [64, 64]\n",
            "run.yaml:1: network: missing; must be a mapping whose `kind` is segmenter, classifier, bisenetv2, dabnet, "
            "ddrnet, dfanet, dfseg, efficientvit, enet, fasterseg, fast_scnn, icnet, lpsnet, pidnet, regseg, sctnet, "
            "library_segmenter, library_classifier or onnx_file",
        ),
        (
            "imagesize: [64, 64]\nnetwork: {kind: segmenter}\n",
            "run.yaml:1: imagesize: unknown; did you mean `image_size`?",
        ),
        (
            "network: {kind: segmenter}\n\nimage_size:\n  - 64\n  - 16\n",
            "run.yaml:5: image_size.1: must be at least 32, not 16",
        ),
        (
            RUN.replace("data: {kind: scenes}\n", ""),
            "run.yaml:3: training: has no effect without `data`; add `data`, or remove it",
        ),
        (
            RUN.replace("11", "19"),
            "run.yaml:2: network.classes: 19 classes, but `data` has 11 (sky, building, pole, road, pavement, tree, "
            "sign, fence, car, pedestrian, bicyclist); write 11",
        ),
        (
            RUN.replace("segmenter", "classifier"),
            "run.yaml:2: network.kind: `data.kind` 'scenes' has masks, which a classifier cannot learn; use segmenter",
        ),
        (
            "network: {kind: segmenter}\nsearch: {trials: 1, vary: {network.head.width: {kind: choice, of: [8]}}}\n",
            "run.yaml:2: search: trains its candidates; add the sections `data` and `training`",
        ),
        (
            RUN + "search: {trials: 1, vary: {network.head.width: {kind: int, low: 1, high: 2}},\n"
            "  objectives: {latency.median_ms: minimize}}\n",
            "run.yaml:6: search.objectives.latency.median_ms: is not measured; add a section `latency`",
        ),
        (
            RUN + "search: {trials: 1, vary: {network.head.width: {kind: int, low: 1, high: 2}},\n"
            "  limits: {latency.p95_ms: {at_most: 5}}}\n",
            "run.yaml:6: search.limits.latency.p95_ms: is not measured; add a section `latency`",
        ),
        (
            "network: {kind: segmenter}\nlatency: {also: [{runtime: openvino, precision: int8}]}\n",
            "run.yaml:2: latency.also.0.precision: int8 is calibrated on training images; add the section `data`, or "
            "write fp32",
        ),
    ],
)
def test_sections_that_do_not_fit_are_told(complaints: Complaints, text: str, complaint: str) -> None:
    assert complaints(text) == [complaint]


def test_data_without_a_training_is_said_not_to_be_trained_on(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(RUN.replace("training: {epochs: 1}\n", ""))
    spec = load(tmp_path / "run.yaml")
    assert spec.summary.endswith("cost; no training on scenes, as there is no `training`")


def test_data_without_a_training_calibrates_int8(tmp_path: Path) -> None:
    latency = "latency: {runtime: onnxruntime, precision: int8}\n"
    (tmp_path / "run.yaml").write_text(RUN.replace("training: {epochs: 1}\n", latency))
    spec = load(tmp_path / "run.yaml")
    assert spec.uses_data
    assert spec.summary.endswith("cost; latency; no training on scenes, whose images calibrate int8")


@pytest.mark.parametrize(
    "path",
    [
        "workers",
        "seeds.0",
        "start_from.digest",
        "compile",
        "augment_on",
        "loss.distillation.weights",
        "loss.distillation.network.head.width",
    ],
)
def test_what_all_candidates_share_cannot_vary(complaints: Complaints, path: str) -> None:
    path = f"training.{path}"
    (told,) = complaints(f"{RUN}search: {{trials: 3, vary: {{{path}: {{kind: choice, of: [1, 2]}}}}}}\n")
    name = f"run.yaml:5: search.vary.{path}"
    assert told == f"{name}: `{path}` cannot vary: all candidates share it; set it once, in `training`"


@pytest.mark.parametrize(
    ("network", "path", "values", "why"),
    [
        ("auxiliary: null", "training.loss.auxiliary_weight", "1, 2", "without `network.auxiliary`"),
        ("detail: null", "training.loss.detail_weight", "1, 2", "without `network.detail`"),
        ("detail: null", "training.loss.dice", "linear, squared", "without `network.detail`"),
        (
            "backbone: {stages: [{width: 16}, {width: 16, stride: 1}]}",
            "network.backbone.stages.1.down",
            "strided, average",
            "while `network.backbone.stages.1.stride` is 1",
        ),
    ],
)
def test_what_changes_nothing_cannot_vary(
    complaints: Complaints, network: str, path: str, values: str, why: str
) -> None:
    text = RUN.replace("classes: 11", f"classes: 11, {network}")
    (told,) = complaints(f"{text}search: {{trials: 3, vary: {{{path}: {{kind: choice, of: [{values}]}}}}}}\n")
    message = f"`{path}` has no effect {why}; change that, or remove this entry"
    assert told == f"run.yaml:5: search.vary.{path}: {message}"


@pytest.mark.parametrize(
    "vary",
    [
        "network.detail: {kind: choice, of: [null, {}]}, training.loss.dice: {kind: choice, of: [linear, squared]}",
        "weight: {kind: int, low: 1, high: 2, sets: [training.loss.auxiliary_weight, training.loss.detail_weight]}",
    ],
)
def test_what_changes_something_in_some_networks_may_vary(tmp_path: Path, vary: str) -> None:
    text = RUN.replace("classes: 11", "classes: 11, detail: null")
    (tmp_path / "run.yaml").write_text(f"{text}search: {{trials: 3, vary: {{{vary}}}}}\n")
    assert load(tmp_path / "run.yaml").search is not None


TEACHER = "{network: {kind: segmenter, classes: 11}, weights: teacher.pt}"


@pytest.mark.parametrize(
    ("path", "value"),
    [("training.loss", f"{{distillation: {TEACHER}}}"), ("training.loss.distillation", TEACHER)],
)
def test_a_teacher_cannot_vary(complaints: Complaints, path: str, value: str) -> None:
    (told,) = complaints(f"{RUN}search: {{trials: 3, vary: {{{path}: {{kind: choice, of: [{value}]}}}}}}\n")
    assert told == (
        f"run.yaml:5: search.vary.{path}.of.0: has a teacher, which all candidates share; set it in "
        "`training.loss.distillation`, and vary single fields"
    )


@pytest.mark.parametrize(
    ("vary", "told"),
    [
        (
            "training: {kind: choice, of: [{epochs: 1}, {epochs: 1, batch: 2}]}",
            [
                "8: V.training: `training` cannot vary as a whole: all candidates share some of its fields; vary "
                "single ones"
            ],
        ),
        (
            "network.backbone.stage.2.depth: {kind: int, low: 1, high: 4}",
            ["8: V.network.backbone.stage.2.depth: there is no `stage` in `network.backbone`; did you mean `stages`?"],
        ),
        (
            "network.backbone.stages.3.depth: {kind: int, low: 1, high: 4}",
            ["8: V.network.backbone.stages.3.depth: there is no `3` in `network.backbone.stages`; legal: 0, 1, 2"],
        ),
        (
            "stage: {kind: int, low: 1, high: 4, sets: [network.backbone.stages.0.dpeth]}",
            ["8: V.stage: there is no `dpeth` in `network.backbone.stages.0`; did you mean `depth`?"],
        ),
        (
            "depth: {kind: int, low: 1, high: 4}",
            ["8: V.depth: `depth` cannot vary; paths start with `network`, `training` or `image_size`"],
        ),
        (
            "data.seed: {kind: int, low: 1, high: 4}",
            ["8: V.data.seed: `data.seed` cannot vary; paths start with `network`, `training` or `image_size`"],
        ),
        (
            "network.head.width:\n      kind: int\n      low: 0\n      high: 4",
            ["10: V.network.head.width.low: 0 is not legal: network.head.width: must be above 0, not 0; nearest: 1"],
        ),
        (
            "network.backbone.stages.2.width:\n      kind: choice\n      of:\n      - 64\n      - 100\n      - wide",
            [
                "12: V.network.backbone.stages.2.width.of.1: 100 is not legal: network.backbone.stages.2.width: "
                "`width` 100 is not a multiple of 8, which `blocks` 4 needs (2^(blocks - 1)); "
                "nearest: 96 or 104",
                "13: V.network.backbone.stages.2.width.of.2: 'wide' is not legal: network.backbone.stages.2.width: "
                "must be a whole number, not 'wide'",
            ],
        ),
        (
            "network.head.width: {kind: float, low: 1.5, high: 2.5}",
            [
                "8: V.network.head.width.low: 1.5 is not legal: network.head.width: must be a whole number, not 1.5; "
                "nearest: 2",
                "8: V.network.head.width.high: 2.5 is not legal: network.head.width: must be a whole number, not 2.5; "
                "nearest: 2",
            ],
        ),
        (
            "network.head: {kind: choice, of: [{width: 8}, {widht: 8}]}",
            ["8: V.network.head.of.1: a mapping is not legal: network.head.widht: unknown; did you mean `width`?"],
        ),
        (
            "network.decoder: {kind: choice, of: [{}, {width: 64}, {kind: bisenet}]}",
            ["8: V.network.decoder.of.2: is the same as `of.0` when defaults are filled in; give each value once"],
        ),
        (
            "training.optimizer.kind: {kind: choice, of: [sgd, adamw]}",
            [
                "8: V.training.optimizer.kind: `training.optimizer.kind` decides which fields exist and cannot "
                "vary alone; vary `training.optimizer` as a choice of wholes"
            ],
        ),
        (
            "image_size: {kind: choice, of: [[64, 64], [64]]}",
            [
                "8: V.image_size.of.1: a list is not legal: image_size.1: missing: [height, width] that the network "
                "sees when deployed"
            ],
        ),
        (
            "network.head.width: {kind: choice, of: [8]}\n    a: {kind: choice, of: [8], sets: [network.head.width]}",
            ["9: V.a: `network.head.width` is set by 'network.head.width' already; set it once"],
        ),
        (
            "network.head: {kind: choice, of: [{width: 8}]}\n    network.head.width: {kind: choice, of: [8]}",
            ["9: V.network.head.width: `network.head.width` is set by 'network.head' already; set it once"],
        ),
        (
            "a: {kind: choice, of: [8], sets: [network.head.width, network.head]}",
            ["8: V.a: `network.head` is set by 'a' already; set it once"],
        ),
    ],
)
def test_what_cannot_vary_is_told(complaints: Complaints, vary: str, told: list[str]) -> None:
    text = f"{RUN}search:\n  trials: 3\n  vary:\n    {vary}\n"
    assert complaints(text) == [f"run.yaml:{line.replace('V.', 'search.vary.', 1)}" for line in told]


def test_a_base_that_is_wrong_is_told_once_and_not_for_each_value_that_varies(complaints: Complaints) -> None:
    text = RUN.replace("11", "12") + "search: {trials: 3, vary: {network.head.width: {kind: int, low: 1, high: 2}}}\n"
    (complaint,) = complaints(text)
    assert complaint.startswith("run.yaml:2: network.classes: 12 classes, but `data` has 11 ")


def test_a_candidate_is_the_base_with_the_varied_values() -> None:
    vary = {
        "network.head.width": IntRange(kind="int", low=8, high=64),
        "blocks": Choice(
            kind="choice",
            of=(2, 3),
            sets=("network.backbone.stages.0.blocks", "network.backbone.stages.1.blocks"),
        ),
        "network.detail": Choice(kind="choice", of=(None, DetailSpec(stage=1))),
    }
    run = run_with(vary)
    candidate = run.candidate({"network.head.width": 48, "blocks": 3, "network.detail": {"stage": 1}})
    assert candidate == replace(
        run.without_search(),
        {
            "network.head.width": 48,
            "network.backbone.stages.0.blocks": 3,
            "network.backbone.stages.1.blocks": 3,
            "network.detail": DetailSpec(stage=1),
        },
    )
    assert candidate.search is None


def test_values_that_are_illegal_together_make_no_candidate() -> None:
    stage = "network.backbone.stages.0"
    run = run_with(
        {
            f"{stage}.blocks": Choice(kind="choice", of=(3, 4)),
            f"{stage}.width": IntRange(kind="int", low=8, high=24, step=4),
        }
    )
    assert run.candidate({f"{stage}.blocks": 3, f"{stage}.width": 12}).search is None
    with pytest.raises(SpecError) as caught:
        run.candidate({f"{stage}.blocks": 4, f"{stage}.width": 12})
    assert caught.value.brief == (
        "network.backbone.stages.0.width: `width` 12 is not a multiple of 8, which `blocks` 4 needs (2^(blocks - 1)); "
        "nearest: 8 or 16"
    )


def test_a_value_may_be_legal_only_together_with_one_of_another_entry() -> None:
    stages = Choice(kind="choice", of=tuple(({"width": 16},) * count for count in (3, 4)))
    widths = Choice(kind="choice", of=((8, 8, 8), (8, 8, 8, 8)))
    base = run_with({"network.head.width": IntRange(kind="int", low=8, high=64)}).without_search()
    base = replace(base, {"network.decoder": {"kind": "lite"}})
    search = {"vary": {"network.backbone.stages": stages, "network.decoder.widths": widths}, "trials": 3}
    run = replace(base, {"search": search})
    assert run.candidate({name: vary.of[1] for name, vary in search["vary"].items()}).search is None
    with pytest.raises(SpecError, match=r"is not legal: network\.decoder\.widths"):
        replace(base, {"search": {**search, "vary": {"network.backbone.stages": stages}}})


def test_a_run_without_a_search_has_no_candidates() -> None:
    run = run_with({"training.batch": IntRange(kind="int", low=2, high=4)}).without_search()
    with pytest.raises(SpecError, match="the section `search` is missing; add one"):
        run.candidate({"training.batch": 2})


def test_of_a_start_network_only_the_varied_paths_are_read() -> None:
    vary = {
        "depth": IntRange(
            kind="int",
            low=1,
            high=4,
            sets=("network.backbone.stages.0.depth", "network.backbone.stages.1.depth"),
        ),
        "training.batch": IntRange(kind="int", low=2, high=4),
    }
    run = run_with(vary, start=(StartSpec(name="stdc2", network=PRESETS["stdc2"]),))
    candidate = run.start_candidate(run.required_search.start[0])
    assert candidate == replace(
        run.without_search(), {"network.backbone.stages.0.depth": 4, "network.backbone.stages.1.depth": 5}
    )


def test_equal_trainings_have_one_identity_wherever_the_data_lies() -> None:
    def run(root: str, **training: Any) -> RunSpec:
        return RunSpec(
            network=SegmenterSpec(kind="segmenter", classes=11),
            data=CamvidSpec(kind="camvid", root=Path(root)),
            training=TrainingSpec(epochs=1, **training),
        )

    assert run("a").identity == run("b", workers=2, score_every=1).identity
    assert run("a").identity != run("a", batch=2).identity
    assert replace(run("a"), {"latency": LatencySpec()}).identity == run("a").identity


IDENTITIES = {
    # What records of the first release hold.
    "cost only": "889c86679c299da3",
    "classifier": "b41a9e821fe58bc6",
    "scenes": "23125a368bd4470d",
    "folder": "f3ab87c18d2d34a5",
    "weights": "e18ea4915cce4de8",
    "trunk": "6a0181c14696d3a3",
}
RECORDED = {
    "cost only": "network: {kind: segmenter}\n",
    "classifier": "image_size: [224, 224]\nnetwork: {kind: classifier, pooling: plain, hidden: 64}\n",
    "scenes": (
        "network: {kind: segmenter, classes: 11}\n"
        "data: {kind: scenes}\n"
        "training: {recipe: paper, epochs: 1, precision: fp32}\n"
        "latency: {}\n"
    ),
    "folder": (
        "network: {kind: segmenter, classes: 2, decoder: {context: none, refinement: plain, fusion: add}}\n"
        "data: {kind: folder, root: here, class_names: [a, b]}\n"
        "training: {recipe: paper, epochs: 3, batch: 4, precision: fp32, norm_statistics: fixed, seeds: [1, 2]}\n"
        "evaluation: {scales: [0.5, 1.0], flip: true, window: {size: [64, 64]}}\n"
    ),
    "weights": (
        "network:\n"
        "  kind: segmenter\n"
        "  classes: 11\n"
        "  backbone: {stages: [{width: 64, skip: shared}, {width: 64, down: average}]}\n"
        "data: {kind: camvid}\n"
        "training:\n"
        "  precision: fp32\n"
        "  steps: 5\n"
        "  start_from: net.tar\n"
        "  loss: {distillation: {network: {kind: segmenter, classes: 11}, weights: teacher.pt}}\n"
    ),
    "trunk": (
        "network:\n"
        "  kind: segmenter\n"
        "  backbone: {kind: torchvision, model: resnet18, taps: [layer2, layer4]}\n"
        "  detail: null\n"
    ),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_an_old_record_has_the_identity_of_its_spec(tmp_path: Path, name: str) -> None:
    (tmp_path / "net.tar").write_bytes(b"weights")
    (tmp_path / "teacher.pt").write_bytes(b"teacher")
    (tmp_path / "run.yaml").write_text(RECORDED[name])
    assert load(tmp_path / "run.yaml").identity == IDENTITIES[name]


# Random runs

counts = st.integers(1, 300)
shares = st.floats(0.01, 0.99)
rates = st.floats(1e-30, 1e30)
sizes = st.tuples(st.integers(32, 4096), st.integers(32, 4096))
paths = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=9).map(Path)
names = st.lists(st.text(min_size=1, max_size=9), min_size=2, max_size=30, unique=True).map(tuple)
splits = st.builds(SplitByList, kind=st.just("list"), train=paths, val=paths) | st.builds(
    SplitByShare, kind=st.just("share"), val=shares
)
datasets = (
    st.builds(ScenesSpec, kind=st.just("scenes"), size=sizes, train=counts)
    | st.builds(
        CamvidSpec,
        kind=st.just("camvid"),
        root=paths,
        train=st.sampled_from(("train", "trainval")),
        val=st.just("test"),
    )
    | st.builds(CityscapesSpec, kind=st.just("cityscapes"), root=paths, train=st.sampled_from(("train", "trainval")))
    | st.builds(
        FolderSpec,
        kind=st.just("folder"),
        root=paths,
        images=paths,
        class_names=names,
        split=splits,
        encoding=st.builds(IdsSpec, ignore=st.integers(30, 255)),
    )
    | st.builds(
        FolderSpec,
        kind=st.just("folder"),
        pairs=paths,
        class_names=st.just(("a", "b")),
        split=st.just(SplitByColumn(kind="column")),
        encoding=st.sampled_from(
            (BinarySpec(kind="binary"), ColoursSpec(kind="colours", colours=((1, 2, 3), (4, 5, 6)), ignore=()))
        ),
    )
)
optimizers = st.builds(SgdSpec, kind=st.just("sgd"), learning_rate=rates, momentum=shares) | st.builds(
    AdamwSpec, kind=st.just("adamw"), betas=st.tuples(shares, shares)
)
trainings = st.builds(
    TrainingSpec,
    epochs=st.just(3),
    crop=sizes,
    optimizer=optimizers,
    augmentation=st.builds(ScaledCropSpec, jitter=shares, scale_step=st.none() | st.floats(0.01, 1.5)),
    loss=st.builds(
        SegmentationLossSpec,
        ohem=st.none() | st.builds(OhemSpec, threshold=shares),
        class_weights=st.sampled_from((None, "log")),
        dice=st.sampled_from(("linear", "squared")),
    ),
    schedule=st.builds(PolySpec, power=rates)
    | st.builds(CosineSpec, kind=st.just("cosine"), warmup_shape=st.sampled_from(("linear", "exponential"))),
    ema=st.none() | st.builds(EmaSpec, decay=shares),
    seeds=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=3, unique=True).map(tuple),
)
image_trainings = trainings.map(
    lambda training: training.model_copy(
        update={
            "augmentation": ResizedCropSpec(kind="resized_crop"),
            "loss": ClassificationLossSpec(kind="classification"),
        }
    )
)
evaluations = st.builds(
    EvaluationSpec,
    scales=st.lists(st.floats(0.25, 4), min_size=1, max_size=3).map(tuple),
    flip=st.booleans(),
    window=st.none() | st.builds(WindowSpec, size=sizes, overlap=shares),
)
runtimes = st.builds(RuntimeSpec, runtime=st.sampled_from(("eager", "onnxruntime")), threads=st.none() | counts)
latencies = st.builds(LatencySpec, warmup=counts, also=st.lists(runtimes, max_size=2).map(tuple))
variations = st.dictionaries(
    st.sampled_from(("training.batch", "training.crop", "network.head", "network.detail", "training.head_rate")),
    st.none(),
    min_size=1,
).map(
    lambda chosen: {
        name: {
            "training.batch": IntRange(kind="int", low=2, high=8, step=3),
            "training.crop": Choice(kind="choice", of=((32, 64), (64, 64))),
            "network.head": Choice(kind="choice", of=(HeadSpec(width=1), HeadSpec(width=2))),
            "network.detail": Choice(kind="choice", of=(None,)),
            "training.head_rate": FloatRange(kind="float", low=1e-4, high=1, log=True),
        }[name]
        for name in chosen
    }
)
searches = st.builds(
    SearchSpec,
    vary=variations,
    limits=st.just({}) | st.builds(LimitSpec, at_most=rates).map(lambda limit: {"cost.macs": limit}),
    start=st.lists(st.sampled_from(sorted(PRESETS)), max_size=1).map(
        lambda names: tuple(StartSpec(name=name, network=PRESETS[name]) for name in names)
    ),
    trials=st.integers(len(PRESETS), 300),
)


@st.composite
def runs(draw: st.DrawFn) -> RunSpec:
    if draw(st.booleans()):
        data = draw(datasets)
        return RunSpec(
            image_size=draw(sizes),
            network=draw(segmenters(data.classes)),
            data=data,
            training=draw(trainings),
            evaluation=draw(evaluations),
            latency=draw(st.none() | latencies),
            search=draw(st.none() | searches),
        )
    if draw(st.booleans()):
        network = draw(classifiers)
        return RunSpec(
            network=network,
            data=ImagenetSpec(kind="imagenet", root=draw(paths), classes=network.classes),
            training=draw(image_trainings),
        )
    return RunSpec(network=draw(networks), latency=draw(st.none() | latencies))


several = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("name", ["spec.yaml", "spec.json"])
@several
@given(run=runs())
def test_every_run_loads_as_it_was_dumped(tmp_path: Path, name: str, run: RunSpec) -> None:
    text = dump(run, tmp_path / name)
    again = load(tmp_path / name)
    assert again == run
    assert dump(again, tmp_path / name) == text


@several
@given(run=runs(), data=st.data())
def test_replacing_a_value_equals_editing_the_dumped_file(tmp_path: Path, run: RunSpec, data: st.DataObject) -> None:
    assume(getattr(getattr(run.network, "decoder", None), "spatial", None) is None)  # it must end at the stages' stride
    stage = data.draw(st.integers(0, len(run.network.backbone.stages) - 1))
    path, value = data.draw(
        st.sampled_from(
            [
                ("image_size.1", 77),
                ("image_size", [32, 48]),
                (f"network.backbone.stages.{stage}.depth", 9),
                (f"network.backbone.stages.{stage}", {"width": 128, "blocks": 5}),
                ("network.backbone.stem.0.stride", 1),
                ("latency", {"repeats": 3, "also": [{"runtime": "onnxruntime"}]}),
                ("search", None),
            ]
        )
    )
    file = tmp_path / "spec.json"
    edited = json.loads(dump(run, file))
    *above, last = [int(key) if key.isdecimal() else key for key in path.split(".")]
    inner = edited
    for key in above:
        inner = inner[key]
    inner[last] = value
    file.write_text(json.dumps(edited))
    assert replace(run, {path: value}) == load(file)


@several
@given(run=runs())
def test_a_value_is_found_where_it_was_set(run: RunSpec) -> None:
    changed = replace(run, {"network.backbone.stem.0.width": 5, "image_size": (40, 50)})
    assert value_at(changed, "network.backbone.stem.0.width") == 5
    assert changed.image_size == (40, 50)
