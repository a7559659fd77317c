// A finished study: a list of its images to filter and sort, and each image layer by layer.
import { askJson } from "./api.js";
import { follow, mark, movedChart, movedShare } from "./charts.js";
import { byId, complain, make, say } from "./dom.js";
import { loaded } from "./maps.js";
import { Stage } from "./stage.js";
import { camName, percent, plural, short, two } from "./words.js";

const SIZE = 50;
const KINDS = { clean: "Clean", attacked: "Attacked", noise: "Matched noise" };
const state = { start: null, stage: null, shown: 0, image: null, sides: {} };

export function startStudy(start) {
  state.start = start;
  state.stage = new Stage((layer) => mark(byId("charts"), layer));
  byId("layers-title").closest(".panel").id = "layers-panel";
  addEventListener("hashchange", show);
  show();
}

// What is chosen stands in the address, so that Back works and a view can be passed on.
const chosen = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

function address(changes) {
  const next = new URLSearchParams();
  for (const [key, value] of Object.entries({ ...chosen(), ...changes })) if (value !== "" && value !== null) next.set(key, value);
  return `#${next}`;
}

function go(changes) {
  location.hash = address(changes);
}

const choice = (name) => state.start.choices.find((one) => one.name === name);
const value = (name) => chosen()[name] ?? choice(name)?.first ?? "";
const measure = () => state.start.measures[value("measure")];

async function show() {
  const number = chosen().image;
  const turn = ++state.shown;
  complain("fatal", null);
  try {
    if (number === undefined) await showList(turn);
    else await showImage(number, turn);
  } catch (error) {
    if (turn !== state.shown) return;
    byId("list").hidden = byId("seen").hidden = true;
    say("");
    complain("fatal", error);
  }
  if (turn === state.shown) document.documentElement.dataset.ready = location.hash; // what is on the page
}

function picker({ name, label, options }, current, act) {
  return make("label", { class: "field" }, label, make("select", { id: `choose-${name}`, onchange: (event) => act(event.target.value) },
    options.map((option) => make("option", { value: option.value, selected: option.value === current }, option.label))));
}

// ---- the list

async function showList(turn) {
  const { choices, sorts, columns } = state.start;
  const now = chosen();
  const start = Number(now.start ?? 0);
  const given = new URLSearchParams({ ...now, size: SIZE, start });
  say("Looking through the study…", true);
  byId("list").setAttribute("aria-busy", "true");
  const { total, rows } = await askJson(`explorer/study/images?${given}`);
  if (turn !== state.shown) return;
  byId("seen").hidden = true;
  byId("list").hidden = false;
  drawListSide(choices, sorts, now);
  byId("list").replaceChildren(
    make("div", { class: "list-head" }, make("h1", { id: "list-title" }, total === 1 ? "1 image" : `${total.toLocaleString("en")} images`), pager(start, total)),
    rows.length ? table(columns, rows) : make("p", { class: "nothing" }, "No image meets these choices. Take one of them back."),
    total > SIZE ? make("div", { class: "list-foot" }, pager(start, total)) : "");
  byId("list").removeAttribute("aria-busy");
  say(`${plural(total, "image")} found.`);
}

function drawListSide(choices, sorts, now) {
  const side = byId("study-side");
  const focused = side.contains(document.activeElement) ? document.activeElement.id : "";
  const search = make("input", { type: "search", id: "search", value: now.search ?? "", placeholder: "part of its name", onchange: (event) => go({ search: event.target.value.trim(), start: "" }) });
  side.replaceChildren(make("h2", {}, "Which images"), make("div", { class: "fields" },
    choices.map((one) => picker(one, value(one.name), (chosenValue) => go({ [one.name]: chosenValue, start: "" }))),
    make("label", { class: "field" }, "Name", search)),
  make("h2", {}, "In which order"), make("div", { class: "fields" },
    picker({ name: "sort", label: "By", options: sorts }, now.sort ?? sorts[0].value, (sort) => go({ sort, start: "" })),
    make("label", { class: "check" }, make("input", { type: "checkbox", id: "reverse", checked: now.reverse === "true", onchange: (event) => go({ reverse: event.target.checked ? "true" : "", start: "" }) }), "the other way round")),
  facts(state.start.facts));
  if (focused) byId(focused)?.focus();
}

