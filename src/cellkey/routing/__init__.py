"""From evidence to decisions: gates, the walk down the key, and the votes of single cells.

- :mod:`~cellkey.routing.gates`: predicates with reasons, combined with ``&``, ``|`` and ``~``.
- :mod:`~cellkey.routing.walk`: the walker that all routers share, and its trace.
- :mod:`~cellkey.routing.limits`: gating parameters.
- :mod:`~cellkey.routing.marker_gates`: the rule for marker evidence.
- :mod:`~cellkey.routing.votes`: votes of single cells in undecided groups.
"""
