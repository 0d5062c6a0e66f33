"use strict";
window.addEventListener("error", (event) => { document.documentElement.dataset.error = event.message; });

const SVG = "http://www.w3.org/2000/svg";
const STYLES = 6;
const byId = (id) => document.getElementById(id);

function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function draw(name, attributes = {}, text = "") {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = text;
  return node;
}

// ------------------------------------------------------------------------------------------------- numbers as text

function digits(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

function tickText(value, step) {
  if (Math.abs(value) < step / 1000) return "0";
  if (Math.abs(value) >= 1e6) return `${Number((value / 1e6).toPrecision(6))}M`;
  if (Math.abs(value) >= 1e4) return `${Number((value / 1e3).toPrecision(6))}k`;
  return Math.abs(value) < 1e-3 ? value.toExponential(1) : String(Number(value.toPrecision(8)));
}

function ticks(low, high, wanted) {
  const rough = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(k * step);
  return { found, step };
}

// ---------------------------------------------------------------------------------------------------------- curves

/** Mean over a centred window; gaps stay gaps. */
function smooth(values, half) {
  if (half < 1) return values;
  const sums = [0], counts = [0];
  values.forEach((value, i) => {
    sums.push(sums[i] + (value ?? 0));
    counts.push(counts[i] + (value === null ? 0 : 1));
  });
  return values.map((value, i) => {
    const from = Math.max(0, i - half), to = Math.min(values.length, i + half + 1);
    return value === null ? null : (sums[to] - sums[from]) / (counts[to] - counts[from]);
  });
}

/** The range to show: all of the smoothed lines and all but the wildest half per cent of the raw values. */
function rangeOf(raw, smoothed) {
  const values = raw.flat().filter((v) => v !== null).sort((a, b) => a - b);
  if (!values.length) return [0, 1];
  const at = (share) => values[Math.round(share * (values.length - 1))];
  let low = at(0.005), high = at(0.995);
  for (const value of smoothed.flat()) {
    if (value !== null) { low = Math.min(low, value); high = Math.max(high, value); }
  }
  if (low > 0 && low < high * 0.6) low = 0;
  if (low === high) { low = Math.min(0, low * 1.1); high = high > 0 ? high * 1.1 : high < 0 ? 0 : 1; }
  return [low, high + (high - low) * 0.04];
}

function pathOf(xs, values, x, y) {
  let path = "", pen = false;
  values.forEach((value, i) => {
    if (value === null) { pen = false; return; }
    path += `${pen ? "L" : "M"}${x(xs[i]).toFixed(1)} ${y(value).toFixed(1)}`;
    // A value between two gaps would be a line of no length, which is not drawn.
    if (!pen && (values[i + 1] ?? null) === null) path += "h.1";
    pen = true;
  });
  return path;
}

class Chart {
  constructor(chart, data, moved) {
    this.chart = chart;
    this.data = data;
    this.images = chart.images ?? data.images;
    this.moved = moved;
    this.names = Object.keys(chart.lines);
    this.at = make("span", { class: "at" });
    this.readings = this.names.map(() => make("b"));
    const legend = make("ul", { class: "legend" }, ...this.names.map((name, i) => {
      const sample = draw("svg", { viewBox: "0 0 30 8", "aria-hidden": "true" });
      sample.append(draw("path", { d: "M0 4H30", class: `curve s${i % STYLES}` }));
      return make("li", {}, sample, name.replaceAll("_", " "), this.readings[i]);
    }));
    this.plot = draw("svg", { class: "plot", tabindex: "0", role: "img" });
    this.plot.setAttribute("aria-label", `${chart.title}: ${this.names.join(", ")}. Arrow keys move the read-out.`);
    this.card = make("div", { class: "chart" },
      make("header", {}, make("h3", {}, chart.title), this.at), legend, this.plot);
    this.plot.addEventListener("pointermove", (event) => this.moved(this.pointed(event)));
    this.plot.addEventListener("pointerdown", (event) => this.moved(this.pointed(event)));
    this.plot.addEventListener("pointerleave", () => this.moved(null));
    this.plot.addEventListener("blur", () => this.moved(null));
    this.plot.addEventListener("keydown", (event) => this.key(event));
  }

  /** The images seen at the point of this chart that is nearest to the pointer. */
  pointed(event) {
    const box = this.plot.getBoundingClientRect();
    return this.images[this.nearest(this.toX((event.clientX - box.left) * (this.width / box.width)) * this.perUnit)];
  }

  /** The place of the point nearest to so many images seen. */
  nearest(wanted) {
    let low = 0, high = this.images.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.images[middle] < wanted) low = middle; else high = middle;
    }
    return wanted - this.images[low] < this.images[high] - wanted ? low : high;
  }

  key(event) {
    const last = this.images.length - 1, here = this.index ?? last;
    const step = event.shiftKey ? Math.ceil(last / 20) : 1;
    const goals = { ArrowLeft: here - step, ArrowRight: here + step, Home: 0, End: last, Escape: null };
    if (!(event.key in goals)) return;
    event.preventDefault();
    const goal = goals[event.key];
    this.moved(goal === null ? null : this.images[Math.max(0, Math.min(last, goal))]);
  }

  /** Draw everything for the present width, smoothing and axis. */
  render(options) {
    const raw = this.names.map((name) => this.chart.lines[name]);
    const half = this.chart.smooth ? Math.round((raw[0].length * options.smoothing) / 200) : 0;
    this.smoothed = raw.map((values) => smooth(values, half));
    const perUnit = options.axis === "epochs" ? this.data.epoch_images : 1;
    this.perUnit = perUnit;
    this.xs = this.images.map((images) => images / perUnit);
    this.width = Math.max(240, this.card.clientWidth - 24);
    this.height = 230;
    const box = { left: 64, right: this.width - 10, top: 8, bottom: this.height - 38 };
    const [low, high] = rangeOf(raw, this.smoothed);
    // All charts share one axis, whatever points they have.
    const ends = [...this.data.images, ...this.images].map((images) => images / perUnit);
    const first = Math.min(0, ...ends), span = Math.max(...ends) - first || 1;
    const x = (value) => box.left + ((value - first) / span) * (box.right - box.left);
    const y = (value) => box.bottom - ((value - low) / (high - low)) * (box.bottom - box.top);
    this.toX = (pixel) => first + ((pixel - box.left) / (box.right - box.left)) * span;
    this.x = x;
    this.plot.setAttribute("viewBox", `0 0 ${this.width} ${this.height}`);
    this.plot.replaceChildren(...this.axes(box, x, y, [first, first + span], [low, high], options));
    this.plot.append(...this.marks(box, x, perUnit), ...this.lines(box, raw, half, x, y), ...this.points(x, y), ...this.best(box, x));
    this.cross = draw("path", { class: "cross", d: "" });
    this.box = box;
    this.plot.append(this.cross);
    this.read(null);
  }

  axes(box, x, y, [first, last], [low, high], options) {
    const parts = [];
    const vertical = ticks(low, high, 5);
    for (const value of vertical.found) {
      parts.push(draw("path", { class: "gridline", d: `M${box.left} ${y(value)}H${box.right}` }));
      parts.push(draw("text", { x: box.left - 6, y: y(value) + 4, "text-anchor": "end" }, tickText(value, vertical.step)));
    }
    const horizontal = ticks(first, last, Math.max(3, Math.floor(this.width / 90)));
    for (const value of horizontal.found) {
      const anchor = x(value) > box.right - 14 ? "end" : "middle";
      parts.push(draw("path", { class: "axis", d: `M${x(value)} ${box.bottom}v4` }));
      parts.push(draw("text", { x: x(value), y: box.bottom + 17, "text-anchor": anchor }, tickText(value, horizontal.step)));
    }
    parts.push(draw("path", { class: "axis", d: `M${box.left} ${box.top}V${box.bottom}H${box.right}` }));
    const middle = (box.left + box.right) / 2, label = options.axis === "epochs" ? "epochs" : "images seen";
    parts.push(draw("text", { x: middle, y: this.height - 4, "text-anchor": "middle" }, label));
    const turned = { x: 0, y: 0, "text-anchor": "middle", transform: `translate(11 ${(box.top + box.bottom) / 2}) rotate(-90)` };
    parts.push(draw("text", turned, this.chart.unit));
    return parts;
  }

  marks(box, x, perUnit) {
    return this.data.marks.map((mark) => {
      const kind = mark.kind === "warning" ? "warning" : "resumed";
      const reach = kind === "warning" ? "v-12" : `V${box.top}`;
      const line = draw("path", { class: `mark ${kind}`, d: `M${x(mark.images / perUnit)} ${box.bottom}${reach}` });
      line.append(draw("title", {}, `${mark.kind}: ${mark.text}`));
      return line;
    });
  }

  lines(box, raw, half, x, y) {
    const id = `clip-${this.data.charts.indexOf(this.chart)}`;
    const clip = draw("clipPath", { id });
    clip.append(draw("rect", { x: box.left, y: box.top - 2, width: box.right - box.left + 2, height: box.bottom - box.top + 4 }));
    const group = draw("g", { "clip-path": `url(#${id})` });
    if (half > 0) raw.forEach((values, i) => group.append(draw("path", { class: `raw s${i % STYLES}`, d: pathOf(this.xs, values, x, y) })));
    this.smoothed.forEach((values, i) => group.append(draw("path", { class: `curve s${i % STYLES}`, d: pathOf(this.xs, values, x, y) })));
    return [clip, group];
  }

  /** Evaluations are few, so each has a dot. */
  points(x, y) {
    if (!this.chart.images || this.images.length > 60) return [];
    return this.smoothed.flatMap((values, i) => values.flatMap((value, k) => value === null ? [] : [
      draw("circle", { class: `point s${i % STYLES}`, cx: x(this.xs[k]).toFixed(1), cy: y(value).toFixed(1), r: 2.5 }),
    ]));
  }

  best(box, x) {
    if (this.chart.best === null || this.chart.best === undefined) return [];
    const at = x(this.chart.best / this.perUnit), right = at > box.right - 40;
    const line = draw("path", { class: "best", d: `M${at} ${box.bottom}V${box.top}` });
    line.append(draw("title", {}, `best: after ${this.chart.best.toLocaleString("en")} images`));
    return [line, draw("text", { class: "best", x: right ? at - 4 : at + 4, y: box.top + 10, "text-anchor": right ? "end" : "start" }, "best")];
  }

  /** Show the values at the point nearest to so many images seen, or the last ones. */
  read(wanted) {
    const index = wanted === null ? null : this.nearest(wanted);
    this.index = index;
    const shown = index ?? this.xs.length - 1;
    const images = this.images[shown];
    const epoch = this.data.epoch_images ? `, epoch ${(images / this.data.epoch_images).toFixed(1)}` : "";
    this.at.textContent = `${index === null ? "last: " : ""}${images.toLocaleString("en")} images${epoch}`;
    this.readings.forEach((node, i) => { node.textContent = digits(this.smoothed[i][shown]); });
    this.cross.setAttribute("d", index === null ? "" : `M${this.x(this.xs[shown])} ${this.box.top}V${this.box.bottom}`);
  }
}

