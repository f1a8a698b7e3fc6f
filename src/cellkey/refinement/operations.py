"""Carrying out a plan: overrides, merges, splits, relabelling and rescoring, in this order."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cellkey.clustering._threads import n_threads
from cellkey.clustering.communities import number_by_size
from cellkey.profiles.profile import ClusterProfiles, natural_key, profile_clusters
from cellkey.records.vocabulary import LogSource, LogStatus, RefinementAction
from cellkey.refinement.diagnosis import competitors
from cellkey.refinement.lineage import agree, part_call, with_label, with_node
from cellkey.refinement.plan import Merge, Override, Plan, Relabel, Rescore, Skip, Subcluster, find_label
from cellkey.refinement.profiling import profile_merged, profile_parts, with_groups
from cellkey.refinement.separation import join_unseparated
from cellkey.refinement.splitting import Parts, find_parts, parts_by_votes, split_stability
from cellkey.refinement.state import LogEntry, State, Touch
from cellkey.routing.votes import cell_support
from cellkey.threads import in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from cellkey.calls.call import Call
    from cellkey.refinement.cell_access import Cells
    from cellkey.refinement.judging import Judge, Verdict
    from cellkey.refinement.parameters import RefinementParameters

__all__ = ["Workshop", "carry_out"]


_SIDE_BY_SIDE = 8192
"""Most cells of clusters that are parted side by side; their values are in memory together."""
_SETTLED = 0.9
"""Stability from which on no other way of splitting is tried."""
_WITH_GAPS = 0.75
"""Share of the stability asked for that will do where few cells lie between any two parts."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """What the operations work with: the cells, the judge and the parameters."""

    cells: Cells
    judge: Judge
    parameters: RefinementParameters
    tell: Callable[[str], None] = lambda _step: None


@dataclass(frozen=True, slots=True)
class _Split:
    """Parts that are worth telling apart; ``labels`` is None where the cluster stays whole."""

    labels: NDArray[np.object_] | None
    profiles: ClusterProfiles | None
    reason: str
    stability: float = float("nan")
    by_part: tuple[tuple[str, float], ...] = ()


def carry_out(state: State, plan: Plan, shop: Workshop, iteration: int) -> tuple[State, list[LogEntry]]:
    """Carry out a plan that was checked.

    Returns
    -------
    The new state and one log entry per action, in the order of work.
    """
    log: list[LogEntry] = []
    rescore = (plan.of(Rescore) or (Rescore(),))[-1]
    for override in plan.of(Override):
        state = _override(state, override, iteration, log)
    for merge in plan.of(Merge):
        state = _merge(state, merge, shop, iteration, log)
    splits = plan.of(Subcluster)
    for split, found in zip(splits, _parts_ahead(state, splits, shop), strict=True):
        state = _subcluster(state, split, found, shop, iteration, log, keep_labels=rescore.mode == "none")
    for relabel in plan.of(Relabel):
        state = _relabel(state, relabel, iteration, log)
    log += [_remark(state.calls[op.cluster_id], op) for op in plan.of(Skip) if op.reason]
    if rescore.mode == "full":
        state = _rescore(state, shop, recompute_de=rescore.recompute_de)
    return state, log


def _override(state: State, op: Override, iteration: int, log: list[LogEntry]) -> State:
    started = time.perf_counter()
    old = state.calls[op.cluster_id]
    new = with_label(state.verdict, old, op.label)
    log.append(_entry(old, new, RefinementAction.OVERRIDE, op, started))
    return _called(state, new, Touch(RefinementAction.OVERRIDE, iteration, op.reason), pin=True)


def _remark(call: Call, op: Skip) -> LogEntry:
    """What a person said of a cluster that stays as it is."""
    return LogEntry(
        cluster=op.cluster_id, action=RefinementAction.KEEP, old_label=call.label, new_label=call.label,
        confidence_before=call.confidence, confidence_after=call.confidence, n_cells=call.n_cells, reason=op.reason,
        source=op.source, status=LogStatus.DONE, seconds=0.0,
    )


def _relabel(state: State, op: Relabel, iteration: int, log: list[LogEntry]) -> State:
    started = time.perf_counter()
    old = state.calls[op.cluster_id]
    new = with_node(state.verdict, old, find_label(state.verdict.key.hierarchy, op.label))
    log.append(_entry(old, new, RefinementAction.RELABEL, op, started))
    manual = op.source is LogSource.MANUAL
    return _called(state, new, Touch(RefinementAction.RELABEL, iteration, op.reason), pin=manual)


def _merge(state: State, op: Merge, shop: Workshop, iteration: int, log: list[LogEntry]) -> State:
    started = time.perf_counter()
    shop.tell(f"merging {', '.join(op.source_clusters)}")
    sources = tuple(sorted(op.source_clusters, key=natural_key))
    name = _free_name(f"{sources[0]}+m", state.sizes)
    rows = np.sort(np.concatenate([state.rows(c) for c in sources]))
    merged = profile_merged(shop.cells.expression(rows), name, state.origin[rows], state.base)
    old = [state.calls[c] for c in sources]
    ids = state.ids.copy()
    ids[rows] = name
    profiles = with_groups(state.profiles, merged, removed=sources)
    verdict = shop.judge(profiles)
    state = replace(state.without(sources), ids=ids, profiles=profiles, verdict=verdict)
    new = with_label(verdict, verdict.calls[name], op.target_label)
    before = float(np.average([c.confidence for c in old], weights=[c.n_cells for c in old]))
    log.append(LogEntry(
        cluster=",".join(sources), action=RefinementAction.MERGE, old_label=",".join(c.label for c in old),
        new_label=new.label, confidence_before=before, confidence_after=new.confidence, n_cells=new.n_cells,
        reason=op.reason, source=op.source, status=LogStatus.DONE, seconds=_since(started), new_clusters=(name,),
    ))
    return _called(state, new, Touch(RefinementAction.MERGE, iteration, op.reason), pin=True)


def _parts_ahead(state: State, splits: Sequence[Subcluster], shop: Workshop) -> Iterator[Parts]:
    """Parts of the clusters to split, in this order; those of small ones are found while others are judged.

    No split changes the cells of another.
    """
    key = state.verdict.key
    always = key.names(key.used_columns())
    sizes = [len(state.rows(op.cluster_id)) for op in splits]
    n_jobs = n_threads() if max(sizes, default=0) <= _SIDE_BY_SIDE else 1

    def told() -> Iterator[Subcluster]:
        for op in splits:
            shop.tell(f"splitting {op.cluster_id}")
            yield op

    def find(op: Subcluster) -> Parts:
        rows = state.rows(op.cluster_id)
        return find_parts(shop.cells, rows, op, shop.parameters, always_use=always, chosen=_focus(op, state))

    return in_order(find, ((op,) for op in told()), n_jobs) if n_jobs > 1 else map(find, told())


def _subcluster(
    state: State, op: Subcluster, found: Parts, shop: Workshop, iteration: int, log: list[LogEntry], *,
    keep_labels: bool,
) -> State:
    started = time.perf_counter()
    cluster = op.cluster_id
    parent = state.calls[cluster]
    rows = state.rows(cluster)
    split = _split(state, op, found, shop)
    if split.labels is None or split.profiles is None:
        entry = _entry(parent, parent, RefinementAction.SUBCLUSTER, op, started, reason=f"{op.reason}: {split.reason}")
        log.append(replace(entry, status=LogStatus.NO_SPLIT, stability=split.stability))
        return replace(state, exhausted={**state.exhausted, cluster: split.reason})
    ids = state.ids.copy()
    ids[rows] = split.labels
    profiles = with_groups(state.profiles, split.profiles, removed=[cluster])
    verdict = shop.judge(profiles)
    names = split.profiles.groups
    calls, notes = _part_calls(verdict, names, parent, keep_labels=keep_labels)
    state = replace(state.without((cluster,)), ids=ids, profiles=profiles, verdict=verdict)
    same = all(_same_label(calls[n], parent) for n in names)
    note = "the parts carry the same label" if same else "; ".join(dict.fromkeys(filter(None, notes)))
    reason = f"{op.reason}: {split.reason}" + (f"; {note}" if note else "")
    touch = Touch(RefinementAction.SUBCLUSTER, iteration, reason)
    tried = dict.fromkeys(names, "a part of a split whose parts carry the same label") if same else {}
    state = replace(
        state,
        calls={**state.calls, **calls},
        touches={**state.touches, **dict.fromkeys(names, touch)},
        exhausted={**state.exhausted, **tried},
        stability={**state.stability, **dict(split.by_part)},
    )
    sizes = [calls[n].n_cells for n in names]
    after = float(np.average([calls[n].confidence for n in names], weights=sizes))
    entry = _entry(parent, parent, RefinementAction.SUBCLUSTER, op, started, reason=reason)
    log.append(replace(
        entry, new_label=_majority([calls[n] for n in names]), confidence_after=after, new_clusters=names,
        stability=split.stability,
    ))
    return state


def _same_label(first: Call, second: Call) -> bool:
    """Whether two calls carry the same label in the same place."""
    return first.label == second.label and first.path == second.path


def _split(state: State, op: Subcluster, found: Parts, shop: Workshop) -> _Split:
    """Take the parts found by all that varies and, where that is not settled, part the cells by single markers as well.

    Those are the markers of the types in question. Of two splits that hold, the one that comes out again more surely
    is taken.
    """
    key = state.verdict.key
    first = _worth_telling_apart(found, state, op, shop)
    settled = first.labels is not None and not first.stability < _SETTLED
    if settled or found.expression is None:
        return first
    call, verdict = state.calls[op.cluster_id], state.verdict
    candidates = competitors(verdict, call)
    if len(candidates) < 2:
        return first
    here, base = np.arange(found.expression.n_obs), state.profiles
    support = cell_support(
        found.expression, here, candidates, verdict.evidence, base.overall_mean, base.overall_std
    )
    names = tuple(key.hierarchy.nodes[k].name for k in candidates)
    second = _worth_telling_apart(
        parts_by_votes(replace(found, reason=first.reason), support, names), state, op, shop, by_gap_alone=True
    )
    if second.labels is None:
        return first if first.labels is not None else replace(second, stability=first.stability)
    return second if first.labels is None or second.stability > first.stability else first


def _worth_telling_apart(
    found: Parts, state: State, op: Subcluster, shop: Workshop, *, by_gap_alone: bool = False
) -> _Split:
    """Join parts that nothing tells apart, and see whether the rest comes out again."""
    if found.labels is None or found.scores is None or found.expression is None:
        return _Split(None, None, found.reason)
    parent = state.calls[op.cluster_id]
    fine = _named(found.labels, op.cluster_id)
    parts = profile_parts(found.expression, fine, state.profiles)
    verdict = shop.judge(with_groups(state.profiles, parts, removed=[op.cluster_id]))
    calls, _ = _part_calls(verdict, parts.groups, parent, keep_labels=False)

    def may_join(a: str, b: str) -> bool:
        return by_gap_alone or agree(calls[f"{op.cluster_id}:{a}"], calls[f"{op.cluster_id}:{b}"])

    joined, gaps = join_unseparated(found.scores, found.labels, shop.parameters.min_separation, may_join)
    if len(np.unique(joined)) == 1:
        reason = f"{found.reason}, but no gap and no label separates them: one continuous population"
        return _Split(None, None, reason)
    return _stable(found, joined, gaps, state, op, shop)


def _stable(
    found: Parts,
    joined: NDArray[np.str_],
    gaps: dict[frozenset[str], float],
    state: State,
    op: Subcluster,
    shop: Workshop,
) -> _Split:
    parameters = shop.parameters
    if found.labels is None or found.scores is None or found.expression is None:
        raise AssertionError  # for the type checker: parts come with all three
    labels = number_by_size(joined.astype(np.int64))
    n_found, n_parts = len(np.unique(found.labels)), len(np.unique(labels))
    said = found.reason + (f", {n_found - n_parts} of them joined for want of a gap" if n_parts < n_found else "")
    agreement, by_part = split_stability(found.scores, labels, found.settings, parameters.split_resamples)
    least = parameters.min_split_stability if op.min_split_stability is None else op.min_split_stability
    if gaps and min(gaps.values()) >= parameters.min_separation:
        least *= _WITH_GAPS
    if np.isfinite(agreement):
        said += f", agreement {agreement:.2f} over {parameters.split_resamples} random subsets"
        if agreement < least:
            return _Split(None, None, f"{said}, less than the {least:.2f} needed", agreement)
    if gaps:
        said += f", separation {min(gaps.values()):.2f} or more"
    names = _named(labels, op.cluster_id)
    profiles = profile_parts(found.expression, names, state.profiles)
    parts = tuple((f"{op.cluster_id}:{part}", value) for part, value in sorted(by_part.items()))
    return _Split(names, profiles, said, agreement, parts)


def _named(labels: NDArray[np.str_], cluster: str) -> NDArray[np.object_]:
    return np.array([f"{cluster}:{label}" for label in labels], dtype=object)


def _part_calls(
    verdict: Verdict, names: tuple[str, ...], parent: Call, *, keep_labels: bool
) -> tuple[dict[str, Call], list[str]]:
    if keep_labels:
        sizes = {n: verdict.calls[n].n_cells for n in names}
        return {n: replace(parent, group=n, n_cells=sizes[n]) for n in names}, []
    found = {n: part_call(verdict, n, parent) for n in names}
    notes = [f"{n}: {note}" for n, (_, note) in found.items() if note]
    return {n: call for n, (call, _) in found.items()}, notes


def _focus(op: Subcluster, state: State) -> NDArray[np.bool_] | None:
    """Mask of the focus markers of a split; names are resolved as those of the hierarchy."""
    if not op.focus_markers:
        return None
    from cellkey.errors import ParameterError
    from cellkey.hierarchy.resolution import resolve_names

    names = [str(v) for v in state.profiles.var_names]
    resolution = resolve_names(list(op.focus_markers), names)
    if not resolution.found:
        msg = f"none of the focus markers of cluster {op.cluster_id!r} is measured: {', '.join(op.focus_markers)}"
        raise ParameterError(msg)
    return np.isin(names, list(resolution.found.values()))


def _rescore(state: State, shop: Workshop, *, recompute_de: bool) -> State:
    """Call every cluster again; labels that a person set stay."""
    profiles = state.profiles
    if recompute_de:
        whole = shop.cells.expression(np.arange(shop.cells.n_obs))
        fresh = profile_clusters(whole, state.ids, profiles.var_names, quantiles=(0.5,), basis=profiles.basis)
        profiles = replace(profiles, rank_z=fresh.rank_z)
    verdict = shop.judge(profiles)
    calls = {}
    for cluster, old in state.calls.items():
        if cluster in state.pinned:
            calls[cluster] = old
        elif ":" in cluster:
            calls[cluster] = part_call(verdict, cluster, old)[0]
        else:
            calls[cluster] = verdict.calls[cluster]
    return replace(state, profiles=profiles, verdict=verdict, calls=calls)


def _called(state: State, call: Call, touch: Touch, *, pin: bool) -> State:
    return replace(
        state,
        calls={**state.calls, call.group: call},
        touches={**state.touches, call.group: touch},
        pinned=state.pinned | {call.group} if pin else state.pinned,
    )


def _entry(
    old: Call, new: Call, action: RefinementAction, op: Override | Relabel | Subcluster, started: float,
    *, reason: str | None = None,
) -> LogEntry:
    return LogEntry(
        cluster=op.cluster_id, action=action, old_label=old.label, new_label=new.label,
        confidence_before=old.confidence, confidence_after=new.confidence, n_cells=old.n_cells,
        reason=(op.reason if reason is None else reason).removeprefix(": "), source=op.source, status=LogStatus.DONE,
        seconds=_since(started),
    )


def _majority(calls: list[Call]) -> str:
    """Label of most cells, ties by name."""
    counts: dict[str, int] = {}
    for call in calls:
        counts[call.label] = counts.get(call.label, 0) + call.n_cells
    return min(counts, key=lambda label: (-counts[label], label))


def _free_name(name: str, taken: dict[str, int]) -> str:
    while name in taken:
        name += "m"
    return name


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)
