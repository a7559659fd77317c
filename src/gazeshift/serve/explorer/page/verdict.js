// One card for each picture: the verdict in words, the suspicion on its scale, and the five likeliest classes.
import { make } from "./dom.js";
import { percent, short, two, verdictWords } from "./words.js";

const CALM = "M12 3 5 6v5c0 4.6 2.9 8.2 7 10 4.1-1.8 7-5.4 7-10V6l-7-3Zm-3.2 8.8 2.3 2.3 4.2-4.4";
const ALARM = "M12 4 2.8 20h18.4L12 4Zm0 6v4.5m0 2.6v.2";

function badge(verdict) {
  const [word] = verdictWords(verdict);
  const kind = !verdict ? "none" : verdict.is_attack ? "alarm" : "calm";
  return make("p", { class: `badge ${kind}` },
    make("svg", { viewBox: "0 0 24 24", width: 22, height: 22, "aria-hidden": "true" },
      make("path", { d: kind === "alarm" ? ALARM : CALM, fill: "none", stroke: "currentColor", "stroke-width": 1.8, "stroke-linecap": "round", "stroke-linejoin": "round" })), word);
}

// The same scale in both cards: where the threshold is, beyond which is alarm, and where this picture stands.
function meter(verdict, [least, most]) {
  const place = (value) => `${Math.max(0, Math.min(100, (100 * (value - least)) / (most - least)))}%`;
  return make("div", { class: "meter-part" },
    make("div", { class: `meter ${verdict.is_attack ? "alarm" : ""}`, "aria-hidden": "true", style: { "--value": place(verdict.suspicion ?? most), "--threshold": place(verdict.threshold) } },
      make("span", { class: "beyond" }), make("span", { class: "tick" }), make("span", { class: "dot" })),
    make("dl", { class: "figures" },
      make("div", {}, make("dt", {}, "Suspicion"), make("dd", {}, two(verdict.suspicion))),
      make("div", {}, make("dt", {}, "Threshold"), make("dd", {}, two(verdict.threshold))),
      make("div", {}, make("dt", {}, "p-value"), make("dd", {}, verdict.p_value === null ? "–" : verdict.p_value.toPrecision(2)))));
}

function answers(list) {
  return make("table", { class: "answers" }, make("caption", { class: "unseen" }, "Likeliest classes"),
    make("tbody", {}, list.map(({ name, confidence }) => make("tr", {},
      make("th", { scope: "row", title: name }, short(name)),
      make("td", { class: "bar-cell", "aria-hidden": "true" }, make("span", { class: "bar", style: { "--share": `${100 * confidence}%` } })),
      make("td", {}, percent(confidence))))));
}

export function card(title, side, scale, facts = "") {
  const { verdict } = side;
  return make("section", { class: "card" },
    make("h3", {}, title), badge(verdict), make("p", { class: "words" }, verdictWords(verdict)[1]),
    verdict && meter(verdict, scale), answers(side.answers),
    facts && make("p", { class: "hint" }, facts));
}

export const emptyCard = (title, text) => make("section", { class: "card empty" }, make("h3", {}, title), make("p", {}, text));

export function waitingCard(title) {
  return make("section", { class: "card waiting", "aria-hidden": "true" }, make("h3", {}, title), ...[7, 9, 10, 5, 5, 5, 5, 5].map((wide) => make("span", { class: "bone", style: { width: `${8 * wide}%` } })));
}

// From below the least to above the largest of what is shown.
export function scaleOf(...verdicts) {
  const values = verdicts.filter(Boolean).flatMap(({ suspicion, threshold }) => [suspicion ?? threshold, threshold, 0, 2 * threshold]);
  const [least, most] = [Math.min(0, ...values), Math.max(0.01, ...values)];
  const room = 0.08 * (most - least);
  return [least - room, most + room];
}
