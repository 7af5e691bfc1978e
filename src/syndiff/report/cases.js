"use strict";
// Sorts, filters and draws the cases that the page brings along. Nothing is fetched; names become text, never markup.

const CASES = JSON.parse(document.getElementById("cases").textContent);
const ARMS = JSON.parse(document.getElementById("arm-names").textContent);
const AT_ONCE = 12;
const LAYERS = {
  contours: "annotated and predicted contours",
  difference: "where annotation and prediction agree and differ",
  annotation: "the annotation",
  prediction: "the prediction",
  image: "the image alone",
};
const $ = (id) => document.getElementById(id);
const list = $("list"), viewer = $("viewer"), more = $("more");
let found = [], shown = 0, open = -1, drawn = 0;

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function draw(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const shape = (path, names) => draw("path", { d: path, class: names, transform: "scale(.5)" });
const line = (path, name) => [shape(path, "contour halo"), shape(path, `contour ${name}`)];
const url = (item) => `data:image/jpeg;base64,${item.image}`;
const number = (value, digits) => (value === null ? "n/a" : value.toFixed(digits));

// The two masks, cut along each other's contour; hatched where only the prediction lies, for eyes that mix up colours.
function difference(item, arm) {
  const id = `clip-${++drawn}`;
  const frame = `M-9-9H${2 * item.width + 9}V${2 * item.height + 9}H-9z`;
  const clip = (name, path) => draw("clipPath", { id: id + name }, draw("path", { d: path, transform: "scale(.5)" }));
  const cut = (name, ...shapes) => draw("g", { "clip-path": `url(#${id}${name})` }, ...shapes);
  return [
    clip("a", frame + item.contour), clip("b", frame + arm.contour), clip("c", arm.contour || "M0 0z"),
    cut("a", shape(arm.contour, "fill extra"), shape(arm.contour, "fill hatched")),
    cut("b", shape(item.contour, "fill missed")),
    cut("c", shape(item.contour, "fill both")),
  ];
}

// A picture of a case: its image, and over it what `layer` says of an arm (none for the image or the annotation).
function picture(item, layer, arm, name) {
  const image = draw("image", { href: url(item), width: item.width, height: item.height });
  if (layer === "difference") image.setAttribute("class", "grey");
  const over = {
    contours: () => [...line(item.contour, "annotated"), ...(arm ? line(arm.contour, "predicted") : [])],
    difference: () => difference(item, arm),
    annotation: () => [shape(item.contour, "fill whole"), ...line(item.contour, "annotated")],
    prediction: () => [shape(arm.contour, "fill guess"), ...line(arm.contour, "predicted")],
    image: () => [],
  };
  const label = arm ? `${item.id}, ${name}: ${LAYERS[layer]}, Dice ${number(arm.dice, 3)}` : `${item.id}: ${LAYERS[layer]}`;
  return draw(
    "svg", { class: "picture", viewBox: `0 0 ${item.width} ${item.height}`, role: "img", "aria-label": label },
    image, ...over[layer](),
  );
}

function scores(item, arm) {
  const told = [`Dice ${number(arm.dice, 3)}, HD95 ${number(arm.hd95, 1)}${arm.hd95 === null ? "" : " px"}`];
  if (!arm.contour) told.push(make("br", {}), make("span", { class: item.lesions ? "bad" : "" }, "nothing predicted"));
  else if (arm.missed) told.push(make("br", {}), make("span", { class: "bad" }, `missed ${arm.missed} of ${item.lesions}`));
  if (arm.false) told.push(make("br", {}), make("span", { class: "bad" }, `${arm.false} false`));
  return told;
}

function about(item) {
  const lesions = item.lesions === 1 ? "1 lesion" : `${item.lesions} lesions`;
  const size = item.lesions ? `${lesions}, ${number(100 * item.size, 1)} % of the image` : "no lesion annotated";
  return (item.group ? `group ${item.group}, ` : "") + size;
}

function row(item, place) {
  const layer = $("layer").value;
  const button = make("button", { type: "button", title: "Look at it closely" }, item.id);
  button.addEventListener("click", () => view(place));
  const panels = make("div", { class: "panels" }, make("div", {}, picture(item, "image"), make("p", {}, "image")));
  item.arms.forEach((arm, index) => panels.append(make("div", {}, picture(item, layer, arm, ARMS[index]),
    make("p", {}, make("b", {}, ARMS[index]), make("br", {}), ...scores(item, arm)))));
  return make("li", {}, make("h2", {}, button, " ", make("small", {}, about(item))), panels);
}

function range(name, value) {
  const [from, to] = ["from", "to"].map((end) => $(`${name}-${end}`).value);
  if (from === "" && to === "") return true;
  return value !== null && (from === "" || value >= Number(from)) && (to === "" || value <= Number(to));
}

function passes(item, arm) {
  const text = $("text").value.trim().toLowerCase(), group = $("group") ? $("group").value : "";
  const only = {
    "": true, missed: arm.missed > 0, false: arm.false > 0, empty: !arm.contour, free: item.lesions === 0,
  };
  return `${item.id}\n${item.group || ""}`.toLowerCase().includes(text) && (!group || item.group === group)
    && only[$("only").value] && range("dice", arm.dice) && range("hd95", arm.hd95) && range("size", 100 * item.size);
}

function choose() {
  const index = Number($("arm").value), sort = $("sort").value.replace("-", "");
  const sign = $("sort").value.startsWith("-") ? -1 : 1;
  const names = new Intl.Collator("en", { numeric: true });
  const key = (item) => {
    if (sort === "size") return item.size;
    if (sort.startsWith("gain")) return item.arms[index].dice - item.arms[Number(sort.slice(4))].dice;
    return item.arms[index][sort];
  };
  const order = (a, b) => {
    if (sort === "group" && a.group !== b.group) return names.compare(a.group || "", b.group || "");
    if (sort !== "name" && sort !== "group") {
      const [x, y] = [key(a), key(b)];
      if (x !== y) return x === null ? 1 : y === null ? -1 : sign * (x - y); // not applicable comes last
    }
    return names.compare(a.id, b.id);
  };
  found = CASES.filter((item) => passes(item, item.arms[index])).sort(order);
  shown = 0;
  list.replaceChildren();
  $("count").textContent = found.length === CASES.length ? `${found.length} cases`
    : `${found.length} of ${CASES.length} cases` + (found.length ? "" : ": none fits; loosen or reset the filters");
  append();
}

function append() {
  found.slice(shown, shown + AT_ONCE).forEach((item, index) => list.append(row(item, shown + index)));
  shown = Math.min(found.length, shown + AT_ONCE);
  more.hidden = shown === found.length;
  more.textContent = `Show ${Math.min(AT_ONCE, found.length - shown)} more of ${found.length - shown}`;
}

function view(place) {
  open = place;
  const item = found[place];
  $("title").replaceChildren(item.id, " ", make("small", {}, `${place + 1} of ${found.length}`));
  const column = (head, small, ...pictures) => make("section", {},
    make("h3", {}, head, " ", make("small", {}, ...small)), make("div", { class: "panels" }, ...pictures));
  const panel = (layer, ...arm) => make("div", {}, picture(item, layer, ...arm), make("p", {}, layer));
  $("views").replaceChildren(
    column("the case", [about(item)], panel("image"), panel("annotation")),
    ...item.arms.map((arm, index) => column(ARMS[index], scores(item, arm),
      panel("prediction", arm, ARMS[index]), panel("difference", arm, ARMS[index]))));
  $("previous").disabled = place === 0;
  $("next").disabled = place === found.length - 1;
  history.replaceState(null, "", `#case=${encodeURIComponent(item.id)}`);
  if (!viewer.open) viewer.showModal();
  viewer.scrollTop = 0;
}

function move(by) {
  if (found[open + by]) view(open + by);
}

function fromAddress() {
  const name = new URLSearchParams(location.hash.slice(1)).get("case");
  const place = found.findIndex((item) => item.id === name);
  if (place >= 0) view(place);
}

$("controls").addEventListener("submit", (event) => event.preventDefault());
$("controls").addEventListener("input", choose);
$("controls").addEventListener("reset", () => setTimeout(choose));
more.addEventListener("click", () => {
  const first = shown;
  append();
  list.children[first].querySelector("button").focus();
});
$("previous").addEventListener("click", () => move(-1));
$("next").addEventListener("click", () => move(1));
$("close").addEventListener("click", () => viewer.close());
document.addEventListener("keydown", (event) => { // a button that was disabled under the focus hears no keys
  if (!viewer.open) return;
  if (event.key === "ArrowLeft") move(-1);
  if (event.key === "ArrowRight") move(1);
});
viewer.addEventListener("close", () => history.replaceState(null, "", "#"));
window.addEventListener("hashchange", fromAddress);
const key = $("key").cloneNode(true);
key.removeAttribute("id");
viewer.append(key);
choose();
fromAddress();
