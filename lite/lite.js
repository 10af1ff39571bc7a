// Score a picture with an exported detector: onnxruntime-web runs the network, and nothing is uploaded.

import * as ort from "./ort/ort.wasm.min.mjs";

const SHOWN = 640;  // longest side of the shown picture, px
const at = (id) => document.getElementById(id);
ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;
ort.env.wasm.numThreads = 1;  // several threads need a server that isolates the page

/** Return the logit and the calibrated probability of RGBA pixels of size S x S. */
export async function scorePixels(session, rgba, side) {
  const count = side * side;
  const planes = new Uint8Array(3 * count);  // the network takes one plane per colour
  for (let pixel = 0; pixel < count; pixel++)
    for (let colour = 0; colour < 3; colour++) planes[colour * count + pixel] = rgba[4 * pixel + colour];
  const found = await session.run({ pixels: new ort.Tensor("uint8", planes, [1, 3, side, side]) });
  return { logit: found.logit.data[0], probability: found.probability.data[0] };
}

/** Return the pixels of a square part of a picture, scaled to S x S; transparent pixels become white. */
export function pixelsOf(bitmap, part, side) {
  const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side });
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.fillStyle = "white";
  pen.fillRect(0, 0, side, side);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, part.x, part.y, part.width, part.height, 0, 0, side, side);
  return pen.getImageData(0, 0, side, side).data;
}

const sigmoid = (logit) => 1 / (1 + Math.exp(-logit));
let session, about, bitmap, part;

/** Choose a square of `size` percent of the shorter side; `left` and `top` move it between the edges, in percent. */
function choose(size, left, top) {
  const side = Math.max(1, Math.round((Math.min(bitmap.width, bitmap.height) * size) / 100));
  const x = Math.round(((bitmap.width - side) * left) / 100), y = Math.round(((bitmap.height - side) * top) / 100);
  part = { x, y, width: side, height: side };
  draw();
}

function chooseWhole() {
  part = { x: 0, y: 0, width: bitmap.width, height: bitmap.height };
  draw();
}

function scale() {
  return Math.min(1, SHOWN / Math.max(bitmap.width, bitmap.height));
}

function draw() {
  const canvas = at("picture"), by = scale();
  canvas.width = Math.max(1, Math.round(bitmap.width * by));
  canvas.height = Math.max(1, Math.round(bitmap.height * by));
  const pen = canvas.getContext("2d");
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  pen.fillStyle = "rgb(0 0 0 / 55%)";
  pen.beginPath();
  pen.rect(0, 0, canvas.width, canvas.height);
  pen.rect(part.x * by, part.y * by, part.width * by, part.height * by);
  pen.fill("evenodd");
  at("result").hidden = true;
}

function drag(canvas) {
  let from = null;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return { x: ((event.clientX - box.left) / box.width) * bitmap.width,
             y: ((event.clientY - box.top) / box.height) * bitmap.height };
  };
  canvas.addEventListener("pointerdown", (event) => {
    from = place(event);
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (from === null) return;
    const to = place(event), most = Math.min(bitmap.width, bitmap.height);
    const side = Math.min(most, Math.max(8, Math.abs(to.x - from.x), Math.abs(to.y - from.y)));
    const x = Math.min(Math.max(0, to.x < from.x ? from.x - side : from.x), bitmap.width - side);
    const y = Math.min(Math.max(0, to.y < from.y ? from.y - side : from.y), bitmap.height - side);
    part = { x: Math.round(x), y: Math.round(y), width: Math.round(side), height: Math.round(side) };
    draw();
  });
  canvas.addEventListener("pointerup", () => { from = null; });
}

async function open(file) {
  at("result").hidden = true;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    at("choice").hidden = true;
    at("model").textContent = "This file is not a picture that the browser can read.";
    return;
  }
  at("choice").hidden = false;
  describe();
  chooseWhole();
}

async function score() {
  const { logit, probability } = await scorePixels(session, pixelsOf(bitmap, part, about.side), about.side);
  const above = logit > about.threshold;
  at("answer").textContent = above ? "Above the threshold" : "Not above the threshold";
  at("numbers").textContent = `Score ${sigmoid(logit).toFixed(3)}, threshold ${sigmoid(about.threshold).toFixed(3)}; ` +
    `calibrated probability ${probability.toFixed(3)}. Higher scores mean more similar to the fakes of the training data.`;
  Object.assign(at("result").dataset, { logit, probability });
  at("result").hidden = false;
}

function describe() {
  at("model").textContent = `Detector: ${about.name}, trained on ${about.training_data}. Licence of the weights: ${about.licence}.`;
}

async function start() {
  try {
    about = await (await fetch("model.json")).json();
    session = await ort.InferenceSession.create("model.onnx", { executionProviders: ["wasm"] });
  } catch (error) {
    at("model").textContent = `The detector cannot be loaded: ${error.message}`;
    return;
  }
  describe();
  at("sees").textContent = about.faces ? "faces, so choose a face with some margin" : "whole pictures";
  at("demo").hidden = !about.demo;
  at("file").disabled = false;
}

at("file").addEventListener("change", (event) => event.target.files.length && open(event.target.files[0]));
at("whole").addEventListener("click", chooseWhole);
at("score").addEventListener("click", score);
for (const id of ["size", "left", "top"])
  at(id).addEventListener("input", () => choose(...["size", "left", "top"].map((one) => Number(at(one).value))));
drag(at("picture"));
start();
