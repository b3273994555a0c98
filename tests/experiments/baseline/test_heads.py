"""The baseline's heads: published logits and certificates."""

import numpy as np
import pytest
import torch

from experiments.baseline.exponential import ExpApproximation
from experiments.baseline.heads import CurvatureHead, NormalizedHead, OrthogonalHead
from helpers.baseline import loaded, relative_error, tensors
from helpers.golden import FLOAT32

SIZES = (24, 10)
GOLDEN = {
    "lln_10": lambda: NormalizedHead(*SIZES),
    "soc_head_10": lambda: OrthogonalHead(*SIZES, ExpApproximation()),
    "curvature_head_10_scale1": lambda: CurvatureHead(*SIZES, 32),
    "curvature_head_10_scale6": lambda: CurvatureHead(*SIZES, 32),
}


@pytest.mark.parametrize("name", GOLDEN)
@torch.no_grad()
def test_golden(shared, name):
    """The closed form of a label that loses is not the published first order."""
    arrays = tensors(shared(f"golden/{name}.npz"))
    head, labels = loaded(GOLDEN[name](), arrays), arrays["labels"]
    features = arrays["features"][:, :, 0, 0]
    logits = head(features)
    assert relative_error(logits, arrays["logits"]) <= FLOAT32
    found = head.radii(features, logits, labels, head.constants())
    if "other" in arrays:
        found, due = found.gather(1, arrays["other"]), arrays["fast_certificates"]
        won = due > 0
        assert won.any() and torch.equal(found > 0, won)
        # differences of float32 logits, of size 10 at scale 6
        np.testing.assert_allclose(found[won], due[won], rtol=1e-4)
    else:
        others = found.sort(dim=1).values[:, :-1]
        assert relative_error(others, arrays["certificates_sorted"]) <= FLOAT32


def test_both_ways_to_the_penalty_agree():
    """Few images ask for single pairs, many for the table of all."""
    torch.manual_seed(0)
    head = CurvatureHead(6, 5, 8).double()
    logits, labels = torch.randn(40, 5).double(), torch.randint(5, (40,))
    whole = head.penalty(logits, labels)
    parts = [head.penalty(logits[n : n + 1], labels[n : n + 1]) for n in range(40)]
    torch.testing.assert_close(whole, torch.stack(parts).mean(), rtol=1e-12, atol=0)
