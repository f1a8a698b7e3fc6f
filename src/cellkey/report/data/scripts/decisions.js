// What the reviewer decided, cluster by cluster; every change can be undone, and survives a reload where that is allowed.
//
// A decision is { action, label, comment, group }: action is label, split, merge, keep or "" (a remark only); label is a
// path or any text; group numbers the clusters that are merged together.

const STORE = `cellkey-review:${RUN.state}`;
const REVIEWER = "cellkey-reviewer";
let decisions = new Map();
let saved = "[]";
const past = [];
const future = [];
const watchers = [];
let storageWorks = true;

const decisionsText = () => JSON.stringify([...decisions].sort(([a], [b]) => (a < b ? -1 : 1)));
const unsaved = () => decisionsText() !== saved;
const whenDecided = (watcher) => watchers.push(watcher);
const decisionOf = (cluster) => decisions.get(cluster.key) || null;

function stored(name) {
  try { return localStorage.getItem(name); } catch { storageWorks = false; return null; }
}

function store(name, value) {
  try { localStorage.setItem(name, value); } catch { storageWorks = false; }
}

function restoreDecisions() {
  try {
    const { decided, kept } = JSON.parse(stored(STORE) || "{}");
    decisions = new Map((decided || []).filter(([key]) => BY_KEY.has(key)));
    saved = kept || "[]";
  } catch { decisions = new Map(); }
}

function announce() {
  store(STORE, JSON.stringify({ decided: [...decisions], kept: saved }));
  for (const watcher of watchers) watcher();
}

/** Change the decisions; `change` gets a copy to work on. */
function decide(change) {
  past.push(decisions);
  future.length = 0;
  const next = new Map(decisions);
  change(next);
  decisions = withoutLonelyMerges(next);
  announce();
}

/** A merge needs two clusters: where others left it, the last one is free again. */
function withoutLonelyMerges(next) {
  const sizes = new Map();
  for (const d of next.values()) if (d.action === "merge") sizes.set(d.group, (sizes.get(d.group) || 0) + 1);
  for (const [key, d] of next) if (d.action === "merge" && sizes.get(d.group) < 2) next.delete(key);
  return next;
}

function travel(from, to) {
  if (!from.length) return;
  to.push(decisions);
  decisions = from.pop();
  announce();
}
const undo = () => travel(past, future);
const redo = () => travel(future, past);

function setAction(clusters, action, label = "") {
  decide((next) => {
    const group = action === "merge" ? freeGroup(next) : 0;
    for (const c of clusters) {
      const comment = (next.get(c.key) || {}).comment || "";
      next.set(c.key, { action, label, comment, group });
    }
  });
}

function freeGroup(next) {
  return 1 + Math.max(0, ...[...next.values()].map((d) => d.group || 0));
}

function setComment(cluster, comment) {
  const old = decisionOf(cluster) || { action: "", label: "", comment: "", group: 0 };
  if (old.comment === comment) return;
  decide((next) => {
    if (comment || old.action) next.set(cluster.key, { ...old, comment });
    else next.delete(cluster.key);
  });
}

const clearDecision = (cluster) => decide((next) => next.delete(cluster.key));

/** The decision in a few words. */
function decisionText(cluster, decision = decisionOf(cluster)) {
  if (!decision) return "";
  const label = decision.label.split(" / ").pop();
  switch (decision.action) {
    case "label": return `→ ${label}`;
    case "split": return "split";
    case "merge": return `merge ${decision.group} → ${label}`;
    case "keep": return "confirmed";
    default: return "remark";
  }
}

/** The kind of a decision in a word or two, for the narrow column of the table. */
const badgeText = (d) => ({ label: "new label", split: "split", merge: `merge ${d.group}`, keep: "confirmed" }[d.action] || "remark");
