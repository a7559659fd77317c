// The gallery: maps are coloured and laid over the pictures here, from small arrays of 8 bits.
const KINDS = ["clean", "attacked", "noise"];
const FRAMED = 3;

function unpackMaps(bytes) {
  const size = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const index = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + size)));
  return { index, values: bytes.subarray(4 + size) };
}

class Gallery {
  constructor(series, maps, colours) {
    Object.assign(this, { series, maps, colours, image: 0, layer: Gallery.first(series), opacity: 0.6, pictures: new Map() });
    this.stage = document.getElementById("stage");
    this.film = document.getElementById("film");
  }

  // The layer that moves most, over all images, for the choice shown first.
  static first(series) {
    return ranking(selected(series, series.chosen).compare)[0] ?? series.layers.length - 1;
  }

  get shown() { return this.series.gallery[this.image]; }

  spot(kind, choice) { return `${kind}.${kind === "clean" ? -1 : choice.attack}`; }

  // A map by kind and layer. Where the class is the clean one, both targets explain the same class.
  map(kind, layer, choice) {
    const find = (target) => this.maps.index[[this.image, this.spot(kind, choice), target, choice.cam, layer].join(".")];
    let entry = find(choice.target);
    const same = kind === "clean" || this.shown.captions[this.spot(kind, choice)]?.switched === false;
    if (!entry && same) entry = this.series.targets.map((_, target) => find(target)).find(Boolean);
    if (!entry) return null;
    const [height, width, offset] = entry;
    return { height, width, offset, scale: 255 / (this.series.shades - 1), at: (row, column) => this.maps.values[offset + row * width + column] };
  }

  async load() {
    const waiting = this.series.gallery.flatMap((image, place) => Object.entries(image.pictures).map(async ([spot, source]) => {
      const picture = new Image();
      picture.src = source;
      try { await picture.decode(); } catch { return; }
      this.pictures.set(`${place}.${spot}`, picture);
    }));
    await Promise.all(waiting);
    document.querySelectorAll(".thumbs img").forEach((thumb, place) => {
      thumb.src = this.series.gallery[place].pictures["clean.-1"] || "data:,";
    });
  }

  draw(choice) {
    this.choice = choice;
    this.drawStage();
    this.drawFilm();
  }

  paint(canvas, kind, layer, side) {
    const picture = this.pictures.get(`${this.image}.${this.spot(kind, this.choice)}`);
    const longer = picture ? Math.max(picture.naturalWidth, picture.naturalHeight) : 1;
    canvas.width = Math.max(1, Math.round(side * (picture ? picture.naturalWidth / longer : 1)));
    canvas.height = Math.max(1, Math.round(side * (picture ? picture.naturalHeight / longer : 1)));
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    if (picture) pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
    const map = this.map(kind, layer, this.choice);
    if (!map) return picture ? "no map: not defined at this layer, or not kept" : "";
    if (map.offset < 0) {
      hatch(pen, canvas.width, canvas.height, "undefined", side < 100 ? Math.floor(canvas.width / 5.6) : Math.max(12, Math.floor(canvas.width / 12)));
      return map.offset === -1 ? "undefined: the map has no positive value" : "undefined: the map is not finite";
    }
    const pixels = pen.getImageData(0, 0, canvas.width, canvas.height);
    blend(pixels, map, this.colours, this.opacity);
    pen.putImageData(pixels, 0, 0);
    return "";
  }

  cosine(kind, layer) {
    const { attack, target, cam } = this.choice;
    const values = this.shown.cosine[[attack, target, cam].join(".")];
    return values ? values[kind === "attacked" ? 0 : 1][layer] : null;
  }

  caption(kind) {
    const said = this.shown.captions[this.spot(kind, this.choice)];
    if (!said) return "";
    if (kind === "perturbation") return said.linf ? `amplified ${Math.round(0.5 / said.linf)} ×, L∞ ${(said.linf * 255).toPrecision(2) / 1}/255` : "no change";
    const sure = said.confidence === null ? "" : `, ${Math.round(100 * said.confidence)} %`;
    return `${said.name}${sure}${said.switched ? ", switched" : ""}${said.correct === false ? ", not its label" : ""}`;
  }

  drawStage() {
    const tiles = ["clean", "perturbation", "attacked", "noise"].map((kind) => this.tile(kind)).filter(Boolean);
    this.stage.replaceChildren(...tiles);
    document.getElementById("layer-name").textContent = this.series.layers[this.layer];
    document.getElementById("layer").value = this.layer;
    document.getElementById("layer").setAttribute("aria-valuetext", this.series.layers[this.layer]);
    document.getElementById("opacity-name").textContent = `${Math.round(100 * this.opacity)} %`;
  }

