"use strict";
// The page of all runs reloads itself while it is looked at.
setInterval(() => { if (!document.hidden) location.reload(); }, 1000 * document.querySelector("header").dataset.refresh);
document.documentElement.dataset.ready = "yes";
