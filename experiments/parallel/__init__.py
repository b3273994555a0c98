"""Devices and hosts: the mesh, what lies where on it, the processes of a run."""