function showCurves() {
  if (!byId("data")) return 0;
  const data = JSON.parse(byId("data").textContent);
  const charts = data.charts.map((chart) => new Chart(chart, data, (images) => charts.forEach((other) => other.read(images))));
  byId("charts").append(...charts.map((chart) => chart.card));
  if (!data.epoch_images) byId("axis").parentNode.hidden = true;
  const render = () => {
    const options = { smoothing: Number(byId("smoothing").value), axis: byId("axis").value };
    charts.forEach((chart) => chart.render(options));
  };
  byId("smoothing").addEventListener("input", render);
  byId("axis").addEventListener("change", render);
  let width = 0;
  new ResizeObserver(() => {
    const now = byId("charts").clientWidth;
    // In the next frame: drawing changes the height, and the observer would have to be told of that at once.
    if (now && now !== width) { width = now; requestAnimationFrame(render); }
  }).observe(byId("charts"));
  render();
  return document.querySelectorAll("#charts .plot .curve").length;
}

// --------------------------------------------------------------------------------------------------------- samples

function showSamples() {
  const figures = [...document.querySelectorAll("#snapshots .snapshot")];
  if (!figures.length) return 0;
  byId("player").classList.add("scripted");
  const moment = byId("moment"), play = byId("play");
  let timer = null;
  const show = (index) => {
    figures.forEach((figure, i) => figure.classList.toggle("current", i === index));
    moment.value = index;
    const caption = figures[index].querySelector("figcaption").textContent;
    moment.setAttribute("aria-valuetext", caption);
    byId("shown").textContent = `${caption} (${index + 1} of ${figures.length})`;
  };
  const here = () => Number(moment.value);
  const pause = () => { clearTimeout(timer); timer = null; play.textContent = "Play"; };
  const step = async () => {
    const goal = here() + 1;
    if (goal >= figures.length) { pause(); return; }
    // Decoded before it is shown, so that nothing flickers.
    await Promise.all([...figures[goal].querySelectorAll("img")].map((image) => image.decode().catch(() => null)));
    if (timer === null) return;
    show(goal);
    timer = setTimeout(step, goal === figures.length - 1 ? 0 : Math.max(150, Math.min(700, 12000 / figures.length)));
  };
  play.addEventListener("click", () => {
    if (timer !== null) { pause(); return; }
    if (here() === figures.length - 1) show(0);
    play.textContent = "Pause";
    timer = setTimeout(step, 300);
  });
  moment.addEventListener("input", () => { pause(); show(here()); });
  byId("previous").addEventListener("click", () => { pause(); show(Math.max(0, here() - 1)); });
  byId("next").addEventListener("click", () => { pause(); show(Math.min(figures.length - 1, here() + 1)); });
  show(figures.length - 1);
  if (figures.length > 1) showEnds(figures[0], figures[figures.length - 1]);
  else document.querySelector("#player .controls").classList.remove("live");
  return figures.length;
}

