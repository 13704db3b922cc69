"""Bytes become floats with the stated mean and deviation."""

import pytest
import torch

from featherweight.data.normalize import Normalize
from featherweight.errors import DataError


def test_pixels_are_scaled_by_channel():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    got = Normalize((0.5, 0.2, 0.0), (0.5, 0.1, 2.0))(images)
    assert got.dtype == torch.float32
    assert got.flatten().tolist() == pytest.approx([-1.0, 0.0, 0.5], abs=1e-6)


def test_gray_images_get_a_channel():
    got = Normalize((0.25,), (0.5,))(torch.full((2, 4, 5), 255, dtype=torch.uint8))
    assert got.shape == (2, 1, 4, 5)
    assert got.unique().tolist() == pytest.approx([1.5])


def test_black_is_the_value_of_a_zero_pixel():
    scale = Normalize((0.1307,), (0.3081,))
    assert float(scale(torch.zeros(1, 1, 1, dtype=torch.uint8))) == pytest.approx(scale.black)


def test_own_statistics_normalise_to_zero_mean_and_unit_deviation():
    images = torch.randint(0, 256, (50, 3, 6, 6), dtype=torch.uint8)
    got = Normalize.of(images)(images)
    assert got.mean((0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    assert got.std((0, 2, 3), correction=0).tolist() == pytest.approx([1, 1, 1], abs=1e-5)


def test_a_constant_channel_does_not_divide_by_zero():
    images = torch.full((3, 4, 4), 7, dtype=torch.uint8)
    assert torch.isfinite(Normalize.of(images)(images)).all()


@pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.0,)), ((0.5, 0.5), (1.0,)), ((), ())])
def test_nonsense_is_refused(mean, std):
    with pytest.raises(DataError, match="above 0"):
        Normalize(mean, std)


def test_another_number_of_channels_is_refused():
    with pytest.raises(DataError, match="3 channels"):
        Normalize((0.0,) * 3, (1.0,) * 3)(torch.zeros(1, 4, 4, dtype=torch.uint8))
