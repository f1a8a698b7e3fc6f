"""From evidence to decisions: gates, the walk down the key, and the votes of single cells.

- :mod:`~cellkey.routing.gates`: predicates with reasons, combined with ``&``, ``|`` and ``~``.
- :mod:`~cellkey.routing.walk`: the walker that all rules share, and its trace.
- :mod:`~cellkey.routing.standing`: how siblings stand to each other, for rules that take the best.
- :mod:`~cellkey.routing.marker_gates`: the rule for marker evidence; :mod:`~cellkey.routing.limits`: its parameters.
- :mod:`~cellkey.routing.branch_rule`: the rule for enrichment, with its parameters;
  :mod:`~cellkey.routing.branch_support`: the walks by it and what follows from them.
- :mod:`~cellkey.routing.votes`: votes of single cells in undecided groups.
"""
