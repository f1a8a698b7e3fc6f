// The overview figures, as SVG at the width of their place.

/** A figure with a title; `draw(width)` gives the SVG, again whenever the width changes. */
function figure(title, note, draw, height) {
  const place = h("div", { class: "plot" });
  const frame = h("figure", {}, h("figcaption", {}, h("b", {}, title), note ? h("span", { class: "quiet" }, ` ${note}`) : null), place);
  let width = 0;
  const redraw = () => {
    const now = Math.floor(place.clientWidth);
    if (now < 40 || now === width) return;
    width = now;
    replace(place, draw(width));
  };
  place.style.minHeight = `${height}px`;
  new ResizeObserver(redraw).observe(place);
  frame.redraw = () => { width = 0; redraw(); };
  return frame;
}

const plot = (width, height, label, ...content) =>
  svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, content);

/** Cells by cell type, one row per level of the hierarchy: what is left of a type's width stopped there. */
function icicle(clusters, onPick) {
  const cells = new Map();
  for (const c of clusters) {
    for (let t = TYPES[c.type]; t; t = TYPES[t.parent]) cells.set(t.index, (cells.get(t.index) || 0) + weight(c));
  }
  const total = clusters.reduce((sum, c) => sum + weight(c), 0) || 1;
  const depth = Math.max(0, ...[...cells.keys()].map((i) => TYPES[i].level)) + 1;
  const others = total - TYPES.filter((t) => t.parent < 0).reduce((sum, t) => sum + (cells.get(t.index) || 0), 0);
  return (width) => {
    const row = Math.max(26, Math.min(40, 150 / depth));
    const parts = [];
    const box = (x, level, w, colour, name, n, pick) => {
      const shown = svg("g", { class: "block", onclick: pick, onmousemove: (e) => tip(e, h("b", {}, name), ` ${counted(n, UNIT)}, ${percent(n / total, 1)}`), onmouseleave: () => tip() },
        svg("rect", { x, y: level * (row + 3), width: Math.max(w - 1.5, 0.5), height: row, fill: colour, rx: 3 }));
      if (w > 34) {
        shown.append(svg("text", { x: x + 6, y: level * (row + 3) + row / 2 + 4, fill: inkOn(colour) }, shorten(name, Math.floor((w - 10) / 7))));
      }
      parts.push(shown);
    };
    const walk = (types, start, level) => {
      let x = start;
      for (const t of [...types].sort((a, b) => (cells.get(b.index) || 0) - (cells.get(a.index) || 0))) {
        const n = cells.get(t.index) || 0;
        if (!n) continue;
        const w = (n / total) * width;
        box(x, level, w, t.colour, t.name, n, () => onPick(t.path));
        walk(t.children, x, level + 1);
        x += w;
      }
      return x;
    };
    const end = walk(TYPES.filter((t) => t.parent < 0), 0, 0);
    if (others > 0) box(end, 0, (others / total) * width, RUN.grey.unassigned, "no cell type", others, null);
    return plot(width, depth * (row + 3), "Cells by cell type and level", parts);
  };
}

/** Black or white, whichever reads better on a colour. */
function inkOn(colour) {
  const [r, g, b] = [1, 3, 5].map((i) => (parseInt(colour.slice(i, i + 2), 16) / 255) ** 2.2);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.2 ? "#000" : "#fff";
}

/** Horizontal bars with name and number: rows of { name, value, colour, text, title, pick }. */
function bars(rows, label) {
  const most = Math.max(...rows.map((r) => r.value), 1);
  return (width) => {
    const each = 27;
    const named = Math.min(190, width * 0.46);
    const parts = rows.map((r, i) => svg("g", { class: r.pick ? "block" : null, onclick: r.pick || null, onmousemove: (e) => tip(e, r.title || r.name), onmouseleave: () => tip() },
      svg("rect", { class: "hit", x: 0, y: i * each, width, height: each }),
      svg("text", { x: 0, y: i * each + 17 }, shorten(r.name, Math.floor(named / 6.6))),
      svg("rect", { x: named, y: i * each + 5, width: Math.max(1, ((width - named - 92) * r.value) / most), height: 17, rx: 3, fill: r.colour }),
      svg("text", { x: named + ((width - named - 92) * r.value) / most + 6, y: i * each + 17, class: "quiet" }, r.text)));
    return plot(width, rows.length * each, label, parts);
  };
}

