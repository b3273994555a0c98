"""Memory and messages of a training step: `python -m experiments.scaling`.

compiled_step    a training step compiled for devices that need not be present
hlo_collectives  what its devices send each other, from the compiled program's text
predictions      times that a device of given speed would take
"""
