"use strict";
// Charts are drawn without this; it adds values at the pointer or by arrow keys, in all charts at once, and smoothing.
window.addEventListener("error", (event) => { document.documentElement.dataset.error = event.message; });
(() => {
  const digits = (value) => {
    const size = Math.abs(value);
    return size >= 1e7 || (size < 1e-4 && size) ? value.toExponential(2)
      : Number(value.toPrecision(4)).toLocaleString("en", { maximumFractionDigits: 9 });
  };
  const scale = ([low, high, start, end, log]) => ({
    to: (v) => {
      const at = Math.min(Math.max(v, low), high);
      return start + (end - start) * (log ? Math.log(at / low) / Math.log(high / low) : (at - low) / (high - low));
    },
    from: (p) => {
      const share = (p - start) / (end - start);
      return log ? low * (high / low) ** share : low + (high - low) * share;
    },
  });
  const nearest = (xs, value) => {
    let best = 0;
    xs.forEach((x, i) => { if (Math.abs(x - value) < Math.abs(xs[best] - value)) best = i; });
    return best;
  };
  const mean = (ys, half) => ys.map((_, i) => {
    const reach = Math.min(half, i, ys.length - 1 - i);
    let sum = 0;
    for (let k = i - reach; k <= i + reach; k++) sum += ys[k];
    return sum / (2 * reach + 1);
  });

  const charts = [...document.querySelectorAll("svg.plot")].map((svg) => {
    const frame = JSON.parse(svg.dataset.frame), x = scale(frame.x), y = scale(frame.y);
    const lines = [...svg.querySelectorAll("polyline[data-x]")].map((node) => {
      const ys = JSON.parse(node.dataset.y);
      return { node, name: node.dataset.name, xs: JSON.parse(node.dataset.x), ys, shown: ys };
    });
    const cross = document.createElementNS("http://www.w3.org/2000/svg", "path");
    cross.setAttribute("class", "cross");
    svg.append(cross);
    const reading = document.createElement("p");
    reading.className = "reading";
    svg.after(reading);
    svg.tabIndex = 0;
    const all = [...new Set(lines.flatMap((line) => line.xs))].sort((a, b) => a - b);
    const chart = { svg, frame, lines, all, at: null };
    /** Show the values at the points nearest to x = `at`, or the last ones. */
    chart.read = (at) => {
      chart.at = at;
      if (!all.length) return;
      const place = all[at === null ? all.length - 1 : nearest(all, at)];
      const epoch = frame.epoch ? `, epoch ${(place / frame.epoch).toFixed(1)}` : "";
      const values = lines.map((line) => {
        const i = nearest(line.xs, place);
        return `${lines.length > 1 ? `${line.name} ` : ""}${digits(line.shown[i])}`;
      });
      reading.textContent = `${at === null ? "last: " : ""}${digits(place)} ${frame.label}${epoch}: ${values.join(", ")}`;
      cross.setAttribute("d", at === null ? "" : `M${x.to(place)} ${frame.y[3]}V${frame.y[2]}`);
    };
    chart.smooth = (strength) => {
      lines.filter((line) => line.node.dataset.smooth).forEach((line) => {
        line.shown = mean(line.ys, Math.round((line.ys.length * strength) / 200));
        line.node.setAttribute("points", line.xs.map((v, i) => `${x.to(v).toFixed(1)},${y.to(line.shown[i]).toFixed(1)}`).join(" "));
      });
      chart.read(chart.at);
    };
    chart.pointed = (event) => {
      const box = svg.getBoundingClientRect();
      return x.from((event.clientX - box.left) * (svg.viewBox.baseVal.width / box.width));
    };
    return chart;
  });
  /** Charts over the same axis show the same place. */
  const read = (from, at) => charts.filter((each) => each.frame.label === from.frame.label).forEach((each) => each.read(at));

  charts.forEach((chart) => {
    const { svg, all } = chart;
    svg.addEventListener("pointermove", (event) => read(chart, chart.pointed(event)));
    svg.addEventListener("pointerdown", (event) => read(chart, chart.pointed(event)));
    svg.addEventListener("pointerleave", () => read(chart, null));
    svg.addEventListener("blur", () => read(chart, null));
    svg.addEventListener("keydown", (event) => {
      const last = all.length - 1, here = chart.at === null ? last : nearest(all, chart.at);
      const step = event.shiftKey ? Math.ceil(last / 20) : 1;
      const goals = { ArrowLeft: here - step, ArrowRight: here + step, Home: 0, End: last, Escape: null };
      if (!(event.key in goals)) return;
      event.preventDefault();
      const goal = goals[event.key];
      read(chart, goal === null ? null : all[Math.max(0, Math.min(last, goal))]);
    });
    chart.read(null);
  });
  const slider = document.getElementById("smoothing");
  if (slider && document.querySelector("polyline[data-smooth]")) {
    slider.parentNode.hidden = false;
    slider.addEventListener("input", () => charts.forEach((chart) => chart.smooth(Number(slider.value))));
  }
  document.documentElement.dataset.charts = charts.length;
})();
