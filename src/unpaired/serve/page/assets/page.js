// The page: takes a picture, lets the engine translate it, and shows what became of it.
import * as engine from "./engine.js";
import { detail, difference, read } from "./pixels.js";
import * as past from "./past.js";

const DIFFERENCE_FACTOR = 2, DETAIL_SIGMA = 1, DETAIL_FACTOR = 8, JPEG_QUALITY = 0.75, COARSE = 97;
const byId = (id) => document.getElementById(id), root = document.documentElement;
const state = { models: [], input: null, panels: [], turn: 0, stop: null, camera: null };

function element(name, properties = {}, ...children) {
  const { dataset, ...rest } = properties, made = Object.assign(document.createElement(name), rest);
  Object.assign(made.dataset, dataset);
  made.append(...children);
  return made;
}

const say = (text) => { byId("status").textContent = text; };

function complain(error) {
  byId("trouble").textContent = error ? error.message : "";
  byId("trouble").hidden = !error;
  byId("key").parentNode.hidden = !(error && error.wantsKey);
  if (error && error.wantsKey) byId("key").focus();
}

function screen(name) {
  root.dataset.state = name;
  byId("drop").hidden = name !== "empty" && name !== "loading";
  byId("finder").hidden = name !== "camera";
  byId("panels").hidden = name !== "done" && name !== "busy";
  byId("views").hidden = byId("actions").hidden = byId("panels").hidden;
  byId("explained").hidden = name !== "done";
  byId("stage").classList.toggle("busy", name === "busy");
  byId("stage").setAttribute("aria-busy", String(name === "busy"));
}

// ---------------------------------------------------------------------------------------------------------- choices

const model = () => state.models[Number(byId("model").value) || 0];
const direction = () => model().directions.find((each) => each.direction === byId("direction").value) || model().directions[0];
const chosen = () => ({ model: model(), direction: direction(), checkpoint: byId("checkpoint").value });

function fill(id, entries, keep) {
  const select = byId(id), before = keep ? select.value : "";
  select.replaceChildren(...entries.map(([value, text]) => element("option", { value, textContent: text })));
  if (entries.some(([value]) => value === before)) select.value = before;
  select.parentNode.hidden = entries.length < 2;
}

/** What else translates in this direction: other models, and other checkpoints of this one. */
function others() {
  const found = [], here = chosen();
  state.models.forEach((each, place) => {
    if (!each.directions.some((way) => way.direction === here.direction.direction)) return;
    for (const checkpoint of each.checkpoints.length ? each.checkpoints : [""]) {
      if (each === here.model && checkpoint === here.checkpoint) continue;
      const name = state.models.length > 1 ? each.name : "";
      found.push([JSON.stringify([place, checkpoint]), [name, checkpoint && label(checkpoint)].filter(Boolean).join(", ")]);
    }
  });
  return found;
}

function choices() {
  fill("model", state.models.map((each, place) => [String(place), each.name]), true);
  fill("direction", model().directions.map((each) => [each.direction, each.heading]), true);
  fill("checkpoint", model().checkpoints.map((name) => [name, label(name)]), true);
  fill("other", [["", "nothing"], ...others()], true);
  byId("title").textContent = sentence(direction().heading);
  byId("about").textContent = [model().title, engine.about].filter(Boolean).join(" · ");
}

const sentence = (text) => text[0].toUpperCase() + text.slice(1);
const label = (name) => /^\d+$/.test(name) ? `${Number(name).toLocaleString("en")} images` : name;

function asked() {
  const first = chosen(), found = [first];
  if (byId("other").value) {
    const [place, checkpoint] = JSON.parse(byId("other").value), other = state.models[place];
    const way = other.directions.find((each) => each.direction === first.direction.direction);
    found.push({ model: other, direction: way, checkpoint });
  }
  return found;
}

const named = ({ model: one, checkpoint }) =>
  [state.models.length > 1 ? one.name : "", checkpoint ? label(checkpoint) : ""].filter(Boolean).join(", ") || one.name;

// ------------------------------------------------------------------------------------------------------ translation

