"""One command for ten minutes with a GPU: `python -m experiments.gpu_day`.

self_test        losses, gradients and certificates of this device against a CPU's
profile          the kernels of a step: seconds, and the share of the roofline
steps            what a day consists of, in order: programs, each with its folder
report           what has been found so far, as Markdown
"""
