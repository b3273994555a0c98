"""The paper's claims as tables: `python -m experiments.reproduce`, one idea a file.

cells            a cell of a table, and a comparison of two
sizes            digits for seconds, CIFAR-10 on two cores, CIFAR-10 on a GPU
tables           the tables as data
published        figures of papers, with their sources
folder           the folder of a table, and whose it is
train_flags      the flags of a cell's training run
work             the runs of a table in turn, until the end, a signal or a time
runs, figures    a run, its state, and what it measured
spread           means and intervals over seeds; verdicts: comparisons by intervals
report, picture  the table as Markdown, and accuracy against the radius
"""
