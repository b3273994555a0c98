"""Attacks certified networks, by attackers that we did not write and by our own.

    python -m experiments.attackers --out=FOLDER              small random networks
    python -m experiments.attackers --out=FOLDER --run=runs/NAME      a certified run

AutoAttack (its authors' code), foolbox and lipjax search within 0.999 of each certified
radius, in float64, for a point that changes the prediction. There must be none: one
that is found is printed and written to FOLDER, and the exit code is 1. Every point that
an attack tries inside a ball counts. As a control, the first round of images is also
attacked within 1.5 and 3 times the radius, where many predictions change.

Without --run, attacks networks of every head, pooling and activation, with random
weights. They are made and certified first, in FOLDER/networks.

Needs "lipjax[attackers]". Ends when --points points have been tried. The results are in
FOLDER/results.jsonl; the same command goes on where an interrupted one stopped.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import torch
from absl import flags
from tqdm import tqdm

from ..common.flags import run
from .attackers import ATTACKS, run_attack
from .balls import INSIDE, Balls
from .networks import KINDS, Certified, make_network, name_of, read_certified
from .results import Results, Unit, table

FLAGS = flags.FLAGS
_CONTROLS = (1.5, 3.0)


def main() -> None:
    jax.config.update("jax_platforms", "cpu")
    if not FLAGS.run:
        torch.set_num_threads(1)  # faster for small networks
    results = Results(Path(FLAGS.out))
    networks = _networks()
    try:
        with tqdm(total=FLAGS.points, unit="point", disable=None) as bar:
            bar.update(results.points)
            for unit in _units(list(networks)):
                if results.points >= FLAGS.points:
                    break
                if unit not in results.done:
                    _attack(networks[unit.network], unit, results)
                    bar.update(results.rows[-1]["points"])
    except KeyboardInterrupt:
        print("\nEvery attack that has ended is saved: the same command goes on.")
        raise
    finally:
        _print(results)
    if any(row["successes"] for row in results.rows):
        print(f"A certificate is wrong: please report {FLAGS.out}")
        sys.exit(1)


def _networks() -> dict[str, Certified]:
    """The networks to attack, by name."""
    if FLAGS.run:
        read = read_certified(Path(FLAGS.run), Path(FLAGS.run).resolve().name)
        return {f"{read.name}-{read.model.sha256[:8]}": read}
    folders = {name_of(kind, FLAGS.seed): kind for kind in KINDS}
    for name, kind in tqdm(folders.items(), desc="networks", disable=None):
        make_network(Path(FLAGS.out) / "networks" / name, kind, FLAGS.seed)
    return {
        name: read_certified(Path(FLAGS.out) / "networks" / name, name)
        for name in folders
    }


def _units(networks: list[str]) -> Iterator[Unit]:
    """All attacks on all networks, in random order, round after round of images."""
    number = 0
    while True:
        factors = (INSIDE, *_CONTROLS) if number == 0 else (INSIDE,)
        units = [
            Unit(network, attack, factor, number, FLAGS.images, FLAGS.seed)
            for network in networks
            for attack in ATTACKS
            for factor in factors
        ]
        random.Random(f"{FLAGS.seed} {number}").shuffle(units)
        yield from units
        number += 1


def _attack(network: Certified, unit: Unit, results: Results) -> None:
    start = time.perf_counter()
    target = network.target(unit.round * unit.images, unit.images)
    seed = random.Random(repr(unit)).getrandbits(31)
    balls = Balls(target, unit.factor, seed)
    run_attack(unit.attack, balls, seed)
    results.append(unit, balls, time.perf_counter() - start)
    for success in balls.successes:
        path = results.keep(unit, success)
        print(f"{unit.attack} changes image {success.image} of {unit.network}: {path}")


def _print(results: Results) -> None:
    if results.rows:
        print(table(results.rows, lambda row: row["attack"]))
        print("\n" + table(results.rows, lambda row: row["network"]))
        print(f"\nIn {results.path}")


if __name__ == "__main__":
    flags.DEFINE_string("out", None, "folder of the results", required=True)
    flags.DEFINE_string("run", None, "folder of a certified run to attack instead")
    flags.DEFINE_integer("points", 10_000_000, "points to try inside the radii", 1)
    flags.DEFINE_integer("images", 100, "images that an attack gets at once", 1)
    flags.DEFINE_integer("seed", 0, "seed of networks, images and attacks", 0)
    run(main, __doc__ or "")
