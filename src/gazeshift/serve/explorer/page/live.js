// An image of one's own or a sample, seen, judged and attacked on the spot.
import { ask, askJson } from "./api.js";
import { follow, mark, movedChart, partsChart } from "./charts.js";
import { aim, byId, complain, download, make, roving, say, segments } from "./dom.js";
import { bytesOf, loaded } from "./maps.js";
import { Stage } from "./stage.js";
import { card, emptyCard, scaleOf, waitingCard } from "./verdict.js";
import { attackName, mib, percent, short, two, verdictWords } from "./words.js";

const UNTOUCHED = "Image";
const state = { start: null, stage: null, image: null, seen: null, attack: "pgd", pending: null };

export function startLive(start) {
  state.start = start;
  state.stage = new Stage((layer) => mark(byId("charts"), layer));
  byId("limits").textContent = `${start.formats.join(", ")}; up to ${mib(start.max_body)}`;
  drawSamples(start.samples);
  listenForFiles();
  listenForAttack();
  listenForEvidence();
  document.documentElement.dataset.ready = "";
}

function drawSamples(samples) {
  byId("samples-part").hidden = !samples.length;
  byId("samples").replaceChildren(...samples.map(({ name, title, picture }, at) => make("button", {
    type: "button", tabindex: at ? -1 : 0, "aria-pressed": "false", title, data: { sample: name }, onclick: (event) => chooseSample(name, title, event.currentTarget) },
  make("img", { src: picture, alt: title, width: 56, height: 56 }))));
  roving(byId("samples"));
}

async function chooseSample(name, title, button) {
  aim(byId("samples"), button);
  try {
    const bytes = await (await ask(`explorer/samples/${name}`)).blob();
    await take(bytes, title, name);
  } catch (error) {
    complain("problem", error);
  }
}

function listenForFiles() {
  byId("as-is").addEventListener("change", () => state.image && look({ ...state.image, pixels: pixels() }, null, "problem"));
  byId("file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) take(file, file.name);
    event.target.value = "";
  });
  const drop = byId("drop");
  for (const kind of ["dragover", "dragenter"]) addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const [file] = event.dataTransfer.files;
    if (file) take(file, file.name);
  });
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
    if (file) take(file, file.name || "pasted image");
  });
}

const pixels = () => (byId("as-is").checked ? "as-is" : "fit");

async function take(bytes, title, sample = "") {
  for (const button of byId("samples").children) button.setAttribute("aria-pressed", String(button.dataset.sample === sample));
  complain("problem", null);
  complain("attack-problem", null);
  const max = state.start.max_body;
  if (bytes.size > max) return complain("problem", `the file ${title} has ${mib(bytes.size)}, and at most ${mib(max)} are taken. Choose a smaller one.`);
  const image = { bytes, title, pixels: pixels() };
  await look(image, null, "problem");
}

// Asks the server to see the image, attacked or not; the last request wins.
async function look(image, attempt, place) {
  state.pending?.abort();
  const pending = new AbortController();
  state.pending = pending;
  wait(image, attempt);
  try {
    const seen = await askJson(`explorer/see${query(image, attempt)}`, { method: "POST", body: image.bytes, headers: { "Content-Type": "application/octet-stream" }, signal: pending.signal });
    const pictures = await Promise.all([seen.before, seen.after].filter(Boolean).map((side) => loaded(side.picture)));
    if (state.pending !== pending) return;
    Object.assign(state, { image, seen });
    draw(seen, pictures);
    say(spoken(seen));
  } catch (error) {
    if (error.name === "AbortError" || state.pending !== pending) return;
    restore();
    complain(place, error);
    say("");
  } finally {
    if (state.pending === pending) {
      state.pending = null;
      settle();
    }
  }
}

function query({ pixels: taken }, attempt, more = {}) {
  const given = { ...(taken === "as-is" ? { pixels: taken } : {}), ...(attempt ? { attack: attempt.name, epsilon: attempt.epsilon, steps: attempt.steps } : {}), ...more };
  const text = new URLSearchParams(given).toString();
  return text ? `?${text}` : "";
}

function wait(image, attempt) {
  const what = attempt ? `Attacking ${image.title} with ${attackName(attempt.name)}` : `Looking at ${image.title}`;
  say(`${what}…`, true);
  byId("intro").hidden = true;
  byId("seen").setAttribute("aria-busy", "true");
  byId("run").disabled = true;
  byId("attack").classList.toggle("busy", Boolean(attempt));
  if (!state.seen) {
    byId("seen").hidden = false;
    byId("seen").classList.add("first");
    byId("cards").replaceChildren(waitingCard(UNTOUCHED), waitingCard("Attacked version"));
  }
  if (matchMedia("(max-width: 820px)").matches) byId("seen").scrollIntoView({ block: "start" });
}