/** Cluster sizes from the largest on, on a logarithmic scale. */
function sizes(clusters, onPick) {
  const sorted = [...clusters].filter((c) => c.n > 0).sort((a, b) => b.n - a.n);
  const top = Math.log10(Math.max(10, sorted[0]?.n || 10));
  return (width) => {
    const [height, left, head, foot] = [150, 40, 6, 18];
    const each = Math.min(60, (width - left) / Math.max(sorted.length, 1));
    const y = (n) => head + (height - head - foot) * (1 - Math.log10(Math.max(n, 1)) / top);
    const marks = [1, 10, 100, 1000, 1e4, 1e5, 1e6].filter((n) => Math.log10(n) <= top).map((n) => [
      svg("line", { x1: left, x2: width, y1: y(n), y2: y(n), class: "grid" }),
      svg("text", { x: left - 6, y: y(n) + 4, "text-anchor": "end", class: "quiet small" }, n < 1e4 ? whole(n) : ROUGHLY.format(n))]);
    const columns = sorted.map((c, i) => svg("rect", { class: "block", x: left + i * each, y: y(c.n), width: Math.max(each - (each > 4 ? 1.5 : 0.2), 0.4), height: height - foot - y(c.n), fill: colourOf(c), onclick: () => onPick(c), onmousemove: (e) => tip(e, h("b", {}, nameOf(c)), ` ${c.label}, ${whole(c.n)} cells`), onmouseleave: () => tip() }));
    return plot(width, height, "Cluster sizes", marks, columns,
      svg("text", { x: width, y: height - 3, "text-anchor": "end", class: "quiet small" }, counted(sorted.length, "cluster")));
  };
}

/** How sure the calls are, by depth of the label; a dot is a cluster, its area the number of cells. */
function surenessByDepth(clusters, onPick) {
  const shown = clusters.filter((c) => typeof sureness(c) === "number" && !Number.isNaN(sureness(c)));
  const finite = shown.map(sureness).filter(Number.isFinite).sort((a, b) => a - b);
  const top = HAS_CONFIDENCE ? 1 : Math.max(0.5, finite[Math.floor(finite.length * 0.97)] || 1);
  const levels = [...new Set(shown.map((c) => c.level ?? -1))].sort((a, b) => a - b);
  const largest = Math.max(...shown.map((c) => c.n), 1);
  return (width) => {
    const [left, each] = [78, Math.max(26, Math.min(40, 150 / Math.max(levels.length, 1)))];
    const x = (v) => left + Math.min(Math.max(v, 0) / top, 1) * (width - left - 12);
    const height = levels.length * each + 20;
    const ticks = [0, 0.25, 0.5, 0.75, 1].filter((t) => (HAS_CONFIDENCE && width > 300) || t !== 0.75).map((t) => [
      svg("line", { x1: x(t * top), x2: x(t * top), y1: 0, y2: height - 18, class: "grid" }),
      svg("text", { x: x(t * top), y: height - 4, "text-anchor": t === 1 ? "end" : "middle", class: "quiet small" }, HAS_CONFIDENCE ? percent(t) : decimal(t * top, 1) + (t === 1 ? " or more" : ""))]);
    const rows = levels.map((l, i) => svg("text", { x: 0, y: i * each + each / 2 + 4, class: "quiet" }, l < 0 ? "no type" : `level ${l}`));
    const dots = shown.map((c, i) => svg("circle", { class: "block", cx: x(sureness(c)), cy: levels.indexOf(c.level ?? -1) * each + each / 2 + ((i * 7919) % 11 - 5) * (each / 26), r: 2.5 + 6.5 * Math.sqrt(c.n / largest), fill: colourOf(c), onclick: () => onPick(c), onmousemove: (e) => tip(e, h("b", {}, nameOf(c)), ` ${c.label}: ${sureText(c)}`), onmouseleave: () => tip() }));
    return plot(width, height, "How sure the calls are, by depth", ticks, rows, dots);
  };
}

const sureText = (c) => (HAS_CONFIDENCE ? percent(c.confidence) : c.alone ? "no rival" : decimal(c.margin));
