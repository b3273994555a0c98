"""Programs that train, certify and measure the networks of lipjax.

They need more packages than the library: ``pip install "lipjax[experiments]"``.
"""

from .common.errors import need

# Imported by every program. Grain, for example, is imported where it is used.
need("absl", "matplotlib", "optax", "orbax", "tqdm")
