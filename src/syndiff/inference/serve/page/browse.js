/* The view Browse: a grid of cases, filtered and sorted by the server, and one of them at large. */
(function () {
  "use strict";
  var element = window.SynDiff.element, ask = window.SynDiff.ask, viewer = new window.SynDiff.Viewer();
  var SIGNS = { accepted: "✓", corrected: "✎", rejected: "✕" };
  var collections = [], grid, panel = null, shown = null, round = 0, flipped = false;

  function find(id) { return document.getElementById(id); }

  function complain(text) {
    find("problem").textContent = text || "";
    find("problem").hidden = !text;
  }

  function failed(mistake) { complain(mistake.message || String(mistake)); }

  function chosen() { return collections[Number(find("collection").value)]; }

  function address(item) { return "api/browse/" + chosen().key + "/" + item.id; }

  /* ---- the list ---- */

  function askPage(offset) {
    var query = { offset: offset, text: find("text").value, sort: find("sort").value,
      descending: find("turn").getAttribute("aria-pressed"), gates: find("gates").value, review: find("review").value };
    if (query.sort !== "name") {
      ["low", "high"].forEach(function (name) { if (find(name).value) { query[name] = find(name).value; } });
    }
    if (shown) { query.near = shown.item.id; }
    var words = Object.keys(query).map(function (name) { return name + "=" + encodeURIComponent(query[name]); });
    return ask("api/browse/" + chosen().key + "?" + words.join("&"));
  }

  /* The list anew; with `stay` what is in sight stays there. The case at large stays in any case. */
  function list(stay) {
    find("range").hidden = find("sort").value === "name";
    return grid.open(stay === true).then(function (page) {
      if (page) { find("count").textContent = page.total === 1 ? "1 case" : page.total + " cases"; }
    }).catch(failed);
  }

  function drawItem(button, item) {
    var told = item.score === null ? "" : ", " + find("sort").value.replace(/_/g, " ") + " " + number(item.score);
    var name = element("span"), more = element("span");
    var picture = element("img", { alt: "", src: address(item) + "/thumbnail.jpg" });
    picture.addEventListener("error", function () {
      if (picture.hasAttribute("src")) { more.textContent = "cannot be shown"; }
    });
    name.textContent = item.name;
    more.textContent = told.slice(2) || "\u00a0";
    [picture, name, more].forEach(function (part) { button.appendChild(part); });
    if (item.reason) { badge(button, "rejected", "✕ gates: " + item.reason); }
    if (item.review && item.review !== "open") {
      badge(button, "reviewed", SIGNS[item.review] + " review: " + item.review);
    }
    button.setAttribute("aria-label", item.name + (item.reason ? ", gates: rejected, " + item.reason : "") +
      (item.review ? ", reviewers: " + item.review : "") + told);
    button.title = item.name;
  }

  function badge(button, kind, text) {
    var made = element("span", { "class": "badge " + kind });
    made.textContent = text;
    button.appendChild(made);
  }

  function number(value) {
    return Number.isInteger(value) ? String(value) : Math.abs(value) >= 100 ? value.toFixed(1) : value.toFixed(3);
  }

  function option(select, value, text) {
    var made = element("option", { value: value });
    made.textContent = text;
    select.appendChild(made);
  }

  function openCollection() {
    find("gates").value = find("review").value = "all";
    ["text", "low", "high"].forEach(function (name) { find(name).value = ""; });
    find("sort").textContent = "";
    offer();
    close();
    list();
  }

  /* What the folder can be filtered and sorted by; a choice that is still there stays. */
  function offer() {
    var sort = find("sort"), before = sort.value, one = chosen();
    sort.textContent = "";
    option(sort, "name", "Name");
    one.scores.forEach(function (name) { option(sort, name, name.replace(/_/g, " ")); });
    sort.value = one.scores.indexOf(before) < 0 ? "name" : before;
    Array.prototype.forEach.call(document.querySelectorAll(".choose [data-needs]"), function (label) {
      label.hidden = !one[label.getAttribute("data-needs")];
      if (label.hidden) { label.querySelector("select").value = "all"; }
    });
  }

  function nameFolders() {
    collections.forEach(function (one, index) {
      find("collection").options[index].textContent = one.name + " (" + one.kind + ", " + one.cases + ")";
    });
  }

  function refresh() {
    ask("api/browse/" + chosen().key + "/refresh", { method: "POST" }).then(function (told) {
      collections = told;
      complain("");
      nameFolders();
      offer();
      return list(true);
    }).catch(failed);
  }

  /* ---- one case ---- */

  function close() {
    round += 1;
    shown = panel = null;
    complain("");
    find("large").hidden = true;
    find("hint").hidden = false;
  }

  function open(index) {
    var mine = ++round;
    complain("");
    grid.item(index).then(function (item) {
      return item && ask(address(item)).then(function (told) {
        if (mine === round) { show(item, told); }
      });
    }).catch(function (mistake) { if (mine === round) { failed(mistake); } });
  }

  function show(item, told) {
    shown = { item: item, told: told };
    flipped = false;
    find("hint").hidden = true;
    find("large").hidden = false;
    find("name").textContent = told.name;
    viewer.clear();
    viewer.open(told.width, told.height);
    find("view").textContent = "";
    panel = viewer.panel(address(item) + "/image.jpg", told.name);
    find("view").appendChild(panel.svg);
    window.SynDiff.drawCase(viewer, panel, find("legend"), told.mask, told.placed, told.prediction);
    viewer.draw();
    find("flip").hidden = !told.source;
    find("flip").setAttribute("aria-pressed", "false");
    facts(told);
    var box = find("case").getBoundingClientRect();
    if (box.top > window.innerHeight / 2) { find("case").scrollIntoView(); }
  }

  function facts(told) {
    var table = find("scores");
    window.SynDiff.tellFacts(find("facts"), told.facts);
    table.textContent = "";
    Object.keys(told.scores).forEach(function (name) {
      var row = table.insertRow(), head = element("th", { scope: "row" });
      head.textContent = name.replace(/_/g, " ");
      row.appendChild(head);
      row.insertCell().textContent = number(told.scores[name]);
    });
    table.hidden = !Object.keys(told.scores).length;
  }

  function flip() {
    if (!panel || !shown.told.source) { return; }
    flipped = !flipped;
    panel.picture.setAttribute("href", address(shown.item) + (flipped ? "/source.jpg" : "/image.jpg"));
    panel.svg.setAttribute("aria-label", shown.told.name + (flipped ? ": its source frame" : ""));
    find("flip").setAttribute("aria-pressed", String(flipped));
  }

  function hide() {
    viewer.hidden = !viewer.hidden;
    find("hide").setAttribute("aria-pressed", String(viewer.hidden));
    viewer.style();
  }

  function step(by) { grid.select(grid.current + by); }

  /* What a key in the image does; the next image has the focus then. */
  function known(event) {
    return { f: flip, n: function () { step(1); }, p: function () { step(-1); } }[event.key.toLowerCase()];
  }

  function start() {
    viewer.shown = { mask: true, wide: true };
    viewer.opacity = { mask: 1, wide: 1 };
    viewer.onkey = hide;
    grid = new window.SynDiff.Grid(find("grid"), askPage, drawItem, open);
    find("hide").addEventListener("click", hide);
    find("flip").addEventListener("click", flip);
    find("in").addEventListener("click", function () { viewer.scale(1.25); });
    find("out").addEventListener("click", function () { viewer.scale(0.8); });
    find("fit").addEventListener("click", function () { viewer.fit(); });
    find("before").addEventListener("click", function () { step(-1); });
    find("after").addEventListener("click", function () { step(1); });
    window.SynDiff.keys(find("large"), find("large"), known);
    find("collection").addEventListener("change", openCollection);
    find("sort").addEventListener("change", function () {
      find("low").value = find("high").value = ""; // they were of another score
      list();
    });
    find("gates").addEventListener("change", list);
    find("review").addEventListener("change", list);
    find("turn").addEventListener("click", function () {
      this.setAttribute("aria-pressed", String(this.getAttribute("aria-pressed") !== "true"));
      list();
    });
    var waiting;
    ["text", "low", "high"].forEach(function (name) {
      find(name).addEventListener("input", function () {
        clearTimeout(waiting);
        waiting = setTimeout(list, 150);
      });
    });
    find("refresh").addEventListener("click", refresh);
    window.SynDiff.views().catch(failed);
    ask("api/browse").then(function (told) {
      collections = told;
      if (!told.length) { return complain("No folder was given at start; start again with --browse FOLDER."); }
      told.forEach(function (one, index) { option(find("collection"), index, ""); });
      nameFolders();
      openCollection();
    }).catch(failed);
  }

  start();
}());
