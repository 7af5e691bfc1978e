/* The blind test: one image after another, an answer by key, and what was true only at the end. */
(function () {
  "use strict";
  var S = window.SynDiff, element = S.element, memory = S.memory, viewer = new S.Viewer();
  var test = null, ahead = {}, busy = false, round = 0, pending = null, kept = true, file = S.fileOf({}), sight;
  /* test: where the server says it stands. ahead: pictures by number, the next one before it is its turn. pending: an
     answer that the server has not acknowledged, and kept: whether this browser remembers it. file: what the server
     said last. This browser remembers the test of each reviewer. */
  var TEST = "blind.", UNSENT = "blind-unsent.";

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
    find("mine").hidden = id !== "desk" && id !== "result";
  }

  /* ---- one case ---- */

  function picture(number) {
    if (!ahead[number]) {
      ahead[number] = S.picture(address() + "/" + number + ".jpg"); // decoded while another one is looked at
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
    var another = !test || test.token !== told.token;
    test = told;
    sight.lose();
    complain("");
    memory.set(TEST + told.reviewer, told.token);
    find("me").textContent = told.reviewer;
    if (another) { recall(); }
    unsent();
    if (told.result) {
      end(told);
      return Promise.resolve();
    }
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
    sight.gain();
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
      if (!pending) { return failed(mistake); } // it is saved, but what comes next cannot be shown
      if (mistake.refusal) {
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
      find("trouble").textContent = item.what + ". " + (why || "It was not saved when the page was left.") +
        (kept ? "" : " This browser cannot remember it: do not leave the page before it is saved.");
      say("Not saved yet: " + item.what + ".");
    }
  }

  function keep(item) {
    pending = item;
    kept = !item || memory.set(UNSENT + test.reviewer, JSON.stringify(item));
    if (!item) { memory.remove(UNSENT + test.reviewer); }
  }

  /* The answer that this browser remembers for the reviewer of the test. */
  function recall() {
    pending = null;
    kept = true;
    try {
      var found = JSON.parse(memory.get(UNSENT + test.reviewer));
      if (found && !(typeof found.address === "string" && found.content)) { throw new Error("it is no answer"); }
      pending = found;
    } catch (mistake) {
      memory.remove(UNSENT + test.reviewer);
      complain("An answer that this browser had kept is damaged, and was not saved: answer again.");
    }
  }

  /* Send what waits; what was answered for another file of reviews only once both files were named. */
  function sendAgain() {
    if (busy) { return; }
    S.askReviews().then(function (told) {
      file = S.fileOf(told);
      var why = S.otherFile(pending.file, file);
      pending.file = file;
      return why ? unsent(why) : post(pending);
    }).catch(function (mistake) { unsent(mistake.message || String(mistake)); });
  }

  function waits() { return busy || !find("unsent").hidden || !test || !test.case || find("desk").hidden; }

  function answer(value) {
    if (waits()) { return; }
    if (!sight.seen) { return say("The case has only just come into sight, or not yet: nothing was answered."); }
    var number = test.case.number;
    post({
      address: address() + "/answers", said: "Saved.", what: "Case " + (number + 1) + ": " + value, file: file,
      content: { id: S.newId(), number: number, seen: test.case.seen, value: value }
    });
  }

  function undo() {
    if (waits() || !test.answered) { return; }
    post({
      address: address() + "/undo", said: "Undone.", what: "Undo of case " + test.answered, file: file,
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

  function setup(name) {
    test = null;
    round += 1;
    only("");
    find("unsent").hidden = true;
    Object.keys(ahead).forEach(forget);
    find("preparing").textContent = "";
    find("who").value = name;
    offerResume();
    find("seed").value = crypto.getRandomValues(new Uint16Array(1))[0];
    return S.askReviews().then(function (told) {
      file = S.fileOf(told);
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

  /* A test that this browser remembers is shown to whom it is of. */
  function offerResume() { find("resume").hidden = !memory.get(TEST + find("who").value.trim()); }

  /* Go on with the test of a reviewer, or begin one. */
  function enter(name) {
    var token = memory.get(TEST + name);
    complain("");
    if (!token) { return setup(name).catch(failed); }
    return Promise.all([S.ask("api/blind/" + token), S.askReviews()]).then(function (told) {
      file = S.fileOf(told[1]);
      return take(told[0]);
    }).catch(function (mistake) {
      if (!mistake.status) { return failed(mistake); }
      return setup(name).then(function () { failed(mistake); });
    }).catch(failed);
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
    if (busy) { return; }
    memory.remove(TEST + test.reviewer);
    complain("");
    setup(test.reviewer).catch(failed);
  }

  /* Somebody else takes a test; this one waits for its reviewer. */
  function change() {
    if (busy) { return; }
    complain("");
    setup("").then(function () { find("who").focus(); }).catch(failed);
  }

  /* What a key does, or nothing. */
  function known(event) {
    return find("single").checked && { r: function () { answer("real"); }, s: function () { answer("synthetic"); }, u: undo,
      h: function () { hide(); } }[event.key.toLowerCase()];
  }

  function start() {
    viewer.shown = { mask: true };
    viewer.opacity = { mask: 1 };
    viewer.onkey = function () { hide(); };
    find("single").checked = memory.get("keys") !== "off";
    sight = new S.Sight(find("image"));
    S.keys(document, find("desk"), known);
    S.beforeLeaving(function () { return Boolean(pending) && !kept; });
    var clicks = { "is-real": function () { answer("real"); }, "is-synthetic": function () { answer("synthetic"); },
      undo: undo, contour: function () { hide(); }, "new": leave, leave: leave,
      "in": function () { viewer.scale(1.25); }, out: function () { viewer.scale(0.8); },
      fit: function () { viewer.fit(); },
      again: sendAgain, resume: function () { enter(find("who").value.trim()); },
      other: change,
      discard: function () { keep(null); find("unsent").hidden = true; say("Discarded."); } };
    Object.keys(clicks).forEach(function (id) { find(id).addEventListener("click", clicks[id]); });
    find("single").addEventListener("change", function () { memory.set("keys", this.checked ? "on" : "off"); });
    find("who").addEventListener("input", offerResume);
    find("setup").addEventListener("submit", function (event) { event.preventDefault(); begin(); });
    S.views().catch(failed);
    enter(memory.get("reviewer") || "");
  }

  start();
}());
