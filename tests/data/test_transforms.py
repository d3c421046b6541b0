from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from stdc_search.data.dataset import Dataset
from stdc_search.data.pixels import center_crop, denormalise, normalise
from stdc_search.data.transforms import (
    MEAN,
    STD,
    Drawn,
    Finish,
    TrainingSamples,
    resized_crop,
    scale_from,
    scaled_crop,
)
from stdc_search.spec.training import ResizedCropSpec, ScaledCropSpec

PLAIN: dict[str, Any] = {"jitter": 0.0, "flip": 0.0, "scales": (1.0, 1.0), "scale_step": None}
FULL: dict[str, Any] = {"jitter": 0.5, "flip": 0.5, "scales": (0.125, 1.5), "scale_step": 0.125}


def train_transform(
    image: Tensor, label: Tensor, *, crop: tuple[int, int], seed: int = 0, **how: Any
) -> tuple[Tensor, Tensor]:
    return Finish(crop)(scaled_crop(image, label, crop, ScaledCropSpec(**how), seed))


def sample(height: int = 24, width: int = 32, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(256, (3, height, width), dtype=torch.uint8, generator=generator)
    label = torch.randint(4, (height, width), dtype=torch.uint8, generator=generator)
    return image, torch.where(label == 3, 255, label).to(torch.uint8)


def columns(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Image and label that both hold the number of the column."""
    ramp = torch.arange(width, dtype=torch.uint8).expand(height, width)
    return ramp.expand(3, height, width).clone(), ramp.clone()


def resized(image: Tensor, crop: tuple[int, int], how: ResizedCropSpec, seed: int) -> Tensor:
    return Finish(crop)(resized_crop(image, torch.tensor(0), how, seed))[0]


def levels(image: Tensor) -> Tensor:
    """A normalised image on [0, 255] again."""
    return (image * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]) * 255


class Samples:
    class_names = ("a", "b", "c")

    def __len__(self) -> int:
        return 3

    def name(self, index: int) -> str:
        return str(index)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return sample(seed=index)


def test_denormalising_gives_every_value_back() -> None:
    image = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16).expand(3, 16, 16)
    assert torch.equal(denormalise(normalise(image)), image)


def test_what_lies_outside_of_an_image_s_values_is_cut_by_denormalising() -> None:
    assert denormalise(torch.tensor([-9.0, 9.0]).expand(3, 1, 2))[0].tolist() == [[0, 255]]


def test_normalised_values_are_those_of_the_formula() -> None:
    image = sample()[0]
    expected = (image.double() / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    assert normalise(image).dtype == torch.float32
    torch.testing.assert_close(normalise(image).double(), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(normalise(image[None].expand(2, -1, -1, -1))[1], normalise(image))


def test_normalised_values_are_those_of_torchvision_to_the_bit() -> None:
    image = torch.arange(256, dtype=torch.uint8).expand(3, 4, 256)
    expected = F.normalize(F.to_dtype(image, torch.float32, scale=True), list(MEAN), list(STD))
    assert torch.equal(normalise(image), expected)


def test_without_chance_the_sample_is_only_normalised() -> None:
    image, label = sample()
    out, ids = train_transform(image, label, crop=(24, 32), **PLAIN)
    torch.testing.assert_close(out, normalise(image))
    assert ids.dtype == torch.int64 and torch.equal(ids, label.long())


@settings(max_examples=40)
@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    crop=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    scales=st.sampled_from([(0.125, 1.5), (0.5, 2.0), (30.0, 40.0)]),
    step=st.sampled_from([0.125, None]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_result_has_the_crops_size_and_no_new_ids(
    size: tuple[int, int], crop: tuple[int, int], scales: tuple[float, float], step: float | None, seed: int
) -> None:
    image, label = sample(*size)
    out, ids = train_transform(image, label, crop=crop, **{**FULL, "scales": scales, "scale_step": step, "seed": seed})
    assert out.shape == (3, *crop) and ids.shape == crop
    assert set(ids.unique().tolist()) <= set(label.unique().tolist())
    assert (levels(out) > -0.01).all() and (levels(out) < 255.01).all()


def test_the_seed_decides_all() -> None:
    image, label = sample()
    results = [train_transform(image, label, crop=(16, 16), **{**FULL, "seed": seed}) for seed in (1, 1, 2)]
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])
    assert not torch.equal(results[0][0], results[2][0])


def test_the_global_generator_is_neither_read_nor_moved() -> None:
    image, label = sample()
    before = torch.get_rng_state()
    first = train_transform(image, label, crop=(16, 16), **FULL)[0]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    assert torch.equal(train_transform(image, label, crop=(16, 16), **FULL)[0], first)


def test_the_sample_itself_is_left_as_it_is() -> None:
    image, label = sample()
    train_transform(image, label, crop=(24, 32), **FULL)
    assert torch.equal(image, sample()[0]) and torch.equal(label, sample()[1])


@pytest.mark.parametrize("seed", range(5))
def test_a_flip_flips_both(seed: int) -> None:
    image, label = sample()
    how = {**FULL, "seed": seed}
    straight = train_transform(image, label, crop=(16, 16), **{**how, "flip": 0.0})
    flipped = train_transform(image, label, crop=(16, 16), **{**how, "flip": 1.0})
    torch.testing.assert_close(flipped[0], straight[0].flip(-1))
    assert torch.equal(flipped[1], straight[1].flip(-1))


def test_about_the_given_share_is_flipped() -> None:
    image, label = columns(4, 8)
    how = {**PLAIN, "flip": 0.3}
    results = [train_transform(image, label, crop=(4, 8), **{**how, "seed": seed})[1] for seed in range(200)]
    assert 40 <= sum(bool(ids[0, 0] == 7) for ids in results) <= 80


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.0, 1.25, 2.0])
@pytest.mark.parametrize("seed", range(4))
def test_image_and_label_stay_aligned(scale: float, seed: int) -> None:
    image, label = columns(100, 200)
    how = {**PLAIN, "scales": (scale, scale), "flip": 0.5, "seed": seed}
    out, ids = train_transform(image, label, crop=(40, 50), **how)
    inside = slice(2, -2)  # a filter that smooths has less to smooth at the border
    assert (levels(out)[0] - ids).abs()[:, inside].max() <= max(1.0, 0.5 / scale) + 0.5


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_the_scale_is_how_much_larger_things_become(scale: float) -> None:
    _, ids = train_transform(*columns(100, 200), crop=(40, 50), **{**PLAIN, "scales": (scale, scale)})
    assert (ids[0, -1] - ids[0, 0]).item() == pytest.approx(50 / scale, abs=2)


def test_half_size_is_a_smoothing_resize_and_the_nearest_label() -> None:
    image, label = sample(24, 32)
    out, ids = train_transform(image, label, crop=(12, 16), **{**PLAIN, "scales": (0.5, 0.5)})
    torch.testing.assert_close(levels(out), F.resize(image, [12, 16], antialias=True).float(), rtol=0, atol=1e-2)
    assert torch.equal(ids, label[1::2, 1::2].long())


def test_a_small_image_is_scaled_up_to_the_crop_and_keeps_its_aspect() -> None:
    image, label = columns(10, 20)
    _, ids = train_transform(image, label, crop=(32, 32), **{**PLAIN, "scales": (0.125, 0.125)})
    start = int(ids[0, 0])
    window = label[:, start : start + 10].float()  # as wide as it is high, like the crop
    assert torch.equal(ids, F.resize(window[None], [32, 32], F.InterpolationMode.NEAREST_EXACT)[0].long())


@pytest.mark.parametrize("size", [(60, 40), (24, 90)])
def test_at_scale_1_an_image_has_the_base_size(size: tuple[int, int]) -> None:
    image, label = sample(*size)
    out, ids = train_transform(image, label, crop=(32, 48), **PLAIN, base_size=(32, 48))
    assert torch.equal(out, Finish((32, 48))(Drawn(image, label, False, (1, 1, 1), None))[0])
    assert set(ids.unique().tolist()) <= set(label.unique().tolist())


def test_a_base_size_of_its_own_size_changes_nothing() -> None:
    image, label = sample(60, 40)
    for seed in range(10):
        plain, based = (
            train_transform(image, label, crop=(16, 24), **{**FULL, "base_size": base, "seed": seed})
            for base in (None, (60, 40))
        )
        assert torch.equal(plain[0], based[0])


def test_crops_come_from_everywhere() -> None:
    image, label = columns(8, 12)
    starts = {int(train_transform(image, label, crop=(8, 8), **{**PLAIN, "seed": k})[1][0, 0]) for k in range(100)}
    assert starts == {0, 1, 2, 3, 4}


def test_jitter_is_brightness_contrast_saturation_of_the_whole_image_in_this_order() -> None:
    small, label = sample(6, 8)
    image = small.repeat_interleave(4, 1).repeat_interleave(4, 2)  # so that every fourth pixel has the whole's mean
    label = label.repeat_interleave(4, 0).repeat_interleave(4, 1)
    draws = torch.rand(7, generator=torch.Generator().manual_seed(3), dtype=torch.float64).tolist()
    factors = [1 + 0.5 * (2 * draw - 1) for draw in draws[:3]]
    expected = F.to_dtype(image, torch.float32, scale=True)
    for adjust, factor in zip((F.adjust_brightness, F.adjust_contrast, F.adjust_saturation), factors, strict=True):
        expected = adjust(expected, factor)
    out = train_transform(image, label, crop=(24, 32), **{**PLAIN, "jitter": 0.5, "seed": 3})[0]
    torch.testing.assert_close(levels(out) / 255, expected, rtol=0, atol=1e-5)


def test_contrast_is_about_the_whole_image_and_not_the_crop() -> None:
    image, label = sample(64, 64)
    image[:, :, 32:] = 255
    how = {**PLAIN, "jitter": 0.5, "seed": 1}
    whole = train_transform(image, label, crop=(64, 64), **how)[0]
    part, ids = train_transform(image, label, crop=(16, 16), **how)
    places = [
        (top, left)
        for top in range(49)
        for left in range(49)
        if torch.equal(label[top : top + 16, left : left + 16].long(), ids)
    ]
    assert len(places) == 1
    top, left = places[0]
    torch.testing.assert_close(part, whole[:, top : top + 16, left : left + 16])


def test_a_resized_part_has_the_drawn_area_and_aspect_and_lies_anywhere() -> None:
    rows = torch.arange(100, dtype=torch.uint8)[:, None].expand(100, 120)
    places = torch.stack([rows, torch.arange(120, dtype=torch.uint8).expand(100, 120), torch.zeros_like(rows)])
    how = ResizedCropSpec(kind="resized_crop", area=(0.1, 0.4), aspect=(0.5, 2.0), flip=0.0)
    parts = []
    for seed in range(60):
        out = levels(resized(places, (20, 20), how, seed))
        heights, widths = (x * 20 / 19 for x in (out[0, -1, 0] - out[0, 0, 0], out[1, 0, -1] - out[1, 0, 0]))
        parts.append((heights * widths / 12_000, widths / heights, out[0, 0, 0], out[1, 0, 0]))
    areas, aspects, tops, lefts = torch.tensor(parts).T
    assert 0.08 < areas.min() < 0.15 and 0.35 < areas.max() < 0.43
    assert 0.45 < aspects.min() < 0.65 and 1.6 < aspects.max() < 2.2
    assert tops.min() < 10 and tops.max() > 40 and lefts.min() < 10 and lefts.max() > 50


def test_a_resized_part_that_does_not_fit_is_cut_to_the_image() -> None:
    image = sample(8, 64)[0]
    how = ResizedCropSpec(kind="resized_crop", area=(1.0, 1.0), aspect=(1.0, 1.0), flip=0.0)
    assert resized(image, (16, 16), how, seed=0).shape == (3, 16, 16)


def test_a_resized_part_is_flipped_and_depends_on_its_seed() -> None:
    image = sample(32, 32)[0]

    def drawn(seed: int, flip: float) -> Tensor:
        return resized(image, (16, 16), ResizedCropSpec(kind="resized_crop", flip=flip), seed)

    torch.testing.assert_close(drawn(1, 1.0), drawn(1, 0.0).flip(-1))
    assert not torch.equal(drawn(1, 0.0), drawn(2, 0.0))


@pytest.mark.parametrize(("size", "box"), [((256, 320), (16, 48, 224, 224)), ((512, 256), (144, 16, 224, 224))])
def test_of_256_rows_or_columns_the_middle_224_are_scored(size: tuple[int, int], box: tuple[int, ...]) -> None:
    image = sample(*size)[0]
    top, left, rows, columns = box
    assert torch.equal(center_crop(image, (224, 224)), image[:, top : top + rows, left : left + columns])


def test_scales_are_the_twelve_multiples_of_the_released_code() -> None:
    drawn = {scale_from(k / 1000, (0.125, 1.5), 0.125) for k in range(1000)}
    assert sorted(drawn) == [k / 8 for k in range(1, 13)]


def test_ends_of_the_range_that_are_multiples_belong_to_it() -> None:
    assert {round(scale_from(k / 100, (0.3, 0.7), 0.1), 6) for k in range(100)} == {0.3, 0.4, 0.5, 0.6, 0.7}


def test_without_a_step_scales_are_uniform_in_the_range() -> None:
    assert [scale_from(draw, (0.5, 2.5), None) for draw in (0.0, 0.25, 0.75)] == [0.5, 1.0, 2.0]


def training_samples(seed: int = 0, data: Dataset | None = None) -> TrainingSamples:
    return TrainingSamples(data or Samples(), crop=(16, 16), augmentation=ScaledCropSpec(), seed=seed)


def test_a_training_sample_depends_on_seed_epoch_and_index_alone() -> None:
    samples = training_samples()
    first = samples[2, 1][0]
    assert not torch.equal(samples[2, 2][0], first)
    assert not torch.equal(samples[1, 1][0], first)
    assert torch.equal(samples[2, 1][0], first)
    assert torch.equal(training_samples()[2, 1][0], first)
    assert not torch.equal(training_samples(seed=1)[2, 1][0], first)


def test_training_samples_are_as_many_as_images() -> None:
    assert len(training_samples()) == 3
