// The head of the page: what the run is, how it went as a whole, and the figures that lead into the table.

function buildFacts() {
  replace(byId("facts"), RUN.facts.map(([k, v]) => h("span", {}, h("span", { class: "quiet" }, `${k} `), /^\d{4}-\d\d-\d\dT/.test(v) ? h("time", { datetime: v, title: v }, v.slice(0, 16).replace("T", " ")) : v)));
}

function buildOverview() {
  const pick = (c) => openCluster(c);
  const named = CLUSTERS.filter(isNamed);
  const sum = (clusters) => clusters.reduce((s, c) => s + weight(c), 0);
  const tile = (value, text, title) => h("div", { class: "tile", title }, h("b", {}, value), h("span", {}, text));
  const sure = CLUSTERS.map(sureness).filter((v) => typeof v === "number" && Number.isFinite(v)).sort((a, b) => a - b);
  const tiles = h("div", { class: "tiles" },
    N_CELLS ? tile(whole(N_CELLS), "cells") : null, tile(whole(CLUSTERS.length), SEVERAL ? `clusters in ${RUN.datasets.length} datasets` : "clusters"),
    tile(percent(sum(named) / (sum(CLUSTERS) || 1), 1), `of the ${UNIT}s have a label`),
    tile(whole(new Set(named.map((c) => c.path || c.label)).size), "different labels"),
    sure.length ? tile(HAS_CONFIDENCE ? percent(sure[Math.floor(sure.length / 2)]) : decimal(sure[Math.floor(sure.length / 2)]), HAS_CONFIDENCE ? "median confidence" : "median margin") : null,
    tile("0", "decided", "decided-tile"));
  tiles.lastChild.id = "decided";
  const figures = [
    mapPanel(),
    CLUSTERS.some((c) => c.type >= 0) ? figure(`Lineages${BY_MARKERS}`, "click to filter", icicle(CLUSTERS, (path) => setFilter("type", path)), 150) : null,
    stopFigure(),
    HAS_SURENESS ? figure(HAS_CONFIDENCE ? "Confidence by depth" : "Margin by depth", "a dot is a cluster", surenessByDepth(CLUSTERS, pick), 150) : null,
    N_CELLS ? figure("Cluster sizes", "cells, logarithmic", sizes(CLUSTERS, pick), 150) : null,
  ].filter(Boolean);
  replace(byId("overview"), tiles, h("div", { class: `figures ${figures[0].classList.contains("map") ? "with-map" : ""}` }, figures), colourNote(), notes());
}

/** How labels that no walk gave come by their colours. */
function colourNote() {
  if (!CLUSTERS.some((c) => c.hue)) return null;
  const trees = [...new Set(RUN.datasets.map((d) => d.tree).filter(Boolean))].join(", ");
  return h("p", { class: "quiet small" }, `A label in a model's or a person's words has the colour of the cell type that it stands for${trees ? ` in the tree ${trees}` : ""}, found by Cell Ontology id, alias or name; a kind of it has a shade. Labels found nowhere have colours of their own.`);
}

/** Why walks stopped, or how a model's work ended. */
function stopFigure() {
  const rows = endsPresent().map((end) => {
    const { meaning, colour } = STOPS.get(end) || { meaning: "", colour: ["ok", "boosted", "resolved"].includes(end) ? "#44AA99" : "#E69F00" };
    return { name: end.replaceAll("_", " "), title: meaning, colour, clusters: CLUSTERS.filter((c) => endOf(c) === end), pick: () => setFilter("stop", end) };
  });
  for (const r of rows) Object.assign(r, { value: r.clusters.length, text: `${whole(r.clusters.length)} (${percent(r.clusters.reduce((s, c) => s + weight(c), 0) / (N_CELLS || CLUSTERS.length || 1))})` });
  const title = HAS_STOPS ? "Why the walks stopped" : "Outcomes";
  return figure(title, `clusters (share of ${UNIT}s)`, bars(rows, title), rows.length * 27);
}

function notes() {
  const found = RUN.datasets.flatMap((d) => [d.error ? `${d.name}: ${d.status}: ${d.error}` : "", ...(d.notes || []).map((n) => (SEVERAL ? `${d.name}: ${n}` : n))]).filter(Boolean);
  return [
    found.length ? folded(counted(found.length, "note"), () => h("ul", {}, found.map((n) => h("li", {}, n))), found.length <= 2) : null,
    SEVERAL ? folded(counted(RUN.datasets.length, "dataset"), () => table(["Dataset", "Tissue", "#Clusters", "#Cells", "Status"], RUN.datasets.map((d) => [d.name, d.tissue, whole(d.clusters.length), whole(d.clusters.reduce((s, c) => s + (c.n || 0), 0)), d.status]), { label: "Datasets" })) : null,
    RUN.spending.length ? folded("Calls, tokens and cost", () => table(["By", "~Name", "#Calls", "#Tokens in", "#Tokens out", "#Cost"], RUN.spending.map((r) => r.map((v) => (typeof v === "number" ? whole(v) : v))), { label: "Calls, tokens and cost" })) : null,
  ];
}