  tile(kind) {
    const picture = this.pictures.get(`${this.image}.${this.spot(kind, this.choice)}`);
    if (!picture && !this.map(kind, this.layer, this.choice)) return null;
    const figure = document.createElement("figure");
    const heading = kind === "noise" ? "matched noise" : kind;
    const caption = document.createElement("figcaption");
    caption.append(Object.assign(document.createElement("b"), { textContent: heading }), Object.assign(document.createElement("bdi"), { textContent: this.caption(kind) }));
    figure.append(caption);
    if (picture) {
      const image = new Image(224, 224);
      image.src = picture.src;
      image.alt = kind === "perturbation" ? `perturbation, ${this.caption(kind)}` : `${heading} image, classified as ${this.caption(kind)}`;
      figure.append(image);
    }
    figure.append(kind === "perturbation" ? this.reading() : this.overlay(kind, heading));
    return figure;
  }

  overlay(kind, heading) {
    const holder = document.createElement("div");
    const canvas = document.createElement("canvas");
    const problem = this.paint(canvas, kind, this.layer, 224);
    canvas.dataset.kind = kind;
    canvas.setAttribute("role", "img");
    const text = problem || (kind === "clean" ? "what the others are compared with" : `similarity ${two(this.cosine(kind, this.layer))}`);
    canvas.setAttribute("aria-label", `map of ${this.series.layers[this.layer]} over the ${heading} image: ${text}`);
    const note = Object.assign(document.createElement("p"), { textContent: text });
    holder.append(canvas, note);
    return holder;
  }

  // What the numbers say of this layer of this image, in the free place under the perturbation.
  reading() {
    const [attacked, noise] = ["attacked", "noise"].map((kind) => this.cosine(kind, this.layer));
    const box = document.createElement("div");
    box.className = "reading";
    const name = this.series.names[this.series.cams[this.choice.cam]];
    const gap = attacked !== null && noise !== null ? `, a difference of ${two(attacked - noise)}` : "";
    box.textContent = attacked === null && noise === null
      ? `${name} has no similarity at ${this.series.layers[this.layer]}: a map is undefined or was not compared.`
      : `${name} at ${this.series.layers[this.layer]}: similarity to the clean map ${two(attacked)} attacked and ${two(noise)} under noise${gap}.`;
    return box;
  }

  // Layers that moved most beyond noise in this image; without noise, the least similar ones.
  framed() {
    const value = (layer) => {
      const [attacked, noise] = [this.cosine("attacked", layer), this.cosine("noise", layer)];
      return attacked === null ? null : attacked - (noise === null ? 1000 : noise);
    };
    const places = this.series.layers.map((_, layer) => layer).filter((layer) => value(layer) !== null && value(layer) < 0);
    return new Set(places.sort((one, other) => value(one) - value(other) || one - other).slice(0, FRAMED));
  }

  drawFilm() {
    const framed = this.framed();
    document.getElementById("film-note").textContent = framed.size
      ? "Numbers are the similarities of this image’s maps to the clean ones, attacked and under noise. Choose a layer to see it large."
      : "No layer of this image moved beyond noise. Choose a layer to see it large.";
    const keep = this.film.parentElement.scrollLeft;
    this.film.replaceChildren(...this.series.layers.map((name, layer) => this.frame(name, layer, framed.has(layer))));
    this.film.parentElement.scrollLeft = keep;
  }

  frame(name, layer, framed) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.layer = layer;
    button.className = framed ? "framed" : "";
    button.tabIndex = layer === this.layer ? 0 : -1;
    button.setAttribute("aria-pressed", String(layer === this.layer));
    const values = `${two(this.cosine("attacked", layer))} · ${two(this.cosine("noise", layer))}`;
    button.setAttribute("aria-label", `layer ${name}, similarity attacked and under noise ${values}${framed ? ", moved most" : ""}`);
    button.append(Object.assign(document.createElement("span"), { className: "name", textContent: name, title: name }));
    for (const kind of KINDS) {
      const canvas = document.createElement("canvas");
      this.paint(canvas, kind, layer, 72);
      button.append(canvas);
    }
    button.append(Object.assign(document.createElement("span"), { className: "values", textContent: values }));
    return button;
  }

  choose(layer, focus) {
    this.layer = Math.max(0, Math.min(this.series.layers.length - 1, layer));
    this.drawStage();
    for (const button of this.film.children) {
      const mine = Number(button.dataset.layer) === this.layer;
      button.setAttribute("aria-pressed", String(mine));
      button.tabIndex = mine ? 0 : -1;
      if (mine && focus) button.focus();
    }
  }

  listen() {
    const on = (id, act) => document.getElementById(id).addEventListener("input", (event) => act(Number(event.target.value)));
    on("layer", (layer) => this.choose(layer));
    on("opacity", (opacity) => { this.opacity = opacity / 100; this.drawStage(); this.drawFilm(); });
    document.querySelector(".thumbs").addEventListener("change", (event) => { this.image = Number(event.target.value); this.draw(this.choice); });
    this.film.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) this.choose(Number(button.dataset.layer), true);
    });
    this.film.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      this.choose(this.layer + step, true);
    });
    const scale = document.getElementById("scale").getContext("2d");
    for (let step = 0; step < 256; step++) {
      scale.fillStyle = `rgb(${this.colours.subarray(3 * step, 3 * step + 3).join(",")})`;
      scale.fillRect(step, 0, 1, 1);
    }
  }
}
