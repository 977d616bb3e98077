"""Published results about noise, run again with jaxnoise on real data, with controls.

    python -m experiments NAME [--quick] [--data DIR]

One module is one experiment: its docstring says what was published, where the data come
from and what is changed against the paper; `python -m experiments --help` lists them.
Every method of an experiment gets the same number of trials and the same budget, and is
tuned on a validation split that is never the test split.
"""
