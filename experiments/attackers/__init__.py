"""Attackers that we did not write, on certified networks of all kinds.

They need more packages than the other programs: ``pip install "lipjax[attackers]"``.
"""
