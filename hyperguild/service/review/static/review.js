// What the pages do beyond reading: keys, labels without a reload, and news of what happens in the log.
"use strict";

const live = () => document.getElementById("live");
const news = document.getElementById("news");
const keys = document.getElementById("keys");

// --- Replacing what the server made anew ----------------------------------------------------------------

let replacing = Promise.resolve();

/** Put the part of a page that changes into this one; what is open, focused or typed stays so. */
async function replaceLive(response) {
  const made = new DOMParser().parseFromString(await response.text(), "text/html");
  const fresh = made.getElementById("live");
  const old = live();
  if (!response.ok || !fresh || !old) {
    say(made.querySelector("main .error")?.textContent || "The server did not answer as it should.");
    return;
  }
  const same = (fresh.querySelector("article form")?.action ?? "") === (old.querySelector("article form")?.action ?? "");
  if (same) {
    for (const box of old.querySelectorAll("details[id]")) {
      const twin = fresh.querySelector(`#${CSS.escape(box.id)}`);
      if (twin) twin.open = box.open;
    }
    for (const input of old.querySelectorAll("input[id]")) {
      const twin = fresh.querySelector(`#${CSS.escape(input.id)}`);
      if (twin && input.value !== input.defaultValue) twin.value = input.value;
    }
  }
  const focused = old.contains(document.activeElement) ? pathTo(document.activeElement) : null;
  old.replaceWith(document.adoptNode(fresh));
  document.title = made.title;
  if (!same && fresh.getBoundingClientRect().top < 0) fresh.scrollIntoView();
  if (focused) (focused() ?? document.querySelector("#live [data-item]"))?.focus({ preventScroll: same });
}

/** Return how to find the like of an element in what will stand in its place. */
function pathTo(element) {
  if (element.id) return () => document.getElementById(element.id);
  const item = element.closest("[data-item][id]");
  const key = element.dataset.key;
  if (!item) return () => null;
  const find = key ? `[data-key="${key}"]` : null;
  return () => (find && document.getElementById(item.id)?.querySelector(find)) || document.getElementById(item.id);
}

function refresh() {
  replacing = replacing.then(async () => {
    try {
      await replaceLive(await fetch(location.href));
    } catch {
      say("The server does not answer.");
    }
  });
}

function say(text) {
  if (news) news.textContent = text;
}

// --- Labels -----------------------------------------------------------------------------------------------

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!(form instanceof HTMLFormElement) || !("label" in form.dataset)) return;
  event.preventDefault();
  const body = new URLSearchParams(new FormData(form, event.submitter));
  // What was typed is on its way: it is no draft any more.
  for (const input of form.querySelectorAll("input[id]")) input.defaultValue = input.value;
  replacing = replacing.then(async () => {
    try {
      const response = await fetch(form.action, { method: "POST", body });
      await replaceLive(response);
      if (response.ok) {
        say(body.get("value") === "none" ? "Label taken back." : `Labelled ${body.get("value")}.`);
        // In the queue the next attempt has taken its place: the address says how far we are.
        if (location.pathname === new URL(response.url).pathname) history.replaceState(null, "", response.url);
      }
    } catch {
      say("The server does not answer: the label was not recorded.");
    }
  });
});

// --- Keys -------------------------------------------------------------------------------------------------

let current = -1;

function items() {
  return [...document.querySelectorAll("#live [data-item], main > .rows [data-item]")];
}

/** Return which item is meant: the focused one, else the last that was moved to, else the one in sight. */
function place(all) {
  const focused = all.findIndex((item) => item.contains(document.activeElement));
  if (focused >= 0) return focused;
  if (current >= 0 && current < all.length) return current;
  const seen = all.findIndex((item) => {
    const box = item.getBoundingClientRect();
    return box.bottom > 80 && box.top < innerHeight * 0.6;
  });
  return seen;
}

function move(by) {
  const all = items();
  if (!all.length) return;
  const focused = all.findIndex((item) => item.contains(document.activeElement));
  const from = focused >= 0 ? focused : current;
  current = Math.min(Math.max(from + by, 0), all.length - 1);
  const target = all[current];
  (target.querySelector(".row-link") ?? target).focus({ preventScroll: true });
  target.scrollIntoView({ block: target.matches("article") ? "start" : "nearest" });
}

function press(key) {
  const all = items().filter((item) => item.querySelector("form[data-label]"));
  const chosen = all[Math.max(all.indexOf(items()[place(items())]), 0)];
  const button = chosen?.querySelector(`button[data-key="${key}"], a[data-key="${key}"]`);
  button?.click();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || keys?.open) return;
  if (event.target instanceof Element && event.target.closest("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const acts = {
    j: () => move(1),
    k: () => move(-1),
    g: () => press("g"),
    b: () => press("b"),
    0: () => press("0"),
    "/": () => document.getElementById("text")?.focus(),
    "?": () => keys?.showModal(),
  };
  if (!Object.hasOwn(acts, event.key)) return;
  event.preventDefault();
  acts[event.key]();
});

// --- News -------------------------------------------------------------------------------------------------

const QUIET_MS = 150;
let source = null;
let timer = 0;

function concerns(happened) {
  const shown = live()?.dataset;
  if (shown?.live === "list") return true;
  return shown?.live === "run" && Object.values(happened).some((ids) => ids.includes(shown.run));
}

function hear(event) {
  const happened = JSON.parse(event.data);
  if (!concerns(happened)) return;
  if (happened.started && live().dataset.live === "list") {
    const count = happened.started.length;
    say(count === 1 ? "A run began." : `${count} runs began.`);
  } else if (happened.ended) {
    say("A run ended.");
  }
  clearTimeout(timer);
  timer = setTimeout(refresh, QUIET_MS);
}

function listen() {
  if (source || !live()?.dataset.live) return;
  source = new EventSource(document.body.dataset.events);
  source.onmessage = hear;
  source.onopen = refresh; // what happened before anybody listened
}

function rest() {
  source?.close();
  source = null;
}

// Browsers open few connections to one server: a page that nobody sees keeps none.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    rest();
  } else if (live()?.dataset.live) {
    listen();
  }
});
addEventListener("pagehide", rest);
addEventListener("pageshow", () => {
  if (!document.hidden) listen();
});

document.getElementById("keys-hint")?.removeAttribute("hidden");
