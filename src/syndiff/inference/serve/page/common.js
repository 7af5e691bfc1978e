/* What the views share: questions to the server, its mistakes as sentences, the links between the views. */
(function () {
  "use strict";

  function Mistake(text, status) { this.message = text; this.status = status; }
  Mistake.prototype.toString = function () { return this.message; };

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

  /* A picture as an address that shows it at once; free it with URL.revokeObjectURL. */
  function picture(address) {
    return blob(address).then(function (content) { return URL.createObjectURL(content); });
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
    percent: percent, Mistake: Mistake });
}());