async function take(blob, name) {
  stopCamera();
  complain(null);
  let bitmap;
  try {
    // As stored, turned as its EXIF says: what other programs that read the file see.
    bitmap = await createImageBitmap(blob, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    screen(state.panels.length ? "done" : "empty");
    complain(new Error("This file is no picture that this browser can show. Give a PNG, JPEG or WebP file."));
    return;
  }
  state.input = { blob, bitmap, name, pixels: read(bitmap) };
  await run();
}

async function run() {
  if (!state.input) return;
  if (state.stop) state.stop.abort();
  const stop = state.stop = new AbortController(), turn = state.turn += 1, { input } = state;
  complain(null);
  if (!state.panels.length) byId("panels").replaceChildren(compare(input.pixels, null, ["Original"]));
  screen("busy");
  try {
    const panels = [];
    for (const choice of asked()) {
      const done = await engine.translate(input.bitmap, input.blob, choice, { tell: say, signal: stop.signal });
      if (turn !== state.turn) return;
      panels.push(await panel(choice, done));
    }
    state.panels = panels;
    await show();
    say(`${panels.map(({ milliseconds: ms }) => `${(ms / 1000).toFixed(2)} s`).join(" and ")} · ${input.bitmap.width} × ${input.bitmap.height} pixels`);
    byId("panels").focus({ preventScroll: true });
    await past.add({ input: input.blob, output: panels[0].blob, name: input.name, heading: panels[0].choice.direction.heading,
      direction: panels[0].choice.direction.direction, model: panels[0].choice.model.name, checkpoint: panels[0].choice.checkpoint });
    await history();
  } catch (error) {
    if (turn !== state.turn) return;
    say("");
    screen(state.panels.length ? "done" : "empty");
    complain(error);
  }
}

async function panel(choice, { blob, milliseconds }) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  return { choice, blob, milliseconds, bitmap, pixels: read(bitmap), kept: new Map() };
}

const opposite = ({ model: one, direction: way }) =>
  one.directions.find((each) => each.direction === way.direction.split("2").reverse().join("2"));

/** Translate a translation back; remembered with it. `jpeg`: by way of a JPEG file, which loses what eyes do not see. */
function back(each, jpeg) {
  if (!each.kept.has(jpeg)) {
    each.kept.set(jpeg, (async () => {
      let { blob, bitmap } = each;
      if (jpeg) {
        const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
        canvas.getContext("2d").drawImage(bitmap, 0, 0);
        blob = await canvas.convertToBlob({ type: "image/jpeg", quality: JPEG_QUALITY });
        bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
      }
      const choice = { ...each.choice, direction: opposite(each.choice) };
      const done = await engine.translate(bitmap, blob, choice, { tell: say, signal: new AbortController().signal });
      say("");
      return read(await createImageBitmap(done.blob, { colorSpaceConversion: "none" }));
    })());
    each.kept.get(jpeg).catch(() => each.kept.delete(jpeg));
  }
  return each.kept.get(jpeg);
}

// ------------------------------------------------------------------------------------------------------------ views

const canvasOf = (pixels) => {
  const canvas = element("canvas", { width: pixels.width, height: pixels.height });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
};

/** A picture or, with two, one over the other with a slider between them. */
function compare(left, right, tags, caption = "") {
  const box = element("div", { className: "compare" }), first = canvasOf(left);
  const ratio = left.width / left.height;
  box.style.setProperty("--ratio", String(ratio));
  box.style.setProperty("--most", `${Math.max(left.width, 640, 640 * ratio)}px`);
  box.classList.toggle("coarse", Math.max(left.width, left.height) < COARSE);
  first.setAttribute("role", "img");
  first.setAttribute("aria-label", tags[0]);
  if (right) {
    const second = canvasOf(right), slider = element("input", { type: "range", min: 0, max: 100, value: 50 });
    second.setAttribute("role", "img");
    second.setAttribute("aria-label", tags[1]);
    first.className = "over";
    slider.setAttribute("aria-label", `Divider between ${tags[0].toLowerCase()} and ${tags[1].toLowerCase()}`);
    slider.addEventListener("input", () => divide(slider.value));
    box.append(second, first, slider, element("span", { className: "tag before", textContent: tags[0] }),
      element("span", { className: "tag after", textContent: tags[1] }));
  } else {
    box.append(first);
    if (tags[0]) box.append(element("span", { className: "tag before", textContent: tags[0] }));
  }
  return element("figure", {}, box, ...(caption ? [element("figcaption", { textContent: caption })] : []));
}

