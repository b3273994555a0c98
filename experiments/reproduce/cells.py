"""A cell of a table: the settings that it changes. A comparison of two cells."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

Changes = Mapping[str, Any]

POINTS = ("clean", "36/255", "72/255", "108/255")
SECONDS = "seconds an epoch"


@dataclasses.dataclass(frozen=True)
class Cell:
    """A row of a table: a training run for each of its seeds.

    Attributes:
      label: what distinguishes it from the cells of its group.
      changes: settings that differ from those of the size.
      group: what it has in common with the cells it is compared with; may be "".
      seeds: how many seeds it is run with, unless the command says.
      start: label of the cell of its group from whose runs its own start; may be "".
      claim: figures that a paper gives for this very row; may be "".
    """

    label: str
    changes: Changes = dataclasses.field(default_factory=dict)
    group: str = ""
    seeds: int = 1
    start: str = ""
    claim: str = ""

    @property
    def name(self) -> str:
        """The group and the label."""
        return ", ".join(filter(None, (self.group, self.label)))

    def folder(self, seed: int) -> str:
        """The name of the folder of a run.

        Example:
          >>> Cell("taylor:3", group="width 8").folder(0)
          'width-8-taylor-3-seed0'
        """
        return f"{slug(self.name)}-seed{seed}"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two cells, of which a claim says that one is better; in every group with both.

    Attributes:
      better: label of the cell that the claim favours.
      worse: label of the other one.
      figure: "clean", a radius, or "seconds an epoch".
      claim: what is claimed, in words; "" if nothing is.
      least: the claimed gain, at least; in points, for seconds in % saved.
    """

    better: str
    worse: str
    figure: str
    claim: str = ""
    least: float = 0.0


@dataclasses.dataclass(frozen=True)
class Table:
    """A table: cells, comparisons, and figures that papers give for such networks.

    Attributes:
      title: a line over the table.
      cells: in the order of the rows; a cell comes after the one that it starts from.
      comparisons: claims that the cells decide.
      published: lines about the networks of papers, with their sources.
    """

    title: str
    cells: tuple[Cell, ...]
    comparisons: tuple[Comparison, ...] = ()
    published: tuple[str, ...] = ()


def slug(text: str) -> str:
    """A text as the name of a file.

    Example:
      >>> slug("curvature 512, penalty 0.1")
      'curvature-512-penalty-0.1'
    """
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")


def compared(
    better: str, worse: str, claim: str, figures: tuple[str, ...] = POINTS
) -> tuple[Comparison, ...]:
    """The comparison of two cells at several figures."""
    return tuple(Comparison(better, worse, figure, claim) for figure in figures)