/** The bar on top: theme, keys, undo, save. */
function buildTools() {
  const button = (id, text, act, more = {}) => h("button", { type: "button", id, onclick: act, ...more }, text);
  replace(byId("tools"),
    button("undo", "Undo", undo, { title: "Ctrl+Z" }), button("redo", "Redo", redo, { title: "Ctrl+Shift+Z" }),
    button("load", "Load …", chooseFile, { hidden: !EDITABLE, title: "Add the decisions of a plan saved from this page, a colleague's for instance" }),
    button("help", "Keys", showKeys, { title: "?" }), button("theme", "Theme", changeTheme),
    button("save", "Save decisions", showSave, { class: "primary", title: "Ctrl+S" }));
}

function drawDecided() {
  const n = decisions.size;
  byId("decided").firstChild.textContent = `${whole(n)} of ${whole(CLUSTERS.length)}`;
  byId("undo").disabled = !past.length;
  byId("redo").disabled = !future.length;
  byId("save").disabled = !n;
  const where = storageWorks ? "kept in this browser" : "kept only until this page is closed";
  replace(byId("banner"), unsaved() ? h("p", {}, h("b", {}, `${counted(n, "decision")} not saved to a file`), ` (${where}). `, h("button", { type: "button", class: "small", disabled: !n, onclick: showSave }, "Save …")) : null);
}

/** The list of what was decided, who decided, and the files to save. */
function showSave() {
  if (!decisions.size) { notify("Nothing was decided yet."); return; }
  const name = h("input", { id: "reviewer", autocomplete: "name", value: [...new Set([stored(REVIEWER), ...coReviewers])].filter(Boolean).join(" and "), maxlength: "200" });
  const wrong = h("p", { class: "warning", role: "alert" });
  const save = (kind) => {
    if (!name.value.trim()) { wrong.textContent = "Please write who decided: the name goes into the record."; name.focus(); return; }
    if (!coReviewers.size) store(REVIEWER, name.value.trim());
    saveDecisions(kind, name.value.trim());
    box.close();
    notify(kind === "plan" ? `Saved. Carry it out with: cellkey refine ${RUN.run} --plan FILE` : "Saved as a table.");
  };
  const rows = [...decisions].map(([key, d]) => [nameOf(BY_KEY.get(key)), BY_KEY.get(key).label, decisionText(BY_KEY.get(key), d), d.comment]);
  const box = h("dialog", { class: "saving", "aria-label": "Save decisions" },
    h("h2", {}, counted(rows.length, "decision")), table(["Cluster", "Label", "Decision", "Remark"], rows, { label: "Decisions" }),
    h("label", { class: "remark" }, h("span", {}, "Reviewer"), name), wrong,
    EDITABLE ? h("p", { class: "quiet" }, "The plan is carried out with ", h("code", {}, "cellkey refine RUN --plan FILE"), "; names and remarks go into refinement_log.csv.")
      : h("p", { class: "quiet" }, "This run cannot be refined as it is, so decisions are saved as a table of clusters and labels."),
    h("div", { class: "actions" },
      EDITABLE ? h("button", { type: "button", id: "save-plan", class: "primary", onclick: () => save("plan") }, "Save plan") : null,
      h("button", { type: "button", id: "save-table", class: EDITABLE ? "" : "primary", onclick: () => save("table") }, "Save table"),
      h("button", { type: "button", class: "plain", onclick: () => box.close() }, "Cancel")));
  openDialog(box);
  name.focus();
}

function chooseFile() {
  const input = h("input", { type: "file", id: "plan-file", accept: ".json,application/json", hidden: true });
  input.addEventListener("change", async () => { notify(loadPlan(await input.files[0].text())); input.remove(); });
  document.body.append(input);
  input.click();
}

/** A few words that go away by themselves; the banner stays for what matters. */
function notify(text) {
  const note = h("p", { class: "toast", role: "status" }, text);
  document.body.append(note);
  setTimeout(() => note.remove(), 5000 + 60 * text.length);
}