/** Move every divider, so that panels are compared at the same place. */
function divide(value) {
  for (const slider of document.querySelectorAll(".compare input")) {
    slider.value = value;
    slider.parentNode.style.setProperty("--at", `${value}%`);
    slider.setAttribute("aria-valuetext", `${value} percent of the left picture`);
  }
}

const VIEWS = {
  slider: async (each) => [compare(state.input.pixels, each.pixels, ["Original", "Translation"])],
  difference: async (each) => [compare(difference(state.input.pixels, each.pixels, DIFFERENCE_FACTOR), null, [`Difference × ${DIFFERENCE_FACTOR}`])],
  back: async (each) => [compare(state.input.pixels, await back(each, false), ["Original", "Reconstruction"])],
  hidden: async (each) => [
    compare(detail(each.pixels, DETAIL_SIGMA, DETAIL_FACTOR), null, [`Fine detail × ${DETAIL_FACTOR}`]),
    ...(opposite(each.choice) ? [compare(await back(each, false), await back(each, true), ["Reconstruction", "After JPEG"])] : []),
  ],
};
const EXPLAINED = {
  difference: "What the translation has changed; black is unchanged.",
  back: "The translation, translated back by the same model.",
  hidden: "A model may hide what it needs to restore the original in detail too fine to see. JPEG removes such detail: where the "
    + "reconstruction changes after it, it was read from there.",
};

/** Whether a direction has a view: label maps have no difference, and without the way back nothing is reconstructed. */
function shows(choice, view) {
  const { views } = choice.direction, called = view === "back" ? "reconstruction" : view;
  return view === "slider" || ((!views || views.includes(called)) && (view !== "back" || Boolean(opposite(choice))));
}

async function show() {
  const turn = state.turn, name = document.querySelector("#views :checked").value;
  for (const radio of document.querySelectorAll("#views input")) {
    radio.parentNode.hidden = !state.panels.every((each) => shows(each.choice, radio.value));
  }
  const view = VIEWS[document.querySelector("#views :checked").parentNode.hidden ? "slider" : name], at = document.querySelector(".compare input");
  const made = [];
  for (const each of state.panels) {
    const figures = await view(each);
    if (state.panels.length > 1) figures[0].append(element("figcaption", { textContent: named(each.choice) }));
    made.push(...figures);
  }
  if (turn !== state.turn || name !== document.querySelector("#views :checked").value) return;
  byId("panels").replaceChildren(...made);
  divide(at ? at.value : 50);
  byId("explained").textContent = EXPLAINED[name] || "";
  const link = byId("download"), { heading, target } = state.panels[0].choice.direction;
  if (link.href) URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(state.panels[0].blob);
  link.download = `${state.input.name.replace(/\.[^.]*$/, "") || "picture"}-${(target.name || heading).replace(/[^\w-]+/g, "_")}.png`;
  screen("done");
}

// ------------------------------------------------------------------------------------------------- history, samples

function thumb(url, title, action) {
  const button = element("button", { type: "button", className: "thumb" }, element("img", { src: url, alt: "", decoding: "async" }));
  button.setAttribute("aria-label", title);
  button.addEventListener("click", () => action().catch(complain));
  return button;
}

async function history() {
  const entries = await past.all();
  for (const image of byId("history").querySelectorAll("img")) URL.revokeObjectURL(image.src);
  byId("past").hidden = !entries.length;
  byId("history").replaceChildren(...entries.map((entry) => thumb(URL.createObjectURL(entry.output),
    `${entry.name || "picture"}: ${entry.heading}, ${new Date(entry.when).toLocaleString()}`, () => again(entry))));
}