const facts = (list) => make("dl", { class: "facts" }, list.filter(([, what]) => what).map(([term, what]) => make("div", {}, make("dt", {}, term), make("dd", {}, what))));

function pager(start, total) {
  const last = Math.min(total, start + SIZE);
  return make("div", { class: "pager" }, make("span", {}, total ? `${(start + 1).toLocaleString("en")} to ${last.toLocaleString("en")}` : ""),
    make("button", { type: "button", disabled: start === 0, onclick: () => go({ start: start - SIZE > 0 ? start - SIZE : "" }) }, "Previous"),
    make("button", { type: "button", disabled: last >= total, onclick: () => go({ start: start + SIZE }) }, "Next"));
}

function table(columns, rows) {
  const someHave = rows.some(({ pictured }) => pictured);
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Images of the study" }, make("table", { class: "list" },
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Image"), columns.map(({ label, kind }) => make("th", { scope: "col", class: kind === "text" || kind === "chip" ? "" : "right" }, kind === "measure" ? measure().label : label)))),
    make("tbody", {}, rows.map((row) => make("tr", {}, make("th", { scope: "row" }, make("a", { href: address({ image: row.number, of: row.condition ?? "" }) }, someHave && thumb(row), make("bdi", {}, row.image))),
      columns.map((column) => cell(column, row)))))));
}

// A picture that is not there leaves its place empty.
const thumb = ({ number, pictured }) => (pictured
  ? make("img", { src: `explorer/study/images/${number}/picture`, alt: "", width: 40, height: 40, loading: "lazy", decoding: "async", onerror: (event) => event.target.classList.add("none") })
  : make("span", { class: "none" }));

function cell({ name, kind }, row) {
  const given = row[name];
  if (kind === "chip") return make("td", {}, chip(given));
  if (kind === "measure") return make("td", { class: "right" }, make("span", { class: "inline-bar", "aria-hidden": "true" }, given === null ? "" : make("span", { class: "moved attacked", style: { "--share": `${100 * movedShare(given, measure())}%` } })), two(given), row.undefined ? make("span", { class: "quiet", title: "layers whose maps are undefined and left out" }, ` (${row.undefined} undefined)`) : "");
  if (kind === "share") return make("td", { class: "right" }, percent(given));
  if (kind === "number") return make("td", { class: "right" }, two(given));
  return make("td", { title: given }, short(given ?? "–"));
}

const chip = (word) => make("span", { class: `chip ${{ fooled: "bad", attack: "bad", held: "good", clean: "good", right: "good" }[word] ?? ""}` }, word);

// ---- one image

async function showImage(number, turn) {
  say("Opening the image…", true);
  const image = await askJson(`explorer/study/images/${encodeURIComponent(number)}`);
  if (turn !== state.shown) return;
  const same = state.image?.number === image.number;
  state.image = image;
  const attack = value("attack");
  const strength = value("strength");
  const { sides } = await askJson(`explorer/study/images/${image.number}/maps?${new URLSearchParams({ attack, strength: strength || 1 })}`);
  if (turn !== state.shown) return;
  byId("list").hidden = true;
  byId("seen").hidden = false;
  drawImageSide(image);
  drawCards(image, attack, strength);
  await drawMaps(sides, turn, Object.keys(sides).length > 0);
  if (!same) byId("content").focus({ preventScroll: true });
  say(`${image.image} is open.`);
}

function drawImageSide(image) {
  const wanted = state.start.choices.filter(({ name }) => ["attack", "strength", "measure"].includes(name));
  const side = byId("study-side");
  const focused = side.contains(document.activeElement) ? document.activeElement.id : "";
  side.replaceChildren(...[make("p", { class: "back" }, make("a", { href: address({ image: "", of: "", learned: "" }), id: "back" }, "Back to the list")),
    make("h2", {}, make("bdi", {}, image.image)), image.pictured && make("img", { class: "portrait", src: `explorer/study/images/${image.number}/picture`, alt: "the clean image", width: 292, height: 292, onerror: (event) => event.target.remove() }),
    make("div", { class: "fields" }, wanted.map((one) => picker(one, value(one.name), (chosenValue) => go({ [one.name]: chosenValue }))), learnedPicker(image)),
    make("div", { id: "anew" })].filter(Boolean));
  if (focused) byId(focused)?.focus();
}

