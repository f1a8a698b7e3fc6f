"""Gates: predicates over groups x cell types that know their reason and can be combined.

A gate answers, for all groups and all cell types at once, who passes. ``a & b`` passes where both pass, and
fails with the reason of the first that failed; ``a | b`` passes where either passes, and fails with the
reason of ``a``; ``~a`` turns the answer around.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellkey.records.vocabulary import FailReason

__all__ = ["Gate", "Judgement", "judge"]

Test = Callable[[Any], "NDArray[np.bool_]"]
Detail = Callable[[Any, int, int], str]


@dataclass(frozen=True, slots=True)
class Gate:
    """One check.

    Parameters
    ----------
    name
        Short name, for display.
    passes
        From the material of a router to a boolean array, groups x nodes.
    reason
        What a failing candidate's ``fail_reason`` says.
    detail
        From the material, the group and the node to the text of ``fail_detail``.
    """

    name: str
    passes: Test
    reason: FailReason
    detail: Detail

    def __and__(self, other: Gate) -> Gate:
        def detail(material: Any, group: int, node: int) -> str:
            first_failed = not self.passes(material)[group, node]
            return (self if first_failed else other).detail(material, group, node)

        return Gate(f"({self.name} & {other.name})", lambda m: self.passes(m) & other.passes(m), self.reason, detail)

    def __or__(self, other: Gate) -> Gate:
        return Gate(
            f"({self.name} | {other.name})", lambda m: self.passes(m) | other.passes(m), self.reason, self.detail
        )

    def __invert__(self) -> Gate:
        return Gate(f"~{self.name}", lambda m: ~self.passes(m), self.reason, lambda *_: f"not {self.name}")

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Judgement:
    """The answer of a sequence of gates: who passes, and the first gate that failed.

    ``failed`` holds the position of that gate, -1 for candidates that pass; groups x nodes.
    """

    gates: tuple[Gate, ...]
    failed: NDArray[np.int64]
    material: Any

    @property
    def passed(self) -> NDArray[np.bool_]:
        """Groups x nodes."""
        return self.failed < 0

    def reason(self, group: int, node: int) -> FailReason | None:
        """Why a candidate failed, None if it passed."""
        at = int(self.failed[group, node])
        return None if at < 0 else self.gates[at].reason

    def detail(self, group: int, node: int) -> str:
        """The failed check with its limit, empty if the candidate passed."""
        at = int(self.failed[group, node])
        return "" if at < 0 else self.gates[at].detail(self.material, group, node)


def judge(gates: Sequence[Gate], material: Any, shape: tuple[int, int]) -> Judgement:
    """Ask the gates in order; the first failure decides."""
    failed = np.full(shape, -1, dtype=np.int64)
    for position, gate in enumerate(gates):
        fails = ~np.broadcast_to(gate.passes(material), shape)
        failed[(failed < 0) & fails] = position
    return Judgement(tuple(gates), failed, material)
