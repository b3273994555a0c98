"""Streams: each step's images depend on the seed and the step alone."""

import subprocess
import sys
import threading

import numpy as np
import pytest

from experiments.common.errors import UserError
from experiments.data import load, stream
from experiments.data.dataset import Split
from experiments.data.packing import pack
from experiments.data.stream import Stream, epoch_order
from helpers.images import write_images
from helpers.programs import ROOT

COUNT, BATCH, STEPS = 23, 6, 9  # three epochs of three steps; five images left over


def numbered(count=COUNT):
    numbers = np.arange(count)
    return Split(
        numbers.astype(np.uint8).reshape(-1, 1, 1, 1), numbers.astype(np.int32)
    )


def taken(split, steps=STEPS, batch_size=BATCH, seed=0, **options):
    """Labels of the first steps, [steps, rows]."""
    with Stream(split, batch_size=batch_size, seed=seed, **options) as part:
        batches = [next(part) for _ in range(steps)]
    for images, labels in batches:
        assert images.dtype == np.uint8 and labels.dtype == np.int32
        np.testing.assert_array_equal(images.ravel(), labels)
    return np.stack([labels for _, labels in batches])


def test_batches_are_slices_of_the_epochs_orders():
    labels = taken(numbered())
    for epoch in range(3):
        order = epoch_order(COUNT, 0, epoch)
        assert sorted(order) == list(range(COUNT))
        expected = order[: 3 * BATCH].reshape(3, BATCH)
        np.testing.assert_array_equal(labels[3 * epoch : 3 * epoch + 3], expected)


def test_epochs_and_seeds_differ():
    orders = [epoch_order(100, seed, e) for seed in (-1, 0, 1) for e in range(3)]
    for i, one in enumerate(orders):
        assert all((one != other).any() for other in orders[:i])
    assert (taken(numbered(), seed=0) != taken(numbered(), seed=1)).any()


@pytest.mark.parametrize("threads, ahead", [(1, 1), (2, 4), (16, 32)])
def test_threads_do_not_matter(monkeypatch, threads, ahead):
    due = taken(numbered())
    monkeypatch.setattr(stream, "_THREADS", threads)
    monkeypatch.setattr(stream, "_AHEAD", ahead)
    np.testing.assert_array_equal(taken(numbered()), due)


PARTITIONS = [
    [slice(0, 3), slice(3, 6)],
    [slice(0, 6)],
    [slice(i, i + 1) for i in range(6)],
    [slice(0, 6, 2), slice(1, 6, 2)],
    [np.array([5, 0]), np.array([1]), np.array([4, 2, 3]), np.arange(0)],
]


@pytest.mark.parametrize("rows", PARTITIONS, ids=len)
def test_processes_share_one_global_batch(rows):
    whole = taken(numbered())
    together = np.empty_like(whole)
    for part in rows:
        together[:, part] = taken(numbered(), rows=part)
    np.testing.assert_array_equal(together, whole)


@pytest.mark.parametrize("step", range(STEPS))
def test_a_stream_continues_at_every_step(step):
    whole = taken(numbered())
    np.testing.assert_array_equal(
        taken(numbered(), STEPS - step, start=step), whole[step:]
    )
    half = slice(3, 6)  # in another number of processes, from another step
    with Stream(numbered(), batch_size=BATCH, seed=0, rows=half, start=5) as after:
        next(after)
        after.seek(step)
        assert after.step == step
        for labels in whole[step:]:
            np.testing.assert_array_equal(next(after).labels, labels[half])


def test_far_steps():
    step = 90 * 3 + 1
    labels = taken(numbered(), steps=1, start=step)
    np.testing.assert_array_equal(
        labels[0], epoch_order(COUNT, 0, 90)[BATCH : 2 * BATCH]
    )
    with pytest.raises(ValueError, match="negative"):
        Stream(numbered(), batch_size=BATCH, seed=0, start=-1)


def test_batches_must_fit():
    split = numbered(3)
    assert sorted(taken(split, 1, batch_size=3)[0]) == [0, 1, 2]
    for batch_size in (0, 4):
        with pytest.raises(UserError, match="there are 3 training images"):
            Stream(split, batch_size=batch_size, seed=0)


def prefetching():
    return [t for t in threading.enumerate() if t.name.startswith("grain")]


def test_threads_end():
    batches = Stream(numbered(), batch_size=BATCH, seed=0)
    next(batches)
    assert prefetching()
    batches.close()
    batches.close()
    for thread in prefetching():
        thread.join(10)
    assert not prefetching()
    with pytest.raises(ValueError, match="closed"):
        next(batches)


@pytest.fixture
def packed(tmp_path):
    write_images(tmp_path / "images")
    pack(tmp_path / "images", tmp_path / "out", shard_images=4)
    return tmp_path


@pytest.mark.parametrize("validation", [0, 6])
def test_the_disk_and_the_memory_give_the_same(packed, validation):
    from_disk = load(f"records:{packed / 'out'}", validation=validation).train
    in_memory = load(f"folder:{packed / 'images'}", validation=validation).train
    options = dict(batch_size=4, seed=3)
    with Stream(from_disk, **options) as one, Stream(in_memory, **options) as other:
        for _ in range(12):
            ours, theirs = next(one), next(other)
            np.testing.assert_array_equal(ours.images, theirs.images)
            np.testing.assert_array_equal(ours.labels, theirs.labels)


def test_damage_is_told_by_next(packed):
    path = packed / "out/train-00002-of-00006.array_record"
    data = load(f"records:{packed / 'out'}", validation=0)
    content = bytearray(path.read_bytes())
    content[200:400] = bytes(200)
    path.write_bytes(content)
    with Stream(data.train, batch_size=21, seed=0) as batches:
        with pytest.raises(UserError, match="00002-of-00006.array_record is damaged"):
            next(batches)
        assert batches.step == 0
        with pytest.raises(ValueError, match="closed"):  # not the batch after it
            next(batches)


NOTEBOOK = """
import sys
sys.argv = ["ipykernel_launcher.py", "-f", "kernel.json"]
import lipjax
from experiments.data import load, stream
from experiments.data.stream import Stream
data = load(sys.stdin.read(), validation=0)
with Stream(data.train, batch_size=4, seed=0) as batches:
    labels = [next(batches).labels.tolist() for _ in range(6)]
from absl import flags
print(labels, flags.FLAGS.is_parsed())
"""


def test_a_stream_works_in_a_notebook(packed):
    """Grain defines absl flags; in a notebook nothing parses them."""
    name = f"records:{packed / 'out'}"
    command = [sys.executable, "-W", "error", "-c", NOTEBOOK]
    found = subprocess.run(
        command, cwd=ROOT, input=name, capture_output=True, text=True
    )
    with Stream(load(name, validation=0).train, batch_size=4, seed=0) as batches:
        due = [next(batches).labels.tolist() for _ in range(6)]
    assert (found.stdout, found.stderr) == (f"{due} False\n", "")
