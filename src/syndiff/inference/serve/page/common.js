/* What the views share: questions to the server, its mistakes as sentences, the links between the views. */
(function () {
  "use strict";
  var element = window.SynDiff.element;

  function Mistake(text, status) { this.message = text; this.status = status; }
  Mistake.prototype.toString = function () { return this.message; };
  /* Whether the same would be refused again. Anything else may pass: a full disk, a lock, a folder that is away. */
  Object.defineProperty(Mistake.prototype, "refusal", {
    get: function () { return [400, 409, 413, 422].indexOf(this.status) >= 0; }
  });

  function answered(address, options, read) {
    options = options || {};
    options.headers = Object.assign({ "X-Requested-With": "syndiff" }, options.headers);
    options.credentials = "same-origin";
    return fetch(address, options).then(function (answer) {
      if (answer.ok) { return read(answer); }
      return answer.json().catch(function () { return {}; }).then(function (content) {
        throw new Mistake(content.error || "The server answered " + answer.status + ".", answer.status);
      });
    }, function () {
      throw new Mistake("The server does not answer. Is syndiff serve still running? What you see here stays.", 0);
    });
  }

  /* JSON from the server; a Mistake with its sentence where it refuses, of status 0 where it does not answer. */
  function ask(address, options) {
    return answered(address, options, function (answer) { return answer.json(); });
  }

  function send(address, content) {
    return ask(address, { method: "POST", body: JSON.stringify(content), headers: { "Content-Type": "application/json" } });
  }

  /* The content of a file, as a Blob. */
  function blob(address) { return answered(address, {}, function (answer) { return answer.blob(); }); }

  /* A promise of {url, image}: a picture as an address that shows it at once; free it with URL.revokeObjectURL. */
  function picture(address) {
    return blob(address).then(function (content) {
      var image = new Image(), url = image.src = URL.createObjectURL(content);
      return image.decode().then(function () { return { url: url, image: image }; }, function () {
        URL.revokeObjectURL(url);
        throw new Mistake("The picture cannot be shown by this browser.", 0);
      });
    });
  }

  /* Texts by what they are, as the terms of a list. */
  function tellFacts(list, facts) {
    list.textContent = "";
    Object.keys(facts).forEach(function (name) {
      var term = element("dt"), value = element("dd");
      term.textContent = name.charAt(0).toUpperCase() + name.slice(1);
      value.textContent = facts[name];
      list.appendChild(term);
      list.appendChild(value);
    });
  }

  /* What the server tells of its reviews: its file, the folders, the reasons. */
  function askReviews() {
    return ask("api/review").catch(function (mistake) {
      throw mistake.status !== 404 ? mistake
        : new Mistake("Reviews are not kept here; start syndiff serve again with --reviews FILE.", 404);
    });
  }

  /* The file of reviews that the server keeps: {id, name}; a server that tells no identity has the id "". */
  function fileOf(told) { return { id: told.file_id || "", name: told.file || "" }; }

  /* Why what was decided for one file of reviews is not sent to another one by itself; "" where they are the same, or
     where nobody knows. */
  function otherFile(was, now) {
    if (!was || !was.id || !now.id || was.id === now.id) { return ""; }
    return was.name === now.name
      ? "Decided for another file of reviews, which was called " + was.name + " too. Send again puts it into that of now."
      : "Decided for " + was.name + "; the server keeps " + now.name + " now. Send again puts it there.";
  }

  /* Have the browser ask before the page is left, as long as loses() says that something would be lost. */
  function beforeLeaving(loses) {
    window.addEventListener("beforeunload", function (event) {
      if (loses()) { event.preventDefault(); event.returnValue = ""; }
    });
  }

  /* Show the links to the views that this server has. */
  function views() {
    return ask("api/models").then(function (told) {
      var there = { models: told.models.length > 0, browse: told.browse, review: told.review }, count = 0;
      Array.prototype.forEach.call(document.querySelectorAll("#views [data-view]"), function (link) {
        link.hidden = !there[link.getAttribute("data-view")];
        count += link.hidden ? 0 : 1;
      });
      document.getElementById("views").hidden = count < 2;
      return told;
    });
  }

  /* 32 hexadecimal digits that nobody has drawn before. */
  function newId() {
    return Array.prototype.map.call(crypto.getRandomValues(new Uint8Array(16)), function (each) {
      return (each < 16 ? "0" : "") + each.toString(16);
    }).join("");
  }

  function percent(share) { return Math.round(100 * share) + " %"; }

  /* What this browser remembers; a browser that may not remember goes on without. */
  var memory = {
    get: function (name) { try { return localStorage.getItem("syndiff." + name); } catch (error) { return null; } },
    set: function (name, value) {
      try { localStorage.setItem("syndiff." + name, value); return true; } catch (error) { return false; }
    },
    remove: function (name) { try { localStorage.removeItem("syndiff." + name); } catch (error) { /* nothing is there */ } },
    names: function (start) {
      try {
        return Object.keys(localStorage).filter(function (name) { return name.indexOf("syndiff." + start) === 0; })
          .map(function (name) { return name.slice("syndiff.".length); });
      } catch (error) { return []; }
    }
  };

  Object.assign(window.SynDiff, { ask: ask, send: send, blob: blob, picture: picture, views: views, newId: newId, memory: memory,
    percent: percent, Mistake: Mistake, fileOf: fileOf, otherFile: otherFile, beforeLeaving: beforeLeaving,
    tellFacts: tellFacts, askReviews: askReviews });
}());
