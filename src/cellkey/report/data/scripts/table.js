// The table of clusters: search, filters, sorting, selection; rows are made as far as one scrolls.

const CHUNK = 100;
const view = { words: "", type: "", stop: "", state: "", dataset: "", sort: "", down: false, shown: [], made: 0, focus: "", open: "" };
const selected = new Set();
const rowNodes = new Map();
const natural = new Intl.Collator("en", { numeric: true });

const COLUMNS = [
  { name: "Cluster", key: "id", value: (c) => nameOf(c) },
  ...(N_CELLS ? [{ name: "Cells", key: "n", number: true, value: (c) => c.n }] : []),
  { name: "Label", key: "label", value: (c) => c.path || c.label },
  ...(HAS_SURENESS ? [{ name: HAS_CONFIDENCE ? "Confidence" : "Margin", key: "sure", number: true, value: (c) => sureness(c) ?? -Infinity }] : []),
  ...(HAS_MODEL ? [{ name: "Score", key: "model", number: true, value: (c) => c.modelScore ?? -Infinity }] : []),
  { name: HAS_STOPS ? "Stopped" : "Outcome", key: "stop", value: endOf },
  { name: "Decision", key: "decision", value: (c) => decisionText(c) },
];

function buildTable() {
  const search = h("input", { id: "search", type: "search", autocomplete: "off", spellcheck: "false", placeholder: "Cluster, label, gene …", oninput: (e) => { view.words = e.target.value; refilter(); } });
  const choose = (name, label, entries) => h("label", {}, h("span", { class: "quiet small" }, label),
    h("select", { id: `filter-${name}`, onchange: (e) => { view[name] = e.target.value; refilter(); } }, entries.map(([value, text]) => h("option", { value }, text))));
  const filters = h("div", { class: "filters", role: "search" },
    h("label", { class: "grow" }, h("span", { class: "quiet small" }, "Search"), search),
    SEVERAL ? choose("dataset", "Dataset", [["", "all"], ...RUN.datasets.map((d, i) => [String(i), d.name])]) : null,
    choose("type", "Cell type", [["", "all"], ...typesPresent().map((t) => [t.path, `${" ".repeat(3 * t.level)}${t.name}`]), ["-", "no cell type"]]),
    choose("stop", HAS_STOPS ? "Stopped" : "Outcome", [["", "all"], ...endsPresent().map((s) => [s, s.replaceAll("_", " ")])]),
    choose("state", "Decision", [["", "all"], ["open", "undecided"], ["decided", "decided"]]),
    h("button", { type: "button", class: "plain", id: "clear-filters", onclick: clearFilters }, "Show all"));
  const head = h("tr", {}, h("th", { class: "tick" }, h("span", { class: "unseen" }, "Selected")), COLUMNS.map((column) =>
    h("th", { scope: "col", class: column.number ? "n" : column.key === "stop" ? "end" : null, "data-key": column.key, "aria-sort": "none" },
      h("button", { type: "button", onclick: () => sortBy(column.key) }, column.name))));
  const grid = h("table", { role: "grid", id: "clusters", "aria-multiselectable": "true", "aria-label": "Clusters" }, h("thead", {}, head), h("tbody", {}));
  const scroller = h("div", { class: "scroller", id: "scroller", onscroll: fillUp }, grid);
  grid.tBodies[0].addEventListener("keydown", tableKeys);
  grid.tBodies[0].addEventListener("focusin", (e) => { const row = e.target.closest("tr"); if (row) rove(row.dataset.key, false); });
  replace(byId("list"), filters, h("div", { class: "under" }, h("output", { id: "found", for: "search" }), h("span", { id: "picked" })), scroller);
  refilter();
}

function typesPresent() {
  const present = new Set();
  for (const c of CLUSTERS) for (let t = TYPES[c.type]; t; t = TYPES[t.parent]) present.add(t.index);
  return TYPES.filter((t) => present.has(t.index));
}

function clearFilters() {
  Object.assign(view, { words: "", type: "", stop: "", state: "", dataset: "" });
  byId("search").value = "";
  for (const select of document.querySelectorAll(".filters select")) select.value = "";
  refilter();
}

