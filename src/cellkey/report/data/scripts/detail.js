// One cluster with everything that speaks for and against its label, and what can be decided about it.

const NARROW = matchMedia("(max-width: 1100px)");

function openCluster(cluster) {
  const before = BY_KEY.get(view.open);
  view.open = cluster.key;
  if (before) dressRow(before);
  dressRow(cluster);
  drawDetail();
  redrawMaps();
  try { history.replaceState(null, "", `#${encodeURIComponent(cluster.key)}`); } catch { /* some viewers of local files forbid it */ }
  if (NARROW.matches) { byId("detail").focus({ preventScroll: true }); byId("detail").scrollIntoView({ block: "start" }); }
  byId("detail").scrollTop = 0;
}

/** Bring the cluster that a key opened into view, where it lies below the figures. */
function reveal() {
  if (!NARROW.matches && byId("detail").getBoundingClientRect().top > innerHeight / 3) byId("workbench").scrollIntoView({ block: "start" });
}

function drawDetail() {
  const c = BY_KEY.get(view.open);
  if (!c) { replace(byId("detail"), h("p", { class: "empty quiet" }, "Open a cluster to see the path walked, the evidence and the alternatives.")); return; }
  replace(byId("detail"), heading(c), h("div", { id: "deciding" }), shortFacts(c), sureTable(c), walkPart(c), evidencePart(c), agreedPart(c), modelPart(c), genesPart(c), logPart(c));
  drawDeciding();
}

function heading(c) {
  const parts = c.path ? c.path.split(" / ") : [];
  return h("header", {},
    h("p", { class: "quiet" }, `Cluster ${nameOf(c)}`, c.n ? ` · ${counted(c.n, "cell")} (${percent(c.n / N_CELLS, 1)})` : ""),
    h("h2", {}, chip(colourOf(c)), c.label || "no label"),
    parts.length > 1 || isForeign(c) ? h("p", { class: "crumbs" }, isForeign(c) ? h("span", { class: "quiet" }, c.placed ? `Found in the tree (${c.placed}): ` : "By markers: ") : null, parts.map((p, i) => [i ? h("span", { class: "quiet", "aria-hidden": "true" }, " › ") : null, p])) : null);
}

/** The buttons and the remark; drawn again whenever something was decided. */
function drawDeciding() {
  const c = BY_KEY.get(view.open);
  const place = byId("deciding");
  if (!c || !place) return;
  const d = decisionOf(c);
  const typing = document.activeElement && document.activeElement.id === "comment";
  const button = (id, text, key, act, pressed) => h("button", { type: "button", id, class: pressed ? "pressed" : "", "aria-pressed": String(Boolean(pressed)), "aria-keyshortcuts": key, title: `Key ${key}`, onclick: act }, text, h("kbd", {}, key));
  const buttons = h("div", { class: "actions", role: "group", "aria-label": "Decide" },
    button("act-label", "Change label", "l", () => relabel([c]), d?.action === "label"),
    button("act-split", "Split", "s", () => flip(c, "split"), d?.action === "split"),
    button("act-keep", "Confirm", "k", () => flip(c, "keep"), d?.action === "keep"),
    button("act-merge", "Merge", "m", mergeSelected, d?.action === "merge"),
    d ? h("button", { type: "button", class: "plain", id: "act-clear", onclick: () => clearDecision(c) }, "Withdraw") : null);
  if (typing) { place.querySelector(".actions")?.replaceWith(buttons); place.querySelector(".verdict").replaceChildren(...verdict(c, d)); return; }
  replace(place, buttons, h("p", { class: "verdict" }, verdict(c, d)),
    h("label", { class: "remark" }, h("span", { class: "quiet small" }, `Remark (goes into ${EDITABLE ? "the record of the refinement" : "the saved table"}) `, h("kbd", {}, "c")), h("textarea", { id: "comment", rows: "2", maxlength: "2000", onchange: (e) => setComment(c, e.target.value.trim()) })));
  byId("comment").value = d?.comment || "";
}

function verdict(c, d) {
  if (!d || !d.action) return [];
  const others = d.action === "merge" ? CLUSTERS.filter((k) => k !== c && decisionOf(k)?.action === "merge" && decisionOf(k).group === d.group).map(nameOf) : [];
  const said = { label: ["New label: ", h("b", {}, d.label)], split: ["Marked for a split into sub-clusters."], keep: ["Label confirmed."], merge: ["Merged with ", h("b", {}, others.join(", ")), " as ", h("b", {}, d.label)] };
  return said[d.action];
}

const flip = (c, action) => (decisionOf(c)?.action === action ? clearDecision(c) : setAction([c], action));

function relabel(clusters) {
  const names = clusters.map(nameOf).join(", ");
  pickType(`New label for ${shorten(names, 60)}`, clusters.length === 1 ? clusters[0] : null, decisionOf(clusters[0])?.label || clusters[0].path, (label) => setAction(clusters, "label", label));
}

