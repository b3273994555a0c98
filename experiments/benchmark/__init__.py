"""The benchmark: `python -m experiments.benchmark`; its files, one idea each.

suites     what is measured: settings, each with the implementations that it compares
ours       the jobs of lipjax; theirs: of the PyTorch baseline, imported where it runs
lowerings  single convolutions; gradients: errors of the gradient rules, not timings
timing     all implementations of a setting in turn, in one process
arithmetic multiply-adds that the mathematics needs, and the machine's best product
rows       a setting's rows; tables, bars: what a person reads of them
"""
