// Markers: what speaks for and against a type in a cluster, and dots for markers by clusters.

const evidenceTables = new Map();

/** The matrices of a dataset, ready to be read by position; null if the run holds none. */
function evidenceOf(d) {
  if (!evidenceTables.has(d)) {
    const raw = block(`evidence-${d}`);
    evidenceTables.set(d, raw && {
      markers: raw.markers, lists: new Map(raw.types.map(([type, pro, anti]) => [type, { pro, anti }])),
      enrichment: int16(raw.enrichment), positive: bytes(raw.positive), flags: bytes(raw.flags),
    });
  }
  return evidenceTables.get(d);
}

/** Enrichment, positive share, whether on at a level, whether differential; null where nothing was measured. */
function reading(e, cluster, marker, level) {
  const at = cluster.i * e.markers.length + marker;
  if (e.enrichment[at] === -32768) return null;
  const flags = e.flags[at];
  return { marker: e.markers[marker], enrichment: e.enrichment[at] / 500, positive: e.positive[at] / 250, on: Boolean(flags & (1 << Math.min(level, 6))), de: Boolean(flags & 128) };
}

const hasEvidence = (e, cluster) => e && e.markers.some((_, m) => e.enrichment[cluster.i * e.markers.length + m] !== -32768);

/** Markers of a type in a cluster, strongest first. */
function markerRows(e, cluster, type, role) {
  const listed = e.lists.get(type.index);
  const found = (listed ? listed[role] : []).map((m) => reading(e, cluster, m, type.level)).filter(Boolean);
  return found.sort((a, b) => b.enrichment - a.enrichment || (a.marker < b.marker ? -1 : 1));
}

function markerList(e, cluster, type, role, title) {
  const rows = markerRows(e, cluster, type, role);
  if (!rows.length) return null;
  const most = Math.max(1, ...rows.map((r) => Math.abs(r.enrichment)));
  const bar = (r) => h("span", { class: `bar ${r.enrichment < 0 ? "below" : ""}`, "aria-hidden": "true" }, h("i", { style: { width: `${(100 * Math.abs(r.enrichment)) / most}%`, background: role === "pro" ? "var(--good)" : "var(--bad)" } }));
  return h("div", { class: "markers" }, h("h4", {}, title), table(["Marker", "~Bar", "#Shift", "#Positive", "~Found"],
    rows.map((r) => [h("b", { class: r.on ? "" : "off" }, r.marker), bar(r), decimal(r.enrichment), percent(r.positive), [r.on ? h("span", { class: "mini", title: "enriched and positive in enough cells" }, "on") : null, r.de ? h("span", { class: "mini", title: "among the most differential genes" }, "DE") : null]]), { label: title }));
}

/** Clusters that are worth seeing beside one: those of its type and of its rival, nearest in the tree first. */
function neighbours(cluster, most) {
  const common = (other) => {
    const [a, b] = [cluster.path.split(" / "), other.path.split(" / ")];
    let shared = 0;
    while (shared < a.length && a[shared] === b[shared]) shared += 1;
    return shared + (other.label === cluster.rival ? 0.5 : 0);
  };
  const others = CLUSTERS.filter((c) => c.d === cluster.d && c !== cluster);
  others.sort((a, b) => common(b) - common(a) || b.n - a.n);
  return [cluster, ...others.slice(0, most)];
}

/** Dots: markers in rows, grouped by the type that lists them; clusters in columns. Area is the positive share. */
function dotPlot(e, clusters, types, marked) {
  const groups = types.map((t) => [t, (e.lists.get(t.index)?.pro || []).slice(0, 12)]).filter(([, m]) => m.length);
  const [each, left, head] = [17, 92, 130];
  const count = groups.reduce((n, [, m]) => n + m.length + 1, 0);
  const side = Math.max(left + clusters.length * each + 12, ...groups.map(([t]) => 20 + 6.6 * t.name.length));
  const [width, height] = [side + 118, Math.max(head + count * each + 4, head + 150)];
  const parts = clusters.map((c, i) => svg("g", { class: c === marked ? "here" : "block", onclick: () => openCluster(c) },
    svg("rect", { class: c === marked ? "stripe" : "hit", x: left + i * each, y: 0, width: each, height }),
    svg("text", { transform: `translate(${left + i * each + each / 2 + 4} ${head - 8}) rotate(-90)`, class: "small" }, shorten(`${c.id}  ${c.label}`, 19))));
  let y = head;
  for (const [type, markers] of groups) {
    parts.push(svg("rect", { x: 0, y: y + 4, width: 8, height: 8, rx: 2, fill: type.colour }), svg("text", { x: 13, y: y + 12, class: "small strong" }, type.name));
    y += each;
    for (const m of markers) {
      parts.push(svg("text", { x: left - 6, y: y + 12, "text-anchor": "end", class: "small" }, shorten(e.markers[m], 12)));
      clusters.forEach((c, i) => {
        const r = reading(e, c, m, type.level);
        if (!r) return;
        parts.push(svg("circle", { cx: left + i * each + each / 2, cy: y + each / 2, r: 0.8 + 6.6 * Math.sqrt(r.positive), fill: shiftColour(r.enrichment), class: r.on ? "dot on" : "dot", onmousemove: (ev) => tip(ev, h("b", {}, r.marker), ` in ${c.id} (${c.label}): shift ${decimal(r.enrichment)}, ${percent(r.positive)} positive`), onmouseleave: () => tip() }));
      });
      y += each;
    }
  }
  return h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Dots of markers by clusters" }, plot(width, height, "Markers by clusters", parts, dotKey(side, head)));
}

/** From blue (below all cells) over pale to red-brown (above), which readers with colour blindness can follow. */
function shiftColour(value) {
  const t = Math.max(-1, Math.min(value / 2, 1));
  const [from, to] = t < 0 ? [[226, 226, 224], [33, 102, 172]] : [[226, 226, 224], [166, 54, 3]];
  return `rgb(${from.map((f, i) => Math.round(f + (to[i] - f) * Math.abs(t))).join(" ")})`;
}

function dotKey(x, y) {
  const shares = [0.1, 0.5, 1].map((s, i) => [svg("circle", { cx: x + 8, cy: y + 16 + i * 18, r: 0.8 + 6.6 * Math.sqrt(s), class: "dot", fill: shiftColour(0.6) }), svg("text", { x: x + 22, y: y + 20 + i * 18, class: "small quiet" }, `${percent(s)} positive`)]);
  const shifts = [-1, 0, 1, 2].map((s, i) => [svg("rect", { x, y: y + 74 + i * 16, width: 15, height: 12, fill: shiftColour(s) }), svg("text", { x: x + 22, y: y + 84 + i * 16, class: "small quiet" }, `shift ${s}${s === 2 ? " or more" : ""}`)]);
  return svg("g", {}, shares, shifts);
}
