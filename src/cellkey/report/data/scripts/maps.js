// Maps of the cells on a canvas: coloured by a level of the hierarchy or by how sure the calls are.

const MISSING = 65535;
const mapTables = new Map();
const mapViews = [];

function mapsOf(d) {
  if (!mapTables.has(d)) {
    const raw = block(`maps-${d}`);
    mapTables.set(d, raw && {
      n: raw.n, cluster: uint16(raw.cluster),
      maps: raw.maps.map((m) => ({ title: m.title, down: m.down, x: uint16(m.x), y: uint16(m.y) })),
    });
  }
  return mapTables.get(d);
}

/** A map with its choices; null where the run holds no coordinates. */
function mapPanel() {
  const with_ = RUN.datasets.map((_, d) => d).filter((d) => byId(`maps-${d}`));
  if (!with_.length) return null;
  const state = { d: with_[0], map: 0, by: "label" };
  const canvas = h("canvas", { role: "img", tabindex: "-1", "aria-label": "Map of the cells" });
  const legend = h("ul", { class: "legend" });
  const caption = h("span", { class: "quiet" });
  const choice = (label, entries, name) => h("label", {}, h("span", { class: "unseen" }, label), h("select", { "aria-label": label, onchange: (e) => { state[name] = name === "by" ? e.target.value : Number(e.target.value); refreshChoices(); draw(); } }, entries.map(([v, t]) => h("option", { value: v }, t))));
  const depth = Math.max(0, ...CLUSTERS.map((c) => c.level ?? 0));
  const levels = [["label", "colour: label"], ...Array.from({ length: depth + 1 }, (_, l) => [String(l), `colour: level ${l}${BY_MARKERS}`]), ["sure", `colour: ${HAS_CONFIDENCE ? "confidence" : "margin"}`]];
  const which = h("span", {});
  const refreshChoices = () => replace(which, mapsOf(state.d).maps.length > 1 ? choice("Map", mapsOf(state.d).maps.map((m, i) => [i, m.title]), "map") : mapsOf(state.d).maps[0].title);
  const box = h("figure", { class: "map" },
    h("figcaption", {}, h("b", {}, "Cells "), SEVERAL && with_.length > 1 ? choice("Dataset", with_.map((d) => [d, RUN.datasets[d].name]), "d") : null, which, choice("Colour", levels, "by"), caption),
    h("div", { class: "plot canvas" }, canvas), legend);

  function draw() {
    const table_ = mapsOf(state.d);
    if (state.map >= table_.maps.length) state.map = 0;
    const place = canvas.parentElement;
    const ratio = Math.min(devicePixelRatio || 1, 2);
    const [w, t] = [place.clientWidth, place.clientHeight];
    if (w < 40) return;
    canvas.width = w * ratio;
    canvas.height = t * ratio;
    canvas.style.width = `${w}px`;
    canvas.style.height = `${t}px`;
    paint(canvas.getContext("2d"), table_, state, w * ratio, t * ratio, ratio);
    canvas.setAttribute("aria-label", `${table_.maps[state.map].title} of ${whole(table_.cluster.length)} cells, coloured by ${state.by}`);
    caption.textContent = table_.cluster.length < table_.n ? `${whole(table_.cluster.length)} of ${whole(table_.n)} cells` : counted(table_.n, "cell");
    drawLegend(legend, state);
  }
  canvas.addEventListener("mousemove", (e) => {
    const c = nearest(canvas, mapsOf(state.d), state, e);
    canvas.style.cursor = c ? "pointer" : "default";
    if (c) tip(e, h("b", {}, nameOf(c)), ` ${c.label}`); else tip();
  });
  canvas.addEventListener("mouseleave", () => tip());
  canvas.addEventListener("click", (e) => { const c = nearest(canvas, mapsOf(state.d), state, e); if (c) openCluster(c); });
  new ResizeObserver(() => requestAnimationFrame(draw)).observe(box.querySelector(".canvas"));
  mapViews.push(() => { const open = BY_KEY.get(view.open); if (open && with_.includes(open.d) && open.d !== state.d) { state.d = open.d; refreshChoices(); } draw(); });
  refreshChoices();
  return box;
}

const redrawMaps = () => mapViews.forEach((draw) => requestAnimationFrame(draw));

function clusterColour(c, by) {
  if (by === "label") return labelColour(c);
  if (by === "sure") return sureColour(c);
  return typeAt(c, Number(by))?.colour || RUN.grey.unassigned;
}

/** The colour of the label as decided, so that the map shows what the review made of it. */
function labelColour(c) {
  const d = decisionOf(c);
  return d && d.label ? BY_PATH.get(d.label)?.colour || RUN.grey.ambiguous : colourOf(c);
}

