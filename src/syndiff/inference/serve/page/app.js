/* The view Try: choose a picture, ask the models, show what they answer. */
(function () {
  "use strict";
  var element = window.SynDiff.element, ask = window.SynDiff.ask, Mistake = window.SynDiff.Mistake;
  var viewer = new window.SynDiff.Viewer();
  var models = [], chosen = null, round = 0, held = null, unfinished = false;
  /* chosen: {file} or {id, name}. round: grows with every picture or choice of models, so that late answers of an
     earlier one are dropped. held: what the server says of the picture. unfinished: whether a panel waits for its answer. */

  function find(id) { return document.getElementById(id); }

  function say(text, busy) {
    find("status").textContent = text;
    find("status").classList.toggle("busy", Boolean(busy));
  }

  function complain(text) {
    find("problem").textContent = text || "";
    find("problem").hidden = !text;
  }

  /* ---- the picture ---- */

  function open(source, frame) {
    var mine = ++round;
    complain("");
    say("Reading " + source.name + " …", true);
    return Promise.resolve().then(function () { return hold(source, frame); }).then(function (picture) {
      if (mine !== round) { return; }
      chosen = source;
      held = picture;
      viewer.open(picture.width, picture.height);
      showFrames();
      markCurrent();
      bringIntoView();
      return askModels(mine);
    }).catch(function (mistake) {
      if (mine === round) {
        say(held ? held.name + " is shown." : "");
        complain(mistake.message || String(mistake));
        if (held) { showFrames(); }
        if (unfinished && mistake.status) { return askModels(mine).catch(function () {}); }
      }
    });
  }

  function hold(source, frame) {
    var query = frame ? "?frame=" + frame : "";
    if (source.file) {
      var headers = { "Content-Type": "application/octet-stream", "X-Name": encodeURIComponent(source.name) };
      if (source.file.size > 64 * 1024 * 1024) {
        return Promise.reject(new Mistake(source.name + " is larger than 64 MB; scale it down, or use syndiff predict."));
      }
      return ask("api/pictures" + query, { method: "POST", body: source.file, headers: headers });
    }
    return ask("api/folder/" + source.id + "/picture" + query, { method: "POST" });
  }

  function showFrames() {
    var several = held.frames !== 1;
    find("frames").hidden = !several;
    find("frame").value = held.frame;
    if (held.frames) { find("frame").max = held.frames; } else { find("frame").removeAttribute("max"); }
    find("of").textContent = held.frames ? "of " + held.frames : "";
  }

  /* ---- the models ---- */

  function wanted() {
    return models.filter(function (model) { return find("model-" + model.id).checked; });
  }

  /* One panel a model, filled one after another, as the server computes them. */
  function askModels(mine) {
    var asked = wanted(), box = find("panels"), began = Date.now();
    unfinished = asked.length > 0;
    viewer.clear();
    box.textContent = "";
    box.classList.toggle("one", asked.length < 2);
    if (!asked.length) {
      say("Choose a model.");
      return Promise.resolve();
    }
    var panels = asked.map(function (model) { return makePanel(model, box); });
    viewer.draw();
    return asked.reduce(function (before, model, index) {
      return before.then(function () {
        if (mine !== round) { return; }
        say(model.name + " computes …", true);
        return predict(model, mine).then(function (answer) {
          if (mine === round && answer) { fillPanel(panels[index], model, answer); }
        });
      });
    }, Promise.resolve()).then(function () {
      if (mine !== round) { return; }
      unfinished = false;
      say(held.name + ": done in " + seconds((Date.now() - began) / 1000) + ".");
    });
  }

  /* A picture that the server has forgotten is sent again, once. */
  function predict(model, mine, again) {
    var body = { method: "POST", body: JSON.stringify({ model: model.id }),
      headers: { "Content-Type": "application/json" } };
    return ask("api/pictures/" + held.id + "/prediction", body).catch(function (mistake) {
      if (mistake.status !== 404 || again || mine !== round) { throw mistake; }
      return hold(chosen, held.frame).then(function (picture) {
        if (mine !== round) { return null; }
        held = picture;
        return predict(model, mine, true);
      });
    });
  }

  function makePanel(model, box) {
    var panel = element("article", { "class": "panel", "aria-label": model.name });
    var title = element("h3"), view = element("div", { "class": "view" });
    title.textContent = model.name;
    panel.appendChild(title);
    var drawn = viewer.panel("api/pictures/" + held.id + ".jpg", held.name + ", " + model.name + ": not computed yet");
    view.appendChild(drawn.svg);
    panel.appendChild(view);
    var facts = element("div", { "class": "facts" });
    facts.textContent = "Waiting …";
    panel.appendChild(facts);
    box.appendChild(panel);
    return { drawn: drawn, facts: facts };
  }

  function fillPanel(panel, model, answer) {
    viewer.fill(panel.drawn, answer);
    var found = answer.mask.lesions;
    var words = found === 0 ? "no lesion" : found === 1 ? "1 lesion" : found + " lesions";
    panel.drawn.svg.setAttribute("aria-label", held.name + ", " + model.name + ": " + words + ", " +
      percent(answer.mask.share) + " of the frame");
    var facts = panel.facts;
    facts.textContent = "";
    var list = element("dl");
    fact(list, "Found", words);
    fact(list, "Area", percent(answer.mask.share) + " of the frame");
    answer.classes.forEach(function (one, index) {
      var key = element("i", { "class": "key class-" + index % 8 });
      var wider = answer.wide && answer.wide.classes[index];
      var wide = wider ? ", wide contour " + percent(wider.share) : "";
      fact(list, one.name, (one.lesions === 1 ? "1 lesion, " : one.lesions + " lesions, ") + percent(one.share) + wide);
      list.lastChild.previousSibling.insertBefore(key, list.lastChild.previousSibling.firstChild);
    });
    if (answer.wide) { fact(list, "Wide contour", percent(answer.wide.share) + " of the frame"); }
    if (answer.disagreement) { fact(list, "Disagreement", answer.disagreement.score.toFixed(2) + " (0 to 1)"); }
    facts.appendChild(list);
    Object.keys(model.guarantees).forEach(function (name, index) {
      var numbers = answer.classes.map(function (one) { return one.name; });
      var held = answer.wide && (numbers.length ? answer.wide.classes[numbers.indexOf(name)] : index === 0);
      if (held) { facts.appendChild(note(model.guarantees[name])); }
    });
    facts.appendChild(times(answer.seconds));
    facts.appendChild(download(model, answer));
  }

  function fact(list, name, value) {
    var term = element("dt"), told = element("dd");
    term.textContent = name;
    told.textContent = value;
    list.appendChild(term);
    list.appendChild(told);
  }

  function note(text) {
    var made = element("p", { "class": "note" });
    made.textContent = text;
    return made;
  }

  function times(stages) {
    var all = 0, details = element("details"), summary = element("summary"), table = element("table");
    Object.keys(stages).forEach(function (name) {
      var row = table.insertRow(), head = element("th", { scope: "row" });
      all += stages[name];
      head.textContent = name;
      row.appendChild(head);
      row.insertCell().textContent = seconds(stages[name]);
    });
    summary.textContent = "Time: " + seconds(all);
    details.appendChild(summary);
    details.appendChild(table);
    return details;
  }

  function download(model, answer) {
    var stem = held.name.replace(/\.(nii\.gz|[A-Za-z0-9]{2,5})$/, "") || "mask";
    var content = answer.png ? "data:image/png;base64," + answer.png : "data:image/tiff;base64," + answer.tiff;
    var link = element("a", { "class": "button", href: content, download: stem +
      (wanted().length > 1 ? "." + model.name.replace(/[^\w.-]+/g, "-") : "") + (answer.png ? ".png" : ".tif") });
    link.textContent = "Download the mask (" + (answer.png ? "PNG)" : "TIFF, a page for each class)");
    return link;
  }

  function percent(share) { return share > 0 && share < 0.001 ? "< 0.1 %" : (100 * share).toFixed(1) + " %"; }

  function seconds(value) { return value < 1 ? Math.round(1000 * value) + " ms" : value.toFixed(1) + " s"; }

  function offer(offered) {
    models = offered.models;
    models.forEach(function (model, index) {
      var label = element("label", { "for": "model-" + model.id });
      var box = element("input", { type: "checkbox", id: "model-" + model.id });
      box.checked = index < 4;
      box.addEventListener("change", function () {
        if (held) {
          var mine = ++round;
          complain("");
          askModels(mine).catch(function (mistake) { complain(mistake.message || String(mistake)); say(""); });
        }
      });
      label.appendChild(box);
      var text = element("span");
      text.textContent = model.name + (model.kind ? " (" + model.kind + ")" : "");
      label.appendChild(text);
      find("models").appendChild(label);
    });
    var calibrated = models.some(function (model) { return Object.keys(model.guarantees).length; });
    document.querySelector("[data-needs=wide]").classList.toggle("off", !calibrated);
    if (offered.folder) {
      find("folder").hidden = false;
      list(0);
    }
  }

  /* ---- the folder ---- */

  var listing = 0;

  function list(offset) {
    var mine = ++listing, text = find("filter").value;
    ask("api/folder?offset=" + offset + "&text=" + encodeURIComponent(text)).then(function (page) {
      if (mine === listing) { showNames(page); }
    }).catch(function (mistake) { complain(mistake.message || String(mistake)); });
  }

  function showNames(page) {
    var names = find("names"), last = document.activeElement && document.activeElement.id === "more";
    if (page.offset === 0) { names.textContent = ""; } else { names.removeChild(names.lastChild); }
    find("count").textContent = page.total === 1 ? "1 image" : page.total + " images";
    page.items.forEach(function (item, index) {
      var line = element("li"), button = element("button", { type: "button", "data-id": item.id, title: item.name });
      button.textContent = item.name;
      button.addEventListener("click", function () { open({ id: item.id, name: item.name }); });
      line.appendChild(button);
      names.appendChild(line);
      if (last && index === 0) { button.focus(); }
    });
    var next = page.offset + page.items.length;
    if (next < page.total) {
      var line = element("li"), more = element("button", { type: "button", id: "more" });
      more.textContent = "Show more (" + (page.total - next) + ")";
      more.addEventListener("click", function () { list(next); });
      line.appendChild(more);
      names.appendChild(line);
    }
    markCurrent();
  }

  function markCurrent() {
    Array.prototype.forEach.call(find("names").querySelectorAll("[data-id]"), function (button) {
      if (chosen && button.getAttribute("data-id") === chosen.id) { button.setAttribute("aria-current", "true"); }
      else { button.removeAttribute("aria-current"); }
    });
  }

  /* ---- what the user does ---- */

  /* On a narrow window the images lie below the choice. */
  function bringIntoView() {
    var stage = document.querySelector(".stage");
    if (stage.getBoundingClientRect().top > window.innerHeight / 2) { stage.scrollIntoView(); }
  }

  function take(files) {
    var count = files ? files.length : 0;
    if (!count) { return; }
    open({ file: files[0], name: files[0].name || "pasted.png" }).then(function () {
      if (count > 1) { complain("Only the first of " + count + " files is shown; open them one by one."); }
    });
  }

  function hide() {
    viewer.hidden = !viewer.hidden;
    find("hide").setAttribute("aria-pressed", String(viewer.hidden));
    viewer.style();
  }

  function listenToLayers() {
    Array.prototype.forEach.call(document.querySelectorAll("[data-layer]"), function (box) {
      var name = box.getAttribute("data-layer"), slider = document.querySelector("[data-opacity=" + name + "]");
      function apply() {
        viewer.shown[name] = box.checked;
        viewer.opacity[name] = slider.value / 100;
        viewer.style();
      }
      box.addEventListener("change", apply);
      slider.addEventListener("input", apply);
      apply();
    });
  }

  function listenToFiles() {
    var drop = find("drop");
    find("file").addEventListener("change", function () { take(this.files); this.value = ""; });
    ["dragenter", "dragover"].forEach(function (name) {
      document.addEventListener(name, function (event) { event.preventDefault(); drop.classList.add("over"); });
    });
    ["dragleave", "drop"].forEach(function (name) {
      document.addEventListener(name, function () { drop.classList.remove("over"); });
    });
    document.addEventListener("drop", function (event) {
      event.preventDefault(); // or the browser would leave the page for the picture
      take(event.dataTransfer.files);
    });
    document.addEventListener("paste", function (event) {
      if (event.clipboardData && event.clipboardData.files.length) {
        event.preventDefault();
        take(event.clipboardData.files);
      }
    });
  }

  function start() {
    listenToLayers();
    listenToFiles();
    viewer.onkey = hide;
    find("hide").addEventListener("click", hide);
    find("in").addEventListener("click", function () { viewer.scale(1.25); });
    find("out").addEventListener("click", function () { viewer.scale(0.8); });
    find("fit").addEventListener("click", function () { viewer.fit(); });
    find("frame").addEventListener("change", function () {
      if (chosen && this.value) { open(chosen, Math.max(1, Math.round(this.value))); }
    });
    var waiting;
    find("filter").addEventListener("input", function () {
      clearTimeout(waiting);
      waiting = setTimeout(function () { list(0); }, 150);
    });
    find("refresh").addEventListener("click", function () {
      ask("api/folder/refresh", { method: "POST" }).then(function () { list(0); })
        .catch(function (mistake) { complain(mistake.message || String(mistake)); });
    });
    window.SynDiff.views().then(offer).catch(function (mistake) { complain(mistake.message || String(mistake)); });
  }

  start();
}());
