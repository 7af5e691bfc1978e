/* What is not saved, in the view Review: what waits, and what was refused, each with its reason. */
(function () {
  "use strict";
  var element = window.SynDiff.element;
  var FORGETFUL = "This browser cannot remember what is not saved yet: do not leave the page before it is.";

  function find(id) { return document.getElementById(id); }

  /* Those that the server could not take, and those that would be lost with the page. */
  function lateOnes(outbox) {
    return outbox.waiting().filter(function (item) { return item.late || !item.kept; });
  }

  function drawUnsent(outbox, reviewer) {
    var list = find("items"), late = lateOnes(outbox), others = outbox.items.filter(outbox.elsewhere, outbox);
    var told = outbox.items.filter(function (item) { return item.refused || late.concat(others).indexOf(item) >= 0; });
    list.textContent = "";
    told.forEach(function (item) {
      var line = element("li"), button = element("button", { type: "button" }), who = item.content.reviewer;
      line.textContent = item.label + (!who || who === reviewer ? "" : " (" + who + ")") +
        (item.refused ? ". " + item.refused + " " : " ");
      button.textContent = "Discard";
      button.setAttribute("aria-label", "Discard " + item.label);
      button.addEventListener("click", function () { outbox.drop(item); });
      line.appendChild(button);
      list.appendChild(line);
    });
    var why = (late.length ? [outbox.trouble] : []).concat(others.map(outbox.elsewhere, outbox));
    if (outbox.unkept().length) { why.push(FORGETFUL); }
    find("trouble").textContent = late.length && outbox.running ? "Sending …"
      : why.filter(function (text, index) { return text && why.indexOf(text) === index; }).join(" ");
    find("again").hidden = !late.length && !others.length;
    find("unsent").hidden = !told.length;
  }

  Object.assign(window.SynDiff, { lateOnes: lateOnes, drawUnsent: drawUnsent });
}());
