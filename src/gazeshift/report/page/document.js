// A study's page: charts are unpacked and drawn here in the page's colours; nothing is loaded from elsewhere.
// Plotly reads a few HTML tags in its texts, and names of layers, files and classes are not ours.
function plain(text) {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

// The same specification with the style sheet's colours in place of their names, and texts that are texts.
function dressed(value, key, style) {
  if (Array.isArray(value)) return value.map((item) => dressed(item, key, style));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, dressed(item, name, style)]));
  }
  if (typeof value !== "string") return value;
  if (/^--[a-z]+$/.test(value)) return style.getPropertyValue(value).trim();
  return key === "hovertemplate" || key === "texttemplate" ? value : plain(value);
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

function draw(charts) {
  const style = getComputedStyle(document.documentElement);
  for (const place of document.querySelectorAll("[data-chart]")) {
    const { traces, layout } = dressed(charts[place.dataset.chart], "", style);
    Plotly.react(place, traces, layoutOf(layout, traces, style), { displaylogo: false, displayModeBar: false, responsive: true });
  }
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

async function start() {
  document.getElementById("copy").addEventListener("click", copy);
  if (!("DecompressionStream" in globalThis)) return;
  const charts = JSON.parse(new TextDecoder().decode(await unpacked("numbers")));
  const script = document.createElement("script");
  script.textContent = new TextDecoder().decode(await unpacked("plotly"));
  document.head.append(script);
  draw(charts);
  for (const select of document.querySelectorAll("[data-choice]")) {
    select.addEventListener("change", () => choose(select));
    choose(select);
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(charts));
  document.documentElement.dataset.ready = "true";
}

start();
