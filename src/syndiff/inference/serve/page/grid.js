/* A grid of thumbnails of which only those in sight exist; pages of names are asked for when they come near. */
(function () {
  "use strict";
  var PAGE = 100, KEPT = 30, WIDTH = 132, HEIGHT = 150;
  var element = window.SynDiff.element;

  /* ask(offset) gives a promise of {total, offset, items, place}, place being that of the chosen case; draw(button, item)
     fills a button; choose(index). */
  function Grid(box, ask, draw, choose) {
    this.box = box;
    this.ask = ask;
    this.fill = draw;
    this.choose = choose;
    this.all = element("div", { "class": "all" });
    box.appendChild(this.all);
    this.current = -1;
    this.round = 0;
    this.waiting = null; // the list before, while a new one is asked for
    this.clear();
    var grid = this, asked = false;
    function soon() {
      if (!asked) {
        asked = true;
        window.requestAnimationFrame(function () { asked = false; grid.draw(); });
      }
    }
    box.addEventListener("scroll", soon);
    window.addEventListener("resize", soon);
    box.addEventListener("keydown", function (event) { grid.key(event); });
  }

  Grid.prototype.clear = function () {
    this.round += 1;
    this.pages = {};
    this.order = [];
    this.total = 0;
    this.buttons = {};
    this.current = -1;
    this.all.textContent = "";
  };

  /* Show a new list, from its beginning or, with `stay`, where it was. Until it is there the old one is seen, and
     cannot be chosen from; it stays where the server does not answer. */
  Grid.prototype.open = function (stay) {
    var grid = this, before = this.waiting || { pages: this.pages, order: this.order, total: this.total };
    this.round += 1;
    this.pages = {};
    this.order = [];
    this.wait(before);
    var mine = this.round;
    return this.page(0).then(function (page) {
      if (page) {
        var pages = grid.pages, order = grid.order;
        grid.clear();
        grid.pages = pages;
        grid.order = order;
        grid.total = page.total;
        grid.wait(null);
        grid.current = page.place === null ? -1 : page.place;
        if (!stay) { grid.box.scrollTop = 0; }
        grid.draw();
      }
      return page;
    }).catch(function (mistake) {
      if (mine === grid.round) {
        Object.assign(grid, before);
        grid.wait(null);
      }
      throw mistake;
    });
  };

  Grid.prototype.wait = function (before) {
    this.waiting = before;
    this.box.setAttribute("aria-busy", String(Boolean(before)));
  };

  /* A page of names, asked for once; null where the list has changed meanwhile. */
  Grid.prototype.page = function (number) {
    var grid = this, mine = this.round;
    if (!this.pages[number]) {
      this.pages[number] = this.ask(number * PAGE).then(function (page) {
        if (mine !== grid.round) { return null; }
        grid.total = page.total;
        return page;
      });
      this.pages[number].catch(function () { if (mine === grid.round) { delete grid.pages[number]; } });
    }
    var pages = this.pages, order = this.order.filter(function (each) { return each !== number; });
    order.push(number);
    while (order.length > KEPT) { delete pages[order.shift()]; }
    this.order = order;
    return this.pages[number];
  };

  Grid.prototype.item = function (index) {
    return this.page(Math.floor(index / PAGE)).then(function (page) { return page && page.items[index % PAGE]; });
  };

  Grid.prototype.columns = function () { return Math.max(1, Math.floor(this.all.clientWidth / WIDTH)); };

  Grid.prototype.draw = function () {
    if (this.waiting) { return; }
    var columns = this.columns(), width = Math.floor(this.all.clientWidth / columns), rows = Math.ceil(this.total / columns), grid = this, wanted = {};
    this.all.style.height = rows * HEIGHT + "px";
    var first = Math.max(0, Math.floor(this.box.scrollTop / HEIGHT) - 1) * columns;
    var last = Math.min(this.total, (Math.ceil((this.box.scrollTop + this.box.clientHeight) / HEIGHT) + 1) * columns);
    for (var index = first; index < last; index += 1) { wanted[index] = true; }
    Object.keys(this.buttons).forEach(function (index) {
      if (!wanted[index]) {
        var picture = grid.buttons[index].querySelector("img");
        if (picture) { picture.removeAttribute("src"); } // its request is not waited for any more
        grid.all.removeChild(grid.buttons[index]);
        delete grid.buttons[index];
      }
    });
    Object.keys(wanted).forEach(function (index) {
      var button = grid.buttons[index] || grid.make(Number(index));
      button.style.left = (index % columns) * width + "px";
      button.style.width = width - 6 + "px";
      button.style.top = Math.floor(index / columns) * HEIGHT + "px";
    });
  };

  Grid.prototype.make = function (index) {
    var button = element("button", { type: "button", "data-index": index, "aria-label": "Case " + (index + 1) });
    var grid = this, mine = this.round, ahead = 0;
    button.style.height = HEIGHT - 6 + "px";
    button.addEventListener("click", function () { grid.select(index); });
    this.buttons[index] = button;
    /* in the order of the list, so that the keyboard meets them so */
    Object.keys(this.buttons).forEach(function (each) { if (Number(each) < index) { ahead += 1; } });
    this.all.insertBefore(button, this.all.children[ahead] || null);
    this.mark(button, index);
    this.item(index).then(function (item) {
      if (item && mine === grid.round && grid.buttons[index] === button) { grid.fill(button, item); }
    }).catch(function () {});
    return button;
  };

  Grid.prototype.mark = function (button, index) {
    if (index === this.current) { button.setAttribute("aria-current", "true"); }
    else { button.removeAttribute("aria-current"); }
  };

  /* Choose a case and bring it into sight. */
  Grid.prototype.select = function (index) {
    if (index < 0 || index >= this.total || this.waiting) { return; }
    var grid = this;
    this.current = index;
    this.show(index);
    Object.keys(this.buttons).forEach(function (each) { grid.mark(grid.buttons[each], Number(each)); });
    this.choose(index);
  };

  Grid.prototype.show = function (index) {
    var top = Math.floor(index / this.columns()) * HEIGHT;
    if (top < this.box.scrollTop) { this.box.scrollTop = top; }
    if (top + HEIGHT > this.box.scrollTop + this.box.clientHeight) {
      this.box.scrollTop = top + HEIGHT - this.box.clientHeight;
    }
    this.draw();
  };

  Grid.prototype.key = function (event) {
    var from = event.target.getAttribute("data-index"), columns = this.columns();
    var steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    if (this.waiting || from === null || !steps[event.key] || event.ctrlKey || event.metaKey || event.altKey) { return; }
    event.preventDefault();
    var to = Math.min(this.total - 1, Math.max(0, Number(from) + steps[event.key]));
    this.show(to);
    this.buttons[to].focus({ preventScroll: true });
  };

  window.SynDiff.Grid = Grid;
}());