/** Dark where a call is sure, pale where it is not. */
function sureColour(c) {
  const v = Math.max(0, Math.min((HAS_CONFIDENCE ? c.confidence : c.alone ? 2 : c.margin) / (HAS_CONFIDENCE ? 1 : 2) || 0, 1));
  return `rgb(${[[253, 231, 160], [24, 78, 119]].reduce((a, b) => a.map((x, i) => Math.round(x + (b[i] - x) * v))).join(" ")})`;
}

/** Where a point of a map lies on the canvas: the map keeps its shape and fills the place. */
function scaling(map, width, height) {
  if (!map.extent) {
    let [mx, my] = [1, 1];
    for (let i = 0; i < map.x.length; i += 1) if (map.x[i] !== MISSING) { mx = Math.max(mx, map.x[i]); my = Math.max(my, map.y[i]); }
    map.extent = [mx, my];
  }
  const [mx, my] = map.extent;
  const s = Math.min((width - 16) / mx, (height - 16) / my);
  const [ox, oy] = [(width - s * mx) / 2, (height - s * my) / 2];
  return { x: (v) => ox + s * v, y: (v) => (map.down ? oy + s * v : height - oy - s * v), s };
}

function paint(context, table_, state, width, height, ratio) {
  const map = table_.maps[state.map];
  const at = scaling(map, width, height);
  const clusters = CLUSTERS.filter((c) => c.d === state.d);
  const colours = clusters.map((c) => clusterColour(c, state.by));
  const open = BY_KEY.get(view.open);
  const marked = open && open.d === state.d ? open.i : -1;
  const size = Math.max(1.4, Math.min(4, 60 / Math.sqrt(map.x.length / 40))) * ratio * 0.9;
  context.clearRect(0, 0, width, height);
  const dots = (wanted, grow, alpha) => {
    context.globalAlpha = alpha;
    for (let i = 0; i < map.x.length; i += 1) {
      const c = table_.cluster[i];
      if (map.x[i] === MISSING || !wanted(c)) continue;
      context.fillStyle = c === MISSING ? RUN.grey.unassigned : colours[c];
      context.fillRect(at.x(map.x[i]) - (size * grow) / 2, at.y(map.y[i]) - (size * grow) / 2, size * grow, size * grow);
    }
  };
  if (marked < 0) dots(() => true, 1, 0.9);
  else { dots((c) => c !== marked, 1, 0.22); dots((c) => c === marked, 1.35, 1); }
  context.globalAlpha = 1;
}

function nearest(canvas, table_, state, event) {
  const map = table_.maps[state.map];
  const box = canvas.getBoundingClientRect();
  const at = scaling(map, box.width, box.height);
  const [px, py] = [event.clientX - box.left, event.clientY - box.top];
  let [best, least] = [-1, 64];
  for (let i = 0; i < map.x.length; i += 1) {
    if (map.x[i] === MISSING || table_.cluster[i] === MISSING) continue;
    const away = (at.x(map.x[i]) - px) ** 2 + (at.y(map.y[i]) - py) ** 2;
    if (away < least) [best, least] = [i, away];
  }
  return best < 0 ? null : CLUSTERS.find((c) => c.d === state.d && c.i === table_.cluster[best]);
}

function drawLegend(legend, state) {
  if (state.by === "sure") { replace(legend, h("li", {}, chip("rgb(253 231 160)"), "unsure"), h("li", {}, chip("rgb(24 78 119)"), "sure")); return; }
  const cells = new Map();
  for (const c of CLUSTERS.filter((k) => k.d === state.d)) {
    const d = state.by === "label" ? decisionOf(c) : null;
    const type = d && d.label ? BY_PATH.get(d.label) : state.by !== "label" ? typeAt(c, Number(state.by)) : c.hue ? null : TYPES[c.type];
    const name = type ? type.path : d && d.label ? d.label : c.label || "no label";
    const entry = cells.get(name) || { name: name.split(" / ").pop(), colour: clusterColour(c, state.by), n: 0, path: type?.path };
    entry.n += c.n;
    cells.set(name, entry);
  }
  const sorted = [...cells.values()].sort((a, b) => b.n - a.n);
  replace(legend, sorted.slice(0, 14).map((e) => h("li", {}, h("button", { type: "button", class: "plain", disabled: !e.path, title: "Show these clusters only", onclick: () => setFilter("type", e.path) }, chip(e.colour), shorten(e.name, 28), h("span", { class: "quiet" }, ` ${whole(e.n)}`)))),
    sorted.length > 14 ? h("li", { class: "quiet" }, `and ${sorted.length - 14} more`) : null);
}
