"use strict";
// Asks once a second whether something came, and then takes the page anew; what is open stays open.
let asking = false;

async function refresh() {
  const main = document.querySelector("main");
  const told = await (await fetch("/_emulator/exchanges?since=999999999999")).json();
  document.body.classList.remove("gone");
  if (String(told.revision) === main.dataset.revision) return;
  const text = await (await fetch("/_emulator")).text();
  const fresh = new DOMParser().parseFromString(text, "text/html");
  for (const name of ["header", "main"]) {
    const [before, after] = [document.querySelector(name), fresh.querySelector(name)];
    const folds = (part) => [...part.querySelectorAll("details")];
    const place = (fold) => {
      const exchange = fold.closest(".exchange");
      return `${exchange.id} ${folds(exchange).indexOf(fold)}`;
    };
    const open = new Set(folds(before).filter((fold) => fold.open).map(place));
    for (const fold of folds(after)) fold.open = open.has(place(fold));
    before.replaceWith(after);
  }
}

setInterval(async () => {
  if (asking || document.hidden) return;
  asking = true;
  try {
    await refresh();
  } catch {
    document.body.classList.add("gone");
  } finally {
    asking = false;
  }
}, 1000);
