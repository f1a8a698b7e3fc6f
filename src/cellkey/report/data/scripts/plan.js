// Decisions as files: the plan that `cellkey refine RUN --plan FILE` carries out, and a table for any other use.

const FEWEST_TO_SPLIT = 40; // twice the fewest cells that a part may have by default

function planOf(reviewer, date) {
  return {
    version: "1.0",
    description: `Review of ${RUN.run}`,
    metadata: { made_by: "cellkey report", run: RUN.run, calls_fingerprint: RUN.calls_fingerprint, reviewer, created_at: date },
    operations: operations(),
  };
}

function operations() {
  const merged = new Map();
  const found = [];
  for (const [key, d] of decisions) {
    const cluster = BY_KEY.get(key);
    if (d.action === "merge") merged.set(d.group, [...(merged.get(d.group) || []), [cluster, d]]);
    else found.push(operation(cluster, d));
  }
  for (const members of merged.values()) {
    const reasons = [...new Set(members.map(([, d]) => d.comment).filter(Boolean))];
    found.push({
      op_type: "merge", source_clusters: members.map(([c]) => c.id), target_label: members[0][1].label,
      reason: reasons.join("; ") || "merged on the review page",
    });
  }
  return found;
}

function operation(cluster, d) {
  const reason = d.comment;
  switch (d.action) {
    case "label":
      return { op_type: "override", cluster_id: cluster.id, label: d.label, reason: reason || "set on the review page" };
    case "split":
      return { op_type: "subcluster", cluster_id: cluster.id, min_cells: FEWEST_TO_SPLIT,
        reason: reason || "marked for a split on the review page" };
    default:
      return { op_type: "skip", cluster_id: cluster.id, reason: reason || "confirmed on the review page" };
  }
}

/** Decisions as comma-separated text; a leading sign that a spreadsheet would run gets an apostrophe. */
function decisionTable(reviewer, date) {
  const quoted = (v) => `"${String(v).replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""')}"`;
  const head = ["dataset", "cluster_id", "n_cells", "label", "path", "decision", "new_label", "merge_group", "comment",
    "reviewer", "date"];
  const rows = [...decisions].map(([key, d]) => {
    const c = BY_KEY.get(key);
    return [RUN.datasets[c.d].name, c.id, c.n, c.label, c.path, d.action || "remark", d.label, d.group || "", d.comment,
      reviewer, date];
  });
  return [head, ...rows].map((r) => r.map(quoted).join(",")).join("\n") + "\n";
}

function download(name, text, type) {
  const link = h("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const safeFileName = (text) => text.replace(/[^A-Za-z0-9._-]+/g, "_").slice(0, 60);

function saveDecisions(kind, reviewer) {
  const date = new Date().toISOString();
  const name = `review_${safeFileName(RUN.run)}_${date.slice(0, 16).replace(/[:T]/g, "-")}`;
  if (kind === "plan") download(`${name}.json`, `${JSON.stringify(planOf(reviewer, date), null, 1)}\n`, "application/json");
  else download(`${name}.csv`, decisionTable(reviewer, date), "text/csv");
  saved = decisionsText();
  announce();
}

const isText = (v) => v === undefined || v === null || typeof v === "string";

/** The decision that an operation of a plan stands for, with its clusters; null if this page cannot show it. */
function fromOperation(op) {
  if (!op || ![op.op_type, op.reason, op.label, op.target_label].every(isText)) return null;
  const ids = op.source_clusters === undefined ? [op.cluster_id] : op.source_clusters;
  const action = Object.hasOwn(ACTIONS, op.op_type || "") ? ACTIONS[op.op_type] : "";
  const label = op.label || op.target_label || "";
  if (!action || !Array.isArray(ids) || !ids.every((id) => typeof id === "string" && BY_KEY.has(`0/${id}`))) return null;
  if ((action === "label" || action === "merge") && !label) return null;
  return { ids, action, label, comment: /(on the review page)$/.test(op.reason || "") ? "" : op.reason || "" };
}

const ACTIONS = { override: "label", subcluster: "split", merge: "merge", skip: "keep" };

/** Add the decisions of a plan that was saved from this page; where it says other than what was decided here, this stays. */
function loadPlan(text) {
  let plan;
  try { plan = JSON.parse(text); } catch { return "This file is not a plan that this page saved: it is not JSON."; }
  if (!plan || !Array.isArray(plan.operations)) return "This file holds no operations: it is not a plan.";
  const { calls_fingerprint: made, reviewer } = plan.metadata || {};
  if (made !== RUN.calls_fingerprint) return "This plan was made for another run, or for an earlier state of this one.";
  const found = plan.operations.map(fromOperation);
  const odd = plan.operations[found.indexOf(null)];
  if (found.includes(null)) return `This plan holds an operation that this page cannot show: ${shorten(JSON.stringify(odd) || "", 80)}`;
  const clashes = [];
  let added = 0;
  decide((next) => {
    for (const { ids, ...decision } of found) {
      const group = decision.action === "merge" ? freeGroup(next) : 0;
      const taken = ids.filter((id) => next.has(`0/${id}`));
      if (!taken.length) { ids.forEach((id) => next.set(`0/${id}`, { ...decision, group })); added += ids.length; }
      else if (!sameDecision(next, ids, decision)) clashes.push(`${taken.join(", ")} (${[decision.action || "remark", decision.label.split(" / ").pop(), decision.comment].filter(Boolean).join(": ")})`);
    }
  });
  if (isText(reviewer) && reviewer) coReviewers.add(reviewer);
  if (!clashes.length) return "Decisions taken over from the plan.";
  return `${counted(added, "decision")} taken over. The plan of ${reviewer || "another reviewer"} differs on what was decided here, which stays: cluster ${clashes.join("; cluster ")}`;
}

const coReviewers = new Set();

/** Whether these clusters, and in a merge no others, have this decision already. */
function sameDecision(next, ids, { action, label, comment }) {
  const own = ids.map((id) => next.get(`0/${id}`));
  const size = [...next.values()].filter((d) => d.group && d.group === own[0]?.group).length;
  return own.every((d) => d && d.action === action && d.label === label && d.comment === comment && d.group === own[0].group) && (action !== "merge" || size === ids.length);
}
