/* Decisions on their way to the server: each is remembered by this browser until the server has it on its disk. */
(function () {
  "use strict";
  var S = window.SynDiff, memory = S.memory, STORE = "unsent.";

  /* items: those on their way; `refused` is why the server will not have one, `late` one that it could not take, `kept`
     one that this browser remembers, `file` the file of reviews that it was decided for.
     onsaved(item, told): the server has it. onchange(refused): what waits, or was refused, is another now.
     onfile(before, told): the server keeps another file of reviews than before, and this is what it tells. */
  function Outbox(onsaved, onchange, onfile) {
    this.onsaved = onsaved;
    this.onchange = onchange;
    this.onfile = onfile;
    this.file = { id: "", name: "" }; // what the server said last
    this.items = memory.names(STORE).map(read);
    this.items.sort(function (one, other) { return one.at - other.at; });
    this.items.forEach(function (item) { item.late = item.kept = true; });
    this.trouble = this.items.length ? "These were not saved when the page was left." : "";
    this.running = null;
  }

  /* What this browser remembers under a name; what it cannot read is told as refused. */
  function read(name) {
    var item = null, id = name.slice(STORE.length);
    try { item = JSON.parse(memory.get(name)); } catch (mistake) { /* told below */ }
    var sound = item && item.id === id && item.content && ["address", "label", "folder"].every(function (part) {
      return typeof item[part] === "string";
    });
    return sound ? item : { id: id, at: 0, content: {}, label: "A decision that this browser kept",
      refused: "It is damaged and cannot be sent: decide again." };
  }

  /* Keep {id, address, content, label, folder} and send it after those that wait. */
  Outbox.prototype.add = function (item) {
    item.at = Date.now();
    item.refused = "";
    item.file = this.file;
    this.items.push(item);
    this.remember(item);
    return this.flush();
  };

  Outbox.prototype.remember = function (item) {
    item.kept = memory.set(STORE + item.id, JSON.stringify(item)) || Boolean(item.kept);
  };

  Outbox.prototype.drop = function (item) {
    memory.remove(STORE + item.id);
    this.items = this.items.filter(function (each) { return each !== item; });
    this.onchange();
  };

  /* Those that wait to be sent, of one folder or of all. */
  Outbox.prototype.waiting = function (folder) {
    var outbox = this;
    return this.items.filter(function (item) {
      return !item.refused && !outbox.elsewhere(item) && (!folder || item.folder === folder);
    });
  };

  /* Why a decision is not sent by itself: it was for another file of reviews than the server keeps now; else "". */
  Outbox.prototype.elsewhere = function (item) { return item.refused ? "" : S.otherFile(item.file, this.file); };

  /* Those that would be lost if the page were left. */
  Outbox.prototype.unkept = function () {
    return this.items.filter(function (item) { return !item.kept && !item.refused; });
  };

  /* Ask the server which file of reviews it keeps: it may have been started anew. */
  Outbox.prototype.identify = function () {
    var outbox = this, before = this.file;
    return S.askReviews().then(function (told) {
      outbox.file = S.fileOf(told);
      if (S.otherFile(before, outbox.file)) { outbox.onfile(before, told); }
      return told;
    });
  };

  /* Send what waits, in the order of the decisions: none overtakes an earlier one in the same folder. */
  Outbox.prototype.flush = function () {
    var outbox = this, blocked = {};
    if (!this.running) {
      this.running = this.identify().then(function () {
        outbox.trouble = "";
        return outbox.next(blocked);
      }).catch(function (mistake) {
        if (!(mistake instanceof S.Mistake)) { throw mistake; }
        outbox.stop(mistake);
      }).finally(function () {
        outbox.running = null;
        outbox.onchange();
      });
    }
    this.onchange();
    return this.running;
  };

  /* Send everything, also what was decided for another file of reviews; it is told as waiting until it is saved. */
  Outbox.prototype.again = function () {
    var outbox = this;
    this.items.forEach(function (item) {
      if (outbox.elsewhere(item)) {
        item.file = outbox.file;
        item.late = true;
        outbox.remember(item);
      }
    });
    return this.flush();
  };

  /* Those that wait, of one folder or of all, could not be sent. */
  Outbox.prototype.stop = function (mistake, folder) {
    this.trouble = mistake.message;
    this.waiting(folder).forEach(function (each) { each.late = true; });
  };

  /* blocked: folders of which one could not be sent for now. */
  Outbox.prototype.next = function (blocked) {
    var outbox = this, item = this.waiting().filter(function (each) { return !blocked[each.folder]; })[0];
    if (!item) { return Promise.resolve(); }
    return S.send(item.address, item.content).then(function (told) {
      item.saved = true;
      outbox.drop(item);
      outbox.onsaved(item, told);
    }, function (mistake) {
      if (!mistake.status) { throw mistake; } // no server is there
      if (mistake.refusal) {
        item.refused = mistake.message; // it would be refused again, and must not hold up the others
        outbox.remember(item);
        outbox.onchange(item);
      } else {
        blocked[item.folder] = true;
        outbox.stop(mistake, item.folder);
      }
    }).then(function () { return outbox.next(blocked); });
  };

  window.SynDiff.Outbox = Outbox;
}());
