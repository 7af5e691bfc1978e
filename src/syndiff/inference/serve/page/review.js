/* The view Review: one case after another, decided on by keys; nothing counts as saved before the server says so. */
(function () {
  "use strict";
  var S = window.SynDiff, element = S.element, memory = S.memory, viewer = new S.Viewer();
  var ONE_CLASS = "Masks of several classes are not corrected here; reject the case as mask, or mend its file.";
  var NONE = { decision: null, reason: null, rating: null, corrected: false };
  var reviewer = "", folders = [], reasons = [], queue = null, shown = null, panel = null, outbox, last = null, round = 0, sight;
  /* shown: {told, url} of the case in sight, null while another one is fetched. last: the decision that an undo takes
     back, as the server has it. */

  function find(id) { return document.getElementById(id); }

  function complain(text) {
    find("problem").textContent = text || "";
    find("problem").hidden = !text;
  }

  function failed(mistake) { complain(mistake.message || String(mistake)); }

  function say(text) { find("status").textContent = text; }

  function folder() { return folders.filter(function (one) { return one.key === find("folder").value; })[0]; }

  function words(kind, value) {
    return { accept: "accepted", reject: "rejected (" + value + ")", rate: "realism " + value, correct: "corrected" }[kind];
  }

  /* ---- which cases ---- */

  function list(said) {
    var mine = ++round, one = folder();
    complain("");
    memory.set("folder", one.key);
    offerBlind();
    offerGates(one);
    if (queue) { queue.close(); }
    queue = shown = null; // nothing is decided on the cases of the list before
    sight.lose();
    var query = "?reviewer=" + encodeURIComponent(reviewer);
    return S.ask("api/review/" + one.key + query + "&state=" + find("state").value).then(function (told) {
      if (mine !== round) { return null; }
      queue = new S.Queue(one.key, reviewer, told.ids);
      return S.ask("api/review/" + one.key + "/progress" + query).then(function (far) {
        if (mine !== round) { return null; }
        progress(far);
        find("desk").hidden = !told.ids.length;
        if (!told.ids.length) { return complain("No case of this folder is in this state; choose another one."); }
        return open(said);
      });
    }).catch(function (mistake) {
      if (mine === round) { failed(mistake); find("desk").hidden = true; }
    });
  }

  function open(said) {
    var mine = ++round;
    closeReasons();
    shown = null;
    sight.lose();
    return queue.current().then(function (found) {
      if (mine === round) { show(found, said); queue.prepare(); }
    }).catch(function (mistake) {
      if (mine === round) { failed(mistake); unshown(); }
    });
  }

  /* A case that cannot be shown: its place is kept, the others are a key away. */
  function unshown() {
    panel = null;
    ["view", "verdict", "gates"].forEach(function (id) { find(id).textContent = ""; });
    find("name").textContent = place();
  }

  function place() { return "Case " + (queue.index + 1) + " of " + queue.ids.length; }

  function show(found, said) {
    var focused = find("view").contains(document.activeElement), told = found.told;
    shown = found;
    complain("");
    find("name").textContent = told.name;
    viewer.clear();
    viewer.open(told.width, told.height);
    find("view").textContent = "";
    panel = viewer.panel(found.url, told.name);
    find("view").appendChild(panel.svg);
    S.drawCase(viewer, panel, find("legend"), told.mask, told.mine && told.mine.corrected ? null : told.placed);
    find("correct").disabled = !told.correctable;
    find("correct").title = told.correctable ? "" : ONE_CLASS;
    viewer.draw();
    if (focused) { panel.svg.focus(); }
    S.tellFacts(find("facts"), told.facts);
    find("about").hidden = !Object.keys(told.facts).length;
    find("gates").textContent = gates(told.facts.gates);
    opinion();
    sight.gain();
    said = typeof said === "function" ? said() : said; // a decision may have been saved since the case was asked for
    say((said ? said + " " : "") + place() + ".");
    find("before").disabled = queue.index === 0;
    find("after").disabled = queue.index === queue.ids.length - 1;
  }

  /* What the gates said of a synthetic case, where they have looked at it. */
  function gates(said) {
    var why = /^rejected(?:: (.*))?$/.exec(said || "");
    return !said ? "" : why ? "✕ Rejected by the gates" + (why[1] ? " (" + why[1] + ")" : "") + ": no training uses it"
      : "✓ Passed the gates";
  }

  /* What the reviewer has said of the case in sight: what the server holds, and what is still on its way. */
  function opinion() {
    var told = shown.told, mine = Object.assign({}, NONE, told.mine), waits = false;
    outbox.waiting(queue.base).forEach(function (item) {
      var same = item.content.content === told.content && item.content.reviewer === reviewer;
      if (same && item.caseId === told.id) {
        waits = true;
        if (item.content.kind === "rate") { mine.rating = Number(item.content.value); } else {
          mine.decision = item.content.kind;
          mine.reason = item.content.value;
        }
      }
    });
    var text = { accept: mine.corrected ? "✎ Corrected" : "✓ Accepted", reject: "✕ Rejected: " + mine.reason }[mine.decision];
    find("verdict").textContent = (text || "Not decided") + (mine.rating ? ", realism " + mine.rating : "") +
      (waits ? " (not saved yet)" : told.empty ? ", no lesion in the mask" : "");
    find("verdict").className = "verdict " + (mine.decision || "");
    find("accept").setAttribute("aria-pressed", String(mine.decision === "accept"));
    find("reject").setAttribute("aria-pressed", String(mine.decision === "reject"));
    Array.prototype.forEach.call(find("ratings").children, function (button, index) {
      button.setAttribute("aria-pressed", String(index + 1 === mine.rating));
    });
  }

  function step(by) {
    if (!queue) { return; }
    if (queue.index + by < 0 || queue.index + by >= queue.ids.length) {
      say(by > 0 ? "This is the last case of the list." : "This is the first case of the list.");
      return;
    }
    queue.index += by;
    open();
  }

  /* ---- decisions ---- */

  function decide(kind, value) {
    if (!sight.seen) {
      return say(!shown ? "The case is not in sight yet: nothing was decided."
        : shown.told.name + " has only just come into sight: nothing was decided. Look at it, then decide.");
    }
    var told = shown.told, id = S.newId(), said = told.name + ": " + words(kind, value);
    var item = {
      id: id, caseId: told.id, folder: queue.base, label: said, address: queue.address(told.id) + "/events",
      content: { id: id, reviewer: reviewer, content: told.content, kind: kind, value: value || "" }
    };
    outbox.add(item);
    closeReasons();
    if (kind !== "rate" && queue.index < queue.ids.length - 1) {
      queue.index += 1;
      open(function () { return fate(item); });
    } else {
      opinion();
      say(fate(item) + (kind === "rate" ? "" : " This was the last case of the list."));
    }
  }

  /* What has become of a decision. */
  function fate(item) {
    var late = S.lateOnes(outbox).length;
    return item.saved ? "Saved: " + item.label + "." : late && !outbox.running
      ? "Not saved yet: " + late + " of your decisions." : "Saving " + item.label + " …";
  }

  function saved(item, told) {
    if (queue && queue.base === item.folder) {
      progress(told);
      if (item.undoes) {
        queue.forget(item.undoes);
        queue.go(item.undoes);
        open("Undone: " + item.what + ".");
        return;
      }
      var held = queue.held[item.caseId];
      if (held) { held.then(function (found) { found.told.mine = told.mine; }, function () {}); }
      if (shown && shown.told.id === item.caseId) {
        shown.told.mine = told.mine;
        opinion();
        var still = queue.ids[queue.index] === item.caseId && find("state").value === "all";
        if (still && item.content && item.content.kind !== "rate" && told.decided < told.cases) {
          return list("Saved: " + item.label + "."); // the end of the list, but some cases are undecided: they come
        }
      }
    }
    say("Saved: " + item.label + ". " + (queue ? place() + "." : ""));
  }

  function undo() {
    if (outbox.running) { return outbox.running.then(undo); } // what is on its way is the last decision
    if (!queue) { return; }
    if (outbox.waiting(queue.base).length) {
      return say("Something is not saved yet; send it again or discard it, then undo.");
    }
    if (!last) { return say("There is nothing to undo."); }
    var id = S.newId(), what = last.name + ": " + words(last.kind, last.value);
    outbox.add({
      id: id, folder: queue.base, undoes: last.id, what: what, label: "Undo of " + what,
      address: queue.base.replace(/cases\/$/, "undo"), content: { id: id, reviewer: reviewer, event: last.event }
    });
    last = null;
  }

  function drawUnsent(refused) {
    var late = S.lateOnes(outbox).length;
    S.drawUnsent(outbox, reviewer);
    if (late && !outbox.running) { say("Not saved yet: " + late + " of your decisions."); }
    if (refused) { look(refused); }
    if (shown) { opinion(); }
  }

  /* The server was started anew with another file of reviews: what is in sight was said for the one before. */
  function otherFile(before, told) {
    find("file").textContent = outbox.file.name;
    offerFolders(told);
    if (!reviewer) { return; }
    list("The server keeps " + outbox.file.name + " now, another file of reviews than " + before.name + " before.");
  }

  /* The case of a decision that was refused, as it is now. */
  function look(item) {
    if (!queue || queue.base !== item.folder) { return; }
    if (item.undoes) {
      say("Not undone: " + item.what + ".");
      return progressAgain();
    }
    queue.forget(item.caseId);
    queue.go(item.caseId);
    open("Not saved: " + item.label + ".");
  }

  function progressAgain() {
    S.ask(queue.base.replace(/cases\/$/, "progress") + "?reviewer=" + encodeURIComponent(reviewer)).then(progress)
      .catch(failed);
  }

  function progress(told) {
    last = told.last;
    find("undo").disabled = !last;
    find("undo").title = last ? "Undo " + last.name + ": " + words(last.kind, last.value) : "";
    find("bar").max = Math.max(1, told.cases);
    find("bar").value = told.decided;
    find("far").textContent = "You have decided on " + told.decided + " of " + told.cases + ".";
    find("all").textContent = "All reviewers: " + ["accepted", "corrected", "rejected", "open"].map(function (state) {
      return told.states[state] + " " + state;
    }).join(", ") + ".";
    if (find("agreement").open) { agree(); }
  }

  function agree() {
    S.ask("api/review/" + folder().key + "/agreement").then(function (told) { S.tellAgreement(find("agreed"), told); })
      .catch(failed);
  }

  /* ---- keys and buttons ---- */

  function openReasons() {
    if (!shown) { return; }
    find("reasons").hidden = false;
    find("reject").setAttribute("aria-expanded", "true");
    find("reasons").querySelector("button").focus();
  }

  function closeReasons() {
    if (find("reasons").hidden) { return; }
    var inside = find("reasons").contains(document.activeElement);
    find("reasons").hidden = true;
    find("reject").setAttribute("aria-expanded", "false");
    if (inside) { (panel ? panel.svg : find("case")).focus(); }
  }

  function hide() {
    viewer.hidden = !viewer.hidden;
    find("hide").setAttribute("aria-pressed", String(viewer.hidden));
    viewer.style();
  }

  function correct() {
    if (!shown) { return; }
    if (!shown.told.correctable) { return say(ONE_CLASS); }
    closeReasons();
    S.correctMask({ queue: queue, shown: shown, reviewer: reviewer, outbox: outbox, open: open, saved: saved });
  }

  var KEYS = {
    a: function () { decide("accept"); },
    r: function () { if (find("reasons").hidden) { openReasons(); } else { closeReasons(); } },
    u: undo,
    n: function () { step(1); },
    p: function () { step(-1); },
    h: hide,
    c: correct,
    "?": function () {
      find("help").open = !find("help").open;
      if (find("help").open) { find("help").scrollIntoView({ block: "nearest" }); }
    }
  };

  /* What a key does, or nothing. */
  function known(event) {
    if (event.key === "Escape") { return closeReasons; }
    if (!find("single").checked) { return null; }
    var digit = /^[1-9]$/.test(event.key) ? Number(event.key) : 0;
    if (digit && !find("reasons").hidden && digit <= reasons.length) {
      return function () { decide("reject", reasons[digit - 1]); };
    }
    if (digit && find("reasons").hidden && digit <= 5) { return function () { decide("rate", String(digit)); }; }
    return KEYS[event.key.toLowerCase()];
  }

  function offerFolders(told) {
    var before = find("folder").value || memory.get("folder");
    folders = told.folders;
    find("folder").textContent = "";
    folders.forEach(function (one) {
      var made = element("option", { value: one.key });
      made.textContent = one.name + " (" + one.kind + ", " + one.cases + ")";
      made.selected = one.key === before;
      find("folder").appendChild(made);
    });
  }

  /* What the gates said can be chosen by where they have looked at the cases. */
  function offerGates(one) {
    Array.prototype.forEach.call(find("state").querySelectorAll("[data-gates]"), function (made) {
      made.hidden = made.disabled = one.kind !== "synthetic";
      if (made.disabled && made.selected) { find("state").value = "all"; }
    });
  }

  function offerBlind() {
    var kinds = folders.map(function (one) { return one.kind; });
    find("blind").hidden = kinds.indexOf("dataset") < 0 || kinds.indexOf("synthetic") < 0;
  }

  /* ---- who ---- */

  function enter() {
    find("enter").hidden = false;
    find("work").hidden = true;
    find("who").value = memory.get("reviewer") || "";
    find("who").focus();
  }

  function begin(name) {
    var one = folder();
    return S.ask("api/review/" + one.key + "/progress?reviewer=" + encodeURIComponent(name)).then(function () {
      reviewer = name;
      memory.set("reviewer", name);
      find("me").textContent = name;
      find("enter").hidden = true;
      find("work").hidden = false;
      drawUnsent();
      return list();
    });
  }

  function start() {
    viewer.shown = { mask: true, wide: true };
    viewer.opacity = { mask: 1, wide: 1 };
    viewer.onkey = hide;
    sight = new S.Sight(find("case"));
    outbox = new S.Outbox(saved, drawUnsent, otherFile);
    S.beforeLeaving(function () { return outbox.unkept().length > 0; });
    find("single").checked = memory.get("keys") !== "off";
    S.keys(document, find("desk"), known); // which is out of sight while a name is asked for, and behind the editor
    var clicks = { accept: KEYS.a, reject: KEYS.r, undo: undo, before: KEYS.p, after: KEYS.n, hide: hide, correct: correct,
      "in": function () { viewer.scale(1.25); }, out: function () { viewer.scale(0.8); },
      fit: function () { viewer.fit(); }, again: function () { outbox.again(); }, other: enter };
    Object.keys(clicks).forEach(function (id) { find(id).addEventListener("click", clicks[id]); });
    ["folder", "state"].forEach(function (id) { find(id).addEventListener("change", function () { list(); }); });
    find("single").addEventListener("change", function () { memory.set("keys", this.checked ? "on" : "off"); });
    find("agreement").addEventListener("toggle", function () { if (this.open) { agree(); } });
    find("refresh").addEventListener("click", function () {
      S.send("api/review/" + folder().key + "/refresh", {}).then(function (told) {
        offerFolders(told);
        return list();
      }).catch(failed);
    });
    find("enter").addEventListener("submit", function (event) {
      event.preventDefault();
      begin(find("who").value.trim()).catch(function (mistake) { find("wrong").textContent = mistake.message || String(mistake); });
    });
    S.views().catch(failed);
    outbox.identify().then(function (told) {
      find("file").textContent = outbox.file.name;
      reasons = Object.keys(told.reasons);
      S.offerDecisions(told.reasons, decide);
      offerFolders(told);
      var name = memory.get("reviewer");
      return name ? begin(name) : enter();
    }).catch(function (mistake) {
      find("work").hidden = false;
      failed(mistake);
    });
  }

  start();
}());
