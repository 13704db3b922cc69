"""Decoding: the pixels of the image library, in order, kept once; broken images are named."""

import io

import numpy as np
import pytest

from featherweight.data.places import cache_folder
from featherweight.data.sources import _images
from featherweight.data.sources._images import Jpegs, decode
from featherweight.errors import DataError

Image = pytest.importorskip("PIL.Image")


def stream(shade, size=(8, 6), kind="JPEG"):
    file = io.BytesIO()
    Image.new("RGB", size, (shade, 10, 200)).save(file, kind)
    return file.getvalue()


def laid_out(streams):
    data = np.frombuffer(b"".join(streams), np.uint8)
    return data, np.cumsum([0, *(len(item) for item in streams)])


@pytest.fixture
def three():
    return laid_out([stream(shade) for shade in (0, 120, 240)])


def test_streams_are_decoded_in_order(three):
    images = Jpegs(*three, where="set").decoded()
    assert tuple(images.shape) == (3, 3, 6, 8)
    assert images[:, 0].float().mean((1, 2)).tolist() == pytest.approx([0, 120, 240], abs=4)
    assert images[:, 2].float().mean((1, 2)).tolist() == pytest.approx([200] * 3, abs=4)


def test_decoded_images_are_kept_and_read_again(three, monkeypatch):
    once = Jpegs(*three, where="set").decoded()
    assert list((cache_folder() / "decoded").glob("*.npy"))
    monkeypatch.setattr(_images, "decode", lambda *_, **__: pytest.fail("decoded twice"))
    assert np.array_equal(once.numpy(), Jpegs(*three, where="set").decoded().numpy())


def test_a_torn_cache_is_decoded_anew(three):
    once = Jpegs(*three, where="set").decoded()
    for path in (cache_folder() / "decoded").glob("*.npy"):
        path.write_bytes(path.read_bytes()[:50])
    assert np.array_equal(once.numpy(), Jpegs(*three, where="set").decoded().numpy())


def test_without_a_cache_images_are_decoded_all_the_same(three, monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(_images, "cache_folder", lambda: tmp_path / "file")  # no folder can be made there
    assert len(Jpegs(*three, where="set").decoded()) == 3


@pytest.mark.parametrize("change", ["last", "first", "order", "type", "rank", "short"])
def test_offsets_that_do_not_fit_are_refused(three, change):
    data, offset = three[0], three[1].copy()
    if change == "last":
        offset[-1] += 1
    elif change == "first":
        offset[0] = 1
    elif change == "order":
        offset[1] = offset[2]
    elif change == "type":
        offset = offset.astype(np.float64)
    elif change == "rank":
        offset = offset[None]
    else:
        offset = offset[:1]
    with pytest.raises(DataError, match="offsets"):
        Jpegs(data, offset, where="set")


def test_a_broken_image_is_named():
    data, offset = laid_out([stream(0), b"no image", stream(0)])
    with pytest.raises(DataError, match="image 1"):
        Jpegs(data, offset, where="set").decoded()


def test_images_of_other_sizes_are_named_unless_scaled():
    openers = [lambda item=item: io.BytesIO(item) for item in (stream(9, (8, 6)), stream(9, (9, 6)))]
    with pytest.raises(DataError, match=r"8x6.*size="):
        decode(openers, "RGB", where="set")
    assert decode(openers, "RGB", where="set", size=4).shape == (2, 3, 4, 4)
    assert decode(openers, "L", where="set", size=5).shape == (2, 1, 5, 5)


def test_scaling_cuts_out_the_centre():
    image = Image.new("L", (30, 10), 0)
    image.paste(255, (10, 0, 20, 10))
    file = io.BytesIO()
    image.save(file, "PNG")
    pixels = decode([lambda: io.BytesIO(file.getvalue())], "L", where="set", size=10)
    assert pixels.min() == 255
