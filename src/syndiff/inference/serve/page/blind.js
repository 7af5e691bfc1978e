/* The blind test: one image after another, an answer by key, and what was true only at the end. */
(function () {
  "use strict";
  var S = window.SynDiff, element = S.element, memory = S.memory, viewer = new S.Viewer();
  var test = null, ahead = {}, busy = false, round = 0, pending = JSON.parse(memory.get("blind-unsent") || "null");
  /* test: where the server says it stands. ahead: pictures by number, the next one before it is its turn.
     pending: an answer that the server has not acknowledged. */

  function find(id) { return document.getElementById(id); }

  function complain(text) {
    find("problem").textContent = text || "";
    find("problem").hidden = !text;
  }

  function failed(mistake) { complain(mistake.message || String(mistake)); }

  function say(text) { find("status").textContent = text; }

  function address() { return "api/blind/" + test.token; }

  function only(id) {
    ["setup", "desk", "result"].forEach(function (each) { find(each).hidden = each !== id; });
  }

  /* ---- one case ---- */

  function picture(number) {
    if (!ahead[number]) {
      ahead[number] = S.picture(address() + "/" + number + ".jpg").then(function (url) {
        var image = new Image();
        image.src = url;
        return { url: url, image: image };
      });
      ahead[number].catch(function () { delete ahead[number]; });
    }
    return ahead[number];
  }

  function forget(number) {
    var old = ahead[number];
    delete ahead[number];
    if (old) { old.then(function (found) { URL.revokeObjectURL(found.url); }, function () {}); }
  }

  function take(told, said) {
    test = told;
    memory.set("blind", told.token);
    complain("");
    unsent();
    if (told.result) { return end(told); }
    var mine = ++round, number = told.case.number;
    return picture(number).then(function (found) {
      if (mine !== round) { return; }
      show(found.url, told, said);
      Object.keys(ahead).forEach(function (each) { if (Number(each) < number - 1) { forget(each); } });
      if (number + 1 < told.count) { picture(number + 1).catch(function () {}); }
    });
  }

  function show(url, told, said) {
    var focused = find("view").contains(document.activeElement), label = "Case " + (told.case.number + 1);
    only("desk");
    viewer.clear();
    viewer.open(told.case.width, told.case.height);
    find("view").textContent = "";
    var panel = viewer.panel(url, label);
    find("view").appendChild(panel.svg);
    viewer.fill(panel, { mask: told.case.mask });
    viewer.draw();
    hide(true);
    if (focused) { panel.svg.focus(); }
    say((said ? said + " " : "") + label + " of " + told.count + ".");
    find("bar").max = told.count;
    find("bar").value = told.answered;
    find("far").textContent = told.answered + " of " + told.count + " answered by " + told.reviewer + ".";
    find("undo").disabled = told.answered === 0;
    find("repeated").hidden = !told.cautions.length;
    find("repeated").textContent = told.cautions.join(" ");
  }

  function hide(hidden) {
    viewer.hidden = hidden === undefined ? !viewer.hidden : hidden;
    find("contour").setAttribute("aria-pressed", String(!viewer.hidden));
    viewer.style();
  }

  /* ---- answers: one at a time, and the next case only once it is on the server's disk ---- */

  function post(item) {
    busy = true;
    find("unsent").hidden = true;
    say("Saving …");
    keep(item);
    return S.send(item.address, item.content).then(function (told) {
      busy = false;
      keep(null);
      return take(told, item.said);
    }).catch(function (mistake) {
      busy = false;
      if (mistake.status >= 400 && mistake.status < 500 && mistake.status !== 401 && mistake.status !== 429) {
        keep(null);
        if (test.case) { forget(test.case.number); }
        return again(mistake.message);
      }
      return unsent(mistake.message || String(mistake));
    });
  }

  /* Where the test stands, after an answer that was refused. */
  function again(why) {
    return S.ask(address()).then(function (told) {
      return take(told).then(function () { complain("Not saved: " + why); });
    }).catch(failed);
  }

  function unsent(why) {
    var item = pending && pending.address.indexOf(address() + "/") === 0 ? pending : null;
    find("unsent").hidden = !item;
    if (item) {
      find("trouble").textContent = item.what + ". " + (why || "It was not saved when the page was left.");
      say("Not saved yet: " + item.what + ".");
    }
  }

  function keep(item) {
    pending = item;
    if (item) { memory.set("blind-unsent", JSON.stringify(item)); } else { memory.remove("blind-unsent"); }
  }

  function waits() { return busy || !find("unsent").hidden || !test || !test.case || find("desk").hidden; }

  function answer(value) {
    if (waits()) { return; }
    var number = test.case.number;
    post({
      address: address() + "/answers", said: "Saved.", what: "Case " + (number + 1) + ": " + value,
      content: { id: S.newId(), number: number, seen: test.case.seen, value: value }
    });
  }

  function undo() {
    if (waits() || !test.answered) { return; }
    post({
      address: address() + "/undo", said: "Undone.", what: "Undo of case " + test.answered,
      content: { id: S.newId(), number: test.answered - 1 }
    });
  }

  /* ---- the end ---- */

  function end(told) {
    var result = told.result, table = find("called");
    round += 1;
    Object.keys(ahead).forEach(forget);
    only("result");
    find("outcome").textContent = result.right + " of " + result.answers + " right: " + S.percent(result.share);
    find("interval").textContent = "95 % interval " + S.percent(result.low) + " to " + S.percent(result.high) +
      " (exact, Clopper-Pearson). Guessing gives 50 %.";
    find("meaning").textContent = result.meaning;
    while (table.rows.length) { table.deleteRow(0); }
    row(["What it was", "called real", "called synthetic"], "col");
    ["real", "synthetic"].forEach(function (truth) {
      row([truth, result.called[truth].real, result.called[truth].synthetic], "row");
    });
    find("result").focus();
  }

  function row(words, scope) {
    var made = find("called").insertRow();
    words.forEach(function (word, index) {
      var cell = element(scope === "col" || index === 0 ? "th" : "td", scope === "col" || index === 0 ? { scope: scope } : {});
      cell.textContent = word;
      made.appendChild(cell);
    });
  }

  /* ---- the beginning ---- */

  function setup() {
    test = null;
    only("");
    complain("");
    find("preparing").textContent = "";
    find("who").value = memory.get("reviewer") || "";
    find("seed").value = crypto.getRandomValues(new Uint16Array(1))[0];
    return S.ask("api/review").then(function (told) {
      ["real", "synthetic"].forEach(function (name) {
        var kind = name === "real" ? "dataset" : "synthetic";
        find(name).textContent = "";
        told.folders.filter(function (one) { return one.kind === kind; }).forEach(function (one) {
          var made = element("option", { value: one.key });
          made.textContent = one.name + " (" + one.accepted + ")";
          find(name).appendChild(made);
        });
      });
      fits(told.folders);
      only("setup");
      find("begin").disabled = !find("real").value || !find("synthetic").value;
      if (find("begin").disabled) { complain("A blind test needs a dataset and a synthetic dataset; give both with --browse."); }
    });
  }

  /* As many as there are, if these are fewer than usual. */
  function fits(folders) {
    var few = Math.min.apply(null, folders.filter(function (one) {
      return one.key === find("real").value || one.key === find("synthetic").value;
    }).map(function (one) { return one.accepted; }));
    find("cases").value = Math.max(2, Math.min(40, 2 * few));
  }

  function begin() {
    find("preparing").textContent = "Preparing …";
    find("begin").disabled = true;
    memory.set("reviewer", find("who").value.trim());
    S.send("api/blind", {
      reviewer: find("who").value.trim(), real: find("real").value, synthetic: find("synthetic").value,
      seed: Number(find("seed").value), count: Number(find("cases").value)
    }).then(take).catch(failed).then(function () {
      find("preparing").textContent = "";
      find("begin").disabled = false;
    });
  }

  function leave() {
    memory.remove("blind");
    Object.keys(ahead).forEach(forget);
    find("unsent").hidden = true;
    setup().catch(failed);
  }

  function key(event) {
    var typed = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "checkbox";
    if (event.defaultPrevented || typed || event.ctrlKey || event.metaKey || event.altKey || find("desk").hidden ||
        !find("single").checked) { return; }
    var known = { r: function () { answer("real"); }, s: function () { answer("synthetic"); }, u: undo,
      h: function () { hide(); } }[event.key.toLowerCase()];
    if (known) {
      event.preventDefault();
      known();
    }
  }

  function start() {
    viewer.shown = { mask: true };
    viewer.opacity = { mask: 1 };
    viewer.onkey = function () { hide(); };
    find("single").checked = memory.get("keys") !== "off";
    document.addEventListener("keydown", key);
    var clicks = { "is-real": function () { answer("real"); }, "is-synthetic": function () { answer("synthetic"); },
      undo: undo, contour: function () { hide(); }, "new": leave, leave: leave,
      "in": function () { viewer.scale(1.25); }, out: function () { viewer.scale(0.8); },
      fit: function () { viewer.fit(); },
      again: function () { post(pending); },
      discard: function () { keep(null); find("unsent").hidden = true; say("Discarded."); } };
    Object.keys(clicks).forEach(function (id) { find(id).addEventListener("click", clicks[id]); });
    find("single").addEventListener("change", function () { memory.set("keys", this.checked ? "on" : "off"); });
    find("setup").addEventListener("submit", function (event) { event.preventDefault(); begin(); });
    S.views().catch(failed);
    var token = memory.get("blind");
    if (!token) { return setup().catch(failed); }
    S.ask("api/blind/" + token).then(take).catch(function (mistake) {
      if (!mistake.status) { return failed(mistake); }
      memory.remove("blind");
      return setup().then(function () { failed(mistake); });
    }).catch(failed);
  }

  start();
}());
