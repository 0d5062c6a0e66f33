"use strict";
// The page of a study. What is true is never here: the server sends two pictures as one block of bytes and keeps to
// itself which is real; it says so after practice trials only.

const byId = (id) => document.getElementById(id);
const stage = byId("stage");
const cards = [...document.querySelectorAll(".picture")];
const images = cards.map((card) => card.querySelector("img"));
const participant = new URLSearchParams(location.search).get("participant") || null;
const root = document.documentElement;

let study = null;
let session = null;
let drawn = null; // what a session begins with, until the server knows it
let asking = null; // what to do with a choice; null while none is possible

// ------------------------------------------------------------------------------------------------------------ screens

function show(name, focus = true) {
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== name;
  root.dataset.screen = name;
  const heading = byId(name).querySelector("h1");
  if (focus && heading) heading.focus({ preventScroll: false });
}

function write(name, text) {
  for (const node of document.querySelectorAll(`[data-text="${name}"]`)) node.textContent = text;
}

function pause(title, text, button = "Continue") {
  write("pauseTitle", title);
  write("pauseText", text);
  byId("continue").textContent = button;
  show("pause");
  return clicked(byId("continue"));
}

function clicked(button) {
  return new Promise((resolve) => button.addEventListener("click", resolve, { once: true }));
}

const wait = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

// ------------------------------------------------------------------------------------------------------------- server

class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

// Asks until there is an answer: a server that is away for a while loses nothing.
async function ask(path, message) {
  const headers = {};
  if (session) headers.authorization = `Bearer ${session}`;
  const options = { headers, cache: "no-store", credentials: "omit", referrerPolicy: "no-referrer" };
  if (message !== undefined) {
    headers["content-type"] = "application/json";
    Object.assign(options, { method: "POST", body: JSON.stringify(message) });
  }
  for (let attempt = 0; ; attempt += 1) {
    try {
      const response = await fetch(path, options);
      if (response.ok) {
        const read = path.startsWith("api/pair/") ? await response.arrayBuffer() : await response.json();
        byId("notice").textContent = "";
        return read;
      }
      const problem = await response.json().catch(() => ({}));
      if (response.status !== 429 && response.status !== 425 && response.status < 502) {
        throw new Refused(response.status, problem.error, problem.message || `The server answered ${response.status}.`);
      }
    } catch (error) {
      if (error instanceof Refused) throw error;
    }
    if (attempt > 1) byId("notice").textContent = "The connection is away. Trying again; nothing is lost.";
    await wait(Math.min(4, 0.25 * 2 ** attempt) * (0.75 + Math.random() / 2));
  }
}

// A browser keeps the session of somebody who came without a personal link. Storage may be switched off.
function remember(value) {
  try {
    if (!participant) localStorage.setItem("unpaired-study", value);
  } catch { /* coming back will not work then */ }
}

function remembered() {
  try {
    const value = participant ? null : localStorage.getItem("unpaired-study");
    return /^[\w-]{32,64}$/.test(value || "") ? value : null;
  } catch {
    return null;
  }
}

