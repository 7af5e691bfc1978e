/* The buttons of the view Review that take a value: why a case is rejected, and how realistic it looks. */
(function () {
  "use strict";
  var S = window.SynDiff, element = S.element;

  /* told: what each reason means. decide(kind, value) is what a button does. */
  S.offerDecisions = function (told, decide) {
    Object.keys(told).forEach(function (reason, index) {
      var button = element("button", { type: "button", "aria-keyshortcuts": String(index + 1) });
      var sign = element("kbd"), more = element("span");
      sign.textContent = index + 1;
      more.textContent = told[reason];
      button.appendChild(sign);
      button.appendChild(document.createTextNode(reason.charAt(0).toUpperCase() + reason.slice(1)));
      button.appendChild(more);
      button.addEventListener("click", function () { decide("reject", reason); });
      document.getElementById("reasons").appendChild(button);
    });
    [1, 2, 3, 4, 5].forEach(function (rating) {
      var button = element("button", { type: "button", "aria-pressed": "false", "aria-keyshortcuts": String(rating),
        "aria-label": "Realism " + rating });
      button.textContent = rating;
      button.addEventListener("click", function () { decide("rate", String(rating)); });
      document.getElementById("ratings").appendChild(button);
    });
  };
}());
