"""The main job: from cells to labels that can be audited.

- :func:`~cellkey.annotation.cells.annotate`: AnnData in, labels and tables out.
- :func:`~cellkey.annotation.run.annotate_file`: a file in, a run directory out.
- :func:`~cellkey.annotation.core.annotate_profiles`: the same on profiles, without cells.
- :mod:`~cellkey.annotation.explain`: decision traces as text.
- :mod:`~cellkey.annotation.compare`: what changed between two runs.
"""
