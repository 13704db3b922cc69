"""Augmentation: what moves, by how much at most, from which draw."""

import pytest
import torch

from featherweight.data.augment import Crops, Distortion, _smooth_factor, flip, shift
from featherweight.errors import UsageError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def dots(count=200, side=11):
    images = torch.zeros(count, 1, side, side)
    images[:, :, side // 2, side // 2] = 1
    return images


def test_shift_moves_each_image_by_at_most_so_many_pixels():
    moved = shift(dots(), 2, generator(), fill=0.0)
    places = moved.flatten(1).argmax(1)
    offsets = {(int(place) // 11 - 5, int(place) % 11 - 5) for place in places}
    assert moved.flatten(1).sum(1).unique().tolist() == [1.0]
    assert offsets == {(row, column) for row in range(-2, 3) for column in range(-2, 3)}


def test_shift_fills_with_the_border_or_with_a_value():
    ones = torch.ones(50, 2, 4, 4)
    assert torch.equal(shift(ones, 3, generator()), ones)
    assert float(shift(ones, 3, generator(), fill=-7.0).min()) == -7.0


def test_shift_by_nothing_is_nothing():
    images = torch.rand(3, 1, 5, 5)
    assert shift(images, 0, generator()) is images


def test_flip_mirrors_about_half_of_the_images():
    images = torch.rand(1000, 1, 2, 3)
    flipped = flip(images, generator())
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    same = (flipped == images).flatten(1).all(1)
    assert bool((mirrored ^ same).all())
    assert 400 < int(mirrored.sum()) < 600


@pytest.mark.parametrize("change", [Crops(), Crops(flip=False, fill=0.0), Distortion(), Distortion(elastic=1.0)])
def test_the_same_generator_state_gives_the_same_images(change):
    inputs = (torch.rand(6, 3, 16, 16), "other")
    one, same, other = (change(inputs, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one[0], same[0])
    assert not torch.equal(one[0], other[0])
    assert one[0].shape == inputs[0].shape
    assert one[1] == "other"


def test_a_distortion_of_nothing_changes_nothing():
    images = torch.rand(4, 1, 9, 7)
    still = Distortion(degrees=0, scale=0, shear=0, shift=0)((images,), generator())[0]
    assert torch.allclose(still, images, atol=1e-5)


def test_a_distortion_that_only_shifts_moves_the_centre_by_at_most_that():
    moved = Distortion(degrees=0, scale=0, shear=0, shift=2.0)((dots(),), generator())[0][:, 0]
    axis = torch.arange(11.0) - 5
    rows, columns = (moved.sum(2) * axis).sum(1), (moved.sum(1) * axis).sum(1)
    assert moved.sum((1, 2)).tolist() == pytest.approx([1.0] * 200, abs=1e-4)
    for offsets in (rows, columns):
        assert 1.5 < float(offsets.abs().max()) <= 2.0001


def test_rotation_keeps_distances_from_the_centre():
    images = torch.zeros(100, 1, 21, 21)
    images[:, :, 10, 18] = 1.0
    turned = Distortion(degrees=30, scale=0, shear=0, shift=0)((images,), generator())[0][:, 0]
    axis = torch.arange(21.0) - 10
    mass = turned.sum((1, 2))
    rows, columns = (turned.sum(2) * axis).sum(1) / mass, (turned.sum(1) * axis).sum(1) / mass
    assert torch.hypot(rows, columns).tolist() == pytest.approx([8.0] * 100, abs=0.25)
    assert 25 < float(torch.rad2deg(torch.atan2(rows, columns)).abs().max()) < 31


def test_elastic_displacements_have_the_stated_size_and_are_smooth():
    field = Distortion(elastic=2.0, smooth=3.0)._displacement(torch.zeros(500, 1, 28, 28), generator()) * 14
    assert float(field.std()) == pytest.approx(2.0, rel=0.05)
    neighbours = (field[:, :, 1:] - field[:, :, :-1]).std()
    assert float(neighbours) < 2.0 / 3.0 * 0.8  # a Gaussian of deviation s correlates neighbours by exp(-1 / 4s^2)


def test_the_smoothing_factor_has_the_covariance_of_smoothed_noise():
    factor = _smooth_factor(28, 4.0).double()
    distances = torch.arange(28.0)[:, None] - torch.arange(28.0)[None, :]
    assert torch.allclose(factor @ factor.T, torch.exp(-(distances**2) / (4 * 16)).double(), atol=0.02)


@pytest.mark.parametrize("settings", [{"scale": 1.0}, {"smooth": 0.0}, {"degrees": -1.0}, {"elastic": -0.1}])
def test_nonsense_is_refused(settings):
    with pytest.raises(UsageError, match="Distortion"):
        Distortion(**settings)
