// A study's page: charts are unpacked and drawn here in the page's colours; nothing is loaded from elsewhere.
// Parts that not every page has (menus.js, maps.js) add to `starts` what they do at first, given all numbers.
const starts = [];
const redraws = [];

function bytesOf(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

async function unpack(text) {
  const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function unpacked(id) {
  return new TextDecoder().decode(await unpack(document.getElementById(id).textContent));
}

async function copy(event) {
  const command = document.getElementById("command");
  getSelection().selectAllChildren(command);
  try {
    await navigator.clipboard.writeText(command.textContent);
    event.target.textContent = "Copied";
  } catch {
    event.target.textContent = "Selected";
  }
}

// Plotly reads a few HTML tags in its texts, and names of layers, files and classes are not ours.
function plain(text) {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

// A colour of the style sheet by its name, or a part of it on the background: "--attacked 0.5".
function colour(value, style) {
  const [name, share] = value.split(" ");
  const found = style.getPropertyValue(name).trim();
  if (share === undefined) return found;
  const card = style.getPropertyValue("--card").trim();
  const part = (hex, at) => parseInt(hex.slice(at, at + 2), 16);
  return `rgb(${[1, 3, 5].map((at) => Math.round(part(card, at) + share * (part(found, at) - part(card, at)))).join(",")})`;
}

// The same specification with the style sheet's colours in place of their names, and texts that are texts.
function dressed(value, key, style) {
  if (Array.isArray(value)) return value.map((item) => dressed(item, key, style));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, dressed(item, name, style)]));
  }
  if (typeof value !== "string") return value;
  if (/^--[a-z]+( [\d.]+)?$/.test(value)) return colour(value, style);
  return key === "hovertemplate" || key === "texttemplate" ? value : plain(value);
}

function shortened(text, length) {
  return text.length <= length ? text : `${text.slice(0, Math.ceil(length / 2) - 1)}…${text.slice(-Math.floor(length / 2))}`;
}

// An axis of named places: as many names as there is room for, or numbers where it is narrow. Whole names are for
// hovering, and ticks stand a hair aside, or Plotly would put their short texts there.
function placesAxis({ places, ...own }, width) {
  const narrow = width < 400 || (width < 700 && places.length > 20);
  const last = places.length - 1;
  const every = Math.max(1, Math.ceil(places.length / Math.max(1, Math.floor(width / (narrow ? 26 : 20)))));
  const ticks = places.map((_, place) => place).filter((place) => place === last || (place % every === 0 && last - place >= every));
  return {
    tickmode: "array", tickvals: ticks.map((place) => place + places.length / 2000),
    ticktext: ticks.map((place) => (narrow ? `${place + 1}` : shortened(places[place], 16))),
    labelalias: Object.fromEntries(places.map((name, place) => [place, name])),
    tickangle: !narrow && places.length > 8 ? -45 : 0, range: [-0.5, places.length - 0.5], gridcolor: "rgba(0,0,0,0)",
    title: narrow ? { text: "layer, counted from the input", font: { size: 12 } } : undefined, ...own,
  };
}

function layoutOf(own, traces, style) {
  const color = (name) => style.getPropertyValue(`--${name}`).trim();
  const axis = { gridcolor: color("line"), linecolor: color("line"), zeroline: false, tickfont: { size: 11 }, automargin: true, fixedrange: true };
  const hover = { bgcolor: color("card"), bordercolor: color("line"), font: { color: color("ink"), size: 12 } };
  const several = traces.filter((trace) => trace.name && trace.showlegend !== false).length > 1;
  return {
    margin: { l: 54, r: 14, t: 10, b: 40 }, height: 340, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", size: 12, color: color("quiet") },
    showlegend: several, legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
    hovermode: "x unified", dragmode: false, hoverlabel: hover,
    ...own, xaxis: { ...axis, ...own.xaxis }, yaxis: { ...axis, ...own.yaxis },
  };
}

function drawInto(place, chart) {
  const style = getComputedStyle(document.documentElement);
  const xaxis = chart.layout.xaxis?.places ? placesAxis(chart.layout.xaxis, place.parentElement.clientWidth) : chart.layout.xaxis;
  const { traces, layout } = dressed({ traces: chart.traces, layout: { ...chart.layout, xaxis } }, "", style);
  Plotly.react(place, traces, layoutOf(layout, traces, style), { displaylogo: false, displayModeBar: false, responsive: true });
}

// Of charts of one kind the chosen one is shown; without scripts, all are.
function choose(select) {
  for (const { value } of select.options) {
    const place = document.getElementById(value);
    place.classList.add("chooses");
    place.hidden = value !== select.value;
    for (const plot of place.querySelectorAll(".js-plotly-plot")) if (!place.hidden) Plotly.Plots.resize(plot);
  }
}

function redraw() {
  redraws.forEach((again) => again());
}

function listen() {
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) redraw();
    width = innerWidth;
  });
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll(".chart details:not([open])")];
    closed.forEach((details) => { details.open = true; });
    document.documentElement.dataset.theme = "light";
    redraw();
  });
  addEventListener("afterprint", () => {
    closed.forEach((details) => { details.open = false; });
    delete document.documentElement.dataset.theme;
    redraw();
  });
}

async function start() {
  document.getElementById("copy").addEventListener("click", copy);
  if (!("DecompressionStream" in globalThis)) {
    document.getElementById("unsupported").hidden = false;
    return;
  }
  const numbers = JSON.parse(await unpacked("numbers"));
  const script = document.createElement("script");
  script.textContent = await unpacked("plotly");
  document.head.append(script);
  redraws.push(() => {
    for (const place of document.querySelectorAll("[data-chart]")) {
      const chart = numbers[place.dataset.chart];
      if (chart.traces) drawInto(place, chart);
    }
  });
  for (const begin of starts) await begin(numbers);
  redraw();
  for (const select of document.querySelectorAll("[data-choice]")) {
    select.addEventListener("change", () => choose(select));
    choose(select);
  }
  listen();
  document.documentElement.dataset.ready = "true";
}