function setFilter(name, value) {
  view[name] = view[name] === value ? "" : value;
  byId(`filter-${name}`).value = view[name];
  refilter();
  byId("list").scrollIntoView({ block: "nearest", behavior: "smooth" });
}

function fitsFilters(c) {
  const words = view.words.toLowerCase().split(/\s+/).filter(Boolean);
  const d = decisionOf(c);
  const text = d ? `${c.words} ${d.label} ${d.comment}`.toLowerCase() : c.words;
  return words.every((w) => text.includes(w))
    && (!view.dataset || String(c.d) === view.dataset)
    && (!view.stop || endOf(c) === view.stop)
    && (!view.state || (view.state === "decided") === Boolean(d))
    && (!view.type || (view.type === "-" ? c.type < 0 : c.path === view.type || c.path.startsWith(`${view.type} / `)));
}

function refilter() {
  const column = COLUMNS.find((k) => k.key === view.sort);
  view.shown = CLUSTERS.filter(fitsFilters);
  if (column) {
    const order = column.number ? (a, b) => column.value(a) - column.value(b) || 0 : (a, b) => natural.compare(column.value(a), column.value(b));
    view.shown.sort((a, b) => (view.down ? -order(a, b) : order(a, b)));
  }
  view.made = 0;
  rowNodes.clear();
  byId("clusters").tBodies[0].replaceChildren();
  byId("clusters").setAttribute("aria-rowcount", view.shown.length + 1);
  byId("scroller").scrollTop = 0;
  more(CHUNK);
  if (!view.shown.some((c) => c.key === view.focus)) view.focus = view.shown[0]?.key || "";
  rove(view.focus, false);
  const cells = view.shown.reduce((sum, c) => sum + c.n, 0);  // marker tables do not tell
  byId("found").textContent = `${whole(view.shown.length)} of ${counted(CLUSTERS.length, "cluster")}${cells ? `, ${whole(cells)} cells` : ""}`;
  byId("clear-filters").hidden = view.shown.length === CLUSTERS.length;
  drawPicked();
}

function sortBy(key) {
  const numeric = COLUMNS.find((c) => c.key === key).number;
  if (view.sort !== key) Object.assign(view, { sort: key, down: Boolean(numeric) });
  else if (view.down !== Boolean(numeric)) Object.assign(view, { sort: "", down: false });
  else view.down = !view.down;
  for (const th of document.querySelectorAll("#clusters th[data-key]")) {
    th.setAttribute("aria-sort", th.dataset.key !== view.sort ? "none" : view.down ? "descending" : "ascending");
  }
  refilter();
}

/** Make rows up to the bottom of what is seen. */
function fillUp() {
  const box = byId("scroller");
  if (view.made < view.shown.length && box.scrollTop + box.clientHeight > box.scrollHeight - 600) more(CHUNK);
}

function more(count) {
  const next = view.shown.slice(view.made, view.made + count);
  byId("clusters").tBodies[0].append(...next.map((c, i) => makeRow(c, view.made + i)));
  view.made += next.length;
}

function makeRow(c, index) {
  const tick = h("input", { type: "checkbox", tabindex: "-1", "aria-label": `Select cluster ${nameOf(c)}`, onclick: (e) => { e.stopPropagation(); toggle(c); } });
  const row = h("tr", { "data-key": c.key, tabindex: "-1", "aria-rowindex": index + 2, onclick: () => openCluster(c) },
    h("td", { class: "tick" }, tick), h("td", { class: "id" }, c.id, SEVERAL ? h("span", { class: "quiet small way", title: RUN.datasets[c.d].name }, RUN.datasets[c.d].name) : null), N_CELLS ? h("td", { class: "n" }, c.n ? whole(c.n) : "") : null,
    h("td", { class: "label" }), HAS_SURENESS ? h("td", { class: "n" }, sureCell(c)) : null,
    HAS_MODEL ? h("td", { class: "n" }, c.modelScore === undefined ? "" : decimal(c.modelScore, 0)) : null,
    h("td", { class: "quiet end" }, endOf(c).replaceAll("_", " ")), h("td", { class: "decision" }));
  rowNodes.set(c.key, row);
  dressRow(c);
  return row;
}

