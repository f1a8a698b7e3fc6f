// What the page knows: the run and its clusters at once, everything else when it is first asked for.

const blocks = new Map();

/** The JSON block of that name; null if the page has none. Read once. */
function block(name) {
  if (!blocks.has(name)) {
    const element = byId(name);
    blocks.set(name, element ? JSON.parse(element.textContent) : null);
  }
  return blocks.get(name);
}

function bytes(text) {
  const raw = atob(text);
  const out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i += 1) out[i] = raw.charCodeAt(i);
  return out;
}

const int16 = (text) => new Int16Array(bytes(text).buffer);
const uint16 = (text) => new Uint16Array(bytes(text).buffer);

/** JSON that lies in the page as base64 of gzip. */
async function unsqueezed(name) {
  const stream = new Blob([bytes(block(name))]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

const RUN = block("run");
const EDITABLE = RUN.calls_fingerprint !== "";
const TYPES = RUN.types.map(([name, parent, colour, ontology], index) => ({ index, name, parent, colour, ontology }));
for (const type of TYPES) {
  const above = type.parent < 0 ? null : TYPES[type.parent];
  type.level = above ? above.level + 1 : 0;
  type.path = above ? `${above.path} / ${type.name}` : type.name;
  type.children = [];
  if (above) above.children.push(type);
}
const BY_PATH = new Map(TYPES.map((t) => [t.path, t]));
const STOPS = new Map(RUN.stops.map(([name, meaning, colour]) => [name, { meaning, colour }]));

const CLUSTERS = RUN.datasets.flatMap((dataset, d) =>
  dataset.clusters.map((row, i) => ({ n: 0, label: "", path: "", type: -1, stop: "", ...row, d, i, key: `${d}/${row.id}` })));
for (const c of CLUSTERS) if (c.placed) c.path = TYPES[c.type].path;
const BY_KEY = new Map(CLUSTERS.map((c) => [c.key, c]));
const SEVERAL = RUN.datasets.length > 1;
const HAS_CONFIDENCE = CLUSTERS.some((c) => typeof c.confidence === "number");
const HAS_MODEL = CLUSTERS.some((c) => c.answer);
const N_CELLS = CLUSTERS.reduce((sum, c) => sum + c.n, 0);

const HAS_STOPS = CLUSTERS.some((c) => STOPS.has(c.stop));

/** How a cluster ended: why its walk stopped or, without a walk, what came of it. */
const endOf = (c) => c.stop || c.outcome || "none";
const endsPresent = () => {
  const present = new Set(CLUSTERS.map(endOf));
  return [...[...STOPS.keys()].filter((s) => present.delete(s)), ...[...present].sort()];
};

/** Whether the label is another's word than that of the path beside it: of the markers, or of what the label stands for. */
const isForeign = (c) => Boolean(c.hue && c.path && c.path.split(" / ").pop() !== c.label);
const BY_MARKERS = HAS_MODEL && CLUSTERS.some((c) => c.type >= 0 && !c.placed) ? " by markers" : "";

/** What a cluster counts for in figures: its cells or, where the run knows of none (marker tables), one. */
const weight = (c) => (N_CELLS ? c.n : 1);
const UNIT = N_CELLS ? "cell" : "cluster";

for (const cluster of CLUSTERS) {
  cluster.words = [cluster.id, cluster.label, cluster.path, cluster.model, cluster.rival,
    RUN.datasets[cluster.d].name, RUN.datasets[cluster.d].tissue, (cluster.genes || []).map((g) => g[0]).join(" ")]
    .join(" ").toLowerCase();
}

/** How sure a call is: calibrated confidence (0 to 1) where the run holds it, else the margin of the walk. */
const sureness = (c) => (HAS_CONFIDENCE ? c.confidence : c.alone ? Infinity : c.margin);

/** The type at a level above a cluster's own, or its own where it does not reach that deep. */
function typeAt(cluster, level) {
  let type = TYPES[cluster.type];
  while (type && type.level > level) type = TYPES[type.parent];
  return type || null;
}

const colourOf = (cluster) => {
  if (cluster.hue) return cluster.hue;
  if (TYPES[cluster.type]) return TYPES[cluster.type].colour;
  return cluster.label.includes("~") ? RUN.grey.ambiguous : RUN.grey.unassigned;
};
const isNamed = (c) => !["", "Unassigned", "Unknown"].includes(c.label);
const nameOf = (c) => (SEVERAL ? `${RUN.datasets[c.d].name}: ${c.id}` : c.id);

const HAS_SURENESS = CLUSTERS.some((c) => typeof sureness(c) === "number");

/** Score of a type in a cluster; null if it is not on record. */
const scoreTables = new Map();
function scoreOf(cluster, type) {
  if (!scoreTables.has(cluster.d)) {
    const text = block(`scores-${cluster.d}`);
    scoreTables.set(cluster.d, text ? int16(text) : null);
  }
  const values = scoreTables.get(cluster.d);
  const value = values ? values[cluster.i * TYPES.length + type] : -32768;
  return value === -32768 ? null : value / 1000;
}
