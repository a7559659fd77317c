// Walks through the layers: the same layer's map over every picture, a film of all layers, and the choices for both.
import { aim, byId, make, roving, segments } from "./dom.js";
import { drawScale, paint } from "./maps.js";
import { CAMS, TARGETS, camName, two } from "./words.js";

const LARGE = 448;
const SMALL = 72;

export class Stage {
  // act is called with the layer's name whenever another one is chosen.
  constructor(act) {
    Object.assign(this, { act, scene: null, layer: null, cam: null, target: "predicted", opacity: 0.6 });
    byId("layer").addEventListener("input", (event) => this.choose(Number(event.target.value)));
    byId("opacity").addEventListener("input", (event) => { this.opacity = Number(event.target.value) / 100; this.drawStage(); this.drawFilmSoon(); });
    roving(byId("film"));
    byId("film").addEventListener("focusin", (event) => event.target.dataset.at && this.choose(Number(event.target.dataset.at)));
  }

  /* scene: { layers, cams, targets, note, sides: [{ kind, title, picture, answer, maps }], extra, moved, measure }
     maps: target, CAM and layer to a map; moved(kind, target, cam) gives one number per layer, or nothing;
     measure is its name, if it is not a similarity. */
  show(scene) {
    const before = this.scene?.layers[this.layer];
    this.scene = scene;
    const kept = scene.layers.indexOf(before);
    this.layer = kept >= 0 ? kept : Math.max(0, Math.floor(scene.layers.length * 0.6) - 1);
    if (!scene.cams.includes(this.cam)) this.cam = scene.cams[0];
    if (!scene.targets.includes(this.target)) this.target = scene.targets[0];
    this.drawChoices();
    drawScale(byId("scale"));
    this.draw();
  }

  drawChoices() {
    const { layers, cams, targets } = this.scene;
    Object.assign(byId("layer"), { max: layers.length - 1, value: this.layer, disabled: layers.length < 2 });
    segments(byId("cam"), "cam", cams.map((value) => ({ value, label: camName(value), title: CAMS[value]?.[1] })), this.cam, (cam) => { this.cam = cam; this.draw(); });
    segments(byId("target"), "target", targets.map((value) => ({ value, label: TARGETS[value][0], title: TARGETS[value][1] })), this.target, (target) => { this.target = target; this.draw(); });
    byId("target").hidden = targets.length < 2;
  }

  draw() {
    this.drawStage();
    this.drawFilm();
    this.act(this.scene.layers[this.layer]);
  }

  choose(layer) {
    this.layer = layer;
    byId("layer").value = layer;
    this.drawStage();
    this.markFilm();
    this.act(this.scene.layers[layer]);
  }

  // For charts: shows a layer by its name, or only says whether there is one.
  chooser() {
    return (name, asked) => {
      const at = this.scene.layers.indexOf(name);
      if (at >= 0 && !asked) this.choose(at);
      return at >= 0;
    };
  }

  map(side, layer) {
    const { maps } = side;
    return (maps[this.target] ?? maps.predicted)?.[this.cam]?.[layer];
  }

  similarity(kind, layer = this.layer) {
    return this.scene.moved(kind, this.target, this.cam)?.[layer];
  }

  drawStage() {
    const { scene, layer } = this;
    const name = scene.layers[layer];
    byId("layer-name").textContent = `${name}, ${layer + 1} of ${scene.layers.length}`;
    byId("layer").setAttribute("aria-valuetext", `${name}, ${layer + 1} of ${scene.layers.length}`);
    byId("opacity-name").textContent = `${Math.round(100 * this.opacity)} %`;
    const [title, meaning] = CAMS[this.cam] ?? [this.cam, "a map"];
    byId("map-note").textContent = `${title}: ${meaning}.`;
    const stage = byId("stage");
    const figures = scene.sides.map((side) => this.figure(side, name));
    const vacant = scene.vacant ? [make("figure", { class: "vacant" }, make("p", {}, scene.vacant))] : [];
    stage.replaceChildren(...figures, ...vacant, ...(scene.extra ? [this.extra(scene.extra)] : []));
    stage.dataset.count = stage.children.length;
  }

  figure(side, layer) {
    const canvas = make("canvas", { role: "img", data: { kind: side.kind } });
    const map = this.map(side, this.layer);
    const problem = paint(canvas, side.picture, map, this.opacity, LARGE);
    const alike = side.kind === "clean" ? undefined : this.similarity(side.kind);
    const what = map ? problem || `bright: where evidence for “${side.explained(this.target)}” lies` : side.missing || "no map is kept for this picture";
    const close = side.kind === "clean" || alike === undefined ? "" : alike === null ? "Not comparable with the clean map." : `${this.scene.measure ?? "Similarity"} to the clean map: ${two(alike)}.`;
    canvas.setAttribute("aria-label", `${side.title}: map of ${layer}; ${what}. ${close}`.trim());
    return make("figure", {}, make("figcaption", {}, make("b", {}, side.title), make("span", { title: side.answer }, side.answer)), canvas,
      make("p", { class: "hint" }, `${what[0].toUpperCase()}${what.slice(1)}. ${close}`));
  }

  extra({ title, source, text, alt }) {
    return make("figure", { class: "extra" }, make("figcaption", {}, make("b", {}, title)),
      make("img", { src: source, alt, width: LARGE, height: LARGE }), make("p", { class: "hint" }, text));
  }

  drawFilmSoon() {
    cancelAnimationFrame(this.waiting);
    this.waiting = requestAnimationFrame(() => this.drawFilm());
  }

  drawFilm() {
    const film = byId("film");
    const keep = film.scrollLeft;
    const focused = film.contains(document.activeElement);
    film.replaceChildren(...this.scene.layers.map((name, layer) => this.frame(name, layer)));
    film.scrollLeft = keep;
    this.markFilm(focused);
  }

  frame(name, layer) {
    const shown = this.scene.sides.map((side) => {
      const canvas = make("canvas", { "aria-hidden": "true" });
      paint(canvas, side.picture, this.map(side, layer), this.opacity, SMALL);
      return canvas;
    });
    const values = this.scene.sides.filter(({ kind }) => kind !== "clean").map(({ kind }) => this.similarity(kind, layer)).filter((value) => value !== undefined);
    return make("button", { type: "button", data: { at: layer }, onclick: () => this.choose(layer), "aria-label": `layer ${name}${values.length ? `, ${this.scene.measure ?? "similarity"} ${values.map(two).join(" and ")}` : ""}` },
      make("span", { class: "name", title: name }, name), shown, make("span", { class: "values" }, values.map(two).join(" · ")));
  }

  markFilm(focus = false) {
    const film = byId("film");
    for (const button of film.children) button.setAttribute("aria-pressed", String(Number(button.dataset.at) === this.layer));
    const chosen = film.children[this.layer];
    aim(film, chosen);
    if (focus) chosen.focus();
    const [left, right] = [chosen.offsetLeft - film.offsetLeft, chosen.offsetLeft - film.offsetLeft + chosen.offsetWidth];
    if (left < film.scrollLeft || right > film.scrollLeft + film.clientWidth) film.scrollLeft = left - film.clientWidth / 2;
  }
}
