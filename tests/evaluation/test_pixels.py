"""Labels of an array, as users of the Python interface get them."""

import numpy as np
import pytest
import torch

import stdc_search
from stdc_search.errors import UserError
from stdc_search.evaluation.views import Views
from stdc_search.evaluation.views import predict as labels_of
from tests.tiny_networks import SIZE, segmenter

IMAGE = np.random.default_rng(0).integers(0, 256, (120, 150, 3), np.uint8)


def test_labels_are_those_of_the_command():
    found = stdc_search.predict(segmenter(), IMAGE, SIZE)
    expected = labels_of(segmenter(), torch.from_numpy(IMAGE).permute(2, 0, 1), Views(SIZE), (120, 150))
    assert (found.dtype, found.shape) == (np.uint8, (120, 150))
    assert np.array_equal(found, expected.numpy())
    assert np.unique(found).size > 1


def test_views_of_an_array_are_taken():
    mirrored = stdc_search.predict(segmenter(), IMAGE[:, ::-1], SIZE)
    assert not np.array_equal(mirrored, stdc_search.predict(segmenter(), IMAGE, SIZE))


@pytest.mark.parametrize("wrong", [IMAGE / 255, IMAGE[..., 0], IMAGE.transpose(2, 0, 1), np.zeros((4, 4, 4), np.uint8)])
def test_what_is_no_image_is_refused(wrong):
    with pytest.raises(UserError, match=r"pass uint8 of shape \(height, width, 3\), in RGB"):
        stdc_search.predict(segmenter(), wrong, SIZE)
