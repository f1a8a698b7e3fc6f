"""One large data set on many processes or machines, through Dask.

- :mod:`~cellkey.workers.connection`: connecting to a scheduler or starting local workers, running graphs of tasks.
- :mod:`~cellkey.workers.matrix`: a matrix on disk as a value that tasks carry; each opens the file itself.
- :mod:`~cellkey.workers.tasks`: what a worker does with one part of the matrix.
- :mod:`~cellkey.workers.merging`: exact merging of the small results of parts.
- :mod:`~cellkey.workers.passes`: the passes that annotation needs, as graphs.

Scheduling, moving data between workers and repeating lost work are left to Dask. Every task can be repeated from
the file alone, so that a lost worker costs time and changes no number.
"""
