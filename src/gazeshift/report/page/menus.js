// Menus that charts, tables and maps share: each shows what it has for the options that are chosen.
const chosen = {};

// The variant for what is chosen, put together from what all of them have and what varies, each by its path.
function variant({ menus, keys, same, varies }) {
  const at = keys.indexOf(menus.map((menu) => chosen[menu]).join("."));
  const made = { columns: [] };
  const put = (path, value) => {
    if (value === null) return;
    const parts = path.split("/");
    const last = parts.pop();
    let place = made;
    parts.forEach((part, depth) => { place = place[part] ??= /^\d+$/.test(parts[depth + 1] ?? last) ? [] : {}; });
    place[last] = value;
  };
  for (const [path, value] of Object.entries(same)) put(path, value);
  for (const [path, values] of Object.entries(varies)) put(path, values[at]);
  return made;
}

function fillTable(name, columns) {
  const table = document.querySelector(`[data-table="${name}"]`);
  if (!table) return;
  const body = document.createElement("tbody");
  for (let place = 0; place < (columns[0] || []).length; place++) {
    const row = body.insertRow();
    columns.forEach((column, number) => {
      const cell = number ? row.insertCell() : row.appendChild(document.createElement("th"));
      if (!number) cell.scope = "row";
      cell.textContent = column[place];
    });
  }
  table.tBodies[0].replaceWith(body);
}

function showVariant(name, variants) {
  const shown = variant(variants);
  const figure = document.getElementById(`figure-${name}`);
  figure.querySelector(".selection").textContent = shown.about;
  fillTable(name, shown.columns);
  const plot = figure.querySelector(".plot");
  if (!plot) return;
  const message = figure.querySelector(".empty");
  message.textContent = shown.empty;
  message.hidden = !shown.empty;
  plot.hidden = !message.hidden;
  if (plot.hidden) return;
  for (const trace of shown.traces) {
    const said = (row) => trace.hover.replace(/\{(\d+)\}/g, (_, column) => shown.columns[column][row]);
    if (trace.hover) trace.customdata = shown.columns[0].map((_, row) => said(row));
  }
  drawInto(plot, shown);
}

starts.push((numbers) => {
  const bar = document.querySelector(".choose");
  const menus = [...document.querySelectorAll(".choosers select")];
  for (const menu of menus) chosen[menu.dataset.choose] = menu.value;
  if (innerWidth < 720) bar.open = false;
  redraws.push(() => {
    for (const select of document.querySelectorAll("[data-choose]")) select.value = chosen[select.dataset.choose];
    const words = menus.map((menu) => `${menu.labels[0].firstChild.textContent.trim().toLowerCase()} ${menu.selectedOptions[0].text}`);
    document.getElementById("shown").textContent = words.join(", ");
    for (const [name, found] of Object.entries(numbers)) if (found.menus) showVariant(name, found);
  });
  document.addEventListener("change", ({ target }) => {
    if (!target.dataset?.choose) return;
    chosen[target.dataset.choose] = target.value;
    redraw();
  });
});
