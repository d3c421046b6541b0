"""What a person is shown of the samples that a task learns from."""

import numpy as np
import pytest

from stdc_search.data import open_dataset
from stdc_search.data.transforms import denormalise
from stdc_search.spec.base import replace
from stdc_search.spec.data import ImagenetSpec
from stdc_search.tasks import preview, task_of
from tests.search_specs import tiny_search


@pytest.fixture
def spec():
    return tiny_search().without_search()


def test_a_preview_is_what_the_first_epoch_trains_on(spec):
    spec = replace(spec, {"training.seeds": [7, 8]})
    data = open_dataset(spec.data, "train")
    shown = preview(spec, data, [5, 2])
    for (image, label), index in zip(shown, (5, 2), strict=True):
        trained, target = task_of(spec).samples(data, 7)[0, index]
        assert np.array_equal(image, denormalise(trained).permute(1, 2, 0).numpy())
        assert np.array_equal(label, target.numpy())
        assert image.dtype == label.dtype == np.uint8


def test_without_a_training_images_are_shown_whole_at_the_network_s_size(spec):
    data = open_dataset(spec.data, "train")
    ((image, label),) = preview(spec.model_copy(update={"training": None, "image_size": (24, 32)}), data, [1])
    assert image.shape == (24, 32, 3)
    assert np.array_equal(label, data[1][1].numpy()[1::2, 1::2])


@pytest.mark.parametrize("training", [True, False])
def test_the_label_of_a_whole_image_is_a_number(training, tmp_path):
    from tests.data.conftest import write_image

    for name in ("ant", "bee"):
        write_image(tmp_path / "train" / name / "a.png", (40, 50))
    data_spec = ImagenetSpec(kind="imagenet", root=tmp_path, classes=2)
    spec = replace(
        tiny_search().without_search().model_copy(update={"data": None, "training": None}),
        {"network": {"kind": "classifier", "classes": 2}, "data": data_spec.model_dump()}
        | (
            {
                "training": {
                    "epochs": 1,
                    "crop": [32, 40],
                    "augmentation": {"kind": "resized_crop"},
                    "loss": {"kind": "classification"},
                }
            }
            if training
            else {}
        ),
    )
    (_, (image, label)) = preview(spec, open_dataset(data_spec, "train"), [0, 1])
    assert label == 1 and isinstance(label, int)
    assert image.shape == ((32, 40, 3) if training else (48, 64, 3))
