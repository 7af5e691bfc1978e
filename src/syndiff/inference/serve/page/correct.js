/* Correcting a mask in the view Review: the editor in the place of the case, and its mask on the way to the server. */
(function () {
  "use strict";
  var S = window.SynDiff;

  /* Edit the mask of the case in sight. page: {queue, shown, reviewer, outbox, open, saved} of the view. */
  S.correctMask = function (page) {
    var told = page.shown.told, queue = page.queue, place = queue.address(told.id), ids = {};
    var who = "?reviewer=" + encodeURIComponent(page.reviewer), host = document.getElementById("editor");
    var editor = new S.Editor(host, {
      picture: page.shown.url, mask: place + "/mask.png" + who, width: told.width, height: told.height,
      title: "Correct the mask of " + told.name, key: page.reviewer + " " + queue.base + told.id, state: told.content + told.base
    }), file = page.outbox.file;

    function show(editing) {
      host.hidden = !editing;
      document.getElementById("work").classList.toggle("editing", editing);
    }

    function close(said) {
      editor.close();
      show(false);
      return page.open(said).then(function () {
        var picture = document.querySelector("#view svg");
        if (picture) { picture.focus(); }
      });
    }

    editor.onsave = function (blob) {
      var drawn = editor.mask.text;
      ids[drawn] = ids[drawn] || S.newId(); // the same mask sent again is the same correction
      return earlier(page.outbox, queue.base, file).then(function () {
        var address = place + "/mask" + who + "&content=" + told.content + "&base=" + told.base + "&id=" + ids[drawn];
        return S.ask(address, { method: "POST", body: blob });
      }).then(function (answer) {
        var label = told.name + ": corrected", last = queue.index === queue.ids.length - 1;
        editor.forget();
        queue.forget(told.id);
        page.saved({ caseId: told.id, folder: queue.base, label: label }, answer);
        if (!last) { queue.index += 1; }
        close("Saved: " + label + "." + (last ? " This was the last case of the list." : ""));
      });
    };

    editor.oncancel = function () {
      queue.forget(told.id); // it may have been changed meanwhile
      var kept = "The mask of " + told.name + " is not saved; your work is kept in this browser, C goes on with it.";
      close(editor.changed && !editor.unkept ? kept : "");
    };
    show(true);
    editor.root.scrollIntoView();
  };

  /* What was decided before in the folder must be saved before, or it would count as the last word; and the server must
     keep the file of reviews that it kept when the editor opened. */
  function earlier(outbox, folder, file) {
    return outbox.flush().then(function () {
      if (S.otherFile(file, outbox.file)) {
        throw new Error("The server keeps another file of reviews, " + outbox.file.name + ", than when the editor opened (" +
          file.name + "). Leave the editor; your work is kept, and C goes on with it.");
      }
      if (outbox.waiting(folder).length) {
        throw new Error("Earlier decisions are not saved yet, and come first. " + outbox.trouble);
      }
    });
  }
}());
