// Choosing a cell type: a search field over the tree, worked by arrows and Enter; scores of the cluster beside the names.

/** Ask for a cell type; calls back with a path or any text that was typed. */
function pickType(title, cluster, current, onPick) {
  const search = h("input", { type: "search", id: "pick-search", role: "combobox", "aria-expanded": "true", "aria-controls": "pick-list", "aria-autocomplete": "list", autocomplete: "off", spellcheck: "false", placeholder: "Search name, path or ontology id" });
  const list = h("ul", { id: "pick-list", role: "listbox", "aria-label": "Cell types" });
  const box = h("dialog", { class: "picker", "aria-label": title },
    h("form", { method: "dialog" },
      h("h2", {}, title),
      h("label", { for: "pick-search", class: "quiet" }, "Arrow keys move, Enter takes, Escape leaves. Any other name can be typed."),
      search, list));
  let options = [];
  let at = 0;

  const mark = (index) => {
    options[at]?.node.removeAttribute("aria-selected");
    at = Math.max(0, Math.min(index, options.length - 1));
    const chosen = options[at]?.node;
    if (!chosen) { search.removeAttribute("aria-activedescendant"); return; }
    chosen.setAttribute("aria-selected", "true");
    search.setAttribute("aria-activedescendant", chosen.id);
    chosen.scrollIntoView({ block: "nearest" });
  };
  const take = (value) => { box.close(); onPick(value); };
  const show = () => {
    options = choices(search.value.trim(), cluster);
    options.forEach((o, i) => {
      o.node = h("li", { id: `pick-${i}`, role: "option", style: { "padding-inline-start": `${10 + 18 * o.indent}px` }, onmousedown: (e) => e.preventDefault(), onclick: () => take(o.value) }, o.show());
    });
    replace(list, options.length ? options.map((o) => o.node) : h("li", { class: "quiet" }, "nothing fits"));
    const own = options.findIndex((o) => o.value === current && !search.value);
    mark(search.value ? options.findIndex((o) => o.hit) : Math.max(own, 0));
  };
  search.addEventListener("input", show);
  search.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
    if (step) { event.preventDefault(); mark(at + step); }
    if (event.key === "Enter") { event.preventDefault(); if (options[at]) take(options[at].value); }
  });
  openDialog(box);
  show();
  search.focus();
}

/** What fits the words that were typed: types with the way to them, then what was typed as a name of its own. */
function choices(text, cluster) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (t) => words.every((w) => `${t.path} ${t.ontology}`.toLowerCase().includes(w));
  const byName = (t) => words.every((w) => `${t.name} ${t.ontology}`.toLowerCase().includes(w));
  const hits = new Set(TYPES.filter((t) => !words.length || byName(t)).map((t) => t.index));
  if (!hits.size) TYPES.filter(fits).forEach((t) => hits.add(t.index));
  const shown = new Set(hits);
  for (const i of hits) for (let t = TYPES[TYPES[i].parent]; t; t = TYPES[t.parent]) shown.add(t.index);
  const found = TYPES.filter((t) => shown.has(t.index)).map((t) => ({
    value: t.path, indent: t.level, hit: hits.has(t.index),
    show: () => [chip(t.colour), h("span", { class: hits.has(t.index) ? "" : "quiet" }, t.name), scoreMark(cluster, t), h("span", { class: "quiet small" }, t.ontology)],
  }));
  const plain = (value, words_) => ({ value, indent: 0, hit: !found.length, show: () => [chip(RUN.grey.unassigned), words_] });
  if (!words.length || "unassigned".includes(text.toLowerCase())) found.push(plain("Unassigned", "Unassigned"));
  if (text && !TYPES.some((t) => t.name === text || t.path === text)) found.push(plain(text, `Use “${text}” as a name of its own`));
  return found;
}

function scoreMark(cluster, type) {
  const score = cluster ? scoreOf(cluster, type.index) : null;
  return score === null ? null : h("span", { class: "score", title: "score in this cluster" }, decimal(score));
}

/** Show a dialog; it goes away when it is closed, and focus returns to where it was. */
function openDialog(box) {
  const before = document.activeElement;
  byId("dialogs").append(box);
  box.addEventListener("close", () => { box.remove(); if (before && before.isConnected) before.focus(); });
  box.addEventListener("click", (event) => { if (event.target === box) box.close(); });
  box.showModal();
}