function settle() {
  byId("seen").removeAttribute("aria-busy");
  byId("attack").classList.remove("busy");
  byId("run").disabled = !state.image;
  byId("clear").disabled = !state.seen?.attack;
}

function restore() {
  if (state.seen) return;
  byId("seen").hidden = true;
  byId("intro").hidden = false;
}

function spoken(seen) {
  const one = (side) => `${short(side.answers[0].name)}, ${percent(side.answers[0].confidence)}. ${verdictWords(side.verdict)[0]}.`;
  const clean = `${state.image.title}: ${one(seen.before)}`;
  return seen.after ? `${clean} Attacked: ${one(seen.after)}` : clean;
}

function draw(seen, [clean, attacked]) {
  byId("seen").classList.remove("first");
  byId("seen").hidden = false;
  byId("seen-title").textContent = `What was seen of ${state.image.title}`;
  const scale = scaleOf(seen.before.verdict, seen.after?.verdict);
  byId("cards").replaceChildren(card(state.image.title, seen.before, scale, resizedWords(seen)),
    seen.after ? card(attackTitle(seen.attack), seen.after, scale, attackWords(seen.attack)) : emptyCard("Attacked version", "Choose a method and a size under “Attack it”, and see beside the image what an attacker would make of it."));
  state.stage.show(scene(seen, clean, attacked));
  drawCharts(seen);
  byId("save-png").disabled = !seen.attack;
}

function resizedWords({ size, resized_from: file }) {
  if (!file) return "";
  const [seen, had] = [size, file].map((side) => side.join(" × "));
  return seen === had
    ? `The file has ${had} pixels and was resized, then cropped to as many, as the model takes every image: a perturbation in it is often lost. Tick the box under the file to have its pixels taken as they are.`
    : `Seen at ${seen} pixels, as the model takes it; the file has ${had}.`;
}

const attackTitle = ({ name, epsilon }) => `Attacked: ${attackName(name)}, ${epsilon}/255`;

function attackWords(attack) {
  if (!attack.epsilon) return "A size of 0 changes nothing: this is the same image.";
  const outcome = attack.success ? "The answer switched." : "The answer did not switch.";
  const size = attack.psnr === null ? "No pixel changed." : `${percent(attack.changed)} of the pixels changed, by at most ${attack.linf.toFixed(0)}/255 (PSNR ${attack.psnr.toFixed(1)} dB).`;
  return `${outcome} ${size}`;
}

function scene(seen, clean, attacked) {
  const clean_name = short(seen.before.answers[0].name);
  const side = (kind, title, told, picture) => ({
    kind, title, picture, maps: told.maps, answer: `${short(told.answers[0].name)}, ${percent(told.answers[0].confidence)}`,
    explained: (target) => (target === "reference" ? clean_name : short(told.answers[0].name)),
  });
  const sides = [side("clean", UNTOUCHED, seen.before, clean)];
  if (attacked) sides.push(side("attacked", "Attacked", seen.after, attacked));
  return {
    layers: seen.layers, cams: seen.cams, targets: seen.targets, sides,
    moved: (kind, target, cam) => (kind === "attacked" ? (seen.moved[target] ?? seen.moved.predicted)?.[cam] : undefined),
    ...beside(seen),
  };
}

// In the columns that no map needs: a place for the attacked picture, and the change or the bare image.
function beside(seen) {
  if (!seen.attack) {
    return { vacant: "The attacked version comes here.", extra: { title: "Without the map", text: "The image as the model takes it.", source: seen.before.picture, alt: "the image without a map" } };
  }
  const { linf, psnr, perturbation } = seen.attack;
  const text = psnr === null ? "Nothing changed." : `Grey is no change; enlarged so that ${linf.toFixed(0)}/255 is full contrast.`;
  return { extra: { title: "Perturbation", text, source: perturbation, alt: "the perturbation at full contrast" } };
}

function drawCharts(seen) {
  const place = byId("charts");
  const choose = state.stage.chooser();
  const { stage } = state;
  const moved = seen.attack && (() => movedChart("Which layers moved", `Cosine similarity of the attacked map to the clean one; what is missing to a full bar has moved. ${seen.targets.length > 1 ? "The map and the explained class chosen above count." : "The map chosen above counts."}`,
    seen.layers, [{ name: "similarity", kind: "attacked", values: stage.scene.moved("attacked", stage.target, stage.cam) ?? [] }], choose));
  const redraw = () => {
    const charts = [moved && moved(), ...reasons(seen, choose)].filter(Boolean);
    place.replaceChildren(...charts);
    mark(place, seen.layers[stage.layer]);
  };
  follow(stage, place, redraw);
}