/** Merge the selected clusters; the open one alone is not enough. */
function mergeSelected() {
  const open = BY_KEY.get(view.open);
  const chosen = [...selected].map((k) => BY_KEY.get(k));
  if (chosen.length === 1 && open && open !== chosen[0]) chosen.push(open);
  if (chosen.length < 2) { notify("Select the clusters to merge in the table (Space), then merge."); return; }
  if (new Set(chosen.map((c) => c.d)).size > 1) { notify("Clusters of different datasets cannot be merged."); return; }
  const largest = chosen.reduce((a, b) => (b.n > a.n ? b : a));
  pickType(`One label for ${shorten(chosen.map(nameOf).join(" + "), 60)}`, largest, largest.path, (label) => {
    selected.clear();
    setAction(chosen, "merge", label);
    refreshRows();
  });
}

function factList(pairs) {
  const shown = pairs.filter(([, v]) => v !== "" && v !== null && v !== undefined);
  return h("dl", {}, shown.map(([k, v]) => h("div", {}, h("dt", {}, k), h("dd", {}, v))));
}

function shortFacts(c) {
  const rival = c.rival ? `${c.rival}${c.rivalScore === undefined ? "" : ` (score ${decimal(c.rivalScore)})`}` : "";
  const [split, cells, markers] = c.stability || [];
  return factList([
    ["confidence", HAS_CONFIDENCE && c.confidence !== undefined ? percent(c.confidence) : ""],
    ["margin", c.alone ? "no competitor passed its gate" : c.margin === undefined ? "" : `${decimal(c.margin)} at the tightest step`],
    ["runner-up", rival],
    ["score", c.score === undefined ? "" : `${decimal(c.score)}${c.band ? ` (${c.band.replace("_", " ")})` : ""}`],
    ["stopped", c.stopped || ""],
    ["markers measured", percent(c.coverage)],
    ["markers found", c.found || ""],
    ["genes in the table", c.rows || ""],
    ["votes of the cells", (c.votes || []).map(([name, share]) => `${name} ${percent(share)}`).join(", ")],
    ["holds when resampled", cells === undefined || cells === null ? "" : `${percent(cells)} of resamplings of the cells, ${percent(markers)} of markers left out one at a time`],
    ["fragile markers", (c.fragile || "").replaceAll(",", ", ")],
    ["split stability", split === undefined || split === null ? "" : decimal(split)],
    ["no top-level type", c.failed || ""],
  ]);
}

function sureTable(c) {
  if (!c.sure) return null;
  const methods = new Set(c.sure.map((r) => r[0])).size > 1;
  return h("section", {}, h("h3", {}, "Confidence, level by level"), table([...(methods ? ["Method"] : []), "Label", "#Holds in resamples", "#Without one marker", "Fragile marker", "#Confidence"],
    c.sure.map(([m, ...r]) => [...(methods ? [m] : []), r[0], percent(r[1]), percent(r[2]), r[3], percent(r[4])]), { label: "Confidence" }));
}

/** Every step of the walk with every candidate, and why it lost. */
function walkPart(c) {
  const data = block(`walks-${c.d}`);
  const steps = data ? data.walks[c.i] : [];
  if (!steps.length) return null;
  const name = (t) => (typeof t === "number" ? TYPES[t].name : t);
  const signs = ["✗ failed", "= passed", "✓ chosen"];
  return h("section", {}, h("h3", {}, "The path walked"), steps.map(([parent, candidates], i) => h("div", { class: "step" },
    h("h4", {}, `Step ${i + 1}: ${parent === "ROOT" ? "which top-level type?" : `which kind of ${parent}?`}`),
    table(["~Result", "Candidate", "#Score", "#Markers on", "#Positive", "#Shift", "Outcome"], candidates.map(([t, state, score, , on, positive, shift, , out]) => [
      h("span", { class: ["failed", "passed", "chosen"][state] }, signs[state][0], h("span", { class: "unseen" }, signs[state].slice(1))),
      h(state === 2 ? "b" : "span", {}, chip(typeof t === "number" ? TYPES[t].colour : RUN.grey.unassigned), name(t)),
      decimal(score), percent(on), percent(positive), decimal(shift), h("span", { title: data.outcomes[out][1] }, data.outcomes[out][0])]), { class: "candidates", label: `Candidates of step ${i + 1}` }))));
}

/** The types whose markers decide: the label and its ancestors, the runner-up, and what the reviewer chose. */
function typesAtStake(c) {
  const found = [];
  for (let t = TYPES[c.type]; t; t = TYPES[t.parent]) found.unshift(t);
  const rivals = TYPES.filter((t) => t.name === c.rival);
  const chosen = BY_PATH.get(decisionOf(c)?.label);
  const walked = block(`walks-${c.d}`)?.walks[c.i]?.at(-1)?.[1].slice(0, 3).map(([t]) => TYPES[t]) || [];
  return [...new Set([...found, ...rivals.slice(0, 1), chosen, ...walked].filter(Boolean))];
}

