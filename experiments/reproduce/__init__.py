"""The paper's claims as tables: `python -m experiments.reproduce`, one idea a file.

cells            a cell of a table, and a comparison of two
sizes            digits for seconds, CIFAR-10 on two cores, CIFAR-10 on a GPU
tables           the tables as data
published        figures of papers, with their sources
folder           the folder of a table: whose it is, and that one program works on it
running          trains a cell with one seed, in a process of its own; child: that one
work             the runs of a table in turn, until the end, a signal or a time
runs, figures    a run, its state, and what it measured
spread           means and intervals over seeds; verdicts: comparisons by intervals
report, picture  the table as Markdown, and accuracy against the radius
"""
