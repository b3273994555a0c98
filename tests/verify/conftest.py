import numpy as np
import pytest


@pytest.fixture
def quiet():
    """As in `verify`: what overflows is refused where it is compared."""
    with np.errstate(all="ignore"):
        yield
