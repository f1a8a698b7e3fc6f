"""Scorers: from cluster profiles and a measured hierarchy to evidence.

Each scorer is one module and one line in :mod:`~cellkey.annotation.registry`; all of them return
:class:`~cellkey.scoring.evidence.Evidence`, so that routing, tables, figures and reports are shared.
"""
