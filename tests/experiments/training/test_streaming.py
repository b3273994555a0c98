"""Training from images on the disk: the same network, whoever reads which rows."""

import dataclasses
import json
import shutil

import chex
import jax
import numpy as np
import pytest
from PIL import Image

from experiments.configs import Config
from experiments.data import load
from experiments.data.stream import epoch_order
from experiments.pack import pack
from experiments.parallel.shardings import local_rows
from experiments.training.state import zero_metrics
from experiments.training.steps import InMemorySteps, StreamedSteps
from experiments.training.trainer import Trainer
from helpers.processes import TINY, Program, together
from helpers.programs import refused

CONFIG = Config(depth=2, width=2, batch_size=8, epochs=4)


@pytest.fixture(scope="module")
def packed(pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("packed") / "records"
    pack(pictures, out)
    return out


@pytest.fixture(scope="module")
def data(packed):
    return load(f"records:{packed}", validation=4)


@pytest.fixture(scope="module")
def trainer(data):
    made = Trainer(CONFIG, data)
    assert isinstance(made.steps, StreamedSteps)
    yield made
    made.steps.close()


def trained(trainer, *counts):
    state, metrics = trainer.init(), zero_metrics(trainer.mesh)
    for count in counts:
        state, metrics = trainer.steps(state, metrics, count)
    return state, metrics


def test_calls_of_any_length_and_seeking_give_the_same_bits(trainer):
    """Two epochs and a half; the second time the stream goes back to the start."""
    once = trained(trainer, 5)
    chex.assert_trees_all_equal(trained(trainer, 1, 3, 1), once)
    middle = jax.tree.map(np.asarray, trained(trainer, 3))
    trained(trainer, 1)
    state, metrics = trainer.place(middle[0]), zero_metrics(trainer.mesh)
    again, later = trainer.steps(state, metrics, 2)
    chex.assert_trees_all_equal(again, once[0])
    assert int(later.images) == 16 and int(once[1].images) == 40


def test_streamed_steps_are_those_in_memory(data):
    """One batch of all images: the order does not count, and nothing else differs."""
    whole = dataclasses.replace(CONFIG, batch_size=20, augment=False)
    split = dataclasses.replace(data.train, images=np.asarray(data.train.images))
    in_memory = dataclasses.replace(data, train=split)
    streamed, loaded = Trainer(whole, data), Trainer(whole, in_memory)
    assert isinstance(loaded.steps, InMemorySteps)
    ours, theirs = trained(streamed, 3)[1], trained(loaded, 3)[1]
    streamed.steps.close()
    # sums of 20 float32 losses in another order, through 3 steps
    assert float(ours.loss) == pytest.approx(float(theirs.loss), rel=1e-5)


def test_rows_of_a_process():
    """The parts of the batch that its devices hold, each once."""

    class Here:
        def addressable_devices_indices_map(self, shape):
            return {1: (slice(4, 8),), 2: (slice(4, 8),), 3: (slice(0, 4),)}

    np.testing.assert_array_equal(local_rows(Here(), 16), np.arange(8))


@pytest.mark.long
def test_a_run_goes_on_only_with_the_images_it_began_with(packed, tmp_path):
    flags = (f"--data=records:{packed}", f"--run={tmp_path / 'run'}", *TINY)
    code, _, errors = Program("train", *flags, "--epochs=1").end()
    assert code == 0, errors
    moved = shutil.copytree(packed, tmp_path / "moved")
    again = (f"--data=records:{moved}", *flags[1:], "--epochs=1", "--certify_images=0")
    code, printed, errors = Program("train", *again).end()
    assert code == 0 and "continues at step 2" in printed, errors
    settings = tmp_path / "run" / "config.json"
    changed = json.loads(settings.read_text())
    changed["config"] |= {"validation": 6, "epochs": 2}
    settings.write_text(json.dumps(changed))
    where = f"--data=records:{moved}"
    line = refused("train", f"--resume={tmp_path / 'run'}", where)
    assert "images 20, but the data now give images 18" in line


@pytest.mark.long
@pytest.mark.parametrize("side", [64, 224])
def test_the_imagenet_preset_on_made_images(tmp_path, side):
    """As many layers and stages as the preset's; fewer channels, images and classes."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 2)):
        for label in range(6):
            folder = tmp_path / "images" / split / f"class {label}"
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = draw.integers(256, size=(side + 8, side, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.jpg")
    records, run = tmp_path / "records", tmp_path / "run"
    pack(tmp_path / "images", records, side=side)
    flags = (f"--data=records:{records}", f"--run={run}", "--width=2", "--epochs=2")
    program = Program("train", "--preset=imagenet", *flags, "--batch_size=16")
    code, printed, errors = program.end(600)
    assert code == 0, errors
    assert "LipConvNet-10" in printed
    assert len((run / "metrics.csv").read_text().splitlines()) == 3


def losses(run):
    rows = (run / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("loss")
    return [float(row.split(",")[column]) for row in rows[1:]]


def noted(path):
    """Which records of each split a process read, a set a call."""
    calls = [json.loads(line) for line in path.read_text().splitlines()]
    return {
        split: [frozenset(rows) for name, rows in calls if name == split]
        for split in ("train", "test")
    }


@pytest.mark.long
def test_two_processes_read_a_half_each(packed, data, tmp_path):
    """Of each batch in training and of each validation set; the losses are one's."""
    flags = (f"--data=records:{packed}", *TINY, "--epochs=3")
    code, _, errors = Program("train", *flags, f"--run={tmp_path / 'alone'}").end(300)
    assert code == 0, errors
    counted = {"package": "tests.helpers", "COUNTED": str(tmp_path)}
    both = together(
        2, *flags, f"--run={tmp_path / 'both'}", name="counted_train", **counted
    )
    with both as programs:
        ends = [program.end(300) for program in programs]
    assert [code for code, _, _ in ends] == [0, 0], ends
    # float32 sums in another order, through 6 steps
    expected = pytest.approx(losses(tmp_path / "alone"), rel=1e-5, abs=2e-6)
    assert losses(tmp_path / "both") == expected

    records = data.train.images._rows
    steps = [
        records[epoch_order(20, 0, epoch)[start : start + 8]]
        for epoch in range(100)
        for start in (0, 8)
    ]
    validation = frozenset(range(24)) - {*records.tolist()}
    reads = [noted(tmp_path / str(index)) for index in (0, 1)]
    for index, read in enumerate(reads):
        shares = [frozenset(s[4 * index : 4 * index + 4].tolist()) for s in steps]
        trained = [rows for rows in read["train"] if rows in shares]
        checked = [rows for rows in read["train"] if rows not in shares]
        assert {*shares[:6]} <= {*trained} and len(trained) == len({*trained})
        assert all(rows <= validation and len(rows) == 2 for rows in checked)
        assert len(checked) == 3
    assert {*reads[0]["train"]}.isdisjoint(reads[1]["train"])
    # process 0 alone certifies, and writes
    assert frozenset().union(*reads[0]["test"]) == frozenset(range(10))
    assert not reads[1]["test"]
