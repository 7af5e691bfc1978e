/* Panels with one picture each, layers over it, and a zoom that all panels share. */
(function () {
  "use strict";
  var SVG = "http://www.w3.org/2000/svg";
  var LAYERS = ["probability", "disagreement", "wide", "mask"]; // from below to above
  var MAX_ZOOM = 40, clips = 0;

  function element(name, attributes, space) {
    var made = space ? document.createElementNS(space, name) : document.createElement(name);
    Object.keys(attributes || {}).forEach(function (key) { made.setAttribute(key, attributes[key]); });
    return made;
  }

  function Viewer() {
    this.panels = [];
    this.size = { width: 1, height: 1 };
    this.zoom = 1;
    this.centre = { x: 0.5, y: 0.5 };
    this.shown = {};
    this.opacity = {};
    this.hidden = false;
    this.onkey = function () {};
    this.ondraw = function () {};
    this.hand = null;
  }

  /* A new picture: the whole of it is shown. */
  Viewer.prototype.open = function (width, height) {
    this.size = { width: width, height: height };
    this.fit();
  };

  Viewer.prototype.panel = function (address, label) {
    var svg = element("svg", { tabindex: "0", role: "img", "aria-label": label, "aria-describedby": "keys" }, SVG);
    var side = { x: 0, y: 0, width: this.size.width, height: this.size.height, preserveAspectRatio: "none" };
    var picture = element("image", side, SVG);
    picture.setAttribute("href", address);
    svg.appendChild(picture);
    var panel = { svg: svg, picture: picture, side: side, groups: {} };
    LAYERS.forEach(function (name) {
      panel.groups[name] = element("g", { "class": name }, SVG);
      svg.appendChild(panel.groups[name]);
    });
    this.panels.push(panel);
    this.listen(svg);
    this.draw();
    this.style();
    return panel;
  };

  Viewer.prototype.clear = function () { this.panels = []; };

  /* Draw an answer of the server into a panel. */
  Viewer.prototype.fill = function (panel, answer) {
    ["mask", "wide"].forEach(function (name) {
      var group = panel.groups[name], all = answer[name], classes = (all && all.classes) || (name === "mask" && answer.classes);
      var several = classes && classes.length;
      group.textContent = "";
      (several ? classes : [all]).forEach(function (one, index) {
        if (one && one.path) { draw(group, one.path, several ? index : null); }
      });
    });
    var maps = { probability: answer.probability, disagreement: answer.disagreement && answer.disagreement.image };
    Object.keys(maps).forEach(function (name) {
      panel.groups[name].textContent = "";
      if (maps[name]) {
        var map = element("image", panel.side, SVG);
        map.setAttribute("href", maps[name]);
        panel.groups[name].appendChild(map);
      }
    });
    this.style();
  };

  /* A line with a dark one under it. That of a class lies on the inner side of its border: the next class may begin there. */
  function draw(group, path, index) {
    var of = index === null ? "" : " inside class-" + index % 8, within = {};
    if (of) {
      var clip = element("clipPath", { id: "inside-" + (clips += 1) }, SVG);
      clip.appendChild(element("path", { "clip-rule": "evenodd", d: path }, SVG));
      group.appendChild(clip);
      within = { "clip-path": "url(#" + clip.id + ")" };
    }
    ["under", "line"].forEach(function (kind) {
      group.appendChild(element("path", Object.assign({ "class": kind + of, d: path }, within), SVG));
    });
  }

  /* A contour in two: the lesion that was put at [x, y], with its holes, and the others, which the frame had before.
     Without a place, or where no line lies around it or near it, all of it is the first. */
  function apart(path, at) {
    var lines = (path || "").split("Z").filter(Boolean).map(function (text) {
      return { text: text + "Z", points: text.slice(1).split("L").map(function (pair) { return pair.split(" ").map(Number); }) };
    });
    if (!at || lines.length < 2) { return { mask: path, others: "" }; }
    var around = lines.filter(function (line) { return inside(at, line.points); });
    var main = around.length ? around[0] : lines.reduce(function (best, line) {
      return near(at, line.points) < near(at, best.points) ? line : best;
    });
    var parts = { mask: "", others: "" };
    lines.forEach(function (line) {
      parts[line === main || inside(line.points[0], main.points) ? "mask" : "others"] += line.text;
    });
    return parts;
  }

  var APART = "Yellow: the synthetic lesion. Blue, dashed: what the frame showed before.";

  function inside(at, points) {
    var found = false;
    points.forEach(function (a, index) {
      var b = points[(index + 1) % points.length];
      if ((a[1] > at[1]) !== (b[1] > at[1]) && at[0] < a[0] + (b[0] - a[0]) * (at[1] - a[1]) / (b[1] - a[1])) { found = !found; }
    });
    return found;
  }

  function near(at, points) {
    return Math.min.apply(null, points.map(function (one) { return Math.hypot(one[0] - at[0], one[1] - at[1]); }));
  }

  Viewer.prototype.style = function () {
    var viewer = this;
    this.panels.forEach(function (panel) {
      LAYERS.forEach(function (name) {
        var visible = viewer.shown[name] && !viewer.hidden;
        panel.groups[name].style.display = visible ? "" : "none";
        panel.groups[name].style.opacity = viewer.opacity[name];
      });
    });
  };

  Viewer.prototype.fit = function () {
    this.zoom = 1;
    this.centre = { x: this.size.width / 2, y: this.size.height / 2 };
    this.draw();
  };

  /* Zoom by a factor; the point (x, y) of the picture stays where it is. */
  Viewer.prototype.scale = function (by, x, y) {
    var before = this.zoom;
    this.zoom = Math.min(MAX_ZOOM, Math.max(1, this.zoom * by));
    if (x === undefined) { x = this.centre.x; y = this.centre.y; }
    var share = before / this.zoom;
    this.centre = { x: x + (this.centre.x - x) * share, y: y + (this.centre.y - y) * share };
    this.draw();
  };

  Viewer.prototype.move = function (right, down) {
    this.centre.x += right;
    this.centre.y += down;
    this.draw();
  };

  Viewer.prototype.draw = function () {
    var width = this.size.width / this.zoom, height = this.size.height / this.zoom;
    this.centre.x = Math.min(this.size.width - width / 2, Math.max(width / 2, this.centre.x));
    this.centre.y = Math.min(this.size.height - height / 2, Math.max(height / 2, this.centre.y));
    var box = [this.centre.x - width / 2, this.centre.y - height / 2, width, height].join(" ");
    var near = this.zoom > 1;
    this.panels.forEach(function (panel) {
      panel.svg.setAttribute("viewBox", box);
      panel.svg.classList.toggle("near", near);
    });
    this.ondraw(box);
  };

  /* The place of a pointer's event in pixels of the picture. */
  Viewer.prototype.at = function (svg, event) { return inPicture(svg, event.clientX, event.clientY); };

  /* A point of the window in pixels of the picture. */
  function inPicture(svg, x, y) {
    var point = svg.createSVGPoint();
    point.x = x;
    point.y = y;
    return point.matrixTransform(svg.getScreenCTM().inverse());
  }

  /* `hand`, where there is one, may draw with a single finger: down(event, at) says whether it does, then come
     move(event, at) and up(event, at), or drop() where a second finger makes it a zoom. */
  Viewer.prototype.listen = function (svg) {
    var viewer = this, fingers = {}, drawing = null;
    function hand(name, event) { viewer.hand[name](event, viewer.at(svg, event)); }
    svg.addEventListener("wheel", function (event) {
      if (viewer.zoom === 1 && event.deltaY > 0) { return; } // the page scrolls on
      event.preventDefault();
      var at = inPicture(svg, event.clientX, event.clientY);
      viewer.scale(event.deltaY < 0 ? 1.2 : 1 / 1.2, at.x, at.y);
    }, { passive: false });
    svg.addEventListener("pointerdown", function (event) {
      var alone = !Object.keys(fingers).length;
      fingers[event.pointerId] = event;
      svg.setPointerCapture(event.pointerId);
      if (drawing !== null) {
        viewer.hand.drop();
        drawing = null;
      } else if (alone && viewer.hand && viewer.hand.down(event, viewer.at(svg, event))) {
        drawing = event.pointerId;
        return;
      }
      svg.classList.add("moving");
    });
    svg.addEventListener("pointermove", function (event) {
      var last = fingers[event.pointerId];
      if (!last) { return; }
      if (drawing === event.pointerId) {
        hand("move", event);
        return;
      }
      var others = Object.keys(fingers).filter(function (each) { return each !== String(event.pointerId); });
      var from = inPicture(svg, last.clientX, last.clientY), to = inPicture(svg, event.clientX, event.clientY);
      fingers[event.pointerId] = event;
      if (others.length) {
        var still = fingers[others[0]], rest = inPicture(svg, still.clientX, still.clientY);
        var before = Math.hypot(from.x - rest.x, from.y - rest.y), after = Math.hypot(to.x - rest.x, to.y - rest.y);
        if (before > 0 && after > 0) { viewer.scale(after / before, rest.x, rest.y); }
      } else if (viewer.zoom > 1) {
        viewer.move(from.x - to.x, from.y - to.y);
      }
    });
    ["pointerup", "pointercancel"].forEach(function (name) {
      svg.addEventListener(name, function (event) {
        if (drawing === event.pointerId) {
          drawing = null;
          if (name === "pointerup") { hand("up", event); } else { viewer.hand.drop(); }
        }
        delete fingers[event.pointerId];
        svg.classList.toggle("moving", Object.keys(fingers).length > 0);
      });
    });
    window.SynDiff.keys(svg, svg, function (event) {
      var step = viewer.size.width / viewer.zoom / 8;
      return {
        ArrowLeft: function () { viewer.move(-step, 0); },
        ArrowRight: function () { viewer.move(step, 0); },
        ArrowUp: function () { viewer.move(0, -step); },
        ArrowDown: function () { viewer.move(0, step); },
        "+": function () { viewer.scale(1.25); },
        "=": function () { viewer.scale(1.25); },
        "-": function () { viewer.scale(0.8); },
        "0": function () { viewer.fit(); },
        h: function () { viewer.onkey("hide"); },
        H: function () { viewer.onkey("hide"); }
      }[event.key];
    });
  };

  /* What the lines of a picture are, in words: `all` is the contour of its mask, `parts` what `apart` made of it. */
  function tellLines(note, all, parts, more) {
    note.textContent = "";
    if (!all.classes.length) {
      note.textContent = more ? "Yellow: annotation. Blue, dashed: prediction." : parts.others ? APART
        : "Yellow: contour of the mask.";
      return;
    }
    all.classes.forEach(function (one, index) {
      var item = element("span", { "class": "of-class" });
      item.appendChild(element("i", { "class": "key class-" + index % 8 }));
      item.appendChild(document.createTextNode(one.name));
      note.appendChild(item);
    });
    if (more) { note.appendChild(document.createTextNode("Dashed: prediction.")); }
  }

  /* The mask of a case: of several classes each in its colour, else what was painted apart from what was there. */
  function drawCase(viewer, panel, note, all, placed, more) {
    var parts = all.classes.length ? { mask: all.path, others: "" } : apart(all.path, placed);
    viewer.fill(panel, { mask: { path: parts.mask, classes: all.classes }, wide: more || { path: parts.others } });
    tellLines(note, all, parts, more);
  }

  window.SynDiff = { Viewer: Viewer, element: element, apart: apart, drawCase: drawCase };
}());
