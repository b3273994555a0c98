"""Devices and hosts of a run: mesh, shardings, processes."""
