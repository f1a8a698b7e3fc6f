(function () {
  "use strict";
  var cards = Array.prototype.slice.call(document.querySelectorAll("details.card"));
  var search = document.getElementById("search");
  var lines = {};
  document.querySelectorAll("table.clusters tbody tr").forEach(function (line) {
    var link = line.querySelector("a");
    if (link) { lines[link.getAttribute("href").slice(1)] = line; }
  });
  function filter() {
    var words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    var shown = 0;
    cards.forEach(function (card) {
      var text = card.dataset.words;
      var fits = words.every(function (word) { return text.indexOf(word) >= 0; });
      card.hidden = !fits;
      if (lines[card.id]) { lines[card.id].hidden = !fits; }
      if (fits) { shown += 1; }
    });
    document.getElementById("found").textContent = words.length ? shown + " of " + cards.length : "";
  }
  function openTarget() {
    var card = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (card && card.tagName === "DETAILS") { card.hidden = false; card.open = true; card.scrollIntoView(); }
  }
  function all(open) { cards.forEach(function (card) { if (!card.hidden) { card.open = open; } }); }
  search.addEventListener("input", filter);
  search.form.addEventListener("submit", function (event) { event.preventDefault(); });
  document.getElementById("open-all").addEventListener("click", function () { all(true); });
  document.getElementById("close-all").addEventListener("click", function () { all(false); });
  window.addEventListener("hashchange", openTarget);
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (part) { part.open = true; });
  });
  openTarget();
}());
