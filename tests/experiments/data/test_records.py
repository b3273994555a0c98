"""Packed images: indexed like arrays, and refused with a clear line when damaged."""

import json

import jax
import numpy as np
import pytest

from experiments.common.errors import UserError
from experiments.configs import PRESETS
from experiments.data import Dataset, load
from experiments.data.dataset import Split, hold_out
from experiments.data.packing import pack
from experiments.data.records import RecordImages
from experiments.training.model import build
from helpers.images import write_images
from helpers.programs import refused


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A packing of 21 and 6 images, 4 a file, and the same images in memory."""
    root = tmp_path_factory.mktemp("set")
    write_images(root / "images")
    pack(root / "images", root / "out", shard_images=4)
    return root / "out", load(f"folder:{root / 'images'}", validation=0).train


@pytest.fixture
def copied(packed, tmp_path):
    for path in packed[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def fails(folder):
    with pytest.raises(UserError) as caught:
        load(f"records:{folder}")
    message = str(caught.value)
    assert "\n" not in message and str(folder) in message
    return message


INDICES = [
    0,
    -1,
    np.int64(20),
    slice(None),
    slice(3, 9),
    slice(18, 99),
    slice(5, 5),
    slice(None, None, -4),
    [20, 3, 3, 0],
    np.array([[7, 8], [9, 0]]),
    np.arange(21) % 5 == 1,
    np.arange(0),
    Ellipsis,
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_images_are_indexed_like_an_array(packed, index):
    images = load(f"records:{packed[0]}", validation=0).train.images
    expected = packed[1].images[index]
    found = images[index]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.uint8 and found.shape == expected.shape


def test_images_look_like_an_array(packed):
    images, array = load(f"records:{packed[0]}", validation=0).train.images, packed[1]
    array = array.images
    assert (images.shape, images.dtype) == (array.shape, array.dtype)
    assert (len(images), images.nbytes) == (len(array), array.nbytes)
    np.testing.assert_array_equal(np.asarray(images), array)
    np.testing.assert_array_equal(np.asarray(images, np.float64), array)
    for index in (21, -22, [0, 21]):
        with pytest.raises(IndexError):
            images[index]


def test_validation_is_the_one_of_arrays(packed):
    data, array = load(f"records:{packed[0]}", validation=6), packed[1]
    for ours, theirs in zip(
        (data.train, data.validation), hold_out(array, 6), strict=True
    ):
        assert isinstance(ours.images, RecordImages) and isinstance(theirs, Split)
        np.testing.assert_array_equal(ours.images[:], theirs.images)
        np.testing.assert_array_equal(ours.labels, theirs.labels)
    whole = load(f"records:{packed[0]}", validation=0)
    assert (data.mean, data.std) == (whole.mean, whole.std)
    assert whole.validation.images[:].shape == (0, 6, 8, 3)


def test_splits_are_taken_unread(packed, copied):
    data, array = load(f"records:{copied}", validation=0), packed[1]
    for path in copied.iterdir():
        path.unlink()
    some = data.train.spread(5)
    assert isinstance(some.images, RecordImages) and len(some) == 5
    np.testing.assert_array_equal(some.labels, array.spread(5).labels)
    with pytest.raises(UserError, match="is damaged"):
        some.images[0]


def test_missing_folder_and_info(packed, copied):
    assert "does not exist" in fails(copied / "none")
    (copied / "info.json").unlink()
    assert f"experiments.pack --images=PATH --out={copied}" in fails(copied)


def damage(values, key, value):
    for name in key[:-1]:
        values = values[name]
    values[key[-1]] = value


@pytest.mark.parametrize(
    "key, value",
    [
        (["format"], "other"),
        (["version"], 2),
        (["image_shape"], [6, 8]),
        (["class_names"], ["ant", "bee"]),
        (["class_names"], None),
        (["class_counts", "train"], [7, 7, 6]),
        (["class_counts", "test"], [2, -2, 2]),
        (["class_counts"], {"train": [7, 7, 7]}),
        (["shards", "train"], [[4], [4]]),
        (["shards", "test"], []),
        (["sums"], [[1, 2, 3]]),
        (["sums"], "abc"),
        (["plan"], 1),
    ],
)
def test_damaged_info(copied, key, value):
    path = copied / "info.json"
    values = json.loads(path.read_text())
    damage(values, key, value)
    path.write_text(json.dumps(values))
    assert "is damaged, or of another version" in fails(copied)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"format"'])
def test_info_that_is_none(copied, content):
    (copied / "info.json").write_bytes(content)
    assert "is damaged, or of another version" in fails(copied)


@pytest.mark.parametrize(
    "name", ["train-00003-of-00006.array_record", "test-00001-of-00002.array_record"]
)
def test_missing_and_truncated_files(copied, name):
    path = copied / name
    content = path.read_bytes()
    for size in (0, 1, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        assert f"{name} has {size} bytes instead of {len(content)}" in fails(copied)
    path.unlink()
    assert f"{name} is missing" in fails(copied)


def test_a_flipped_bit_is_noticed_or_harmless(packed, copied):
    """In every byte that is not filler, of a file of four images."""
    path = copied / "train-00001-of-00006.array_record"
    content, noticed = path.read_bytes(), 0
    filled = np.flatnonzero(np.frombuffer(content, np.uint8))[::7]
    for place in filled:
        flipped = bytearray(content)
        flipped[place] ^= 0x10
        path.write_bytes(flipped)
        try:
            found = load(f"records:{copied}", validation=0).train.images[4:8]
            np.testing.assert_array_equal(found, packed[1].images[4:8])
        except UserError as error:
            assert str(path) in str(error) and "is damaged" in str(error)
            noticed += 1
    assert noticed > len(filled) // 2


def test_records_of_another_size(packed, copied, tmp_path):
    """A file of the right length, but of other images."""
    info = json.loads((copied / "info.json").read_text())
    info["image_shape"] = [6, 9, 3]
    (copied / "info.json").write_text(json.dumps(info))
    data = load(f"records:{copied}", validation=0)
    with pytest.raises(UserError, match="not of the images' size"):
        data.train.images[0]


def test_programs_refuse(packed, copied):
    (copied / "train-00000-of-00006.array_record").unlink()
    line = refused("train", f"--data=records:{copied}", f"--run={copied / 'run'}")
    assert "train-00000-of-00006.array_record is missing" in line
    assert "folder:PATH, records:DIR" in refused("train", "--data=records:")


@pytest.mark.parametrize("side, features", [(64, 8192), (224, 100352)])
def test_the_imagenet_preset_builds(side, features):
    images = np.zeros((2, side, side, 3), np.uint8)
    images[1] = 255
    split = Split(images, np.arange(2, dtype=np.int32))
    names = tuple(map(str, range(1000)))
    data = Dataset("made", split, split, split, names, 255, True, side // 8)
    model = build(PRESETS["imagenet"](), data)
    assert model.stages == 5 and model.layers_per_stage == 2
    with jax.enable_x64(False):
        x = jax.ShapeDtypeStruct((2, side, side, 3), np.float32)
        variables = jax.eval_shape(model.init, jax.random.key(0), x)
        assert jax.eval_shape(model.apply, variables, x).shape == (2, 1000)
        seen = jax.eval_shape(
            lambda v, x: model.apply(v, x, method="features"), variables, x
        )
    assert seen.shape == (2, features)
