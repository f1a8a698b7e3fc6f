"""Sufficient statistics of groups of cells: touched once, cached, and enough for all that follows.

- :class:`~cellkey.profiles.expression.Expression`: a matrix on the scoring scale, read in blocks.
- :func:`~cellkey.profiles.profile.profile_clusters`: one exact pass over dense, CSR, CSC or backed input.
- :class:`~cellkey.profiles.profile.ClusterProfiles`: groups x genes, the input of every scorer.
- :func:`~cellkey.profiles.sums.sum_groups`: sums, means and detection alone, without sorting, in one sweep.
- :mod:`~cellkey.profiles.storage`: profiles on disk and their fingerprint.
"""
