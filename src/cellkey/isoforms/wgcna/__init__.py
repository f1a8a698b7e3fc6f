"""Weighted co-expression networks, computed here (Zhang and Horvath 2005; Langfelder and Horvath 2008).

``adjacency``  soft-thresholded correlations and the choice of the power
``overlap``    topological overlap, in strips; average linkage on it
``tree_cut``   the dynamic hybrid cut of the tree (Langfelder, Zhang and Horvath 2008)
``detection``  modules of a whole matrix, in one block or several, merged by eigengene
``r_engine``   the same steps run by R, as a cross-check
"""

from __future__ import annotations