/** What changes on a row: label, decision, selection, and whether it is open. */
function dressRow(c) {
  const row = rowNodes.get(c.key);
  if (!row) return;
  const d = decisionOf(c);
  const way = c.path.split(" / ");
  const above = isForeign(c) ? `${c.placed ? "in the tree" : "markers"}: ${way.at(-1)}` : way.slice(0, -1).slice(-2).join(" › ");
  replace(row.querySelector(".label"), chip(colourOf(c)),
    h("span", { class: d && ["label", "merge"].includes(d.action) ? "struck" : isNamed(c) ? "" : "quiet", title: c.path || c.label }, c.label || "no label"),
    d && d.label ? h("span", { class: "newly", title: d.label }, " → ", chip(labelColour(c)), h("b", {}, d.label.split(" / ").pop())) : null,
    above ? h("span", { class: "quiet small way", title: c.path }, above) : null);
  replace(row.querySelector(".decision"), d ? h("span", { class: `badge ${d.action || "remark"}`, title: d.comment }, badgeText(d), d.comment && d.action ? " ✎" : "") : "");
  row.setAttribute("aria-selected", String(selected.has(c.key)));
  row.querySelector("input").checked = selected.has(c.key);
  row.classList.toggle("open", view.open === c.key);
}

function sureCell(c) {
  const value = sureness(c);
  if (value === undefined || value === null) return "";
  const share = Math.max(0, Math.min(HAS_CONFIDENCE ? value : value / 2, 1));
  return h("span", { class: "sure" }, h("span", { class: "meter", "aria-hidden": "true" }, h("i", { style: { width: `${100 * share}%` } })), sureText(c));
}

function toggle(c) {
  if (!selected.delete(c.key)) selected.add(c.key);
  dressRow(c);
  drawPicked();
}

function drawPicked() {
  const chosen = [...selected].map((k) => BY_KEY.get(k));
  replace(byId("picked"), chosen.length ? [
    h("b", {}, `${chosen.length} selected `),
    h("button", { type: "button", class: "small", id: "merge-selected", disabled: chosen.length < 2, onclick: mergeSelected }, "Merge …"),
    h("button", { type: "button", class: "small", onclick: () => relabel(chosen) }, "Label …"),
    h("button", { type: "button", class: "small", onclick: () => setAction(chosen, "keep") }, "Confirm"),
    h("button", { type: "button", class: "small plain", onclick: () => { selected.clear(); refreshRows(); } }, "Clear"),
  ] : h("span", { class: "quiet small" }, "Space selects rows, Enter opens one, ? lists all keys"));
}

function refreshRows() {
  for (const key of rowNodes.keys()) dressRow(BY_KEY.get(key));
  drawPicked();
}

/** Only one row is in the order of the Tab key; arrows move it. */
function rove(key, focus = true) {
  rowNodes.get(view.focus)?.setAttribute("tabindex", "-1");
  view.focus = key;
  const row = rowNodes.get(key);
  if (!row) return;
  row.setAttribute("tabindex", "0");
  if (focus) { row.focus({ preventScroll: true }); row.scrollIntoView({ block: "nearest" }); }
}

function moveFocus(index) {
  const to = Math.max(0, Math.min(index, view.shown.length - 1));
  while (view.made <= to && view.made < view.shown.length) more(CHUNK);
  if (view.shown[to]) rove(view.shown[to].key);
}

function tableKeys(event) {
  const at = view.shown.findIndex((c) => c.key === view.focus);
  if (at < 0) return;
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + 15, PageUp: at - 15, Home: 0, End: view.shown.length - 1 }[event.key];
  if (to !== undefined) { event.preventDefault(); moveFocus(to); }
  if (event.key === "Enter") { event.preventDefault(); openCluster(view.shown[at]); reveal(); }
  if (event.key === " ") { event.preventDefault(); toggle(view.shown[at]); }
}
