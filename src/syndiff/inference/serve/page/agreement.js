/* How far the reviewers of a folder agree, in words. */
(function () {
  "use strict";
  var element = window.SynDiff.element;

  /* Who decided on how many cases, and their kappa, as the server tells them. */
  window.SynDiff.tellAgreement = function (box, told) {
    var table = element("table", { "aria-label": "Decisions by reviewer" }), note = element("p");
    Object.keys(told.decided).forEach(function (name) {
      var row = table.insertRow(), head = element("th", { scope: "row" });
      head.textContent = name;
      row.appendChild(head);
      row.insertCell().textContent = told.decided[name] + " decided";
    });
    note.textContent = agreement(told.agreement);
    box.textContent = "";
    box.appendChild(table);
    box.appendChild(note);
  };

  function agreement(told) {
    if (!told) { return "Agreement needs two reviewers who have decided on cases."; }
    var name = told.method + " kappa";
    if (told.kappa === null) {
      return name + " is not defined over the " + told.cases + " cases that all decided on: " +
        told.why + ".";
    }
    return name + " " + told.kappa.toFixed(2) +
      (told.low === null ? "" : ", 95 % interval " + told.low.toFixed(2) + " to " + told.high.toFixed(2)) + ", over " +
      told.cases + " cases that all decided on" + (told.note ? "; " + told.note : "") + ". 0 is chance, 1 is full agreement.";
  }
}());
