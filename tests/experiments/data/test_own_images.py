"""Image files of every kind become inputs of a network, or are refused in a line."""

import re

import numpy as np
import pytest
from PIL import Image

from experiments.common.errors import UserError
from experiments.data.own_images import files_of, read_image
from helpers.images import SIXTEEN_BITS

GREY, COLOUR = (8, 8, 1), (8, 8, 3)
ORIENTATION = 0x0112


def picture(*shape):
    return np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)


def saved(path, pixels, mode=None, **options):
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def test_what_fits_is_taken_as_it_is(tmp_path):
    grey, colour = picture(8, 8), picture(8, 8, 3)
    found = read_image(saved(tmp_path / "a.png", grey), GREY)
    np.testing.assert_array_equal(found.pixels[..., 0], grey)
    assert found.notes == () and found.pixels.dtype == np.uint8
    found = read_image(saved(tmp_path / "b.png", colour), COLOUR)
    np.testing.assert_array_equal(found.pixels, colour)
    assert found.notes == ()


def test_channels_are_made_to_fit(tmp_path):
    grey, colour = picture(8, 8), picture(8, 8, 3)
    found = read_image(saved(tmp_path / "a.png", grey), COLOUR)
    np.testing.assert_array_equal(found.pixels, np.stack([grey] * 3, -1))
    assert found.notes == ("grey in every colour",)
    found = read_image(saved(tmp_path / "b.png", colour), GREY)
    np.testing.assert_array_equal(
        found.pixels[..., 0], Image.fromarray(colour).convert("L")
    )
    assert found.notes == ("colours made grey",)
    with pytest.raises(UserError, match="takes 4 channels"):
        read_image(tmp_path / "b.png", (8, 8, 4))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_is_dropped(tmp_path, mode):
    path = saved(
        tmp_path / ("a.tiff" if mode == "PA" else "a.png"), picture(8, 8), mode
    )
    found = read_image(path, COLOUR)
    assert "transparency dropped" in found.notes and found.pixels.shape == COLOUR


def test_a_photograph_is_turned_cut_and_resized(tmp_path):
    """One that lies on its side, dark at its left: the top of the upright one."""
    pixels = np.full((40, 60), 200, np.uint8)
    pixels[:, :30] = 50
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # turn it clockwise
    path = saved(tmp_path / "a.png", pixels, exif=exif)
    found = read_image(path, GREY)
    assert found.notes == (
        "turned upright as its EXIF says",
        "the middle 40x40 of 40x60, resized to 8x8",
    )
    assert found.pixels[0].max() < 60 and found.pixels[-1].min() > 190


REFUSED = {
    "animation of 2 images": lambda path: Image.fromarray(picture(8, 8)).save(
        path, "GIF", save_all=True, append_images=[Image.fromarray(picture(8, 8) // 2)]
    ),
    "more than 8 bits a channel": lambda path: Image.fromarray(
        picture(8, 8).astype(np.uint16) * 256
    ).save(path, "PNG"),
    "is no image": lambda path: path.write_text("text"),
    "or is damaged": lambda path: path.write_bytes(
        saved(path.with_suffix(".png"), picture(99, 99)).read_bytes()[:5000]
    ),
    "is too large": lambda path: Image.new("1", (20_000, 10_000)).save(path, "PNG"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_refused_says_why(tmp_path, reason):
    path = tmp_path / "file"
    REFUSED[reason](path)
    with pytest.raises(UserError, match=f"{re.escape(str(path))}.*{reason}"):
        read_image(path, GREY)


def test_colours_of_16_bits_are_refused(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(SIXTEEN_BITS)
    with pytest.raises(UserError, match="more than 8 bits"):
        read_image(path, COLOUR)


def test_files_and_folders_of_them(tmp_path):
    for name in ("b.png", "a.png", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "below").mkdir()
    assert [f.name for f in files_of([str(tmp_path)])] == ["a.png", "b.png"]
    assert [f.name for f in files_of([str(tmp_path / "b.png")])] == ["b.png"]
    with pytest.raises(UserError, match="no such file"):
        list(files_of([str(tmp_path / "c.png")]))
    with pytest.raises(UserError, match="has no files"):
        list(files_of([str(tmp_path / "below")]))
