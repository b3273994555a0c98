"""Settings of training runs."""

from .config import NETWORK as NETWORK
from .config import PUBLISHED as PUBLISHED
from .config import Config as Config
from .config import define_flags as define_flags
from .config import with_flags as with_flags
from .presets import PRESETS as PRESETS
