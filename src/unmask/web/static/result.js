// The answer for one file: the verdict, its limits, the people, the timeline and details.

import { picture, report } from "./api.js";
import { bytes, clock, el, hundred, sentence } from "./dom.js";
import { faces, timeline } from "./timeline.js";

const HEARD = [["crop", "Spectrogram: time from left to right, frequency upwards"]];
const KINDS = [["crop", "The face as the detector sees it"], ["heat", "Where the detector looked: warm colours count most"], ["mask", "White: predicted manipulated area"]];
export const WORDS = {
  "signs of manipulation": ["Signs of manipulation", "To the detector, this file looks more like the fakes it was trained on than like real recordings."],
  "no signs found": ["No signs found", "The detector found no signs of the fakes it was trained on. This does not mean that the file is real."],
  "inconclusive": ["Inconclusive", "The evidence does not point clearly in one direction. Treat this as no answer."],
  "cannot analyse": ["Cannot be analysed", "The file could not be examined, so nothing is known about it."],
};
export const named = (person) => (person.sees === "sound" ? "Sound" : person.sees === "image" ? "Picture" : `Face ${person.number}`);
const isSigns = (answer) => answer === "signs of manipulation";

function scale(model, answer) {
  const value = el("span", { class: `value${isSigns(answer) ? " signs" : ""}` }), cut = el("span", { class: "cut" });
  value.style.left = `${100 * model.score}%`;
  cut.style.left = `${100 * model.threshold}%`;
  return [
    el("div", { class: "scale", role: "img", "aria-label": `Score ${hundred(model.score)} of 100, threshold ${hundred(model.threshold)}` },
      el("div", { class: "bar" }, cut, value),
      el("div", { class: "ends" }, el("span", {}, "like real recordings"), el("span", {}, "like known fakes"))),
    el("p", { class: "num" }, `Score ${hundred(model.score)} of 100. The detector calls a file suspicious if the score is above ${hundred(model.threshold)} (the thin mark).`),
  ];
}

function verdict(found, title) {
  const [, words] = WORDS[found.answer];
  const model = found.models[0];
  return el("div", { class: "verdict" },
    el("div", {}, title, el("p", {}, words),
      found.reasons.length ? el("ul", { class: "reasons" }, found.reasons.map((reason) => el("li", {}, sentence(reason.text)))) : null,
      found.marks.length ? el("p", {}, el("strong", {}, "Marks in the file: "), found.marks.join(" ")) : null,
      model && model.score !== null ? scale(model, found.answer) : null),
    el("div", { class: "limits", role: "note", "aria-label": "What this does not tell you" },
      el("h3", {}, "What this does not tell you"), el("ul", {}, found.not_proof.map((text) => el("li", {}, text))),
      found.caveats.length ? more("For this file", el("ul", {}, found.caveats.map((text) => el("li", {}, text)))) : null));
}

function portrait(job, person) {
  const at = person.moments.map((m, i) => i).filter((i) => person.moments[i].pictures.includes("crop"))
    .sort((a, b) => (person.moments[b].score ?? 0) - (person.moments[a].score ?? 0))[0];
  if (at === undefined) return el("span", { class: "none" });
  const image = el("img", { alt: "" });
  picture(job, person.number, at, "crop").then((url) => (image.src = url), () => null);
  return image;
}

