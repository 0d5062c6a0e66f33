// Translates pictures with ONNX Runtime Web, beside the page so that the page stays alive.
import { picture, planes, read, resize, seenSize } from "./pixels.js";

const runtime = new URL("./runtime/", import.meta.url), sessions = new Map();
let ort = null;

async function fetched(url, tell) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`The model cannot be loaded: ${url.pathname} is missing.`);
  const total = Number(answer.headers.get("content-length")), parts = [];
  let done = 0;
  for (const reader = answer.body.getReader(); ;) {
    const { done: ended, value } = await reader.read();
    if (ended) break;
    parts.push(value);
    done += value.length;
    tell(`Loading the model: ${(done / 1e6).toFixed(1)}${total > done ? ` of ${(total / 1e6).toFixed(1)}` : ""} MB`);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

async function open(file, tell) {
  if (!ort) {
    tell("Loading the runtime");
    ort = await import(new URL("ort.js", runtime));
    // Threads need headers that plain file servers do not send; one thread needs none.
    ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
    ort.env.wasm.wasmPaths = { wasm: new URL("ort.wasm", runtime).href };
    ort.env.logLevel = "error";
  }
  if (!sessions.has(file)) {
    const content = await fetched(new URL(file, new URL("../", import.meta.url)), tell);
    sessions.set(file, await ort.InferenceSession.create(content, { executionProviders: ["wasm"] }));
  }
  return sessions.get(file);
}

/** Translate as `unpaired translate` does: at the scale of training, and the change enlarged and added. */
async function translate(bitmap, direction, tell) {
  const session = await open(direction.file, tell);
  tell("Translating");
  const start = performance.now(), { width, height } = bitmap, { source, target, sizing } = direction;
  const image = planes(read(bitmap), source.channels, ...source.range), [tall, wide] = seenSize(sizing, height, width);
  const seen = image.map((plane) => resize(plane, height, width, tall, wide).map((v) => Math.min(1, Math.max(-1, v))));
  const input = new Float32Array(source.channels * tall * wide);
  seen.forEach((plane, channel) => input.set(plane, channel * tall * wide));
  const feeds = { image: new ort.Tensor("float32", input, [1, source.channels, tall, wide]) };
  const values = (await session.run(feeds)).translation.data;
  const made = Array.from({ length: target.channels }, (_, channel) => {
    const plane = values.slice(channel * tall * wide, (channel + 1) * tall * wide);
    if (tall === height && wide === width) return plane;
    if (!direction.detail) return resize(plane, tall, wide, height, width);
    const change = resize(plane.map((value, i) => value - seen[channel][i]), tall, wide, height, width);
    return change.map((value, i) => value + image[channel][i]);
  });
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(picture(made, width, height, ...target.range), 0, 0);
  const milliseconds = performance.now() - start;
  return { blob: await canvas.convertToBlob(), milliseconds };
}

let last = Promise.resolve();
self.onmessage = ({ data: { id, bitmap, direction } }) => {
  last = last.then(async () => { // one after the other: they share the memory of one runtime
    try {
      const done = await translate(bitmap, direction, (text) => self.postMessage({ id, text }));
      self.postMessage({ id, ...done });
    } catch (error) {
      self.postMessage({ id, error: String(error.message || error) });
    }
  });
};
