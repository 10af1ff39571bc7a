// The page: choose files, upload them, follow their jobs and show the answers.

import { Refused, about, follow, forgetPictures, remove, upload, useToken } from "./api.js";
import { announce, bytes, clock, el, sentence } from "./dom.js";
import { WORDS, result } from "./result.js";

const AT_ONCE = 2; // files that are sent or examined at once; the others wait in this page
const byId = (id) => document.getElementById(id);
const waiting = [];
let running = 0, limits = null;

function short(facts) {
  const parts = [facts.kind ?? "file", facts.width ? `${facts.width} × ${facts.height} pixels` : null, facts.duration === null ? null : clock(facts.duration), bytes(facts.size)];
  return sentence(parts.filter((part) => part !== null).join(", ")).slice(0, -1);
}

class Card {
  constructor(file) {
    this.file = file;
    this.stop = new AbortController();
    this.job = null;
    this.state = el("p", { class: "state" }, "Waiting");
    this.bar = el("progress", { max: 1, value: 0, "aria-label": `Progress of ${file.name}` });
    this.name = el("h2", { class: "name" }, file.name);
    this.button = el("button", { class: "plain", type: "button", onclick: () => this.remove() }, "Cancel", el("span", { class: "unseen" }, ` ${file.name}`));
    this.head = el("header", {}, this.name, this.state, el("div", { class: "actions" }, this.button), this.bar);
    this.node = el("article", { class: "file", "aria-label": file.name }, this.head);
  }

  tell(text, fraction = null) {
    this.state.textContent = text;
    if (fraction === null) this.bar.removeAttribute("value");
    else this.bar.value = fraction;
  }

  async run() {
    if (limits && this.file.size > limits.upload * 1e6) throw new Refused(413, { message: `The file has ${bytes(this.file.size)}. This server accepts at most ${limits.upload} MB.` });
    announce(`Sending ${this.file.name}`);
    this.job = await this.send();
    let told = 0;
    const state = await follow(this.job, (found) => {
      const ahead = found.place === null ? "" : found.place === 0 ? "Next in line" : `Files ahead in the queue: ${found.place}`;
      this.tell(found.state === "waiting" ? ahead : sentence(found.doing).slice(0, -1), 0.15 + 0.85 * found.fraction);
      if (found.fraction >= told + 0.25) announce(`${this.file.name}: ${Math.round(100 * (told = found.fraction))} percent`);
    }, this.stop.signal);
    if (state.problem) throw new Refused(422, state.problem);
    this.show(state.result);
  }

  async send() {
    for (;;) {
      try {
        return await upload(this.file, (fraction) => this.tell(fraction < 1 ? "Sending" : "Received", 0.15 * fraction), this.stop.signal);
      } catch (error) {
        if (error.after === null || error.after === undefined) throw error;
        this.tell("The server is busy. Trying again shortly", 0);
        await new Promise((resolve) => setTimeout(resolve, 1000 * error.after));
        this.stop.signal.throwIfAborted();
      }
    }
  }

  show(found) {
    const [words] = WORDS[found.answer];
    const { node, title } = result(this.job.id, found);
    const chip = el("span", { class: `chip${found.answer === "signs of manipulation" ? " signs" : ""}`, hidden: true }, words);
    const toggle = el("button", { type: "button", "aria-expanded": "true", onclick: () => {
      node.hidden = !node.hidden;
      chip.hidden = !node.hidden;
      toggle.setAttribute("aria-expanded", String(!node.hidden));
    } }, this.file.name);
    this.name.replaceChildren(toggle);
    this.state.replaceChildren(short(found.facts), " ", chip);
    this.bar.remove();
    this.button.firstChild.textContent = "Remove";
    this.node.append(node);
    announce(`${this.file.name}: ${words}.`);
    const idle = document.activeElement === document.body || document.activeElement === byId("choose") || document.activeElement === this.button;
    if (idle && !waiting.length) title.focus({ preventScroll: document.activeElement === document.body });
  }

  refuse(error) {
    this.node.classList.add("refused");
    this.tell(error instanceof Refused ? `Not examined: ${error.message}` : "Not examined: something went wrong on this page. Reload it and try again.", 0);
    this.bar.remove();
    this.button.firstChild.textContent = "Remove";
    announce(`${this.file.name}: ${this.state.textContent}`);
    if (!(error instanceof Refused)) console.error(error);
  }

  remove() {
    this.stop.abort();
    const at = waiting.indexOf(this);
    if (at >= 0) waiting.splice(at, 1);
    if (this.job) {
      remove(this.job.id).catch(() => null);
      forgetPictures(this.job.id);
    }
    this.node.remove();
    announce(`${this.file.name} was removed.`);
    byId("choose").focus();
    arrange();
  }
}

const arrange = () => document.body.classList.toggle("busy", byId("files").childElementCount > 0);

function add(files) {
  for (const file of files) {
    const card = new Card(file);
    byId("files").append(card.node);
    waiting.push(card);
  }
  arrange();
  next();
}

async function next() {
  if (running >= AT_ONCE || !waiting.length) return;
  const card = waiting.shift();
  running += 1;
  next();
  try {
    await card.run();
  } catch (error) {
    if (error.status === 401) askForToken();
    if (error.name !== "AbortError") card.refuse(error);
  } finally {
    running -= 1;
    next();
  }
}

function askForToken(note = "") {
  byId("access").hidden = false;
  byId("drop").hidden = true;
  byId("access-note").textContent = note;
  byId("token").focus();
}

async function begin() {
  try {
    const found = await about();
    limits = found.limits;
    byId("access").hidden = true;
    byId("drop").hidden = false;
    byId("engine").textContent = `Detector: ${found.models.map((model) => model.name).join(", ")}`;
    byId("demo").hidden = !found.models.some((model) => model.demo);
    byId("allowed").textContent = `Photos, videos and recordings, up to ${limits.upload} MB and ${Math.round(limits.duration / 60)} minutes`;
    byId("keep").textContent = `${Math.max(1, Math.round(limits.keep / 60))} minutes`;
    byId("trouble").hidden = true;
  } catch (error) {
    if (error.status === 401) return askForToken(byId("token").value ? "This token is not correct." : "");
    byId("trouble").textContent = error.message;
    byId("trouble").hidden = false;
  }
}

byId("choose").addEventListener("change", (event) => {
  add([...event.target.files]);
  event.target.value = "";
});
byId("access").addEventListener("submit", (event) => {
  event.preventDefault();
  useToken(byId("token").value.trim());
  begin();
});
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    byId("drop").classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => event.relatedTarget === null && byId("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  byId("drop").classList.remove("over");
  if (!byId("drop").hidden) add([...event.dataTransfer.files]);
});
begin();
