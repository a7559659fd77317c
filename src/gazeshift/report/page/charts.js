// The charts: layers are discrete, so bands and lines break where a value is undefined.
function theme() {
  const style = getComputedStyle(document.documentElement);
  const names = ["ink", "quiet", "line", "card", "attacked", "noise", "third", "fourth", "band"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

// Plotly reads a few HTML tags in its texts, and names of layers and attacks are not ours.
function plain(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function shortened(text, length) {
  return text.length <= length ? text : `${text.slice(0, Math.ceil(length / 2) - 1)}…${text.slice(-Math.floor(length / 2))}`;
}

function unit(values) {
  return values.map((value) => (value === null ? null : value / 1000));
}

function tinted(color, opacity) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  return `rgba(${red}, ${green}, ${blue}, ${opacity})`;
}

// A shade between two colours of six digits.
function between(from, to, share) {
  const mix = [1, 3, 5].map((at) => {
    const [first, second] = [from, to].map((color) => parseInt(color.slice(at, at + 2), 16));
    return Math.round(first + (second - first) * share).toString(16).padStart(2, "0");
  });
  return `#${mix.join("")}`;
}

// Runs of neighbouring places whose values are defined.
function runs(values) {
  const found = [];
  values.forEach((value, place) => {
    if (value === null) return;
    if (place && values[place - 1] !== null) found[found.length - 1].push(place);
    else found.push([place]);
  });
  return found;
}

function band(at, low, high, color) {
  const [across, up] = [[], []];
  for (const run of runs(low)) {
    const wide = run.length > 1 ? run : [run[0], run[0]];
    const shift = (place, number) => (run.length > 1 ? at[place] : at[place] + (number ? 0.12 : -0.12));
    wide.forEach((place, number) => { across.push(shift(place, number)); up.push(high[place] / 1000); });
    [...wide].reverse().forEach((place, number) => { across.push(shift(place, 1 - number)); up.push(low[place] / 1000); });
    across.push(null);
    up.push(null);
  }
  return { x: across, y: up, mode: "lines", line: { width: 0 }, fill: "toself", fillcolor: tinted(color, 0.16), hoverinfo: "skip" };
}

function line(at, values, { color, dash = "solid", name, hover = [], width = 2.25, hollow = false }) {
  return {
    x: at, y: unit(values), name: plain(name), mode: "lines+markers", connectgaps: false,
    line: { color, width, dash }, marker: { color: hollow ? theme().card : color, size: 6, line: { color, width: 1.5 } },
    customdata: values.map((_, place) => hover[place] || ""),
    hovertemplate: "%{y:.2f}%{customdata}",
  };
}

function spreadHover(spread, digits) {
  return spread.count.map((count, place) =>
    count ? `, quartiles ${quartiles(spread, place, digits)}, n ${count}` : "");
}

function lined(at, spread, values, options, digits = two) {
  return [band(at, spread.low, spread.high, options.color), line(at, values, { ...options, hover: spreadHover(spread, digits) })];
}

// Titles of hover labels: places, replaced by whole names.
function named(names) {
  return Object.fromEntries(names.map((name, place) => [place, plain(name)]));
}

// Ticks stand a hair beside their places, or Plotly would put their short texts into the hover labels.
function aside(place, count) {
  return place + count / 2000;
}

function layersAxis(layers, width, colors) {
  const narrow = width < 400 || (width < 700 && layers.length > 20);
  const room = Math.max(1, Math.floor(width / (narrow ? 26 : 20)));
  const every = Math.max(1, Math.ceil(layers.length / room));
  const last = layers.length - 1;
  const ticks = layers.map((_, place) => place).filter((place) => place === last || (place % every === 0 && last - place >= every));
  return {
    tickmode: "array",
    tickvals: ticks.map((place) => aside(place, layers.length)),
    ticktext: ticks.map((place) => (narrow ? `${place + 1}` : plain(shortened(layers[place], 16)))),
    labelalias: named(layers),
    tickangle: narrow ? 0 : layers.length > 8 ? -45 : 0,
    title: narrow ? { text: "layer, counted from the input", font: { size: 12 } } : undefined,
    range: [-0.5, layers.length - 0.5], zeroline: false, gridcolor: "rgba(0,0,0,0)", linecolor: colors.line, automargin: true,
    tickfont: { size: 11, color: colors.quiet }
  };
}

function layout(colors, x, y, shapes = []) {
  return {
    margin: { l: 46, r: 12, t: 10, b: 36 }, height: 320, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", size: 12, color: colors.quiet },
    showlegend: false, hovermode: "x unified", dragmode: false, shapes,
    hoverlabel: { bgcolor: colors.card, bordercolor: colors.line, font: { color: colors.ink, size: 12 } },
    xaxis: x,
    yaxis: { gridcolor: colors.line, zeroline: false, tickfont: { size: 11 }, fixedrange: true, automargin: true, ...y },
  };
}

function level(y, color) {
  return { type: "line", xref: "paper", x0: 0, x1: 1, y0: y, y1: y, line: { color, width: 1.25, dash: "dot" }, layer: "below" };
}

function stripe(low, high, color) {
  return { type: "rect", xref: "paper", x0: 0, x1: 1, y0: low, y1: high, line: { width: 0 }, fillcolor: color, layer: "below" };
}

const SHARE = { range: [-0.02, 1.04], title: { text: "" }, tickformat: ".1f", dtick: 0.2 };

// name -> (series, choice, found, colours, width) -> [traces, layout], or a sentence why there is nothing to draw.
const CHARTS = {
  layers(series, choice, { compare }, colors, width) {
    const at = series.layers.map((_, place) => place);
    const traces = [
      ...lined(at, compare.noise, compare.noise.median, { color: colors.noise, dash: "dash", name: "noise", hollow: true }),
      ...lined(at, compare.attacked, compare.attacked.median, { color: colors.attacked, name: "attacked" }),
    ];
    return [traces, layout(colors, layersAxis(series.layers, width, colors), { ...SHARE, title: { text: "cosine similarity" } })];
  },
  compromise(series, choice, { compare }, colors, width) {
    if (compare.probability.every((value) => value === null)) return "There is no matched noise for this choice, so there is no threshold.";
    const at = series.layers.map((_, place) => place);
    const counts = compare.attacked.count.map((count) => `, n ${count}`);
    const traces = [
      line(at, compare.paired, { color: colors.third, dash: "dash", name: "paired", hover: compare.pairs.map((n) => `, n ${n}`), hollow: true }),
      line(at, compare.probability, { color: colors.attacked, name: "below median of noise", hover: counts }),
    ];
    const shapes = [stripe(compare.band[0] / 1000, compare.band[1] / 1000, colors.band), level(0.5, colors.quiet)];
    return [traces, layout(colors, layersAxis(series.layers, width, colors), { ...SHARE, title: { text: "probability" } }, shapes)];
  },
  histogram(series, choice, { compare }, colors) {
    const total = sum(compare.histogram);
    if (!total || compare.probability.every((value) => value === null)) return "There is nothing to count for this choice.";
    const bars = {
      type: "bar", x: compare.histogram.map((_, layers) => layers), y: compare.histogram.map((count) => count / total),
      marker: { color: colors.attacked }, customdata: compare.histogram, name: "",
      hovertemplate: "%{y:.0%} of the images (%{customdata})<extra></extra>",
    };
    const x = { title: { text: "compromised layers", font: { size: 12 } }, dtick: Math.ceil(compare.histogram.length / 14), linecolor: colors.line, zeroline: false, range: [-0.6, compare.histogram.length - 0.4], gridcolor: "rgba(0,0,0,0)", automargin: true, tickfont: { size: 11 }, fixedrange: true };
    return [[bars], layout(colors, x, { tickformat: ".0%", rangemode: "tozero", title: { text: "share of images" } })];
  },
  split(series, choice, { split }, colors, width) {
    const at = series.layers.map((_, place) => place);
    const { switched, stayed } = split;
    const traces = [];
    const add = (group, options) => traces.push(line(at, group.mean, { ...options, hover: group.count.map((n) => `, n ${n}`) }));
    if (switched.images) {
      add(switched.noise, { color: colors.noise, dash: "dash", name: "switched images, noise", hollow: true });
      if (switched.reference) add(switched.reference, { color: colors.third, name: "switched, same class" });
      if (switched.predicted) add(switched.predicted, { color: colors.attacked, name: "switched, own class" });
    } else {
      add(stayed.noise, { color: colors.noise, dash: "dash", name: "noise", hollow: true });
    }
    if (stayed.images) add(stayed[series.targets[0]], { color: colors.fourth, dash: "dot", name: "stayed", hollow: true });
    return [traces, layout(colors, layersAxis(series.layers, width, colors), { ...SHARE, title: { text: "mean cosine similarity" } })];
  },
  strengths_attacked: (...args) => strengthChart(...args, (level) => level.attacked.mean, "attacked", "mean cosine similarity"),
  strengths_noise: (...args) => strengthChart(...args, (level) => level.noise.mean, "noise", "mean cosine similarity"),
  strengths: (...args) => strengthChart(...args, (level) => level.probability, "attacked", "probability"),
  mod(series, choice, { structure }, colors) {
    if (!structure) return "NISSIM was not computed for this choice.";
    const last = series.layers.length - 1;
    const at = series.strengths.map((_, place) => place);
    const traces = ["noise", "attacked"].flatMap((kind) => {
      const pick = (name) => structure[kind].spread.map((spread) => spread[name][last]);
      const spread = { low: pick("low"), high: pick("high"), count: pick("count") };
      const values = structure[kind].mod.map((mod) => mod[last]);
      const look = kind === "noise" ? { dash: "dash", hollow: true } : {};
      return lined(at, spread, values, { color: colors[kind], name: kind, ...look }, three);
    });
    const x = { tickmode: "array", tickvals: at.map((place) => aside(place, at.length)), ticktext: series.strengths.map(String), title: { text: "strength", font: { size: 12 } }, labelalias: named(series.strengths.map((strength) => `strength ${strength}`)), range: [-0.4, at.length - 0.6], zeroline: false, gridcolor: "rgba(0,0,0,0)", linecolor: colors.line, automargin: true, fixedrange: true };
    const shapes = [stripe(0.25, 0.3, colors.band), level(0.25, colors.quiet)];
    return [traces, layout(colors, x, { rangemode: "tozero", dtick: 0.1, title: { text: "MOD" } }, shapes)];
  },
  vid(series, choice, { structure }, colors, width) {
    if (!structure) return "NISSIM was not computed for this choice.";
    if (!structure.attacked.vid) return "The study has one strength, so nothing varies.";
    const at = series.layers.map((_, place) => place);
    const traces = ["noise", "attacked"].flatMap((kind) => {
      const spread = structure[kind].vid;
      const look = kind === "noise" ? { dash: "dash", hollow: true } : {};
      return lined(at, spread, spread.median, { color: colors[kind], name: kind, ...look }, three);
    });
    return [traces, layout(colors, layersAxis(series.layers, width, colors), { rangemode: "tozero", title: { text: "VID" } })];
  },
  structure(series, choice, { structure }, colors, width) {
    if (!structure) return "NISSIM was not computed for this choice.";
    const at = series.layers.map((_, place) => place);
    const traces = ["noise", "attacked"].flatMap((kind) => {
      const look = kind === "noise" ? { dash: "dash", hollow: true } : {};
      const spread = structure[kind].spread[choice.strength];
      return lined(at, spread, structure[kind].mod[choice.strength], { color: colors[kind], name: kind, ...look }, three);
    });
    return [traces, layout(colors, layersAxis(series.layers, width, colors), { rangemode: "tozero", dtick: 0.1, title: { text: "MOD" } })];
  },
};

function strengthChart(series, choice, { levels }, colors, width, pick, kind, title) {
  if (levels.every((found) => pick(found).every((value) => value === null))) return "There is no matched noise for this choice.";
  const at = series.layers.map((_, place) => place);
  const shade = (place) => between(colors.card, colors[kind], 0.3 + (0.7 * (place + 1)) / levels.length);
  const traces = levels.map((found, place) =>
    line(at, pick(found), { color: shade(place), name: `strength ${series.strengths[place]}`, hover: found.attacked.count.map((n) => `, n ${n}`), width: 2 }));
  const shapes = title === "probability" ? [level(0.5, colors.quiet)] : [];
  return [traces, layout(colors, layersAxis(series.layers, width, colors), { ...SHARE, title: { text: title } }, shapes)];
}

const EMPTY = "No image is left for this choice: the attack fooled none at strength 1. Choose all images above.";

function drawCharts(series, choice, found) {
  const colors = theme();
  for (const [name, chart] of Object.entries(CHARTS)) {
    const plot = document.getElementById(`plot-${name}`);
    if (!plot) continue;
    const ofAll = ["split", "mod", "vid", "structure"].includes(name);
    const made = !found.compare.images && !ofAll ? EMPTY : chart(series, choice, found, colors, plot.parentElement.clientWidth);
    const message = document.getElementById(`empty-${name}`);
    message.hidden = typeof made !== "string";
    plot.hidden = !message.hidden;
    message.textContent = message.hidden ? "" : made;
    if (message.hidden) Plotly.react(plot, made[0], made[1], { displaylogo: false, displayModeBar: false, responsive: true });
  }
}
