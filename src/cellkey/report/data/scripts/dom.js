// Elements are made from text, never from markup: whatever a cell type is called stays text.

const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

/** Make an element: attributes by name, `on…` as listeners, true and false as bare attributes; children as text or nodes. */
function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [k, v] of Object.entries(value)) element.style.setProperty(k, v);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}

function replace(element, ...children) {
  element.replaceChildren(...children.flat(3).filter((c) => c !== null && c !== undefined && c !== false));
}

const GROUPED = new Intl.NumberFormat("en");
const ROUGHLY = new Intl.NumberFormat("en", { notation: "compact" });
const whole = (n) => (n === undefined || n === null ? "" : GROUPED.format(Math.round(n)));
const decimal = (n, digits = 2) => (n === undefined || n === null || Number.isNaN(n) ? "" : n.toFixed(digits));
const percent = (n, digits = 0) =>
  n === undefined || n === null || Number.isNaN(n) ? "" : `${(100 * n).toFixed(digits)} %`;
const counted = (n, one, many = `${one}s`) => `${whole(n)} ${n === 1 ? one : many}`;

/** Text cut to a length for narrow places; the whole text belongs in a title beside it. */
const shorten = (text, length) => (text.length <= length ? text : `${text.slice(0, length - 1)}…`);

/** A square of the colour of a cell type. */
const chip = (colour) => h("span", { class: "chip", style: { background: colour }, "aria-hidden": "true" });

/** A table; the title of a column of numbers begins with #, one that is read aloud but not seen with ~. */
function table(head, rows, attributes = {}) {
  const titles = head.map((t) => h("th", { scope: "col", class: t.startsWith("#") ? "n" : null }, t.startsWith("~") ? h("span", { class: "unseen" }, t.slice(1)) : t.replace(/^#/, "")));
  const cells = (row) => row.map((v, i) => h("td", { class: head[i].startsWith("#") ? "n" : null }, v));
  return h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": attributes.label || "Table" },
    h("table", { class: attributes.class || null },
      h("thead", {}, h("tr", {}, titles)), h("tbody", {}, rows.map((r) => h("tr", {}, cells(r))))));
}

/** A part that opens on demand; its content is made when it is opened for the first time. */
function folded(title, make, open = false) {
  const part = h("details", {}, h("summary", {}, title));
  const once = () => { if (part.open && !part.dataset.made) { part.dataset.made = "1"; part.append(...[make()].flat(3)); } };
  part.addEventListener("toggle", once);
  part.open = open;
  once();
  return part;
}

/** Open all parts and those inside them, at once; a part that is made in the background only if it was made before. */
function unfold(root) {
  for (const part of root.querySelectorAll("details:not([open]):not([data-later])")) {
    part.open = true;
    part.dispatchEvent(new Event("toggle"));
    unfold(part);
  }
}

/** Show a few words beside the pointer. */
function tip(event, ...content) {
  const box = byId("tip");
  if (!content.length) { box.hidden = true; return; }
  replace(box, ...content);
  box.hidden = false;
  box.style.left = `${Math.min(event.clientX + 14, innerWidth - box.offsetWidth - 8)}px`;
  box.style.top = `${Math.min(event.clientY + 14, innerHeight - box.offsetHeight - 8)}px`;
}
