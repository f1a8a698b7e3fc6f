// Keys that work anywhere on the page, unless one is typing.

const KEYS = [
  ["/", "search"], ["Enter", "open the cluster"], ["Space", "select a row"],
  ["l", "change the label"], ["s", "mark for a split"], ["k", "confirm the label"], ["m", "merge the selected clusters"], ["c", "write a remark"],
  ["n / p", "open the next, previous cluster"], ["Ctrl+Z, Ctrl+Shift+Z", "undo, redo"], ["Ctrl+S", "save decisions"], ["t", "dark, light, as the system"],
  ["Escape", "leave a dialog, return to the table"], ["?", "this list"],
];

function showKeys() {
  const box = h("dialog", { class: "keys", "aria-label": "Keys" }, h("h2", {}, "Keys"),
    h("dl", {}, ["Arrows, Home, End", "Page up, Page down"].map((k) => h("div", {}, h("dt", {}, h("kbd", {}, k)), h("dd", {}, "move in the table"))), KEYS.map(([k, v]) => h("div", {}, h("dt", {}, h("kbd", {}, k)), h("dd", {}, v)))),
    h("div", { class: "actions" }, h("button", { type: "button", onclick: () => box.close() }, "Close")));
  openDialog(box);
}

function step(by) {
  const at = view.shown.findIndex((c) => c.key === view.open);
  const next = view.shown[at < 0 ? 0 : Math.max(0, Math.min(at + by, view.shown.length - 1))];
  if (!next) return;
  moveFocus(view.shown.indexOf(next));
  openCluster(next);
  reveal();
}

function pageKeys(event) {
  if (document.querySelector("dialog[open]")) return;
  const command = event.ctrlKey || event.metaKey;
  const typing = /^(input|textarea|select)$/i.test(event.target.tagName) && event.target.type !== "checkbox";
  if (command && event.key.toLowerCase() === "s") { event.preventDefault(); showSave(); return; }
  if (event.key === "Escape" && (typing || byId("detail").contains(event.target))) { event.preventDefault(); event.target.blur(); rove(view.focus); return; }  // else a browser empties the search without telling
  if (typing) return;
  if (command && event.key.toLowerCase() === "z") { event.preventDefault(); (event.shiftKey ? redo : undo)(); return; }
  if (command || event.altKey) return;
  const open = BY_KEY.get(view.open);
  const act = {
    "/": () => { byId("search").focus(); byId("search").select(); }, "?": showKeys, n: () => step(1), p: () => step(-1), t: changeTheme, m: mergeSelected,
    l: () => open && relabel([open]), s: () => open && flip(open, "split"), k: () => open && flip(open, "keep"), c: () => byId("comment")?.focus(),
  }[event.key];
  if (act) { event.preventDefault(); act(); }
}