function reasons(seen, choose) {
  const sides = [["image", "clean", seen.before.verdict], ["attacked", "attacked", seen.after?.verdict]].filter(([, , verdict]) => verdict && Object.keys(verdict.reasons.layers).length);
  if (!sides.length) return [];
  const series = (part) => sides.map(([name, kind, verdict]) => ({ name, kind, values: verdict.reasons[part] }));
  const first = sides[0][2].reasons;
  const layers = Object.keys(first.layers).filter((name) => name !== "answer");
  return [
    partsChart("What raised the suspicion, by layer", "How much more each layer moves under small changes of the image than it does for clean images, as a part of the suspicion. Left of the line: it holds stiller.", layers, series("layers"), choose),
    ...("answer" in first.layers ? [gazeOrAnswer(sides)] : []),
    partsChart("What raised it, by view", "The same for each of the changed copies of the image that the detector compares with.", Object.keys(first.views), series("views"), null),
  ];
}

// The layers' parts together, and that of the answer itself.
function gazeOrAnswer(sides) {
  const [gaze, answer] = ["all layers", "the answer"];
  const series = sides.map(([name, kind, verdict]) => {
    const { answer: own, ...layers } = verdict.reasons.layers;
    return { name, kind, values: { [gaze]: Object.values(layers).reduce((sum, part) => sum + (part ?? 0), 0), [answer]: own } };
  });
  return partsChart("Gaze or answer", "What the layers add to the suspicion together, and what a changing answer adds.", [gaze, answer], series, null, "Part");
}

function listenForAttack() {
  const { attacks, max_levels, max_steps } = state.start;
  const [epsilon, steps] = [byId("epsilon"), byId("steps")];
  epsilon.max = max_levels;
  steps.max = max_steps;
  const told = () => {
    byId("epsilon-name").textContent = `${epsilon.value}/255`;
    epsilon.setAttribute("aria-valuetext", `${epsilon.value} of 255`);
    byId("steps-name").textContent = steps.value;
    byId("steps-part").classList.toggle("off", state.attack !== "pgd");
    steps.disabled = state.attack !== "pgd";
    byId("attack-hint").textContent = state.attack === "pgd" ? "Follows the gradient step by step." : "One step along the gradient’s sign.";
  };
  segments(byId("attacks"), "attack", attacks.map((value) => ({ value, label: attackName(value) })), state.attack, (value) => { state.attack = value; told(); });
  epsilon.addEventListener("input", told);
  steps.addEventListener("input", told);
  byId("attack").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!state.image) return;
    complain("attack-problem", null);
    look(state.image, { name: state.attack, epsilon: Number(epsilon.value), steps: Number(steps.value) }, "attack-problem");
  });
  byId("clear").addEventListener("click", () => state.image && look(state.image, null, "attack-problem"));
  told();
}

function listenForEvidence() {
  const base = () => `gazeshift-${state.image.title.replace(/\.[a-z0-9]+$/i, "").replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 40)}`;
  byId("save-json").addEventListener("click", () => {
    download(`${base()}.json`, new Blob([JSON.stringify({ image: state.image.title, ...plain(state.seen) }, null, 1)], { type: "application/json" }));
    say("The numbers were saved as JSON.");
  });
  byId("save-png").addEventListener("click", () => {
    download(`${base()}-attacked.png`, new Blob([bytesOf(state.seen.after.picture.split(",")[1])], { type: "image/png" }));
    say("The attacked image was saved as PNG.");
  });
  byId("save-html").addEventListener("click", (event) => saveReport(event.currentTarget, `${base()}.html`));
}

// Without what only the drawing needs.
const plain = (seen) => JSON.parse(JSON.stringify(seen, (key, value) => (key === "bytes" ? undefined : value)));

async function saveReport(button, name) {
  const { seen, image } = state;
  complain("evidence-problem", null);
  button.disabled = true;
  say("Writing the report…", true);
  try {
    const asked = query(image, seen.attack, { seed: seen.seed, title: image.title.slice(0, 100) });
    const page = await ask(`explorer/report${asked}`, { method: "POST", body: image.bytes, headers: { "Content-Type": "application/octet-stream" } });
    download(name, await page.blob());
    say("The report was saved.");
  } catch (error) {
    complain("evidence-problem", error);
    say("");
  } finally {
    button.disabled = false;
  }
}
