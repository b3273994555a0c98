"""The tables are made of settings that exist and fit, at every size."""

import dataclasses

import pytest

from experiments.configs import Config
from experiments.reproduce.sizes import SIZES
from experiments.reproduce.tables import TABLES

EVERY = pytest.mark.parametrize(
    "name, size", [(name, size()) for name in TABLES for size in SIZES.values()]
)


@EVERY
def test_every_cell_is_a_config_of_its_own(name, size):
    cells = TABLES[name](size).cells
    configs = [dataclasses.replace(size.config(), **cell.changes) for cell in cells]
    assert len({cell.folder(0) for cell in cells}) == len(cells) == len(set(configs))
    if name in ("depth", "gradients"):
        assert all(config.depth % size.stages == 0 for config in configs)
    assert all(cell.seeds >= 1 for cell in cells)


@EVERY
def test_comparisons_and_starts_are_of_cells(name, size):
    whole = TABLES[name](size)
    labels = {cell.label for cell in whole.cells}
    for one in whole.comparisons:
        assert {one.better, one.worse} <= labels
    for n, cell in enumerate(whole.cells):
        before = {(c.group, c.label) for c in whole.cells[:n]}
        assert not cell.start or (cell.group, cell.start) in before


def test_the_cells_of_the_brief_table_differ_in_the_pooling():
    first, second = TABLES["pooling"](SIZES["smoke"]()).cells
    assert (first.changes, second.changes) == (
        {"pooling": "max"},
        {"pooling": "projection"},
    )


def test_sizes_are_configs():
    smoke, cpu, gpu = (size().config() for size in SIZES.values())
    assert (smoke.data, smoke.epochs) == ("digits", 3)
    assert (cpu.width, cpu.epochs, cpu.dtype) == (8, 5, "float32")
    published = Config(data="cifar10", dtype="bfloat16")
    assert gpu == published and (gpu.width, gpu.epochs) == (32, 200)
