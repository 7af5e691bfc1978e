/* What is not saved, in the view Review: what waits, and what was refused, each with its reason. */
(function () {
  "use strict";
  var element = window.SynDiff.element;
  var FORGETFUL = "This browser cannot remember what is not saved yet: do not leave the page before it is.";

  function find(id) { return document.getElementById(id); }

  /* What the reviewer has to know of: what the server could not take, and what would be lost with the page. */
  function lateOnes(outbox) {
    return outbox.items.filter(function (item) { return !item.refused && (item.late || !item.kept || outbox.elsewhere(item)); });
  }

  function drawUnsent(outbox, reviewer) {
    var list = find("items"), late = lateOnes(outbox);
    var told = outbox.items.filter(function (item) { return item.refused || late.indexOf(item) >= 0; });
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
    var why = [outbox.trouble].concat(late.map(function (item) { return outbox.elsewhere(item); }));
    if (outbox.unkept().length) { why.push(FORGETFUL); }
    find("trouble").textContent = !late.length ? "" : outbox.running ? "Sending …"
      : why.filter(function (text, index) { return text && why.indexOf(text) === index; }).join(" ");
    find("again").hidden = !late.length;
    find("unsent").hidden = !told.length;
  }

  Object.assign(window.SynDiff, { lateOnes: lateOnes, drawUnsent: drawUnsent });
}());
