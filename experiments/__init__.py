"""Programs that train, certify and measure the networks of lipjax.

They need more packages than the library: ``pip install "lipjax[experiments]"``.
"""

import importlib.util
import sys

from .common.errors import missing_package

_NEEDED = ("absl", "matplotlib", "optax", "orbax", "tqdm")
"""Imported by every program. Grain, for example, is imported where it is used."""

for _name in _NEEDED:
    if importlib.util.find_spec(_name) is None:
        _line = missing_package(_name)
        if sys.argv[0] == "-m":  # python -m experiments.PROGRAM: no traceback
            print(f"error: {_line}", file=sys.stderr)
            sys.exit(2)
        raise ModuleNotFoundError(_line, name=_name)
