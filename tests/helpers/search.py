"""A search for networks that break a proof: random ones, then mutations of the worst.

    PYTHONPATH=tests:. python -m helpers.search --networks=2000 --seed=1

prints the worst ratios (true loss) / (proven slack), by kind, as JSON.
"""

import argparse
import json
import random
import time
from collections import Counter

import numpy as np

from helpers import gradients, neighbours, slack, truths
from helpers import networks_at_random as draw
from lipjax.certify import Linear

ELITE = 4
"""The networks of each kind that are mutated."""

COMPILED = [(2, 2), (4, 2), (2, 2, 2)]
"""Heads (features, classes) or (features, hidden units, classes) that the certifier is
asked about, and JAX executes: they compile some functions for each."""


class Search:
    """Worst ratios so far, and the networks that have them.

    Attributes:
      worst: by kind, the largest ratio.
      counts: networks, those refused by each implementation, certificates.
    """

    def __init__(self, seed, jax_share=0.01):
        self.rng = np.random.default_rng(seed)
        self.random = random.Random(seed)
        self.jax_share = jax_share
        self.worst: dict[str, float] = {}
        self.elite: dict[str, list] = {}
        self.counts = Counter(networks=0)

    def run(self, networks, mutated=0.5):
        """Examines networks; the last ones, a share `mutated`, are mutations."""
        with np.errstate(all="ignore"):  # proofs must hold where numbers overflow
            for i in range(networks):
                fresh = i < networks * (1 - mutated) or not self.elite
                self.examine(draw.network(self.rng) if fresh else self.offspring())
        return self

    def offspring(self):
        kind = self.random.choice(sorted(self.elite))
        return draw.mutated(self.rng, self.random.choice(self.elite[kind])[1])

    def examine(self, network):
        """Records all ratios of a network."""
        self.counts["networks"] += 1
        subject = slack.prove(network)
        for name in ("certifier", "checker"):
            self.counts[f"refused by the {name}"] += name not in subject.proofs
        if not subject.proofs:
            return
        ratios, size = {}, size_of(network.head)
        if self.random.random() < 0.3:
            ratios |= truths.ratios(subject, self.random)
            if subject.model:
                ratios |= truths.forged_ratios(subject, self.random)
        x = np.stack([draw.image(self.rng, network) for _ in range(2)])
        jax_too = self.random.random() < self.jax_share and size in COMPILED
        self.counts["executed by JAX"] += jax_too
        x[1] = self.random.choice([x[1], 3 * x[1] - 1])
        ratios |= slack.rounding_ratios(subject, x, self.random, jax_too)
        if subject.model:
            f = slack.by_numpy(subject, x)[0][0]
            ratios |= gradients.ratios(subject, f, self.random, jax_too)
        if subject.model and "checker" in subject.proofs:
            ratios |= self.certificates(subject, x[0], jax_too)
        for kind, ratio in ratios.items():
            self.keep(kind, ratio, network)

    def certificates(self, subject, x, jax_too):
        found = {"checker": neighbours.checkers_certificate(subject, x, self.random)}
        if subject.bound and size_of(subject.network.head) in COMPILED:
            if self.random.random() < (0.4 if found["checker"].radius else 0.1):
                found["certifier"] = neighbours.certifiers_certificate(subject, x)
        ratios = {}
        for name, certificate in found.items():
            if certificate.radius:
                self.counts[f"certificates of the {name}"] += 1
                other = neighbours.worst_neighbour(subject, x, certificate, self.rng)
                ratios |= neighbours.certificate_ratios(
                    subject, x, certificate, other, self.random, name, jax_too
                )
        return ratios

    def keep(self, kind, ratio, network):
        self.worst[kind] = max(self.worst.get(kind, 0.0), ratio)
        best = [*self.elite.get(kind, []), (ratio, network)]
        self.elite[kind] = sorted(best, key=lambda pair: -pair[0])[:ELITE]

    def broken(self):
        """Kinds whose worst ratio is above 1 (certificates: not below 1)."""
        strict = "certificate", "margin"
        return {
            kind: ratio
            for kind, ratio in self.worst.items()
            if ratio > 1 or ratio == 1 and kind.startswith(strict) or ratio != ratio
        }

    def summary(self):
        return {"counts": dict(self.counts), "worst": dict(sorted(self.worst.items()))}


def size_of(head):
    if isinstance(head, Linear):
        return head.kernel.shape
    return (*head.hidden_kernel.shape, head.output_kernel.shape[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    flags, start = parser.parse_args(), time.perf_counter()
    search = Search(flags.seed).run(flags.networks)
    seconds = round(time.perf_counter() - start, 1)
    print(json.dumps(search.summary() | {"seconds": seconds}, indent=1))


if __name__ == "__main__":
    import jax

    with jax.enable_x64(True):
        main()