/** Show an earlier translation as it was; where its model is gone, with the present one. */
async function again(entry) {
  const place = state.models.findIndex((each) => each.name === entry.model);
  if (place < 0) { await take(entry.input, entry.name); return; }
  byId("model").value = String(place);
  choices();
  byId("direction").value = entry.direction;
  byId("checkpoint").value = entry.checkpoint;
  byId("other").value = "";
  choices();
  const options = { imageOrientation: "from-image", colorSpaceConversion: "none" };
  const bitmap = await createImageBitmap(entry.input, options);
  state.turn += 1;
  state.input = { blob: entry.input, bitmap, name: entry.name, pixels: read(bitmap) };
  state.panels = [await panel(chosen(), { blob: entry.output, milliseconds: 0 })];
  complain(null);
  await show();
  say("From the history");
}

async function offer() {
  const found = await engine.samples(model(), direction().direction[0]);
  for (const image of byId("samples").querySelectorAll("img")) URL.revokeObjectURL(image.src);
  byId("samples").hidden = !found.length;
  byId("samples").replaceChildren(...found.map(({ name, blob }, number) =>
    thumb(URL.createObjectURL(blob), `Sample picture ${number + 1}`, () => take(blob, name))));
}

// ----------------------------------------------------------------------------------------------------------- camera

function stopCamera() {
  if (state.camera) state.camera.getTracks().forEach((track) => track.stop());
  state.camera = byId("video").srcObject = null;
}

async function startCamera() {
  complain(null);
  try {
    state.camera = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false });
  } catch (error) {
    complain(new Error(error.name === "NotAllowedError" ? "The camera was not allowed. Choose a picture, or allow it in the browser's settings."
      : "No camera was found. Choose a picture."));
    return;
  }
  byId("video").srcObject = state.camera;
  await byId("video").play();
  screen("camera");
  byId("shoot").focus();
}

async function shoot() {
  const video = byId("video"), canvas = element("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  await take(await new Promise((resolve) => canvas.toBlob(resolve)), "camera.png");
}

// ------------------------------------------------------------------------------------------------------------ start

const empty = () => {
  stopCamera();
  if (state.stop) state.stop.abort();
  state.turn += 1;
  Object.assign(state, { input: null, panels: [] });
  complain(null);
  say("");
  screen("empty");
  byId("choose").focus();
};

function listen() {
  const on = (id, kind, action) => byId(id).addEventListener(kind, (event) => Promise.resolve(action(event)).catch(complain));
  const first = (files) => { const file = files[0]; return file ? take(file, file.name) : null; };
  on("choose", "click", () => byId("file").click());
  on("file", "change", async () => { await first(byId("file").files); byId("file").value = ""; });
  on("again", "click", empty);
  on("camera", "click", startCamera);
  on("shoot", "click", shoot);
  on("cancel", "click", empty);
  on("views", "change", show);
  on("clear", "click", async () => { await past.clear(); await history(); say("The history is empty."); });
  for (const id of ["model", "direction", "checkpoint", "other"]) {
    on(id, "change", async () => { choices(); await Promise.all([offer(), run()]); });
  }
  on("key", "change", async () => { engine.remember(byId("key").value); complain(null); await (state.models.length ? run() : start()); });
  addEventListener("keydown", (event) => { if (event.key === "Escape" && state.camera) empty(); });
  addEventListener("paste", (event) => first([...event.clipboardData.files]));
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    addEventListener(kind, (event) => {
      event.preventDefault();
      root.classList.toggle("dragging", kind === "dragover" || kind === "dragenter");
      if (kind === "drop" && state.models.length) first(event.dataTransfer.files);
    });
  }
}

async function start() {
  byId("choose").disabled = true;
  try {
    state.models = await engine.describe(say);
    say("");
    if (!state.models.length) throw new Error("There is no model that translates pictures here.");
    complain(null);
    choices();
    byId("choose").disabled = false;
    byId("camera").hidden = !(navigator.mediaDevices && navigator.mediaDevices.getUserMedia);
    await Promise.all([offer(), history()]);
    screen("empty");
  } catch (error) {
    say("");
    complain(error);
  }
  root.dataset.ready = "yes";
}

listen();
start();
