/* Decisions on their way to the server: each is remembered by this browser until the server has it on its disk. */
(function () {
  "use strict";
  var memory = window.SynDiff.memory, send = window.SynDiff.send;

  /* items: those on their way; `refused` is why the server will not have one, `late` one that it could not take.
     onsaved(item, told): the server has it. onchange(): what waits, or was refused, is another now. */
  function Outbox(onsaved, onchange) {
    this.onsaved = onsaved;
    this.onchange = onchange;
    this.items = memory.names("unsent.").map(function (name) { return JSON.parse(memory.get(name)); });
    this.items.sort(function (one, other) { return one.at - other.at; });
    this.items.forEach(function (item) { item.late = true; });
    this.trouble = this.items.length ? "These were not saved when the page was left." : "";
    this.running = null;
  }

  /* Keep {id, address, content, label} and send it after those that wait. */
  Outbox.prototype.add = function (item) {
    item.at = Date.now();
    item.refused = "";
    this.items.push(item);
    this.remember(item);
    return this.flush();
  };

  Outbox.prototype.remember = function (item) {
    if (!memory.set("unsent." + item.id, JSON.stringify(item))) {
      this.forgetful = "This browser cannot remember what is not saved yet: do not leave the page before it is.";
    }
  };

  Outbox.prototype.drop = function (item) {
    memory.remove("unsent." + item.id);
    this.items = this.items.filter(function (each) { return each !== item; });
    this.onchange();
  };

  Outbox.prototype.waiting = function () { return this.items.filter(function (item) { return !item.refused; }); };

  /* Send what waits, in the order of the decisions; the first that is not taken for want of a server or of space
     stops it, so that no later decision overtakes an earlier one. */
  Outbox.prototype.flush = function () {
    var outbox = this;
    if (!this.running) {
      this.running = this.next().then(function () { outbox.running = null; outbox.onchange(); });
    }
    this.onchange();
    return this.running;
  };

  Outbox.prototype.next = function () {
    var outbox = this, item = this.waiting()[0];
    if (!item) {
      this.trouble = "";
      return Promise.resolve();
    }
    return send(item.address, item.content).then(function (told) {
      outbox.trouble = "";
      item.saved = true;
      outbox.drop(item);
      outbox.onsaved(item, told);
      return outbox.next();
    }, function (mistake) {
      if (mistake.status >= 400 && mistake.status < 500 && mistake.status !== 401 && mistake.status !== 429) {
        item.refused = mistake.message; // it would be refused again, and must not hold up the others
        outbox.remember(item);
        outbox.onchange(item);
        return outbox.next();
      }
      outbox.trouble = mistake.message || String(mistake);
      outbox.waiting().forEach(function (each) { each.late = true; });
      return null;
    });
  };

  window.SynDiff.Outbox = Outbox;
}());
