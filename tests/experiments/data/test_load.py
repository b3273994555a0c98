"""Data sets as arrays: statistics, the validation set, digits, names."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.common.errors import UserError
from experiments.data import Dataset, Split, load
from experiments.data.dataset import hold_out


def make_split(labels, seed=0, shape=(2, 3, 1)):
    images = np.random.default_rng(seed).integers(0, 256, (len(labels), *shape))
    return Split(images.astype(np.uint8), np.array(labels, np.int32))


def test_digits():
    data = load("digits")
    parts = (data.train, data.validation, data.test)
    assert [len(part) for part in parts] == [1257, 180, 360]
    assert data.image_shape == (8, 8, 1) and data.num_classes == 10
    assert (data.levels, data.flip, data.crop_padding) == (16, False, 1)
    assert data.class_names == tuple("0123456789")
    for split in parts:
        assert split.images.dtype == np.uint8 and split.labels.dtype == np.int32
        assert split.images.max() == 16
        shares = np.bincount(split.labels) / len(split)
        np.testing.assert_allclose(shares, 0.1, atol=0.006)
    images = np.concatenate([part.images for part in parts]).reshape(1797, 64)
    assert len(np.unique(images, axis=0)) == 1797


def test_digits_are_fixed_and_statistics_ignore_the_validation_set():
    first, second, whole = load("digits"), load("digits"), load("digits", validation=0)
    np.testing.assert_array_equal(first.train.images, second.train.images)
    np.testing.assert_array_equal(first.test.labels, whole.test.labels)
    assert len(whole.validation) == 0 and len(whole.train) == 1437
    assert whole.validation.images.shape == (0, 8, 8, 1)
    assert (first.mean, first.std) == (whole.mean, whole.std)


@pytest.mark.parametrize("shape", [(2, 3, 1), (40, 40, 3)])
def test_statistics_equal_numpys(shape, monkeypatch):
    monkeypatch.setattr("experiments.data.dataset._CHUNK", 10_000)
    split = make_split([0, 1] * 20, shape=shape)
    data = Dataset("x", split, split.spread(0), split, ("a", "b"))
    pixels = split.images / 255
    assert data.mean == tuple(np.round(pixels.mean((0, 1, 2)), 4))
    assert data.std == round(pixels.std((0, 1, 2)).mean(), 4)
    assert all(type(number) is float for number in (*data.mean, data.std))


@settings(deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60), share=st.floats(0, 1)
)
def test_hold_out_is_stratified(labels, share):
    split = make_split(labels)
    split.images[:, 0, 0, 0] = np.arange(len(labels))
    sizes = np.bincount(labels, minlength=5)
    count = int(share * (len(labels) - np.count_nonzero(sizes)))
    rest, taken = hold_out(split, count)
    assert len(taken) == count and len(rest) + count == len(labels)
    for part in (rest, taken):
        indices = part.images[:, 0, 0, 0]
        np.testing.assert_array_equal(np.asarray(labels)[indices], part.labels)
        assert (np.diff(indices.astype(int)) > 0).all()
    held = np.bincount(taken.labels, minlength=5)
    assert (held < sizes)[sizes > 0].all()
    for a in np.flatnonzero(sizes):  # nobody gives more than a share before another
        for b in np.flatnonzero((sizes > 1) & (held < sizes - 1)):
            assert (held[a] - 1) / sizes[a] <= held[b] / sizes[b]


@pytest.mark.parametrize("count", [-1, 5, 100])
def test_hold_out_leaves_one_image_per_class(count):
    split = make_split([0, 0, 0, 1, 1, 1, 2])
    assert hold_out(split, 4)[0].labels.tolist() == [0, 1, 2]
    with pytest.raises(UserError, match="choose 0 to 4"):
        hold_out(split, count)


@pytest.mark.parametrize("count", [-1, 1428])
def test_validation_out_of_range(count):
    with pytest.raises(UserError, match="choose 0 to 1427"):
        load("digits", validation=count)


@pytest.mark.parametrize("name", ["", "mnist", "folder:", "Digits", "folder"])
def test_unknown_name_lists_the_choices(name):
    with pytest.raises(UserError, match="digits, cifar10, cifar100, folder:PATH"):
        load(name)
