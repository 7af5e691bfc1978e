/* A mask over a panel of a viewer: a translucent fill and a contour that is as wide at any zoom. It is drawn at the
   resolution of the screen, so that a stroke costs the same in a picture of any size. */
(function () {
  "use strict";
  var LINE = [255, 210, 31], UNDER = [0, 0, 0];

  function colour(rgb, alpha) {
    return new Uint32Array(new Uint8Array([rgb[0], rgb[1], rgb[2], Math.round(alpha * 255)]).buffer)[0];
  }

  function Layer(canvas, viewer, mask) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.viewer = viewer;
    this.mask = mask;
    this.opacity = 0.25;
    this.waiting = null;
  }

  /* Draw again what lies in a box of the picture, or all of it, before the next frame is shown. */
  Layer.prototype.soon = function (box) {
    var layer = this, mask = this.mask, asked = this.waiting !== null;
    this.waiting = window.SynDiff.Mask.union(this.waiting, box || mask.all());
    this.whole = this.whole || !box;
    if (!asked) {
      window.requestAnimationFrame(function () {
        var dirty = layer.whole ? null : layer.waiting;
        layer.waiting = null;
        layer.whole = false;
        layer.draw(dirty);
      });
    }
  };

  /* Scale and shift from pixels of the picture to those of the canvas; the canvas is made as large as it is shown. */
  Layer.prototype.place = function () {
    var ratio = window.devicePixelRatio || 1, viewer = this.viewer;
    var width = Math.round(this.canvas.clientWidth * ratio), height = Math.round(this.canvas.clientHeight * ratio);
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    var scale = Math.min(width / viewer.size.width, height / viewer.size.height) * viewer.zoom;
    var x = width / 2 - viewer.centre.x * scale, y = height / 2 - viewer.centre.y * scale;
    return { ratio: ratio, scale: scale, x: x, y: y };
  };

  Layer.prototype.draw = function (box) {
    var place = this.place(), reach = Math.ceil(3 * place.ratio) + 1, s = place.scale;
    var left = 0, top = 0, right = this.canvas.width, bottom = this.canvas.height;
    function narrow(to) {
      left = Math.max(left, Math.floor(to.left * s + place.x) - reach);
      top = Math.max(top, Math.floor(to.top * s + place.y) - reach);
      right = Math.min(right, Math.ceil(to.right * s + place.x) + reach);
      bottom = Math.min(bottom, Math.ceil(to.bottom * s + place.y) + reach);
    }
    if (box) { narrow(box); }
    this.context.clearRect(left, top, right - left, bottom - top);
    narrow(this.mask.extent || { left: 0, top: 0, right: 0, bottom: 0 }); // there is nothing beyond it
    if (right <= left || bottom <= top) { return; }
    var image = this.context.createImageData(right - left, bottom - top);
    var seen = this.seen(place, left - reach, top - reach, image.width + 2 * reach, image.height + 2 * reach);
    var out = new Uint32Array(image.data.buffer), across = image.width + 2 * reach, fill = colour(LINE, this.opacity);
    for (var y = 0; y < image.height; y += 1) {
      for (var x = 0, i = (y + reach) * across + reach, o = y * image.width; x < image.width; x += 1, i += 1, o += 1) {
        if (seen[i]) { out[o] = fill; }
      }
    }
    var border = edges(seen, across, image.height + 2 * reach);
    stamp(out, image.width, image.height, border, across, reach, Math.round(2.5 * place.ratio), colour(UNDER, 0.65));
    stamp(out, image.width, image.height, border, across, reach, Math.round(1.2 * place.ratio), colour(LINE, 1));
    this.context.putImageData(image, left, top);
  };

  /* Which pixels of a window of the canvas show some of the mask: no lesion is too small to be seen. */
  Layer.prototype.seen = function (place, left, top, width, height) {
    var mask = this.mask, s = place.scale, found = new Uint8Array(width * height), pixels = mask.pixels;
    function clipped(value, most) { return Math.min(most, Math.max(0, value)); }
    function places(count, from, shift) { // where each pixel of the window lies in the picture
      return Int32Array.from({ length: count }, function (_, n) { return Math.floor((from + n + 0.5 - shift) / s); });
    }
    if (s >= 1) {
      var columns = places(width, left, place.x), rows = places(height, top, place.y), first = 0, last = width;
      while (first < width && columns[first] < 0) { first += 1; }
      while (last > first && columns[last - 1] >= mask.width) { last -= 1; }
      for (var y = 0; y < height; y += 1) {
        if (rows[y] >= 0 && rows[y] < mask.height) {
          for (var x = first, row = rows[y] * mask.width; x < last; x += 1) {
            found[y * width + x] = pixels[row + columns[x]];
          }
        }
      }
      return found;
    }
    var x0 = clipped(Math.ceil((left - place.x) / s), mask.width);
    var x1 = clipped(Math.floor((left + width - place.x) / s), mask.width);
    var y0 = clipped(Math.ceil((top - place.y) / s), mask.height);
    var y1 = clipped(Math.floor((top + height - place.y) / s), mask.height);
    for (var v = y0; v < y1; v += 1) {
      var end = v * mask.width + x1, at = pixels.indexOf(1, v * mask.width + x0);
      if (at < 0) { break; }
      v = Math.max(v, Math.floor(at / mask.width)); // rows without any are skipped
      if (v >= y1) { break; }
      end = v * mask.width + x1;
      var to = Math.floor((v + 0.5) * s + place.y - top) * width;
      for (at = Math.max(at, v * mask.width + x0); at < end; at += 1) {
        if (pixels[at]) { found[to + Math.floor((at - v * mask.width + 0.5) * s + place.x - left)] = 1; }
      }
    }
    return found;
  };

  /* The pixels whose right or lower neighbour is on the other side of the mask's border. */
  function edges(seen, width, height) {
    var found = [];
    for (var y = 0; y + 1 < height; y += 1) {
      for (var i = y * width, end = i + width - 1; i < end; i += 1) {
        if (seen[i] !== seen[i + 1] || seen[i] !== seen[i + width]) { found.push(i); }
      }
    }
    return found;
  }

  /* Squares of 2 `half` pixels around each place of the border. */
  function stamp(out, width, height, border, across, reach, half, value) {
    for (var n = 0; n < border.length; n += 1) {
      var x = border[n] % across - reach, y = Math.floor(border[n] / across) - reach;
      var left = Math.max(0, x - half + 1), right = Math.min(width, x + half + 1);
      for (var v = Math.max(0, y - half + 1), end = Math.min(height, y + half + 1); v < end; v += 1) {
        for (var u = left; u < right; u += 1) { out[v * width + u] = value; }
      }
    }
  }

  window.SynDiff.Layer = Layer;
}());
