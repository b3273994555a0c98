"""Attackers that we did not write, and our own, on certified networks of all kinds.

They need more packages than the other programs: ``pip install "lipjax[attackers]"``.
"""

from ..common.errors import need

need("foolbox", "pyautoattack", "torch")