function evidencePart(c) {
  const e = evidenceOf(c.d);
  if (!e) return null;
  const title = h("h3", {}, "Marker evidence");
  if (!hasEvidence(e, c)) return h("section", {}, title, h("p", { class: "quiet" }, "The run holds no marker evidence for this cluster; refine it again to write it."));
  const own = TYPES[c.type];
  const rival = TYPES.find((t) => t.name === c.rival && t !== own);
  const lists = [
    own ? markerList(e, c, own, "pro", `For ${own.name}`) : null, own ? markerList(e, c, own, "anti", `Against ${own.name}`) : null,
    rival ? markerList(e, c, rival, "pro", `For the runner-up ${rival.name}`) : null,
  ];
  return h("section", {}, title, h("div", { class: "pair" }, lists),
    h("h4", {}, "Beside similar clusters"), h("p", { class: "quiet small" }, "Area: share of positive cells. Colour: shift from all cells in standard deviations. Ring: marker is on."),
    dotPlot(e, neighbours(c, 13), typesAtStake(c), c));
}

function agreedPart(c) {
  if (!c.agreed) return null;
  const share = (text) => (text === "" ? "" : percent(Number(text)));
  const votes = c.said ? table(["~Agrees", "Source", "Label", "Stands for", "Found by", "#Share", "#Confidence", "#Weight"],
    c.said.map(([source, label, path, match, part, sure, weight, agrees]) => [agrees === "True" ? h("span", { class: "chosen", title: "on one line with the consensus" }, "✓", h("span", { class: "unseen" }, " agrees")) : "", source, label, h("span", { title: path }, path.split(" / ").pop()), match.replaceAll("_", " "), share(part), share(sure), weight === "" ? "" : decimal(Number(weight))]), { label: "Votes" }) : null;
  return h("section", {}, h("h3", {}, "Consensus"), c.agreed.map((pairs) => factList(pairs)), votes);
}

function genesPart(c) {
  if (!c.genes) return null;
  const read = (text, show) => (text === "" || Number.isNaN(Number(text)) ? text : show(Number(text)));
  return folded("Genes that lead the cluster", () => table(["Gene", "#log2 fold change", "#In", "#Elsewhere", "#Adjusted p"],
    c.genes.map(([gene, change, inside, elsewhere, p]) => [gene, read(change, decimal), read(inside, percent), read(elsewhere, percent), read(p, (v) => (v && v < 0.001 ? v.toExponential(1) : decimal(v, 3)))]), { label: "Leading genes" }));
}

function logPart(c) {
  if (!c.log) return null;
  return h("section", {}, h("h3", {}, "What refinement did"), h("ul", { class: "log" }, c.log.map((a) => h("li", {},
    h("b", {}, `${a.action}${a.status && a.status !== "done" ? ` (${a.status.replace("_", " ")})` : ""}`), a.from !== a.to ? ` ${a.from} → ${a.to}` : "", a.reason ? `: ${a.reason}` : "",
    h("span", { class: "quiet small" }, ` ${[a.reviewer || a.source, (a.at || "").slice(0, 10)].filter(Boolean).join(", ")}`)))));
}

function modelPart(c) {
  if (!c.answer) return null;
  const place = h("div", { class: "talk" });
  const talk = byId(`talks-${c.d}`) ? folded("Conversation", () => { delete talk.dataset.later; showTalk(c, place); return place; }) : null;
  if (talk) talk.dataset.later = "";
  return h("section", {}, h("h3", {}, "Language model"), factList(c.answer), talk);
}

async function showTalk(c, place) {
  replace(place, h("p", { class: "quiet" }, "Unpacking …"));
  let talk;
  try { talk = (await unsqueezed(`talks-${c.d}`))[c.i]; } catch { replace(place, h("p", {}, "This browser cannot unpack the conversation; the file of conversations in the run holds it.")); return; }
  if (!talk) { replace(place, h("p", { class: "quiet" }, "No conversation is on record for this cluster.")); return; }
  replace(place, talk.states.length ? h("p", { class: "quiet small" }, talk.states.join(" → ")) : null,
    talk.turns.map((t, i) => folded(h("span", {}, h("b", {}, `${i + 1}. ${t.role}`), ` ${t.model} `, h("span", { class: "quiet small" }, t.spent)), () => [
      ...t.said.flatMap(([role, text]) => quoted(role, text)), ...quoted("answer", t.answer), t.problems ? h("p", { class: "warning" }, t.problems) : ""])),
    talk.answers.map(([title, text]) => quoted(title, text)));
}

/** Long text under its title; the keyboard scrolls it. */
const quoted = (title, text) => [h("h4", {}, title), h("pre", { tabindex: "0", role: "region", "aria-label": title }, text)];
