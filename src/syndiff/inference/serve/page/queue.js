/* The cases of a folder in the order in which they are reviewed; those that come next are fetched ahead. */
(function () {
  "use strict";
  var ask = window.SynDiff.ask, picture = window.SynDiff.picture;
  var AHEAD = 2;

  function Queue(key, reviewer, ids) {
    this.base = "api/review/" + key + "/cases/";
    this.reviewer = reviewer;
    this.ids = ids;
    this.index = 0;
    this.held = {};
  }

  Queue.prototype.address = function (id) { return this.base + id; };

  /* A promise of {told, url} of a case: first what it shows, then its picture, which is no older than that. */
  Queue.prototype.fetch = function (id) {
    var queue = this, query = "?reviewer=" + encodeURIComponent(this.reviewer);
    if (!this.held[id]) {
      this.held[id] = ask(this.address(id) + query).then(function (told) {
        return picture(queue.address(id) + "/picture.jpg").then(function (found) {
          return { told: told, url: found.url, image: found.image }; // decoded while another one is looked at
        });
      });
      this.held[id].catch(function () { delete queue.held[id]; });
    }
    return this.held[id];
  };

  Queue.prototype.current = function () { return this.fetch(this.ids[this.index]); };

  /* Fetch those that come next, let go of those that are far. */
  Queue.prototype.prepare = function () {
    var queue = this, near = this.ids.slice(Math.max(0, this.index - 1), this.index + AHEAD + 1);
    Object.keys(this.held).forEach(function (id) { if (near.indexOf(id) < 0) { queue.forget(id); } });
    this.ids.slice(this.index + 1, this.index + AHEAD + 1).forEach(function (id) {
      queue.fetch(id).catch(function () {}); // told when it is its turn
    });
  };

  /* Have a case fetched anew when it is shown next. */
  Queue.prototype.forget = function (id) {
    var old = this.held[id];
    delete this.held[id];
    if (old) { old.then(function (found) { URL.revokeObjectURL(found.url); }, function () {}); }
  };

  Queue.prototype.close = function () { Object.keys(this.held).forEach(this.forget, this); };

  /* Go to a case; one that is not in the list joins it here. */
  Queue.prototype.go = function (id) {
    var at = this.ids.indexOf(id);
    if (at < 0) { this.ids.splice(this.index, 0, id); } else { this.index = at; }
  };

  window.SynDiff.Queue = Queue;
}());
