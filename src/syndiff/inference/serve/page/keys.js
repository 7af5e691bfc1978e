/* What a key or a click may act on: only on what is in sight, once for each time that it is pressed. */
(function () {
  "use strict";
  var HELD = /^(Arrow\w+|[-+=[\]])$/; // moving, zooming and sizes go on while a key is held down
  var MOMENT = 250; // ms in which nobody sees what has just come into sight

  /* Listen for keys on an element: known(event) gives what one does, or nothing. A key that is held down acts once, save
     for moving and zooming; none acts while `scene` is out of sight, nor where it is typed into a field, nor with Ctrl,
     Alt or Meta unless `chords`. With `first` it is asked for before the elements within. Returns how to stop. */
  function keys(target, scene, known, options) {
    var first = Boolean(options && options.first), chords = Boolean(options && options.chords);
    function listen(event) {
      var chord = event.ctrlKey || event.metaKey || event.altKey;
      if (event.defaultPrevented || event.isComposing || typed(event.target) || (chord && !chords) ||
          !scene.getClientRects().length) { return; }
      var act = known(event);
      if (!act) { return; }
      event.preventDefault();
      if (first) { event.stopPropagation(); }
      if (!event.repeat || HELD.test(event.key)) { act(); }
    }
    target.addEventListener("keydown", listen, first);
    return function () { target.removeEventListener("keydown", listen, first); };
  }

  function typed(field) {
    return /^(INPUT|SELECT|TEXTAREA)$/.test(field.tagName) && !/^(checkbox|range)$/.test(field.type);
  }

  /* A button that has the focus would be pressed again and again, and a form sent. */
  document.addEventListener("keydown", function (event) {
    if (event.repeat && event.key === "Enter") { event.preventDefault(); }
  }, true);

  /* Whether a case can be decided on. One that is still being fetched cannot, nor one that has only just come into
     sight: whoever presses a key then means the case before. */
  function Sight(box) {
    this.box = box;
    this.seen = false;
    this.timer = null;
  }

  /* What is in sight is not, or not yet, what a decision would be about. */
  Sight.prototype.lose = function () {
    clearTimeout(this.timer);
    this.seen = false;
    this.box.setAttribute("aria-busy", "true");
    this.box.classList.add("away");
  };

  Sight.prototype.gain = function () {
    var sight = this;
    clearTimeout(this.timer);
    this.box.classList.remove("away");
    this.timer = setTimeout(function () {
      sight.seen = true;
      sight.box.setAttribute("aria-busy", "false");
    }, MOMENT);
  };

  Object.assign(window.SynDiff, { keys: keys, Sight: Sight });
}());
