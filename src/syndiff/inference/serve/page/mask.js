/* A mask of pixels: what the tools do to it, undo and redo, its forms for keeping and for sending. It shows nothing.

   A box is {left, top, right, bottom} in pixels, right and bottom not within. Points are in pixels of the picture: the
   centre of the first pixel lies at (0.5, 0.5). */
(function () {
  "use strict";
  var MAX_UNDO_BYTES = 32 * 1024 * 1024; // of changes; the oldest go
  var CRC = new Int32Array(256).map(function (_, n) {
    for (var k = 0; k < 8; k += 1) { n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1; }
    return n;
  });

  /* pixels: Uint8Array of 0 and 1, row by row; all 0 by default. */
  function Mask(width, height, pixels) {
    this.width = width;
    this.height = height;
    this.pixels = pixels || new Uint8Array(width * height);
    this.before = this.pixels.slice(); // as it was when the last change was finished
    this.touched = null;
    this.done = [];
    this.undone = [];
    this.loaded = this.text = this.runs();
  }

  Object.defineProperty(Mask.prototype, "changed", { get: function () { return this.text !== this.loaded; } });
  Object.defineProperty(Mask.prototype, "empty", { get: function () { return this.pixels.indexOf(1) < 0; } });

  /* The point nearest to `at` around which a disc of so many pixels across is even on all sides. */
  Mask.snapped = function (at, size) {
    return size % 2 ? { x: Math.floor(at.x) + 0.5, y: Math.floor(at.y) + 0.5 }
      : { x: Math.round(at.x), y: Math.round(at.y) };
  };

  /* Set the pixels whose centre is no further than size / 2 from the line between two points; the box they lie in. */
  Mask.prototype.stroke = function (from, to, size, value) {
    var r = size / 2, long = Math.hypot(to.x - from.x, to.y - from.y), body = [];
    if (long) {
      var dx = -(to.y - from.y) / long * r, dy = (to.x - from.x) / long * r;
      body = [{ x: from.x + dx, y: from.y + dy }, { x: to.x + dx, y: to.y + dy },
        { x: to.x - dx, y: to.y - dy }, { x: from.x - dx, y: from.y - dy }];
    }
    var box = this.box(Math.min(from.x, to.x) - r, Math.min(from.y, to.y) - r,
      Math.max(from.x, to.x) + r, Math.max(from.y, to.y) + r);
    for (var y = box.top; y < box.bottom; y += 1) {
      var ends = crossings(body, y + 0.5);
      [from, to].forEach(function (end) {
        var rest = r * r - (y + 0.5 - end.y) * (y + 0.5 - end.y);
        if (rest >= 0) { ends.push(end.x - Math.sqrt(rest), end.x + Math.sqrt(rest)); }
      });
      if (ends.length) { this.row(y, Math.ceil(least(ends) - 0.5), Math.floor(most(ends) - 0.5) + 1, value); }
    }
    return this.touch(box);
  };

  /* Set the pixels whose centre lies within a closed line of corners (where it crosses itself: even-odd). */
  Mask.prototype.polygon = function (corners, value) {
    var xs = corners.map(function (each) { return each.x; }), ys = corners.map(function (each) { return each.y; });
    var box = this.box(least(xs), least(ys), most(xs), most(ys));
    for (var y = box.top; y < box.bottom; y += 1) {
      var ends = crossings(corners, y + 0.5).sort(function (a, b) { return a - b; });
      for (var i = 0; i + 1 < ends.length; i += 2) {
        this.row(y, Math.ceil(ends[i] - 0.5), Math.ceil(ends[i + 1] - 0.5), value);
      }
    }
    return this.touch(box);
  };

  Mask.prototype.fill = function (value) {
    this.pixels.fill(value);
    return this.touch(this.all());
  };

  /* Take over what `runs` gave. Throws where it does not fit. */
  Mask.prototype.read = function (text) {
    var at = 0, value = 0, pixels = new Uint8Array(this.pixels.length);
    text.split(" ").forEach(function (word) {
      var length = parseInt(word, 36);
      if (value) { pixels.fill(1, at, at + length); }
      at += length;
      value = 1 - value;
    });
    if (at !== pixels.length) { throw new Error("The mask has another size."); }
    this.pixels.set(pixels);
    return this.touch(this.all());
  };

  /* The lengths of the runs of 0 and 1 in turn, as text; `extent` becomes the box around all 1. */
  Mask.prototype.runs = function () {
    var lengths = [], at = 0, value = 0, width = this.width, extent = null;
    while (at < this.pixels.length) {
      var next = this.pixels.indexOf(1 - value, at);
      if (next < 0) { next = this.pixels.length; }
      lengths.push((next - at).toString(36));
      if (value) {
        var top = Math.floor(at / width), bottom = Math.ceil(next / width), single = bottom - top === 1;
        extent = Mask.union(extent, { left: single ? at - top * width : 0, top: top,
          right: single ? next - top * width : width, bottom: bottom });
      }
      at = next;
      value = 1 - value;
    }
    this.extent = extent;
    return lengths.join(" ");
  };

  /* ---- undo ---- */

  /* All since the last call becomes one change; false where no pixel is another one. */
  Mask.prototype.commit = function () {
    var box = this.touched;
    this.touched = null;
    var change = box && this.difference(box);
    if (!change) { return false; }
    this.done.push(change);
    this.undone = [];
    for (var bytes = 0, i = this.done.length - 1; i >= 0; i -= 1) {
      bytes += this.done[i].runs.byteLength + 64;
      if (bytes > MAX_UNDO_BYTES) { this.done.splice(0, i + 1); break; }
    }
    this.settle(box);
    return true;
  };

  /* Drop all since the last change; the box it lies in, or null. */
  Mask.prototype.drop = function () {
    var box = this.touched;
    this.touched = null;
    if (box) {
      for (var y = box.top; y < box.bottom; y += 1) {
        var from = y * this.width + box.left, to = y * this.width + box.right;
        this.pixels.set(this.before.subarray(from, to), from);
      }
    }
    return box;
  };

  /* The box in which something changed, or null where there is nothing to undo (redo). */
  Mask.prototype.undo = function () { return this.flip(this.done, this.undone); };
  Mask.prototype.redo = function () { return this.flip(this.undone, this.done); };

  Mask.prototype.flip = function (from, to) {
    var change = from.pop();
    if (!change) { return null; }
    to.push(change);
    var box = change.box, across = box.right - box.left, at = 0, turn = false;
    for (var i = 0; i < change.runs.length; i += 1, turn = !turn) {
      for (var end = at + change.runs[i]; at < end; at += 1) {
        if (turn) { this.pixels[(box.top + Math.floor(at / across)) * this.width + box.left + at % across] ^= 1; }
      }
    }
    this.settle(box);
    return box;
  };

  /* Where pixels differ from before, as lengths of equal and different runs in turn along the rows of a box. */
  Mask.prototype.difference = function (box) {
    var runs = [], length = 0, differs = 0, any = false;
    for (var y = box.top; y < box.bottom; y += 1) {
      for (var i = y * this.width + box.left, end = y * this.width + box.right; i < end; i += 1) {
        if ((this.pixels[i] ^ this.before[i]) !== differs) {
          runs.push(length);
          length = 0;
          differs ^= 1;
          any = true;
        }
        length += 1;
      }
    }
    runs.push(length);
    return any ? { box: box, runs: Uint32Array.from(runs) } : null;
  };

  Mask.prototype.settle = function (box) {
    for (var y = box.top; y < box.bottom; y += 1) {
      var from = y * this.width + box.left, to = y * this.width + box.right;
      this.before.set(this.pixels.subarray(from, to), from);
    }
    this.text = this.runs();
  };

  /* ---- what the tools are made of ---- */

  Mask.prototype.row = function (y, from, to, value) {
    from = Math.max(0, from);
    to = Math.min(this.width, to);
    if (from < to) { this.pixels.fill(value, y * this.width + from, y * this.width + to); }
  };

  Mask.prototype.all = function () { return { left: 0, top: 0, right: this.width, bottom: this.height }; };

  Mask.prototype.box = function (left, top, right, bottom) {
    var box = { left: Math.max(0, Math.floor(left)), top: Math.max(0, Math.floor(top)),
      right: Math.min(this.width, Math.ceil(right)), bottom: Math.min(this.height, Math.ceil(bottom)) };
    box.right = Math.max(box.left, box.right);
    box.bottom = Math.max(box.top, box.bottom);
    return box;
  };

  Mask.prototype.touch = function (box) {
    this.touched = Mask.union(this.touched, box);
    this.extent = Mask.union(this.extent, box);
    return box;
  };

  Mask.union = function (one, two) {
    return !one ? two : !two ? one : { left: Math.min(one.left, two.left), top: Math.min(one.top, two.top),
      right: Math.max(one.right, two.right), bottom: Math.max(one.bottom, two.bottom) };
  };

  function least(numbers) { return Math.min.apply(null, numbers); }
  function most(numbers) { return Math.max.apply(null, numbers); }

  /* Where a closed line of corners crosses the height y. */
  function crossings(corners, y) {
    var found = [];
    corners.forEach(function (one, i) {
      var two = corners[(i + 1) % corners.length];
      if ((one.y <= y) !== (two.y <= y)) { found.push(one.x + (y - one.y) / (two.y - one.y) * (two.x - one.x)); }
    });
    return found;
  }

  /* ---- PNG: written here, since a canvas has colours, and some browsers change its pixels against tracking ---- */

  /* A promise of the mask as a grey PNG, 0 and 255. */
  Mask.prototype.png = function () {
    var width = this.width, rows = new Uint8Array((width + 1) * this.height), head = new Uint8Array(13);
    for (var y = 0; y < this.height; y += 1) {
      for (var x = 0; x < width; x += 1) { rows[y * (width + 1) + x + 1] = -this.pixels[y * width + x]; }
    }
    new DataView(head.buffer).setUint32(0, width);
    new DataView(head.buffer).setUint32(4, this.height);
    head[8] = 8; // bits of a grey pixel
    var packed = new Blob([rows]).stream().pipeThrough(new window.CompressionStream("deflate"));
    return new Response(packed).arrayBuffer().then(function (content) {
      var parts = [new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10])];
      parts.push(chunk("IHDR", head), chunk("IDAT", new Uint8Array(content)), chunk("IEND", new Uint8Array(0)));
      return new Blob(parts, { type: "image/png" });
    });
  };

  function chunk(kind, content) {
    var made = new Uint8Array(content.length + 12), view = new DataView(made.buffer), sum = -1;
    view.setUint32(0, content.length);
    for (var i = 0; i < 4; i += 1) { made[i + 4] = kind.charCodeAt(i); }
    made.set(content, 8);
    for (var at = 4; at < content.length + 8; at += 1) { sum = CRC[(sum ^ made[at]) & 255] ^ (sum >>> 8); }
    view.setInt32(content.length + 8, ~sum);
    return made;
  }

  /* A promise of the mask in a grey PNG of 0 and 255 at an address. */
  Mask.load = function (address, width, height) {
    return window.SynDiff.blob(address).then(function (content) {
      return createImageBitmap(content, { colorSpaceConversion: "none" });
    }).then(function (image) {
      if (image.width !== width || image.height !== height) {
        var found = image.width + "x" + image.height, expected = width + "x" + height;
        throw new Error("The mask is " + found + " (width x height), but its picture " + expected + ".");
      }
      var canvas = document.createElement("canvas");
      canvas.width = width;
      canvas.height = height;
      var context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0);
      var colours = context.getImageData(0, 0, width, height).data, pixels = new Uint8Array(width * height);
      for (var i = 0; i < pixels.length; i += 1) {
        if (colours[4 * i] !== 0 && colours[4 * i] !== 255) {
          throw new Error("This browser changes the pixels that a page reads, a protection against tracking; allow "
            + "this page to read them, or use another browser.");
        }
        pixels[i] = colours[4 * i] & 1;
      }
      return new Mask(width, height, pixels);
    });
  };

  window.SynDiff.Mask = Mask;
}());
