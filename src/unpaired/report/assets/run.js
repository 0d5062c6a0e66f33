"use strict";
// The page of a run: a player for the samples, the page's age, and reloading while the run is on.
(() => {
  const byId = (id) => document.getElementById(id), root = document.documentElement;
  let playing = null;

  function player() {
    const figures = [...document.querySelectorAll("#player .snapshot")];
    if (!figures.length) return 0;
    const moment = byId("moment"), play = byId("play");
    byId("player").classList.add("scripted");
    const show = (index) => {
      figures.forEach((figure, i) => figure.classList.toggle("current", i === index));
      moment.value = index;
      const caption = figures[index].querySelector("figcaption").textContent;
      moment.setAttribute("aria-valuetext", caption);
      byId("shown").textContent = `${caption} (${index + 1} of ${figures.length})`;
    };
    const here = () => Number(moment.value);
    const pause = () => { clearTimeout(playing); playing = null; play.textContent = "Play"; };
    const step = async () => {
      const goal = here() + 1;
      if (goal >= figures.length) { pause(); return; }
      // Decoded before it is shown, so that nothing flickers.
      await Promise.all([...figures[goal].querySelectorAll("img")].map((image) => image.decode().catch(() => null)));
      if (playing === null) return;
      show(goal);
      playing = setTimeout(step, goal === figures.length - 1 ? 0 : Math.max(150, Math.min(700, 12000 / figures.length)));
    };
    play.addEventListener("click", () => {
      if (playing !== null) { pause(); return; }
      if (here() === figures.length - 1) show(0);
      play.textContent = "Pause";
      playing = setTimeout(step, 300);
    });
    moment.addEventListener("input", () => { pause(); show(here()); });
    byId("previous").addEventListener("click", () => { pause(); show(Math.max(0, here() - 1)); });
    byId("next").addEventListener("click", () => { pause(); show(Math.min(figures.length - 1, here() + 1)); });
    show(figures.length - 1);
    byId("player").querySelector(".controls").hidden = figures.length < 2;
    return figures.length;
  }

  function ago(seconds) {
    if (seconds < 90) return "just now";
    if (seconds < 5400) return `${Math.round(seconds / 60)} minutes ago`;
    if (seconds < 129600) return `${Math.round(seconds / 3600)} hours ago`;
    return `${Math.round(seconds / 86400)} days ago`;
  }

  const header = document.querySelector("header"), written = new Date(header.dataset.written);
  const running = header.dataset.refresh > 0, reload = byId("reload"), key = `reload ${location.pathname}`;
  const look = () => {
    const seconds = (Date.now() - written) / 1000;
    byId("age").textContent = `, ${ago(seconds)}`;
    if (byId("stale")) byId("stale").hidden = seconds < Math.max(900, 3 * Number(header.dataset.interval));
  };
  look();
  setInterval(look, 20000);
  root.dataset.snapshots = player();
  if (running) {
    reload.parentNode.hidden = false;
    // Some browsers keep nothing for files.
    try { reload.checked = sessionStorage.getItem(key) !== "no"; } catch { reload.checked = true; }
    reload.addEventListener("change", () => {
      try { sessionStorage.setItem(key, reload.checked ? "yes" : "no"); } catch { /* for this page alone, then */ }
    });
    setInterval(() => {
      if (reload.checked && playing === null && !document.hidden) location.reload();
    }, 1000 * header.dataset.refresh);
  }
  root.dataset.ready = "yes";
})();
