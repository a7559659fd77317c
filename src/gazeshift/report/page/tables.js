// Rows of the tables as text, the same as _tables.py prints for the first choice. Numbers are whole thousandths.
const NONE = "–";
const RANKED = 10;

function two(value) {
  if (value === null || value === undefined) return NONE;
  const hundredths = Math.floor((Math.abs(value) + 5) / 10);
  const sign = value < 0 && hundredths ? "-" : "";
  return `${sign}${Math.floor(hundredths / 100)}.${String(hundredths % 100).padStart(2, "0")}`;
}

function three(value) {
  if (value === null || value === undefined) return NONE;
  const size = Math.abs(value);
  return `${value < 0 ? "-" : ""}${Math.floor(size / 1000)}.${String(size % 1000).padStart(3, "0")}`;
}

function percent(part, whole) {
  return whole ? `${Math.floor((200 * part + whole) / (2 * whole))} %` : NONE;
}

function sum(numbers) {
  return numbers.reduce((total, number) => total + number, 0);
}

function plural(count, word) {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}

function difference(compare, place) {
  const [attacked, noise] = [compare.attacked.mean[place], compare.noise.mean[place]];
  return attacked === null || noise === null ? null : attacked - noise;
}

function ranking(compare) {
  let keys = compare.lowest.map((_, place) => difference(compare, place));
  if (keys.every((value) => value === null)) keys = compare.attacked.mean;
  const known = keys.map((_, place) => place).filter((place) => keys[place] !== null);
  return known.sort((one, other) => keys[one] - keys[other] || one - other);
}

function quartiles(spread, place, digits) {
  return spread.count[place] ? `${digits(spread.low[place])} to ${digits(spread.high[place])}` : NONE;
}

function similarityCells(spread, place) {
  return [two(spread.median[place]), quartiles(spread, place, two), two(spread.mean[place]), `${spread.count[place]}`];
}

function layerRows(layers, compare) {
  return layers.map((layer, place) => [
    layer,
    ...similarityCells(compare.attacked, place),
    ...similarityCells(compare.noise, place),
    two(difference(compare, place)),
    two(compare.probability[place]),
    two(compare.paired[place]),
    `${compare.lowest[place]}`,
  ]);
}

function rankRows(layers, compare) {
  const order = ranking(compare).slice(0, RANKED);
  return order.map((place, rank) => [
    `${rank + 1}`,
    layers[place],
    two(difference(compare, place)),
    two(compare.attacked.mean[place]),
    two(compare.noise.mean[place]),
    `${compare.lowest[place]} of ${sum(compare.lowest)}`,
  ]);
}

function histogramRows(histogram) {
  return histogram.map((count, layers) => [`${layers}`, `${count}`, percent(count, sum(histogram))]);
}

function splitColumns(series, split) {
  const own = series.targets.map((target) => split.switched[target]);
  return [...own, split.switched.noise, split.stayed[series.targets[0]], split.stayed.noise];
}

function splitRows(series, split) {
  const columns = splitColumns(series, split);
  const rest = series.layers.map((layer, place) => [layer, ...columns.map((column) => two(column.mean[place]))]);
  return [["all layers", ...columns.map((column) => two(column.total))], ...rest];
}

function strengthRows(layers, levels) {
  return layers.map((layer, place) => [
    layer,
    ...levels.map((level) => two(level.attacked.mean[place])),
    ...levels.map((level) => two(level.noise.mean[place])),
    ...levels.map((level) => two(level.probability[place])),
  ]);
}

function modCells(kind, level, place) {
  const spread = kind.spread[level];
  return [three(kind.mod[level][place]), quartiles(spread, place, three), `${spread.count[place]}`];
}

function modRows(series, structure) {
  const last = series.layers.length - 1;
  const cells = (level) => ["attacked", "noise"].flatMap((kind) => modCells(structure[kind], level, last));
  return series.strengths.map((strength, level) => [`${strength}`, ...cells(level)]);
}

function vidCells(spread, place) {
  if (!spread || !spread.count[place]) return [NONE, NONE, "0"];
  return [three(spread.median[place]), quartiles(spread, place, three), `${spread.count[place]}`];
}

function structureRows(layers, structure, level) {
  return layers.map((layer, place) => [
    layer,
    three(structure.attacked.mod[level][place]),
    three(structure.noise.mod[level][place]),
    ...["attacked", "noise"].flatMap((kind) => vidCells(structure[kind].vid, place)),
  ]);
}

// Everything that the reader's choice selects, and all tables of it.
function selected(series, choice) {
  const place = (strength) => [choice.attack, strength, choice.target, choice.cam, choice.images].join(".");
  return {
    compare: series.compare[place(choice.strength)],
    levels: series.strengths.map((_, strength) => series.compare[place(strength)]),
    split: series.split[[choice.attack, choice.strength, choice.cam].join(".")],
    structure: series.structure[[choice.attack, choice.target, choice.cam].join(".")],
  };
}

function tablesOf(series, choice, found) {
  const { compare, levels, split, structure } = found;
  return {
    layers: layerRows(series.layers, compare),
    rank: rankRows(series.layers, compare),
    histogram: histogramRows(compare.histogram),
    split: splitRows(series, split),
    strengths: strengthRows(series.layers, levels),
    mod: structure ? modRows(series, structure) : [],
    structure: structure ? structureRows(series.layers, structure, choice.strength) : [],
  };
}

function fillTable(name, rows) {
  const table = document.querySelector(`[data-table="${name}"]`);
  if (!table) return;
  const body = document.createElement("tbody");
  for (const cells of rows) {
    const row = body.insertRow();
    cells.forEach((text, column) => {
      const cell = column ? row.insertCell() : row.appendChild(document.createElement("th"));
      if (!column) cell.scope = "row";
      cell.textContent = text;
    });
  }
  table.tBodies[0].replaceWith(body);
}
