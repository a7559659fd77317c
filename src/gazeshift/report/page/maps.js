// Maps over their pictures: and laid over them here, from small arrays of 8 bits.
const KINDS = ["clean", "attacked", "noise"];
const NONE = "–";
const menuText = (menu) => document.querySelector(`[data-choose=${menu}]`).selectedOptions[0].text;

function unpackMaps(bytes) {
  const size = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const index = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + size)));
  return { index, values: bytes.subarray(4 + size) };
}

class MapViewer {
  constructor(viewer, similarities, maps) {
    Object.assign(this, { ...viewer, similarities, maps, colours: bytesOf(viewer.colours), image: 0, layer: viewer.first, opacity: 0.6, pictures: new Map() });
    this.stage = document.getElementById("stage");
    this.film = document.getElementById("film");
  }

  get shown() { return this.images[this.image]; }

  spot(kind) { return `${kind}.${kind === "clean" ? -1 : chosen.attack}`; }

  // A map by kind and layer. Where the class is the clean one, both targets explain the same class.
  map(kind, layer) {
    const find = (target) => this.maps.index[[this.image, this.spot(kind), target, chosen.cam, layer].join(".")];
    const same = kind === "clean" || this.shown.stayed.includes(this.spot(kind));
    const entry = find(chosen.target) || (same && (find(0) || find(1)));
    if (!entry) return null;
    const [height, width, offset] = entry;
    return { height, width, offset, scale: 255 / (this.shades - 1), at: (row, column) => this.maps.values[offset + row * width + column] };
  }

  async load() {
    const waiting = this.images.flatMap((image, place) => Object.entries(image.pictures).map(async ([spot, source]) => {
      const picture = new Image();
      picture.src = source;
      try { await picture.decode(); } catch { return; }
      this.pictures.set(`${place}.${spot}`, picture);
    }));
    await Promise.all(waiting);
    document.querySelectorAll(".thumbs img").forEach((thumb, place) => {
      thumb.src = this.images[place].pictures["clean.-1"] || "data:,";
    });
  }

  draw() {
    this.drawStage();
    this.drawFilm();
  }

  paint(canvas, kind, layer, side) {
    const picture = this.pictures.get(`${this.image}.${this.spot(kind)}`);
    const longer = picture ? Math.max(picture.naturalWidth, picture.naturalHeight) : 1;
    canvas.width = Math.max(1, Math.round(side * (picture ? picture.naturalWidth / longer : 1)));
    canvas.height = Math.max(1, Math.round(side * (picture ? picture.naturalHeight / longer : 1)));
    const pen = canvas.getContext("2d", { willReadFrequently: true });
    if (picture) pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
    const map = this.map(kind, layer);
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

  // How alike this image's maps are to the clean ones, as text by layer.
  get similar() { return this.similarities[this.image][[chosen.measure, chosen.attack, chosen.target, chosen.cam].join(".")]; }

  caption(kind) { return this.shown.captions[this.spot(kind)] || ""; }

  drawStage() {
    const tiles = ["clean", "perturbation", "attacked", "noise"].map((kind) => this.tile(kind)).filter(Boolean);
    this.stage.replaceChildren(...tiles);
    document.getElementById("layer-name").textContent = this.layers[this.layer];
    document.getElementById("layer").value = this.layer;
    document.getElementById("layer").setAttribute("aria-valuetext", this.layers[this.layer]);
    document.getElementById("opacity-name").textContent = `${Math.round(100 * this.opacity)} %`;
  }

  tile(kind) {
    const picture = this.pictures.get(`${this.image}.${this.spot(kind)}`);
    if (!picture && !this.map(kind, this.layer)) return null;
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
    const text = problem || (kind === "clean" ? "what the others are compared with" : `${menuText("measure")} ${this.similar?.[kind][this.layer] ?? NONE}`);
    canvas.setAttribute("aria-label", `map of ${this.layers[this.layer]} over the ${heading} image: ${text}`);
    const note = Object.assign(document.createElement("p"), { textContent: text });
    holder.append(canvas, note);
    return holder;
  }

  // What the numbers say of this layer of this image, in the free place under the perturbation.
  reading() {
    const box = document.createElement("div");
    box.className = "reading";
    const [attacked, noise, gap] = ["attacked", "noise", "gap"].map((kind) => this.similar?.[kind][this.layer] ?? NONE);
    const [name, measure] = [menuText("cam"), menuText("measure")];
    const layer = this.layers[this.layer];
    box.textContent = attacked === NONE && noise === NONE
      ? `${measure} of ${name} has no value at ${layer}: a map is undefined or was not compared.`
      : `${name} at ${layer}: ${measure} to the clean map ${attacked} attacked and ${noise} under noise${gap === NONE ? "" : `, a difference of ${gap}`}.`;
    return box;
  }

  drawFilm() {
    const framed = new Set(this.similar?.framed);
    document.getElementById("film-note").textContent = framed.size
      ? `${menuText("measure")} between this image’s maps and the clean ones, attacked and under noise. Choose a layer to see it large.`
      : "No layer of this image moved beyond noise. Choose a layer to see it large.";
    const keep = this.film.parentElement.scrollLeft;
    this.film.replaceChildren(...this.layers.map((name, layer) => this.frame(name, layer, framed.has(layer))));
    this.film.parentElement.scrollLeft = keep;
  }

  frame(name, layer, framed) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.layer = layer;
    button.className = framed ? "framed" : "";
    button.tabIndex = layer === this.layer ? 0 : -1;
    button.setAttribute("aria-pressed", String(layer === this.layer));
    const values = `${this.similar?.attacked[layer] ?? NONE} · ${this.similar?.noise[layer] ?? NONE}`;
    button.setAttribute("aria-label", `layer ${name}, ${menuText("measure")} attacked and under noise ${values}${framed ? ", moved most" : ""}`);
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
    this.layer = Math.max(0, Math.min(this.layers.length - 1, layer));
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
    document.querySelector(".thumbs").addEventListener("change", (event) => { this.image = Number(event.target.value); this.draw(); });
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

starts.push(async ({ similar }) => {
  const parts = JSON.parse(document.getElementById("maps").textContent);
  const viewer = new MapViewer(parts, similar, unpackMaps(await unpack(parts.maps)));
  await viewer.load();
  viewer.listen();
  redraws.push(() => viewer.draw());
});
