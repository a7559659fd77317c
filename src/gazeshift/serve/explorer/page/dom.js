// Elements without markup in strings: text stays text, whatever it holds.
export const byId = (id) => document.getElementById(id);

const SVG = new Set(["svg", "path", "circle"]);

export function make(tag, attributes = {}, ...children) {
  const element = SVG.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.setAttribute("class", value);
    else if (name === "style") for (const [key, part] of Object.entries(value)) element.style.setProperty(key, part);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "data") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Said aloud by screen readers and shown for a while; while something is under way, until the next word.
export function say(text, lasting = false) {
  const place = byId("status");
  place.textContent = text;
  place.getAnimations().forEach((animation) => { animation.cancel(); animation.play(); });
  place.classList.toggle("busy", lasting);
}

// One sentence where the fault belongs; an empty one takes it away.
export function complain(id, error) {
  const place = byId(id);
  const words = error ? error.message || String(error) : "";
  place.textContent = words.charAt(0).toUpperCase() + words.slice(1);
  place.hidden = !error;
  if (error) place.scrollIntoView({ block: "nearest" }); // a file can be pasted from anywhere on the page
}

export function download(name, content) {
  const address = URL.createObjectURL(content);
  const link = make("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

// A row of buttons as one stop of the Tab key; arrows, Home and End walk in it.
export function roving(group) {
  const buttons = () => [...group.querySelectorAll("button")];
  group.addEventListener("keydown", (event) => {
    const all = buttons();
    const at = all.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const next = all[Math.max(0, Math.min(all.length - 1, to))];
    aim(group, next);
    next.focus();
  });
}

// The one button of a roving row that Tab reaches.
export function aim(group, chosen) {
  for (const button of group.querySelectorAll("button")) button.tabIndex = button === chosen ? 0 : -1;
}

// Radio buttons that look like one switch; gives a function that chooses a value.
export function segments(fieldset, name, options, chosen, act) {
  const legend = fieldset.querySelector("legend");
  const choices = options.map(({ value, label, title }) => make("label", { title },
    make("input", { type: "radio", name, value, checked: value === chosen, onchange: () => act(value) }), make("span", {}, label)));
  fieldset.replaceChildren(legend, make("div", { class: "row" }, choices));
}