function draw() {
  return Array.from(crypto.getRandomValues(new Uint8Array(24)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function enter(consent) {
  session = null;
  drawn = drawn || remembered() || draw();
  if (consent) remember(drawn); // before asking: should the answer be lost, asking again takes nobody in twice
  const message = { participant, session: drawn, consent };
  const answer = await ask("api/enter", message);
  study = answer.study;
  session = answer.session || null;
  return answer;
}

// ------------------------------------------------------------------------------------------------------------- trials

const stacked = matchMedia("(orientation: portrait) and (max-width: 640px)");

function names() {
  if (study.show === "in-turn") return ["First", "Second"];
  return stacked.matches ? ["Upper", "Lower"] : ["Left", "Right"];
}

function keys() {
  return stacked.matches ? ["↑", "↓"] : ["←", "→"];
}

function label(withKeys) {
  const touch = matchMedia("(pointer: coarse)").matches;
  cards.forEach((card, side) => {
    const name = card.querySelector(".name");
    name.replaceChildren();
    if (withKeys) {
      name.append(names()[side]);
      if (!touch) {
        const hint = document.createElement("small");
        hint.textContent = `key ${keys()[side]}`;
        hint.setAttribute("aria-hidden", "true");
        name.append(hint);
      }
    }
    card.setAttribute("aria-label", `${names()[side]} picture`);
  });
}

stacked.addEventListener("change", () => { if (asking) label(true); });

function setAsking(callback) {
  asking = callback;
  stage.classList.toggle("asking", Boolean(callback));
  for (const card of cards) card.setAttribute("aria-disabled", String(!callback));
}

async function load(token) {
  const bytes = await ask(`api/pair/${token}`);
  const half = bytes.byteLength / 2;
  const urls = [bytes.slice(0, half), bytes.slice(half)].map((part) =>
    URL.createObjectURL(new Blob([part], { type: "image/png" })));
  images.forEach((image, side) => { image.src = urls[side]; });
  await Promise.all(images.map((image) => image.decode()));
  return () => {
    for (const image of images) image.removeAttribute("src");
    urls.forEach((url) => URL.revokeObjectURL(url));
  };
}

const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));

// Shows pictures for a number of seconds, by the times of the frames in which they appear and disappear.
async function expose(shown, seconds) {
  let last = await frame();
  let now = await frame();
  let interval = now - last;
  const begin = now;
  for (const card of shown) card.classList.add("shown");
  let frames = 0;
  while (true) {
    last = now;
    now = await frame();
    frames += 1;
    interval = Math.min(interval, now - last) || interval;
    if (now - begin >= seconds * 1000 - interval / 2) break;
  }
  for (const card of shown) card.classList.remove("shown");
  return { seconds: (now - begin) / 1000, frames, ended: now };
}

async function exposeBoth() {
  let hidden = document.hidden;
  const notice = () => { hidden = hidden || document.hidden; };
  document.addEventListener("visibilitychange", notice);
  try {
    if (study.show === "together") {
      const time = await expose(cards, study.exposure);
      return { exposures: [time.seconds, time.seconds], frames: time.frames, ended: time.ended, hidden };
    }
    cards[1].classList.add("away");
    const first = await expose([cards[0]], study.exposure);
    await wait(Math.min(0.5, study.exposure / 2));
    cards[0].classList.add("away");
    cards[1].classList.remove("away");
    const second = await expose([cards[1]], study.exposure);
    return {
      exposures: [first.seconds, second.seconds], frames: first.frames + second.frames, ended: second.ended, hidden,
    };
  } finally {
    for (const card of cards) card.classList.remove("away");
    document.removeEventListener("visibilitychange", notice);
  }
}

function choice(ended) {
  return new Promise((resolve) => {
    setAsking((side, input, moment) => {
      setAsking(null);
      resolve({ side, input, response: Math.max(0, (moment - ended) / 1000) });
    });
  });
}

const pairs = (count) => `${count} pair${count === 1 ? "" : "s"}`;

async function trial(task) {
  byId("count").textContent = `${task.part === "practice" ? "Practice" : "Pair"} ${task.number} of ${task.of}`;
  byId("progress").value = (task.number - 1) / task.of;
  byId("question").textContent = study.show === "together" ? "Look at both pictures" : "Look at one, then the other";
  byId("feedback").textContent = "";
  byId("next").hidden = true;
  stage.className = study.show === "together" ? "" : "turns";
  label(false);
  show("trial", root.dataset.screen !== "trial");
  const [free] = await Promise.all([load(task.trial), wait(Math.min(0.5, study.exposure / 2))]);
  await frame();
  const seen = await exposeBoth();
  free();
  byId("question").textContent = "Which one was real?";
  label(true);
  const { side, input, response } = await choice(seen.ended);
  return ask("api/answer", {
    trial: task.trial, side, input, response, exposures: seen.exposures, frames: seen.frames, hidden: seen.hidden,
  });
}

async function tell(answer) {
  stage.classList.add("told");
  cards.forEach((card, side) => {
    card.classList.toggle("real", side === answer.real);
    card.querySelector(".name").textContent = side === answer.real ? "real" : "made by a program";
  });
  byId("feedback").textContent = answer.right
    ? "✓ Right: that one was real."
    : `✗ No: the ${names()[answer.real].toLowerCase()} one was real.`;
  byId("next").hidden = false;
  byId("next").focus();
  await clicked(byId("next"));
  for (const card of cards) card.classList.remove("real");
}

// Waits until the page is looked at, so that no picture passes unseen in a tab in the background.
async function looking() {
  while (document.hidden) {
    await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
  }
}

async function run(isNew) {
  let part = null;
  while (true) {
    const task = await ask("api/next", {});
    if (task.state === "done") return finish(task.code);
    if (part !== task.part) {
      if (task.part === "main" && (part === "practice" || (isNew && study.practice === 0))) {
        const after = study.practice ? "Practice is over" : "Ready?";
        const many = `Now ${pairs(task.of)} for the study itself. You will not be told whether you were right. ` +
          "The next pair appears as soon as you have chosen.";
        await pause(after, many, "Begin");
      } else if (part === null && !isNew) {
        await pause("Welcome back", "You go on where you left.");
      } else if (part === null) {
        await pause("First, practice", `${pairs(task.of)} to get used to it. After each you are told which one was real.`,
          "Begin");
      }
      part = task.part;
    }
    await looking();
    try {
      const answer = await trial(task);
      if ("real" in answer) await tell(answer);
    } catch (error) {
      setAsking(null);
      if (!(error instanceof Refused) || ![409, 410].includes(error.status)) throw error;
    } // the trial was shown or answered elsewhere, in another tab perhaps: the server knows what comes next
  }
}

function finish(code) {
  byId("code").textContent = code;
  show("thanks");
}

// -------------------------------------------------------------------------------------------------------------- input

let pointer = "mouse";
stage.addEventListener("pointerdown", (event) => { pointer = event.pointerType || "mouse"; });
stage.addEventListener("click", (event) => {
  const card = event.target.closest(".picture");
  if (!card || !asking) return;
  const input = event.detail === 0 ? "keyboard" : pointer;
  asking(Number(card.dataset.side), ["mouse", "touch", "pen"].includes(input) ? input : "keyboard", event.timeStamp);
});

const SIDES = {
  ArrowLeft: 0, ArrowUp: 0, f: 0, F: 0, 1: 0, ArrowRight: 1, ArrowDown: 1, j: 1, J: 1, 2: 1,
};
document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (asking && event.key in SIDES) {
    event.preventDefault();
    asking(SIDES[event.key], "keyboard", event.timeStamp);
  }
});