function drawAnew(complete) {
  const { hindrance } = state.start;
  const button = make("button", { type: "button", id: "draw", disabled: Boolean(hindrance), onclick: drawAgain }, "Draw the maps anew");
  const words = hindrance ? `Maps cannot be drawn anew: ${hindrance}`
    : complete ? "The maps are those that the study kept." : "The study kept no maps of this choice; they can be computed anew with its own random numbers.";
  byId("anew").replaceChildren(make("p", { class: "hint" }, words), ...(complete || hindrance ? [] : [make("div", { class: "buttons" }, button)]), make("p", { class: "problem", id: "anew-problem", role: "alert", hidden: true }));
}

async function drawAgain(event) {
  const turn = state.shown;
  event.currentTarget.disabled = true;
  say("Loading the model and drawing the maps…", true);
  try {
    const asked = new URLSearchParams({ attack: value("attack"), strength: value("strength") || 1, anew: true });
    const { sides } = await askJson(`explorer/study/images/${state.image.number}/maps?${asked}`);
    if (turn !== state.shown) return;
    await drawMaps(sides, turn, true);
    byId("anew").querySelector(".hint").textContent = "The maps were drawn anew, with the study’s own random numbers.";
    say("The maps are drawn.");
  } catch (error) {
    complain("anew-problem", error);
    event.target.disabled = false;
    say("");
  }
}

function drawCards(image, attack, strength) {
  const cards = image.conditions
    ? image.conditions.filter((one) => one.attack === attack && one.strength === strength).map(conditionCard)
    : [verdictsTable(image)];
  byId("cards").replaceChildren(...cards);
  byId("cards").classList.toggle("wide", !image.conditions);
  byId("seen-title").textContent = image.image;
}

function conditionCard(one) {
  const answers = [["clean", one.clean_name, one.clean_confidence], [one.kind, one.changed_name, one.changed_confidence]];
  return make("section", { class: "card low" }, make("h3", {}, `${KINDS[one.kind] ?? one.kind}, strength ${one.strength} `, chip(one.outcome)),
    make("table", { class: "answers" }, make("caption", { class: "unseen" }, "Answers"), make("tbody", {}, answers.map(([kind, name, confidence]) => make("tr", {},
      make("td", { class: "kind" }, KINDS[kind] ?? kind), make("th", { scope: "row", title: name }, short(name ?? "–")), make("td", {}, percent(confidence)))))),
    make("dl", { class: "figures" }, [["Margin", two(one.margin)], ["PSNR", `${two(one.psnr)} dB`], ["Largest change", `${two(one.linf === null || one.linf === undefined ? null : one.linf * 255)}/255`]].map(([term, what]) => make("div", {}, make("dt", {}, term), make("dd", {}, what)))));
}

// Versions of the image down, detectors across; those that learned from something else are a choice of their own.
function verdictsTable({ verdicts }) {
  const mine = verdicts.filter(({ learned: own }) => own === learned(verdicts));
  const detectors = [...new Set(mine.map(({ detector }) => detector))];
  const versions = [...Map.groupBy(mine, ({ condition: version }) => version)];
  return make("section", { class: "card low" }, make("h3", {}, "What every detector said of it"), make("p", { class: "hint" }, "Verdict and p-value: the share of clean images that are at least as suspicious."),
    make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Verdicts" }, make("table", { class: "list verdicts" },
      make("thead", {}, make("tr", {}, ["Version", "Model", ...detectors].map((head) => make("th", { scope: "col", title: head }, head)))),
      make("tbody", {}, versions.map(([version, rows]) => make("tr", { class: version === chosen().of ? "chosen" : "" }, make("th", { scope: "row" }, version), make("td", {}, chip(rows[0].fooled)),
        detectors.map((detector) => make("td", {}, verdict(rows.find((row) => row.detector === detector))))))))));
}

