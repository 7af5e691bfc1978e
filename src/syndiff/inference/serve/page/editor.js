/* The mask editor: brush, eraser and polygon by mouse, finger, pen or keyboard; nothing drawn is lost. */
(function () {
  "use strict";
  var SVG = "http://www.w3.org/2000/svg", STORE = "mask.";
  var S = window.SynDiff, element = S.element, memory = S.memory, Mask = S.Mask;
  var TOOLS = { brush: "Brush (B)", eraser: "Eraser (E)", polygon: "Polygon (P)", move: "Move (M)" };
  var COMMANDS = [["undo", "Undo", "Ctrl-Z"], ["redo", "Redo", "Ctrl-Shift-Z"], ["clear", "Clear"], ["reset", "Reset"],
    ["hide", "Hide (H)"], ["out", "−", "-"], ["in", "+"], ["fit", "Fit", "0"], ["leave", "Leave", "Esc twice"],
    ["save", "Save", "Ctrl-Enter"]];
  var LAST = { tool: "brush", size: null, opacity: 25, removes: false }; // the next case is edited as the one before

  /* Edit a mask inside an element.

     options: picture and mask (addresses; without a mask it begins empty), width and height in pixels of the picture;
     title: what is edited; key: whose mask of which case it is, under which unsaved work is kept; state: what the case
     shows, so that work on what it showed before is told as such.

     onsave(blob) is given a grey PNG, 0 and 255; it returns a promise, and work that was kept is forgotten once that is
     kept. A promise that fails is told, and the work stays. oncancel() is called when the user leaves; work is kept.
     ready: a promise that the mask is there. */
  function Editor(host, options) {
    this.options = options;
    this.store = STORE + options.key;
    this.cursor = { x: options.width / 2, y: options.height / 2, shown: false };
    this.corners = [];
    this.beyond = []; // how to stop listening to what is not its own
    this.line = null; // the stroke that is being drawn: its last point and its value
    this.mask = new Mask(options.width, options.height);
    this.onsave = function () { return Promise.reject(new Error("There is nowhere to save to.")); };
    this.oncancel = function () {};
    this.build(host);
    this.listen();
    this.tool(LAST.tool);
    this.say("The mask is being loaded.");
    var editor = this;
    this.ready = this.load().catch(function (mistake) {
      editor.complain(mistake);
      editor.say("The mask is not loaded; nothing can be drawn.");
    });
  }

  Object.defineProperty(Editor.prototype, "changed", { get: function () { return this.mask.changed; } });

  Editor.prototype.png = function () { return this.mask.png(); };

  Editor.prototype.close = function () {
    clearTimeout(this.telling);
    if (this.sizes) { this.sizes.disconnect(); }
    this.beyond.forEach(function (stop) { stop(); });
    this.root.remove();
    this.closed = true;
  };

  Editor.prototype.load = function () {
    var editor = this, options = this.options;
    if (!window.CompressionStream) {
      return Promise.reject(new Error("This browser is too old to save a mask; use Chrome or Edge 80, Firefox 113, "
        + "Safari 16.4, or a newer one."));
    }
    var loaded = options.mask ? Mask.load(options.mask, options.width, options.height) : Promise.resolve(this.mask);
    return loaded.then(function (mask) {
      if (editor.closed) { return; }
      editor.mask = editor.layer.mask = mask;
      editor.loaded = true;
      editor.say(mask.empty ? "The mask is empty." : "The mask is loaded.");
      editor.restore();
      editor.layer.soon(null);
      editor.refresh();
      editor.svg.focus({ preventScroll: true });
    });
  };

  /* ---- unsaved work ---- */

  Editor.prototype.keep = function () {
    this.unkept = false;
    if (!this.changed) {
      if (memory.get(this.store) === this.kept) { memory.remove(this.store); } // else it is another tab's work
      return;
    }
    this.kept = JSON.stringify({ time: Date.now(), state: this.options.state || "", runs: this.mask.text });
    this.unkept = !memory.set(this.store, this.kept);
    if (this.unkept) {
      this.complain(new Error("This browser cannot keep unsaved work: save before you leave the page."));
    }
  };

  /* The mask as it is now is saved. */
  Editor.prototype.forget = function () {
    this.mask.loaded = this.mask.text;
    this.keep();
  };

  Editor.prototype.restore = function () {
    try {
      this.kept = memory.get(this.store);
      var kept = JSON.parse(this.kept);
      if (!kept) { return; }
      this.mask.read(kept.runs);
      if (this.mask.commit()) {
        var same = kept.state === (this.options.state || "");
        this.say("Your unsaved work of " + new Date(kept.time).toLocaleString() + " is back. Reset drops it."
          + (same ? "" : " The case was changed since: look whether the work still fits."));
      }
    } catch (mistake) {
      this.mask.drop();
      this.complain(new Error("Unsaved work on this mask cannot be read any more (" + mistake.message + ")."));
    }
  };

  /* ---- what is seen ---- */

  Editor.prototype.build = function (host) {
    var editor = this, options = this.options;
    this.root = element("div", { "class": "editor", role: "group", "aria-label": "Mask editor" });
    var title = element("h2");
    title.textContent = options.title || "Correct the mask";
    this.buttons = {};
    this.bar = element("div", { "class": "bar", role: "group", "aria-label": "Tools" });
    this.commands = element("div", { "class": "bar commands", role: "group", "aria-label": "Commands" });
    Object.keys(TOOLS).forEach(function (name) {
      editor.button(editor.bar, name, TOOLS[name], function () { editor.tool(name); });
    });
    var largest = Math.max(20, Math.round(Math.min(options.width, options.height) / 3));
    LAST.size = Math.min(largest, LAST.size || Math.max(2, Math.round(largest / 6)));
    this.size = this.slider("Size", "Brush size in pixels of the picture ([ and ])", 1, largest, LAST.size);
    this.button(this.bar, "turn", "Subtract (X)", function () { editor.turn(); });
    this.button(this.bar, "finish", "Close polygon", function () { editor.finish(false); }, "Enter");
    this.fill = this.slider("Fill", "Opacity of the fill, in percent", 0, 80, LAST.opacity);
    COMMANDS.forEach(function (one) {
      editor.button(editor.commands, one[0], one[1], function () { editor[one[0]](); }, one[2]);
    });
    this.buttons.hide.setAttribute("aria-label", "Hide the mask");
    this.buttons.out.setAttribute("aria-label", "Zoom out");
    this.buttons["in"].setAttribute("aria-label", "Zoom in");
    this.problem = element("p", { "class": "problem", role: "alert" });
    this.problem.hidden = true;
    this.told = element("p", { "class": "told", role: "status", "aria-live": "polite" });
    this.view();
    var note = element("p", { "class": "note", id: "editor-keys" });
    note.textContent = "Shift while drawing removes instead of adds. Arrow keys move a cursor (Shift: by one pixel), "
      + "Space held down draws at it. In a polygon Space sets a corner, Enter closes it, Backspace drops the last "
      + "corner, Esc all of them. Wheel or two fingers zoom; the middle button or Move shifts the picture.";
    [title, this.bar, this.commands, this.problem, this.stage, this.told, note].forEach(function (part) {
      editor.root.appendChild(part);
    });
    host.appendChild(this.root);
    this.viewer.draw();
  };

  Editor.prototype.view = function () {
    var options = this.options, editor = this;
    this.stage = element("div", { "class": "view" });
    this.viewer = new S.Viewer();
    this.viewer.open(options.width, options.height);
    this.viewer.hand = this.hand();
    this.svg = this.viewer.panel(options.picture, "The picture with its mask").svg;
    this.svg.setAttribute("role", "application");
    this.svg.setAttribute("aria-describedby", "editor-keys");
    this.canvas = element("canvas", { "aria-hidden": "true" });
    this.marks = element("svg", { "class": "marks", "aria-hidden": "true" }, SVG);
    this.shapes = {};
    ["polygon", "corners", "ring", "cross"].forEach(function (name) {
      var group = element("g", { "class": name }, SVG);
      editor.shapes[name] = ["under", "line"].map(function (kind) {
        return group.appendChild(element("path", { "class": kind }, SVG));
      });
      editor.marks.appendChild(group);
    });
    [this.svg, this.canvas, this.marks].forEach(function (part) { editor.stage.appendChild(part); });
    this.layer = new S.Layer(this.canvas, this.viewer, this.mask);
    this.layer.opacity = LAST.opacity / 100;
    this.viewer.ondraw = function (box) {
      editor.marks.setAttribute("viewBox", box);
      editor.layer.soon(null);
      editor.mark();
    };
    if (window.ResizeObserver) {
      this.sizes = new window.ResizeObserver(function () { editor.layer.soon(null); });
      this.sizes.observe(this.stage);
    }
  };

  /* A button; keys in brackets after its text are shown, others told where the pointer rests. */
  Editor.prototype.button = function (bar, name, text, act, keys) {
    var parts = /^(.*?)(?: \((.*)\))?$/.exec(text), told = keys || parts[2];
    var title = parts[1] + (told ? " (" + told + ")" : "");
    var made = element("button", { type: "button", title: title, "data-do": name });
    if (parts[2]) { made.appendChild(element("kbd", { "aria-hidden": "true" })).textContent = parts[2]; }
    made.appendChild(document.createTextNode(parts[1]));
    made.addEventListener("click", act);
    this.buttons[name] = made;
    bar.appendChild(made);
  };

  Editor.prototype.slider = function (text, label, min, max, value) {
    var box = element("label", { title: label }), told = element("output");
    var input = element("input", { type: "range", min: min, max: max, "aria-label": label });
    box.textContent = text;
    input.value = value;
    told.textContent = value;
    box.appendChild(input);
    box.appendChild(told);
    this.bar.appendChild(box);
    return input;
  };

  /* The brush around the pointer or the cursor, and the corners of a polygon. */
  Editor.prototype.mark = function () {
    var cursor = this.cursor, size = Number(this.size.value), reach = this.options.width / this.viewer.zoom / 60;
    var brush = LAST.tool === "brush" || LAST.tool === "eraser", at = Mask.snapped(cursor, size);
    this.path("ring", cursor.shown && brush ? circle(at, size / 2) : "");
    this.path("cross", cursor.keys && LAST.tool !== "move" ? cross(cursor, reach) : "");
    var corners = this.corners.map(function (each) { return each.x + " " + each.y; });
    if (corners.length && cursor.shown) { corners.push(cursor.x + " " + cursor.y); }
    var dots = this.corners.map(function (each) { return "M" + each.x + " " + each.y + "h0"; }).join("");
    this.path("polygon", corners.length ? "M" + corners.join("L") + (corners.length > 2 ? "Z" : "") : "");
    this.path("corners", dots);
    this.marks.classList.toggle("removes", this.removing(false));
  };

  function circle(at, r) {
    var half = "a" + r + " " + r + " 0 1 0 ";
    return "M" + (at.x - r) + " " + at.y + half + 2 * r + " 0" + half + -2 * r + " 0";
  }

  function cross(at, reach) {
    return "M" + (at.x - reach) + " " + at.y + "h" + 2 * reach + "M" + at.x + " " + (at.y - reach) + "v" + 2 * reach;
  }

  Editor.prototype.path = function (name, data) {
    this.shapes[name].forEach(function (path) { path.setAttribute("d", data); });
  };

  Editor.prototype.say = function (text) { this.told.textContent = text; };

  Editor.prototype.complain = function (mistake) {
    this.problem.textContent = mistake ? mistake.message || String(mistake) : "";
    this.problem.hidden = !mistake;
  };

  /* Buttons as the state of the mask asks for. */
  Editor.prototype.refresh = function () {
    var buttons = this.buttons, polygon = LAST.tool === "polygon";
    Object.keys(TOOLS).forEach(function (name) {
      buttons[name].setAttribute("aria-pressed", String(name === LAST.tool));
    });
    buttons.turn.hidden = buttons.finish.hidden = !polygon;
    this.size.parentNode.hidden = polygon || LAST.tool === "move";
    buttons.turn.setAttribute("aria-pressed", String(LAST.removes));
    buttons.hide.setAttribute("aria-pressed", String(this.canvas.hidden));
    buttons.finish.disabled = this.corners.length < 3;
    buttons.undo.disabled = !this.mask.done.length;
    buttons.redo.disabled = !this.mask.undone.length;
    buttons.reset.disabled = !this.changed;
    buttons.save.disabled = !this.loaded || Boolean(this.saving);
    this.stage.classList.toggle("shifts", LAST.tool === "move");
    this.mark();
  };

  Editor.LAST = LAST;
  S.Editor = Editor;
}());