function evidence(job, found) {
  if (!found.people.length) return null;
  const place = el("div");
  const seen = KINDS.filter(([kind]) => kind !== "mask" || found.people.some((p) => p.moments.some((m) => m.pictures.includes("mask"))));
  const show = (person) => {
    const kinds = person.sees === "sound" ? HEARD : seen, threshold = found.models[person.model].threshold;
    const others = found.people.filter((one) => one !== person && one.model === person.model && one.moments.length > 1);
    if (person.moments.length > 1) return place.replaceChildren(timeline(job, person, named(person), others, threshold, kinds));
    const shown = faces(job, person, named(person), kinds);
    shown.show(0);
    place.replaceChildren(el("div", { class: "look still" }, el("div", { class: "seen" }, shown.nodes)));
  };
  const first = found.people.reduce((a, b) => ((b.score ?? 0) > (a.score ?? 0) ? b : a));
  show(first);
  const several = found.people.length > 1;
  const choice = el("fieldset", { class: "people" }, el("legend", { class: "unseen" }, "What to show"),
    found.people.map((person) => el("label", { class: "person" },
      el("input", { type: "radio", name: `person-${job}`, checked: person === first, onchange: () => show(person) }),
      portrait(job, person),
      el("span", {}, el("strong", {}, named(person)),
        el("span", { class: isSigns(person.answer) ? "signs" : null }, WORDS[person.answer][0]),
        el("span", { class: "quiet num" }, `score ${hundred(person.score)}`)))));
  const video = found.people.some((person) => person.moments.length > 1);
  return el("div", { class: "block" },
    el("h3", {}, several ? (found.people.some((person) => person.sees === "sound") ? "Faces and sound" : "Compare the faces") : video ? "Over time" : "What the detector looked at"), several ? choice : null, place);
}

function more(title, ...content) {
  return el("details", {}, el("summary", {}, title), content);
}

function table(heads, rows) {
  return el("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": heads[0] }, el("table", {},
    el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, rows.map(([first, ...rest]) => el("tr", {}, el("th", { scope: "row" }, first), rest.map((cell) => el("td", { class: "num" }, cell)))))));
}

const side = (above) => (above === null ? "not scored" : above ? "above the threshold" : "not above");

function trials(what, tried, model) {
  if (!tried.length) return null;
  const same = tried.filter((one) => one.above_threshold === model.above_threshold).length;
  return more(`${what}: same side of the threshold in ${same} of ${tried.length}`,
    el("p", { class: "quiet" }, "The file was scored again after small changes that leave its content as it is. They do not change a reliable answer."),
    table(["Change", "Score", "Side"], tried.map((one) => [one.name, hundred(one.score), side(one.above_threshold)])));
}

function facts(found) {
  const about = found.facts;
  const rows = {
    Name: about.name, Size: bytes(about.size), Kind: about.kind,
    Picture: about.width ? `${about.width} × ${about.height} pixels` : null,
    Duration: about.duration === null ? null : clock(about.duration) + (about.frames === null ? "" : ` (${about.frames} frames, ${about.read} examined)`),
    ...about.details, "SHA-256": about.sha256,
  };
  const given = Object.entries(rows).filter(([, value]) => value !== null && value !== undefined);
  return more("About the file", el("dl", { class: "facts" }, given.map(([name, value]) => [el("dt", {}, name), el("dd", {}, String(value))])));
}

function models(found) {
  if (!found.models.length) return null;
  const rows = found.models.map((one) => [one.name, hundred(one.score), hundred(one.threshold), side(one.above_threshold),
    one.calibrated === null ? "none" : `${hundred(one.calibrated)} % (${one.calibration})`]);
  return more(found.models.length > 1 ? "The detectors" : "The detector", table(["Detector", "Score", "Threshold", "Side", "Calibrated probability"], rows));
}

async function save(job, name, problem) {
  try {
    const link = el("a", { href: URL.createObjectURL(await report(job)), download: `${name.replace(/\.\w+$/, "")}-report.html` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  } catch (error) {
    problem.textContent = error.message;
  }
}

/** Return the whole answer, and its heading, which receives the focus. */
export function result(job, found) {
  const [head] = WORDS[found.answer];
  const title = el("h2", { tabindex: -1, class: isSigns(found.answer) ? "signs" : null }, head);
  const problem = el("p", { class: "quiet", role: "alert" });
  const node = el("div", { class: "result" }, verdict(found, title), evidence(job, found),
    trials("After small changes", found.trials, found.models[0]),
    trials("After small changes of the sound", found.sound_trials, found.models[found.people.find((person) => person.sees === "sound")?.model ?? 0]), models(found), facts(found),
    el("div", { class: "end" }, el("button", { class: "button", type: "button", onclick: () => save(job, found.facts.name, problem) }, "Download report")), problem);
  return { node, title };
}
