// The scores of one face over time: a chart that works as a slider, and the face at the chosen moment.

import { picture } from "./api.js";
import { clock, el, hundred, svg } from "./dom.js";

const HEIGHT = 180, LEFT = 30, RIGHT = 8, TOP = 8, BOTTOM = 24;

const y = (score) => TOP + (1 - score) * (HEIGHT - TOP - BOTTOM);

function scaled(moments, width) {
  const times = moments.map((moment, at) => moment.time ?? at);
  const first = times[0], span = Math.max(times.at(-1) - first, 1e-6);
  return times.map((time) => LEFT + ((time - first) / span) * (width - LEFT - RIGHT));
}

const path = (xs, moments) =>
  moments.map((moment, at) => `${at ? "L" : "M"}${xs[at].toFixed(1)} ${y(moment.score ?? 0).toFixed(1)}`).join("");

/** Describe the chart in words, for people who cannot see it. */
export function summary(moments, threshold) {
  const known = moments.filter((moment) => moment.score !== null);
  if (!known.length) return "No scores.";
  const high = known.reduce((a, b) => (b.score > a.score ? b : a)), low = known.reduce((a, b) => (b.score < a.score ? b : a));
  const above = known.filter((moment) => moment.score > threshold).length;
  return `Highest score ${hundred(high.score)} at ${clock(high.time)}, lowest ${hundred(low.score)} at ${clock(low.time)}; ` +
    `above the threshold in ${above} of ${known.length} moments.`;
}

function draw(place, person, others, threshold, chosen) {
  const width = Math.max(place.clientWidth, 200), moments = person.moments, xs = scaled(moments, width);
  const lines = [0, 0.5, 1].map((score) => [
    svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(score), y2: y(score) }),
    svg("text", { x: LEFT - 8, y: y(score) + 4, "text-anchor": "end" }, hundred(score)),
  ]);
  const cut = y(threshold);
  const area = `${path(xs, moments.map((m) => ({ score: Math.max(m.score ?? 0, threshold) })))}L${xs.at(-1)} ${cut}L${xs[0]} ${cut}Z`;
  const few = moments.length <= 80;
  const now = moments[chosen];
  place.replaceChildren(svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, "aria-hidden": "true" },
    lines, svg("path", { class: "area", d: area }),
    others.map((other) => svg("path", { class: "other", d: path(scaled(other.moments, width), other.moments) })),
    svg("line", { class: "cut", x1: LEFT, x2: width - RIGHT, y1: cut, y2: cut }),
    svg("path", { class: "line", d: path(xs, moments) }),
    few ? moments.map((m, at) => svg("circle", { class: m.score > threshold ? "above" : null, cx: xs[at], cy: y(m.score ?? 0), r: 3 })) : [],
    svg("line", { class: "cursor", x1: xs[chosen], x2: xs[chosen], y1: TOP, y2: HEIGHT - BOTTOM }),
    svg("circle", { class: "now", cx: xs[chosen], cy: y(now.score ?? 0), r: 6 }),
    svg("text", { x: LEFT, y: HEIGHT - 6 }, clock(moments[0].time)),
    svg("text", { x: width - RIGHT, y: HEIGHT - 6, "text-anchor": "end" }, clock(moments.at(-1).time)),
  ));
  return xs;
}

const nearest = (moments, chosen, kind) =>
  moments.map((moment, at) => at).filter((at) => moments[at].pictures.includes(kind))
    .sort((a, b) => Math.abs(a - chosen) - Math.abs(b - chosen))[0];

/** Show the pictures of a face at the chosen moment, or at the nearest moment that has a picture. */
export function faces(job, person, name, kinds) {
  const frames = kinds.map(([kind, words]) => {
    const image = el("img", { alt: "", hidden: true }), caption = el("figcaption", {}, words);
    return { kind, words, image, caption, none: el("div", { class: "none" }, "No picture"), at: -1 };
  });
  const show = async (chosen) => {
    for (const frame of frames) {
      const at = nearest(person.moments, chosen, frame.kind);
      if (at === frame.at) continue;
      frame.at = at;
      if (at === undefined) continue;
      const moment = person.moments[at];
      const url = await picture(job, person.number, at, frame.kind).catch(() => null);
      if (url === null || frame.at !== at) continue;
      frame.image.src = url;
      frame.image.alt = `${frame.words}, ${name.toLowerCase()}${moment.time === null ? "" : ` at ${clock(moment.time)}`}`;
      frame.image.hidden = false;
      frame.none.remove();
    }
    for (const frame of frames) {
      const moment = person.moments[frame.at];
      frame.caption.textContent = frame.words + (moment && frame.at !== chosen ? ` (nearest picture: ${clock(moment.time)})` : "");
    }
  };
  const nodes = frames.map((frame) => el("figure", {}, frame.none, frame.image, frame.caption));
  return { nodes, show };
}

/** Chart, slider and pictures of a person; the scores of the other people are thin lines. */
export function timeline(job, person, name, others, threshold, kinds) {
  const moments = person.moments;
  let chosen = moments.reduce((best, moment, at) => ((moment.score ?? 0) > (moments[best].score ?? 0) ? at : best), 0), xs = [];
  const drawing = el("div"), chart = el("div", { class: "chart" }, drawing), seen = faces(job, person, name, kinds);
  const when = el("p", { class: "when num" });
  const slider = el("input", {
    class: "scrub", type: "range", min: 0, max: moments.length - 1, step: 1, value: chosen,
    "aria-label": `Moment in the file, ${name.toLowerCase()}`,
    oninput: () => choose(Number(slider.value)),
  });
  chart.append(slider);
  function choose(at) {
    chosen = at;
    slider.value = at;
    const moment = moments[at], side = moment.score > threshold ? "above" : "not above";
    const text = `${clock(moment.time)}: score ${hundred(moment.score)}, ${side} the threshold`;
    slider.setAttribute("aria-valuetext", text);
    when.textContent = text;
    xs = draw(drawing, person, others, threshold, chosen);
    seen.show(at);
  }
  const point = (event) => {
    const x = event.clientX - chart.getBoundingClientRect().left;
    choose(xs.reduce((best, value, at) => (Math.abs(value - x) < Math.abs(xs[best] - x) ? at : best), 0));
  };
  chart.addEventListener("pointerdown", point);
  chart.addEventListener("pointermove", (event) => (event.buttons || event.pointerType === "mouse") && point(event));
  new ResizeObserver(() => chart.clientWidth && (xs = draw(drawing, person, others, threshold, chosen))).observe(chart);
  requestAnimationFrame(() => choose(chosen));
  return el("div", { class: "look" },
    el("div", {}, chart, el("p", { class: "quiet" }, summary(moments, threshold)),
      el("p", { class: "quiet" }, "Move over the chart, or select it and use the arrow keys. ",
        "The dashed line is the threshold", others.length ? "; the thin lines are the other faces." : ".")),
    el("div", { class: "seen" }, seen.nodes, when));
}
