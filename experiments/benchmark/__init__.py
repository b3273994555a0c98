"""The benchmark, `python -m experiments.benchmark`: one idea a file.

suites           what each suite measures; settings: the parts it is made of
lipjax_jobs      training step, evaluation, certification by lipjax
torch_jobs       the same by the PyTorch baseline; imported only where it runs
lowerings        single convolutions; gradient_errors: errors of the gradient rules
initial_state    the untrained network and random_data, the input, of all jobs
runnable         an implementation of a job, ready to run
timing           implementations timed in turn; measurement: the figures that result
multiply_adds    the arithmetic that a job needs; best_product: the machine's best rate
tables, bars     the results as text and as a picture
"""
