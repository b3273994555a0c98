"""Runs of tables with invented figures."""

import numpy as np

from experiments.reproduce.cells import SECONDS
from experiments.reproduce.figures import Figures
from experiments.reproduce.runs import FINISHED, Run

RADII = ("36/255", "72/255", "108/255", "0.5", "1.0", "1.5")


def figures(clean, seconds=1.0, parameters=1234):
    values = {"clean": clean} | {name: clean - 10 for name in RADII}
    values |= {"mean radius": 0.25, SECONDS: seconds, "parameters": parameters}
    radii = np.linspace(-0.1, 0.6, 50)
    return Figures(values, 50, "1 x cpu", radii)


def finished(cell, seed, folder, clean, seconds=1.0):
    path = folder / cell.folder(seed)
    return Run(cell, seed, path, FINISHED, "", figures(clean, seconds), ["--width=2"])
