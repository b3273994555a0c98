"""The golden curvature heads."""

import numpy as np
import pytest

from helpers import golden
from helpers.heads import GOLDEN_HEADS, golden_head


@pytest.fixture(params=GOLDEN_HEADS)
def golden_case(request, shared):
    arrays = golden.load(shared(f"golden/{request.param}.npz"))
    rows = np.arange(len(arrays["labels"]))[:, None]
    return arrays, *golden_head(arrays), (rows, arrays["other"])
