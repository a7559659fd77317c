// The page: one choice for all charts, tables and the gallery; charts unpacked here, nothing loaded from elsewhere.
const series = JSON.parse(document.getElementById("data").textContent);
const choice = { ...series.chosen };
let gallery = null;
let charts = false;

const TARGETS = { predicted: "each image’s own class", reference: "the clean image’s class" };

function selectionText(found) {
  const kind = choice.images === "fooled" ? "fooled " : "";
  const { undefined: missing, blank } = found.compare;
  return `${series.attacks[choice.attack]}, strength ${series.strengths[choice.strength]}, `
    + `${series.names[series.cams[choice.cam]]} of ${TARGETS[series.targets[choice.target]] || series.targets[choice.target]}, `
    + `${found.compare.images} ${kind}image${found.compare.images === 1 ? "" : "s"}`
    + (missing ? `; ${plural(missing, "undefined value")} left out` : "")
    + (blank ? `; ${plural(blank, "comparison")} with a blank map, 0 or 1 by convention` : "");
}

function selections(found) {
  const base = `${series.attacks[choice.attack]}, ${series.names[series.cams[choice.cam]]}`;
  const cross = found.compare.band;
  const all = `${base} of ${TARGETS[series.targets[choice.target]]}, all strengths, ${plural(found.compare.images, "image")}`;
  const texts = {
    strengths: all,
    strengths_attacked: all,
    strengths_noise: all,
    compromise: `chance band ${two(cross[0])} to ${two(cross[1])}`,
    split: `${base}, strength ${series.strengths[choice.strength]}`,
    mod: `${base} of ${TARGETS[series.targets[choice.target]]}, ${plural(series.images, "image")}`,
    vid: `${base}, strengths ${series.strengths.join(", ")}`,
    structure: `${base}, strength ${series.strengths[choice.strength]}`,
  };
  for (const place of document.querySelectorAll("[data-selection]")) {
    const own = texts[place.dataset.selection];
    place.textContent = place.dataset.selection === "compromise" ? `${selectionText(found)}; ${own}` : own || selectionText(found);
  }
}

function strengthLegend(colors) {
  for (const [name, kind] of [["strengths_attacked", "attacked"], ["strengths_noise", "noise"], ["strengths", "attacked"]]) {
    const figure = document.getElementById(`figure-${name}`);
    if (!figure) continue;
    figure.querySelector(".legend")?.remove();
    const list = Object.assign(document.createElement("ul"), { className: "legend" });
    series.strengths.forEach((strength, place) => {
      const swatch = Object.assign(document.createElement("span"), { className: "swatch" });
      swatch.style.borderTopColor = between(colors.card, colors[kind], 0.3 + (0.7 * (place + 1)) / series.strengths.length);
      const item = document.createElement("li");
      item.append(swatch, `${strength}`);
      list.append(item);
    });
    figure.querySelector(".plot").before(list);
  }
}

function update() {
  const found = selected(series, choice);
  for (const [name, rows] of Object.entries(tablesOf(series, choice, found))) fillTable(name, rows);
  for (const select of document.querySelectorAll("[data-choose]")) select.value = choice[select.dataset.choose];
  for (const place of document.querySelectorAll("[data-count]")) place.textContent = found.split[place.dataset.count].images;
  document.getElementById("shown").textContent = selectionText(found);
  selections(found);
  if (charts) drawCharts(series, choice, found);
  if (charts) strengthLegend(theme());
  if (gallery) gallery.draw(choice);
}

function listen() {
  document.addEventListener("change", (event) => {
    const axis = event.target.dataset?.choose;
    if (!axis) return;
    choice[axis] = axis === "images" ? event.target.value : Number(event.target.value);
    update();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", update);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    update();
  });
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll(".chart details:not([open])")];
    closed.forEach((details) => { details.open = true; });
    document.documentElement.dataset.theme = "light";
    update();
  });
  addEventListener("afterprint", () => {
    closed.forEach((details) => { details.open = false; });
    delete document.documentElement.dataset.theme;
    update();
  });
  document.getElementById("copy").addEventListener("click", copy);
}

async function start() {
  if (!("DecompressionStream" in globalThis)) {
    document.getElementById("unsupported").hidden = false;
    document.querySelector(".choose").hidden = true;
    return;
  }
  Object.assign(series, JSON.parse(new TextDecoder().decode(await unpacked("numbers"))));
  if (innerWidth < 720) document.querySelector(".choose").open = false;
  listen();
  update();
  if (series.gallery.length) {
    gallery = new Gallery(series, unpackMaps(await unpack(series.maps)), bytesOf(series.colours));
    await gallery.load();
    gallery.listen();
    gallery.draw(choice);
  }
  const script = document.createElement("script");
  script.textContent = new TextDecoder().decode(await unpacked("plotly"));
  document.head.append(script);
  charts = true;
  update();
  document.documentElement.dataset.ready = "true";
}

start();