byId("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(byId("code").textContent);
    byId("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(byId("code")); // no clipboard without TLS: selected, ready to be copied
  }
});

// -------------------------------------------------------------------------------------------------------------- start

function explain() {
  const seconds = study.exposure === 1 ? "one second" : `${study.exposure} seconds`;
  document.title = study.title;
  write("title", study.title);
  write("consent", study.consent);
  write("look", study.show === "together"
    ? `Both pictures appear together for ${seconds}, then they disappear.`
    : `The pictures appear one after the other, each for ${seconds}, then they disappear.`);
  const practice = study.practice ? `${pairs(study.practice)} for practice, then ${pairs(study.trials)} that count`
    : `${pairs(study.trials)} in all`;
  const minutes = Math.ceil(((study.practice + study.trials) * (study.exposure + 3)) / 60);
  write("amount", `${practice}. It takes about ${minutes} minute${minutes > 1 ? "s" : ""}.`);
  root.style.setProperty("--ratio", study.width / study.height);
  root.style.setProperty("--native", `${Math.min(512, Math.max(256, study.width))}px`);
}

async function start() {
  show("loading", false);
  try {
    const answer = await enter(false);
    explain();
    if (answer.state === "done") return finish(answer.code);
    if (answer.state === "going") return await run(false);
    show("welcome");
    byId("agree").onsubmit = async (event) => {
      event.preventDefault();
      byId("agree").onsubmit = (again) => again.preventDefault();
      try {
        await enter(true);
        await run(true);
      } catch (error) {
        fail(error);
      }
    };
  } catch (error) {
    fail(error);
  }
}

function fail(error) {
  write("trouble", error instanceof Refused ? error.message : `This page cannot go on: ${error.message}`);
  show("trouble");
}

byId("again").addEventListener("click", start);
start();
