// Small helpers. Nothing here parses HTML, so that no text from a file or from the server becomes markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
export const hundred = (score) => (score === null ? "unknown" : String(Math.round(100 * score)));

/** "0:07" or "1:02:03"; tenths for short files. */
export function clock(seconds) {
  if (seconds === null) return "unknown time";
  const whole = Math.floor(seconds), tenths = Math.floor(10 * (seconds - whole));
  const pad = (value) => String(value).padStart(2, "0");
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  return `${hours ? `${hours}:${pad(minutes)}` : minutes}:${pad(whole % 60)}.${tenths}`;
}

export function bytes(count) {
  if (count === null) return "unknown";
  if (count < 1e6) return `${Math.max(1, Math.round(count / 1e3))} kB`;
  return `${(count / 1e6).toFixed(count < 1e8 ? 1 : 0)} MB`;
}

let last = "";

/** Tell screen readers, once. */
export function announce(text) {
  if (text === last) return;
  last = text;
  document.getElementById("live").textContent = text;
}
