/* What a user does in the mask editor: by pointer, by keyboard and by its buttons. */
(function () {
  "use strict";
  var Mask = window.SynDiff.Mask, Editor = window.SynDiff.Editor, LAST = Editor.LAST;
  var TWICE = 3000, QUIET = 400, NEAR = 10; // ms for the second Esc; ms before a place is told; pixels of the screen

  Editor.prototype.busy = function () { return !this.loaded || Boolean(this.saving); };

  /* Whether drawing takes pixels away; Shift turns it round. */
  Editor.prototype.removing = function (turned) {
    var removes = LAST.tool === "eraser" || (LAST.tool === "polygon" && LAST.removes);
    return turned ? !removes : removes;
  };

  /* What follows every change: it is kept, and told. */
  Editor.prototype.edited = function (box, said) {
    this.sure = this.warned = false;
    this.keep();
    this.layer.soon(box);
    this.refresh();
    this.say(said);
  };

  /* ---- a stroke ---- */

  Editor.prototype.begin = function (at, removes) {
    this.line = { last: Mask.snapped(at, Number(this.size.value)), value: removes ? 0 : 1 };
    this.canvas.hidden = false;
    this.extend(at);
  };

  Editor.prototype.extend = function (at) {
    var size = Number(this.size.value), to = Mask.snapped(at, size);
    this.layer.soon(this.mask.stroke(this.line.last, to, size, this.line.value));
    this.line.last = to;
  };

  Editor.prototype.end = function () {
    if (!this.line) { return; }
    var removed = !this.line.value, box = this.mask.touched;
    this.line = null;
    if (this.mask.commit()) { this.edited(box, removed ? "Removed." : "Added."); }
    else { this.say(removed ? "Nothing was marked there." : "All of it was marked already."); }
  };

  Editor.prototype.dropLine = function () {
    this.line = null;
    var box = this.mask.drop();
    if (box) { this.layer.soon(box); }
  };

  /* ---- a polygon ---- */

  Editor.prototype.corner = function (at) {
    var corner = { x: Math.round(at.x), y: Math.round(at.y) };
    var count = this.corners.length, last = this.corners[count - 1];
    if (last && last.x === corner.x && last.y === corner.y) { return; }
    if (count > 2 && this.near(this.corners[0], at)) { return this.finish(false); }
    this.corners.push(corner);
    this.say("Corner " + (count + 1) + (count ? "." : ". Enter or a double click closes the polygon, Esc drops it."));
    this.refresh();
  };

  Editor.prototype.near = function (corner, at) {
    return Math.hypot(corner.x - at.x, corner.y - at.y) * this.svg.getScreenCTM().a < NEAR;
  };

  Editor.prototype.finish = function (turned) {
    if (this.busy() || !this.corners.length) { return; }
    if (this.corners.length < 3) {
      return this.say("A polygon needs three corners; this one has " + this.corners.length + ".");
    }
    this.canvas.hidden = false;
    var removes = this.removing(turned), box = this.mask.polygon(this.corners, removes ? 0 : 1);
    this.corners = [];
    if (this.mask.commit()) { this.edited(box, removes ? "Polygon subtracted." : "Polygon added."); }
    else { this.say("The polygon changed nothing."); }
    this.refresh();
  };

  Editor.prototype.dropCorners = function (all) {
    if (all) { this.corners = []; } else { this.corners.pop(); }
    this.say(this.corners.length ? "Corners: " + this.corners.length + "." : "Polygon dropped.");
    this.refresh();
  };

  Editor.prototype.turn = function () {
    LAST.removes = !LAST.removes;
    this.say(LAST.removes ? "A polygon is subtracted now." : "A polygon is added now.");
    this.refresh();
  };

  /* ---- buttons ---- */

  Editor.prototype.tool = function (name) {
    this.end();
    if (name !== "polygon" && this.corners.length) { this.dropCorners(true); }
    LAST.tool = name;
    this.refresh();
  };

  Editor.prototype.resize = function (to) {
    this.size.value = LAST.size = to;
    this.size.dispatchEvent(new Event("input"));
  };

  Editor.prototype.history = function (which, said, nothing) {
    if (this.busy()) { return; }
    this.end();
    var box = this.mask[which]();
    if (box) { this.edited(box, said); } else { this.say(nothing); }
  };

  Editor.prototype.undo = function () {
    if (this.corners.length) { return this.dropCorners(false); }
    this.history("undo", "Undone.", "There is nothing to undo.");
  };

  Editor.prototype.redo = function () { this.history("redo", "Done again.", "There is nothing to do again."); };

  /* Change all of the mask at once. */
  Editor.prototype.all = function (change, said) {
    if (this.busy()) { return; }
    this.end();
    change(this.mask);
    if (this.mask.commit()) { this.edited(null, said); } else { this.say("It is so already."); }
  };

  Editor.prototype.clear = function () {
    this.all(function (mask) { mask.fill(0); }, "The mask is empty. Undo brings it back.");
  };

  Editor.prototype.reset = function () {
    this.all(function (mask) { mask.read(mask.loaded); }, "The mask is as it was loaded. Undo brings your work back.");
  };

  Editor.prototype.hide = function () {
    this.canvas.hidden = !this.canvas.hidden;
    this.say(this.canvas.hidden ? "The mask is hidden." : "The mask is shown.");
    this.refresh();
  };

  Editor.prototype["in"] = function () { this.viewer.scale(1.25); };
  Editor.prototype.out = function () { this.viewer.scale(0.8); };
  Editor.prototype.fit = function () { this.viewer.fit(); };

  Editor.prototype.leave = function () {
    if (this.saving) { return this.say("The mask is being saved; leave when that is done."); }
    this.end();
    if (this.changed) { this.keep(); } // another tab may have written over it
    if (this.unkept && this.changed && !this.warned) {
      this.warned = true;
      return this.say("This browser cannot keep your work. Save it, or leave once more and it is lost.");
    }
    this.oncancel();
  };

  Editor.prototype.save = function () {
    var editor = this, mask = this.mask;
    if (this.busy()) { return; }
    this.end();
    if (this.corners.length) { return this.say("A polygon is open: close it (Enter) or drop it (Esc), then save."); }
    if (!this.changed) { return this.say("The mask is as it was; there is nothing to save."); }
    if (mask.empty && !this.sure) {
      this.sure = true;
      return this.say("The mask is empty, which says that the picture shows no lesion. Save again if that is meant.");
    }
    this.complain(null);
    this.say("The mask is being saved.");
    this.saving = mask.png().then(function (blob) { return editor.onsave(blob); }).then(function () {
      editor.saving = null;
      editor.forget();
      editor.say("The mask is saved.");
    }, function (mistake) {
      editor.saving = null;
      editor.keep(); // another tab may have written over it
      editor.complain(mistake);
      editor.say("Not saved; your work is still here.");
    }).then(function () { editor.refresh(); });
    this.refresh();
    return this.saving;
  };

  /* ---- the pointer ---- */

  Editor.prototype.hand = function () {
    var editor = this;
    return {
      down: function (event, at) {
        var eraser = (event.buttons & 32) > 0; // the other end of a pen
        LAST.pen = LAST.pen || event.pointerType === "pen";
        if (LAST.tool === "move" || (event.button !== 0 && !eraser)) { return false; }
        if (event.pointerType === "touch" && LAST.pen) { return false; } // a hand that rests beside the pen
        editor.end();
        if (!editor.busy() && LAST.tool !== "polygon") {
          editor.begin(at, eraser || editor.removing(event.shiftKey || event.altKey));
        }
        return true;
      },
      move: function (event, at) {
        if (!editor.line) { return; }
        var between = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
        between.forEach(function (each) { editor.extend(editor.viewer.at(editor.svg, each)); });
        editor.extend(at);
      },
      up: function (event, at) {
        if (LAST.tool === "polygon" && !editor.busy()) { editor.corner(at); }
        editor.end();
      },
      drop: function () { editor.dropLine(); }
    };
  };

  Editor.prototype.place = function (at, byKeys) {
    this.cursor = { x: at.x, y: at.y, shown: true, keys: byKeys };
    this.mark();
  };

  /* ---- the keyboard ---- */

  /* Move the cursor by steps to the right and down, and tell where it has come to rest. */
  Editor.prototype.step = function (right, down, single) {
    var editor = this, options = this.options, viewer = this.viewer, cursor = this.cursor;
    var across = options.width / viewer.zoom, tall = options.height / viewer.zoom;
    var by = single ? 1 : Math.max(1, Math.round(Math.max(across, tall) / 50));
    function within(value, most) { return Math.min(most - 0.5, Math.max(0.5, value)); }
    this.place({ x: within(Math.floor(cursor.x + right * by) + 0.5, options.width),
      y: within(Math.floor(cursor.y + down * by) + 0.5, options.height) }, true);
    cursor = this.cursor;
    if (Math.abs(cursor.x - viewer.centre.x) > across * 0.45 || Math.abs(cursor.y - viewer.centre.y) > tall * 0.45) {
      viewer.move(cursor.x - viewer.centre.x, cursor.y - viewer.centre.y);
    }
    if (this.line) { this.extend(cursor); }
    clearTimeout(this.telling);
    this.telling = setTimeout(function () {
      var x = Math.floor(cursor.x), y = Math.floor(cursor.y), marked = editor.mask.pixels[y * options.width + x];
      editor.say("Column " + (x + 1) + ", row " + (y + 1) + ", " + (marked ? "in the mask." : "not in the mask."));
    }, QUIET);
  };

  Editor.prototype.press = function (event) {
    if (this.busy() || LAST.tool === "move") { return; }
    this.place(this.cursor, true);
    if (LAST.tool === "polygon") { this.corner(this.cursor); }
    else if (!this.line) { this.begin(this.cursor, this.removing(event.shiftKey)); }
  };

  Editor.prototype.escape = function () {
    var now = Date.now();
    if (this.line) { return this.dropLine(); }
    if (this.corners.length) { return this.dropCorners(true); }
    if (now - (this.escaped || 0) < TWICE) { return this.leave(); }
    this.escaped = now;
    var kept = this.changed && !this.unkept;
    this.say("Esc again leaves the editor." + (kept ? " Your work is kept in this browser." : ""));
  };

  /* What a key does, or nothing; `drawing`: the picture has the focus. */
  Editor.prototype.known = function (event, drawing) {
    var editor = this, size = Number(this.size.value), key = (event.key || "").toLowerCase();
    if (event.ctrlKey || event.metaKey) {
      return {
        z: function () { if (event.shiftKey) { editor.redo(); } else { editor.undo(); } },
        y: function () { editor.redo(); },
        enter: function () { editor.save(); }
      }[key];
    }
    var anywhere = {
      b: function () { editor.tool("brush"); },
      e: function () { editor.tool("eraser"); },
      p: function () { editor.tool("polygon"); },
      m: function () { editor.tool("move"); },
      h: function () { editor.hide(); },
      x: function () { editor.turn(); },
      "[": function () { editor.resize(Math.min(size - 1, Math.round(size / 1.2))); },
      "]": function () { editor.resize(Math.max(size + 1, Math.round(size * 1.2))); },
      escape: function () { editor.escape(); }
    };
    var inPicture = {
      arrowleft: function () { editor.step(-1, 0, event.shiftKey); },
      arrowright: function () { editor.step(1, 0, event.shiftKey); },
      arrowup: function () { editor.step(0, -1, event.shiftKey); },
      arrowdown: function () { editor.step(0, 1, event.shiftKey); },
      " ": function () { editor.press(event); },
      enter: function () { editor.finish(event.shiftKey); },
      backspace: function () { if (editor.corners.length) { editor.dropCorners(false); } }
    };
    return anywhere[key] || (drawing && inPicture[key]);
  };

  /* Listen beyond the editor until it is closed. */
  Editor.prototype.listenTo = function (target, name, act, first) {
    target.addEventListener(name, act, first);
    this.beyond.push(function () { target.removeEventListener(name, act, first); });
  };

  Editor.prototype.listen = function () {
    var editor = this, svg = this.svg;
    function end() { editor.end(); }
    /* also while nothing has the focus: a button that is off loses it */
    this.beyond.push(window.SynDiff.keys(document, this.root, function (event) {
      var drawing = event.target === svg || event.target === document.body;
      return (drawing || editor.root.contains(event.target)) && editor.known(event, drawing);
    }, { first: true, chords: true })); // before the viewer of the picture acts on it
    this.listenTo(document, "keyup", function (event) { if (event.key === " ") { end(); } });
    this.listenTo(window, "blur", end);
    this.listenTo(window, "beforeunload", function (event) {
      if (editor.unkept && editor.changed) { event.preventDefault(); }
    });
    this.root.addEventListener("keydown", function (event) { event.stopPropagation(); }); // the page has keys too
    svg.addEventListener("blur", end);
    svg.addEventListener("pointermove", function (event) { editor.place(editor.viewer.at(svg, event), false); });
    svg.addEventListener("pointerleave", function () { editor.cursor.shown = false; editor.mark(); });
    svg.addEventListener("dblclick", function (event) {
      if (LAST.tool === "polygon") { editor.finish(event.shiftKey || event.altKey); }
    });
    this.size.addEventListener("input", function () {
      LAST.size = Number(editor.size.value);
      editor.size.nextSibling.textContent = editor.size.value;
      editor.mark();
    });
    this.fill.addEventListener("input", function () {
      LAST.opacity = Number(editor.fill.value);
      editor.fill.nextSibling.textContent = editor.fill.value;
      editor.layer.opacity = LAST.opacity / 100;
      editor.layer.soon(null);
    });
  };
}());