/** The first and the last snapshot, each direction side by side. */
function showEnds(first, last) {
  const before = [...first.querySelectorAll("img")], after = [...last.querySelectorAll("img")];
  byId("player").classList.add("compared");
  byId("ends").append(make("h3", {}, "First and latest"));
  for (let i = 0; i < Math.min(before.length, after.length); i++) {
    const pair = [[first, before[i]], [last, after[i]]].map(([figure, image]) => {
      return make("figure", {}, make("figcaption", {}, figure.querySelector("figcaption").textContent), image.cloneNode());
    });
    byId("ends").append(make("div", { class: "pair" }, ...pair));
  }
}

// ---------------------------------------------------------------------------------------------------------- heading

function ago(seconds) {
  if (seconds < 90) return "just now";
  if (seconds < 5400) return `${Math.round(seconds / 60)} minutes ago`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} hours ago`;
  return `${Math.round(seconds / 86400)} days ago`;
}

function showAge() {
  const header = document.querySelector("header"), written = new Date(header.dataset.written);
  const running = header.dataset.state === "running";
  const reload = byId("reload");
  const look = () => {
    const seconds = (Date.now() - written) / 1000;
    byId("age").textContent = `, ${ago(seconds)}`;
    if (running) byId("stale").hidden = seconds < Math.max(900, 3 * Number(header.dataset.interval));
  };
  look();
  setInterval(look, 20000);
  if (!running) { reload.parentNode.classList.remove("live"); return; }
  const key = `reload ${location.pathname}`;
  const remember = (wish) => {
    try { sessionStorage.setItem(key, wish); } catch { /* some browsers keep nothing for files */ }
  };
  try { reload.checked = sessionStorage.getItem(key) === "yes"; } catch { reload.checked = false; }
  reload.addEventListener("change", () => remember(reload.checked ? "yes" : "no"));
  setInterval(() => { if (reload.checked) location.reload(); }, 30000);
}

showAge();
const root = document.documentElement;
root.dataset.snapshots = showSamples();
document.querySelectorAll(".live").forEach((node) => { node.hidden = false; });
root.dataset.curves = showCurves();
root.dataset.ready = "yes";
