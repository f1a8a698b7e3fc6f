"""Enrichment scoring and routing with plain Python loops: one cluster, one node, one marker at a time.

Slow on purpose. Every number is made where it is used, so that the text reads like the formulas; the tests
compare the array code with it, and the benchmark runs it as the paired run.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Node", "Settings", "route", "score"]


@dataclass
class Node:
    """One cell type with the names of its measured markers (as scored) and anti-markers."""

    name: str
    scored: list[str]
    negative: list[str]
    parent: int
    children: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Settings:
    """The rules that differ between the published program and the default."""

    released: bool
    clip: float
    floor: float
    weight: float = 0.5
    scale_floor: float = 0.25
    alpha: float = 0.6
    ramp: float = 0.1
    beta: float = 0.35
    root_beta: float = 0.40


def quantile(values: Sequence[float], q: float) -> float:
    """Linear interpolation between order statistics."""
    ordered = sorted(values)
    at = q * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def clipped_mean(values: Sequence[float], q: float) -> float:
    """Mean after clipping at a quantile of the absolute values."""
    limit = quantile([abs(v) for v in values], q) if len(values) >= 3 and q < 1 else math.inf
    limit = limit if limit > 0 else math.inf
    return sum(min(max(v, -limit), limit) for v in values) / len(values)


def score(
    x: Sequence[Sequence[float]], genes: Sequence[str], bins: Sequence[int], nodes: Sequence[Node], s: Settings
) -> dict[str, list[list[float]]]:
    """Return R, Z, D, f, L, B and the routing scores, each as lists of clusters of nodes."""
    column = {g: i for i, g in enumerate(genes)}
    marker_names = {m for n in nodes for m in (*n.scored, *n.negative)}
    pools: dict[int, list[int]] = {}
    for i, gene in enumerate(genes):
        if gene not in marker_names:
            pools.setdefault(bins[i], []).append(i)

    def side(row: Sequence[float], names: Sequence[str]) -> float | None:
        differences = []
        for name in names:
            pool = pools.get(bins[column[name]], [])
            if pool:
                differences.append(row[column[name]] - sum(row[k] for k in pool) / len(pool))
        return clipped_mean(differences, s.clip) if differences else None

    raw, detected = [], []
    for row in x:
        raw.append([])
        detected.append([])
        for node in nodes:
            positive, negative = side(row, node.scored), side(row, node.negative) or 0.0
            negative = negative if s.released else max(negative, 0.0)
            raw[-1].append(math.nan if positive is None else positive - s.weight * negative)
            hits = sum(row[column[m]] >= s.floor for m in node.scored)
            detected[-1].append(hits / len(node.scored) if node.scored else 0.0)
    z = [[0.0] * len(nodes) for _ in x]
    centres, scales = [], []
    for k in range(len(nodes)):
        values = [r[k] for r in raw]
        centre = statistics.median(values)
        spread = 1.4826 * statistics.median([abs(v - centre) for v in values])
        spread = spread or statistics.pstdev(values) or 1.0
        centres.append(centre)
        scales.append(spread if s.released else max(spread, s.scale_floor))
    for k, node in enumerate(nodes):
        family = [scales[j] for j, other in enumerate(nodes) if other.parent == node.parent]
        scale = scales[k] if s.released else statistics.median(family)
        for c, row in enumerate(raw):
            z[c][k] = (row[k] - centres[k]) / scale
    out: dict[str, list[list[float]]] = {n: [] for n in ("R", "Z", "D", "f", "L", "B", "BR", "route", "route_raw")}
    for c in range(len(x)):
        decision, local = [], []
        for k, node in enumerate(nodes):
            others = [z[c][j] for j, other in enumerate(nodes) if other.parent == node.parent and j != k]
            gap = z[c][k]
            if others:
                gap -= max(others)
            elif not s.released and node.parent >= 0:
                gap -= z[c][node.parent]
            half = 0.5 + 0.5 * detected[c][k]
            decision.append(gap * half)
            gate = 0.0 if raw[c][k] < 0 else min(raw[c][k] / s.ramp, 1.0)
            factor = half if s.released else len(node.scored) / (len(node.scored) + 2)
            local.append((s.alpha * raw[c][k] + (1 - s.alpha) * gate * decision[k]) * factor)
        for name, own in (("B", local), ("BR", raw[c])):
            root = s.beta if s.released else s.root_beta
            out[name].append([support(k, own, nodes, s.beta, root) for k in range(len(nodes))])
            routed = s.root_beta if s.released else s.beta
            out["route" if name == "B" else "route_raw"].append([
                support(k, own, nodes, routed, s.root_beta) if nodes[k].parent < 0
                else support(k, own, nodes, s.beta, s.beta) for k in range(len(nodes))])
        out["D"].append(decision)
        out["L"].append(local)
    return out | {"R": raw, "Z": z, "f": detected}


def support(k: int, own: Sequence[float], nodes: Sequence[Node], beta: float, root_beta: float) -> float:
    """Branch support by recursion."""
    if not nodes[k].children:
        return own[k]
    share = root_beta if nodes[k].parent < 0 else beta
    best = max(max(0.0, support(j, own, nodes, beta, root_beta)) for j in nodes[k].children)
    return (1 - share) * own[k] + share * best


def route(scores: dict[str, list[list[float]]], nodes: Sequence[Node], c: int) -> list[int]:
    """Return the path of one cluster as positions of nodes."""
    path: list[int] = []
    here = [k for k, n in enumerate(nodes) if n.parent < 0]
    while here:
        ranked = sorted(here, key=lambda k: (-round(scores["route"][c][k], 10), nodes[k].name))
        best = ranked[0]
        lead = scores["route"][c][best] - scores["route"][c][ranked[1]] if len(ranked) > 1 else math.inf
        if scores["route"][c][best] < 0.05 or scores["route_raw"][c][best] < 0 or scores["R"][c][best] < -0.2:
            break
        if round(lead, 10) < 0.02:
            break
        path.append(best)
        here = nodes[best].children
    return path
