"""Figures of fits and explanations.

``prepare`` turns tables into what is drawn, without matplotlib; ``modules`` and ``genes`` draw on axes that are given
or new and return them; ``saving`` writes all figures of a directory.
"""

from __future__ import annotations