const verdict = (row) => (row ? [chip(row.verdict), make("span", { class: "quiet", title: `suspicion ${two(row.suspicion)}` }, ` ${two(row.p_value)}`)] : "–");
const learned = (verdicts) => chosen().learned ?? verdicts[0]?.learned;

function learnedPicker({ verdicts = [] }) {
  const ways = [...new Set(verdicts.map((row) => row.learned))];
  return ways.length > 1 ? [picker({ name: "learned", label: "Detectors", options: ways.map((way) => ({ value: way, label: way })) }, learned(verdicts), (way) => go({ learned: way }))] : [];
}

async function drawMaps(sides, turn, complete) {
  const kinds = Object.keys(KINDS).filter((kind) => sides[kind]);
  const pictures = await Promise.all(kinds.map((kind) => loaded(sides[kind].picture)));
  if (turn !== state.shown) return;
  drawAnew(complete);
  byId("layers-panel").hidden = !kinds.length;
  if (kinds.length) state.stage.show(scene(sides, kinds, pictures));
  drawMoved(kinds.length > 0);
}

function scene(sides, kinds, pictures) {
  const first = Object.values(sides)[0].maps;
  const targets = Object.keys(first).length ? Object.keys(first) : ["predicted"];
  const cams = Object.keys(first[targets[0]] ?? { grad_cam: 0 });
  const count = Object.values(first[targets[0]] ?? {})[0]?.length ?? 1;
  return {
    layers: state.image.layers.length ? state.image.layers : Array.from({ length: count }, (_, at) => `layer ${at + 1}`), cams, targets,
    sides: kinds.map((kind, at) => ({ kind, title: KINDS[kind], picture: pictures[at], maps: sides[kind].maps, answer: said(kind, sides[kind]), explained: (target) => explained(kind, target) })),
    moved: measured,
    measure: measure()?.label,
    extra: sides.perturbation && kinds.length < 3 ? { title: "Perturbation", source: sides.perturbation.picture, alt: "the perturbation at full contrast", text: "Grey is no change." } : null,
  };
}

const measured = (kind, target, cam) => state.image.moved[[value("attack"), value("strength"), kind, target, cam, value("measure")].join("|")];

function condition(kind) {
  return (state.image.conditions ?? []).find((one) => one.attack === value("attack") && one.strength === value("strength") && one.kind === (kind === "clean" ? "attacked" : kind)) ?? state.image.conditions?.[0];
}

function said(kind, side) {
  const one = condition(kind);
  if (side.answers[0]) return `${short(side.answers[0].name)}, ${percent(side.answers[0].confidence)}`;
  if (!one) return "";
  return kind === "clean" ? `${short(one.clean_name)}, ${percent(one.clean_confidence)}` : `${short(one.changed_name)}, ${percent(one.changed_confidence)}`;
}

function explained(kind, target) {
  const one = condition(kind);
  if (!one) return short(state.sides?.clean?.answers[0]?.name ?? "its class");
  return short(kind === "clean" || target === "reference" ? one.clean_name : one.changed_name);
}

function drawMoved(hasStage) {
  const place = byId("charts");
  const { stage } = state;
  const { layers } = state.image;
  const choose = hasStage ? stage.chooser() : null;
  const redraw = () => {
    const [cam, target] = hasStage ? [stage.cam, stage.target] : [value("cam"), value("target")];
    const series = ["attacked", "noise"].map((kind) => ({ name: kind, kind, values: measured(kind, target, cam) })).filter(({ values }) => values);
    place.replaceChildren(...(series.length ? [movedChart("Which layers moved", `${measure().label} of ${camName(cam)} and the clean image’s, ${target === "reference" ? "for the clean image’s class" : "each picture’s own class"}; ${measure().same} is the same map. What is missing to a full bar has moved.`, layers, series, choose, measure())] : []));
    if (hasStage) mark(place, layers[stage.layer]);
  };
  follow(stage, place, redraw);
}
