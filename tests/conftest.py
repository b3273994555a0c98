"""Fixtures of all tests, and the settings under which they run."""

import os
import pathlib
import tempfile
from importlib.metadata import version

# Most of the suite's time is compilation. These flags save two thirds of it (19 s
# instead of 57 s for tests/nn/test_soc.py) and change no semantics. `make test-all`
# compiles as users do.
if "xla_backend_optimization_level" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "") + " --xla_backend_optimization_level=0"
    )
    if version("jaxlib") < "0.11":  # later ones do not know it, and abort
        os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"

# Programs that are compiled again, in another test, process or program, are found here.
if "LIPJAX_TESTS_CACHE" not in os.environ:  # else this is a worker of xdist
    _CACHE = tempfile.TemporaryDirectory(prefix="lipjax-tests-")
    os.environ |= {
        "LIPJAX_TESTS_CACHE": _CACHE.name,
        "JAX_COMPILATION_CACHE_DIR": _CACHE.name,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }

import gc

import hypothesis
import jax
import numpy as np
import pytest
from PIL import Image

from helpers.skips import refuse_skip

# Traces make millions of objects and hardly a cycle: collect them less often.
gc.set_threshold(50_000, 20, 20)

# `make test-all` asks for the thorough profile.
for _name, _examples in (("quick", 12), ("thorough", 50)):
    hypothesis.settings.register_profile(
        _name, derandomize=True, deadline=None, max_examples=_examples, database=None
    )
hypothesis.settings.load_profile("quick")


@pytest.fixture(autouse=True)
def strict():
    """Double precision, and no silent promotion of ranks or dtypes.

    A context, not a global setting: doctests of `lipjax` may run in the same process,
    and must see JAX's defaults. A directory of tests may override this fixture.
    """
    with (
        jax.enable_x64(True),
        jax.numpy_rank_promotion("raise"),
        jax.numpy_dtype_promotion("strict"),
    ):
        yield


@pytest.fixture(scope="session")
def shared():
    """Path of a file outside the repository; without it the test is skipped."""
    default = pathlib.Path(__file__).parents[1] / ".." / "shared"
    root = pathlib.Path(os.environ.get("LIPJAX_SHARED") or default)

    def find(name):
        if not (root / name).exists():
            pytest.skip(f"shared file {name} not found")
        return root / name

    return find


@pytest.fixture(scope="session")
def digits():
    from experiments.data import load

    return load("digits")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Two classes of 4x4 images, dark and bright."""
    root = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 5)):
        for label, level in (("dark", 40), ("bright", 200)):
            folder = root / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = draw.integers(level - 30, level + 30, (4, 4, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return root


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    return refuse_skip(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    return refuse_skip(report)


@pytest.fixture(autouse=True, scope="module")
def forgotten():
    """Programs and traces of a module are not kept: a worker would fill its memory."""
    yield
    jax.clear_caches()
