// Putting the page together.

const THEMES = ["", "dark", "light"];

function changeTheme() {
  const root = document.documentElement;
  const next = THEMES[(THEMES.indexOf(root.dataset.theme || "") + 1) % THEMES.length];
  setTheme(next);
  store("cellkey-theme", next);
}

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme; else delete document.documentElement.dataset.theme;
  byId("theme").textContent = `Theme: ${theme || "system"}`;
  redrawMaps();
}

function start() {
  const bar = document.querySelector(".top");
  new ResizeObserver(() => document.documentElement.style.setProperty("--top", `${bar.offsetHeight}px`)).observe(bar);
  restoreDecisions();
  buildFacts();
  buildTools();
  setTheme(THEMES.includes(stored("cellkey-theme")) ? stored("cellkey-theme") : "");
  buildOverview();
  buildTable();
  const asked = BY_KEY.get(decodeURIComponent(location.hash.slice(1)));
  if (asked) openCluster(asked); else drawDetail();
  drawDecided();
  whenDecided(() => { refreshRows(); drawDeciding(); drawDecided(); redrawMaps(); });
  document.addEventListener("keydown", pageKeys);
  addEventListener("beforeunload", (event) => { if (unsaved() && !storageWorks) event.preventDefault(); });
  addEventListener("beforeprint", () => { more(view.shown.length); unfold(document.querySelector("main")); });
  requestAnimationFrame(() => setTimeout(() => { performance.mark("usable"); document.documentElement.dataset.ready = "yes"; }, 0));
}

start();
