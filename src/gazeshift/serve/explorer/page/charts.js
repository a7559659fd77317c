// Bars in tables: every number is there to be read, and the bars are its picture.
import { make } from "./dom.js";
import { two } from "./words.js";

// choose(name) shows a layer; choose(name, true) only says whether there is such a layer.
function row(name, cells, choose) {
  const head = choose?.(name, true) ? make("button", { type: "button", class: "plain", onclick: () => choose(name) }, name) : name;
  return make("tr", { data: { layer: name } }, make("th", { scope: "row" }, head), cells);
}

function number(value) {
  return make("td", { class: "number" }, two(value));
}

// How far a map moved, as a share of how far it can; none where a measure has no end.
export const movedShare = (value, { same, reach }) => (reach ? Math.min(1, Math.abs(value - same) / reach) : 0);

// How alike a map is to the clean one: what is left of a full bar has moved.
function similarity(value, kind, measure) {
  const parts = value === null || value === undefined ? [] : [make("span", { class: `moved ${kind}`, style: { "--share": `${100 * movedShare(value, measure)}%` } })];
  return make("td", { class: "track-cell", "aria-hidden": "true" }, make("span", { class: `track ${parts.length ? "" : "undefined"}` }, parts));
}

// series: [{ name, kind, values }], one value per layer; measure: what the same map has, and how far from it values reach.
export function movedChart(title, about, layers, series, choose, measure = { same: 1, reach: 1 }) {
  return panel("tall", title, about, series.map(({ name, kind }) => [name, `moved ${kind}`]),
    make("table", { class: "bars" }, make("caption", { class: "unseen" }, title),
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Layer"), series.flatMap(({ name }) => [make("td", {}), make("th", { scope: "col" }, series.length > 1 ? name : "similarity")]))),
      make("tbody", {}, layers.map((layer, at) => row(layer, series.flatMap(({ kind, values }) => [similarity(values[at], kind, measure), number(values[at])]), choose)))));
}

function signed(value, most, kind) {
  const size = value === null || value === undefined ? 0 : Math.min(1, Math.abs(value) / most);
  return make("span", { class: `part ${kind} ${value < 0 ? "below" : ""}`, style: { "--share": `${50 * size}%` } });
}

// Parts of the suspicion, above and below nought; series: [{ name, kind, values: {row: value} }].
export function partsChart(title, about, rows, series, choose, head = choose ? "Layer" : "View") {
  const most = Math.max(1e-9, ...series.flatMap(({ values }) => rows.map((name) => Math.abs(values[name] ?? 0))));
  return panel("", title, about, series.map(({ name, kind }) => [name, `part ${kind}`]),
    make("table", { class: "bars" }, make("caption", { class: "unseen" }, title),
      make("thead", {}, make("tr", {}, make("th", { scope: "col" }, head), make("td", {}), series.map(({ name }) => make("th", { scope: "col" }, name)))),
      make("tbody", {}, rows.map((name) => row(name, [
        make("td", { class: "parts-cell", "aria-hidden": "true" }, make("span", { class: "axis" }, series.map(({ kind, values }) => signed(values[name], most, kind)))),
        ...series.map(({ values }) => make("td", { class: "number" }, three(values[name]))),
      ], choose)))));
}

const three = (value) => (value === null || value === undefined ? "–" : value.toFixed(3).replace("-", "\u2212"));

function panel(kind, title, about, legend, table) {
  return make("figure", { class: `panel chart ${kind}` },
    make("figcaption", {}, make("h2", {}, title), make("p", { class: "hint" }, about),
      legend.length > 1 && make("ul", { class: "legend" }, legend.map(([name, kind]) => make("li", {}, make("span", { class: `swatch ${kind}`, "aria-hidden": "true" }), name)))),
    table);
}

// Shows in every chart which layer is on the stage.
export function mark(root, layer) {
  for (const one of root.querySelectorAll("tr[data-layer]")) {
    const chosen = one.dataset.layer === layer;
    one.classList.toggle("chosen", chosen);
    const button = one.querySelector("button");
    if (button) button.setAttribute("aria-current", String(chosen));
  }
}

// Draws charts now and whenever another map or class is chosen; another layer is only marked in them.
export function follow(stage, place, draw) {
  const choice = () => `${stage.cam} ${stage.target}`;
  let shown = choice();
  stage.act = (layer) => {
    if (choice() === shown) return mark(place, layer);
    shown = choice();
    draw();
  };
  draw();
}
