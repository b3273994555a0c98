"""The benchmark, `python -m experiments.benchmark`: one idea a file.

suites           what each suite measures; settings: the parts it is made of
lipjax_jobs      training step, evaluation, certification by lipjax
torch_jobs       the same by the PyTorch baseline; imported only where it runs
lowerings        single convolutions; gradient_errors: errors of the gradient rules
inputs           the images and the untrained network of all jobs
timing           implementations timed in turn; measurement: the figures that result
multiply_adds    the arithmetic that a job needs
tables, bars     the results as text and as a picture
"""
