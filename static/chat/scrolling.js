// Where the page stands in the messages.

import { $ } from "./page.js";

// --- Scroll: follow the text while the reader is at its end, never otherwise

let isStuck = true;
let scroller = null;
let endButton = null; // what leads there; looked for once, since it stands behind all messages
let lastTop = 0;
let jumpedTo = null; // where a find was put

function toEnd() {
  scroller.scrollTop = scroller.scrollHeight;
}

// The reader is at the end from now on: what comes is followed.
export function follow() {
  isStuck = true;
}

function toGo() {
  return scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
}
const isAtEnd = () => toGo() < 48;
const isAtVeryEnd = () => toGo() < 2;

// A form to edit grows while it is written in; it must not leave the page by its top. Under a button
// that is down nothing moves either.
const isAtWork = () =>
  document.activeElement.closest(".messages .edit-form") || scroller.firstElementChild.matches(":active");

const growth = new ResizeObserver(() => {
  if (isStuck && !isAtWork()) toEnd();
  else if (endButton.hidden && !isAtEnd() && $(".stream[data-stream]")) endButton.hidden = false;
});

function onScroll() {
  const top = scroller.scrollTop;
  const isUp = top < lastTop;
  lastTop = top;
  // At the end of a short chat too it is no wish to follow what comes.
  if (top === jumpedTo) return;
  // Upwards it is one to stay, however small; unless the text has become shorter. Downwards it is none
  // to leave: a page that becomes narrower scrolls by itself.
  const isHere = isUp ? isAtVeryEnd() : isStuck || isAtEnd();
  // Where later messages are still to come it is not the end, and they must not be skipped.
  isStuck = isHere && (isStuck || !isSelecting()) && !hasLater;
  if (isStuck) endButton.hidden = true;
}

// At once, before text that comes meanwhile can pull the page back.
function letGo() {
  if (scroller?.scrollTop > 0) isStuck = false;
}

document.addEventListener("wheel", ({ deltaY, target }) => {
  if (deltaY < 0 && target.closest?.(".scroller")) letGo();
}, { passive: true });

let touchedAt = 0;
document.addEventListener("touchstart", ({ touches }) => {
  touchedAt = touches[0].clientY;
}, { passive: true });
document.addEventListener("touchmove", ({ touches, target }) => {
  if (touches[0].clientY > touchedAt && target.closest?.(".scroller")) letGo();
}, { passive: true });

const UP = ["ArrowUp", "PageUp", "Home"];
document.addEventListener("keydown", ({ key, target }) => {
  if (UP.includes(key) && !target.matches("input, textarea, select")) letGo();
});

// What is selected is read: it stays where it is, and what the selection holds back is new text too.
function isSelecting() {
  const selection = getSelection();
  return !selection.isCollapsed && selection.containsNode(scroller.firstElementChild, true);
}

document.addEventListener("selectionchange", () => scroller && isSelecting() && (isStuck = false));
document.addEventListener("streaming:held", () => isSelecting() && (endButton.hidden = false));
for (const type of ["streaming:grew", "streaming:ended"]) {
  document.addEventListener(type, ({ detail }) => detail.isCaughtUp && (endButton.hidden = isAtEnd()));
}

// The button: the keys scroll on from there.
export function goToEnd() {
  getSelection().removeAllRanges();
  follow();
  toEnd();
  endButton.hidden = true;
  scroller.focus({ preventScroll: true });
}

// Another branch takes the place of what is removed. Where the paths part, the row of the versions
// stays where it was, under the pointer that switched them.
let parted = null;

document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (detail.target.id !== "state" || !scroller) return;
  const id = /delete:#(message-\d+)/.exec(detail.serverResponse)?.[1];
  const removed = id && document.getElementById(id);
  if (!removed) return;
  const { bottom } = removed.getBoundingClientRect();
  const { top, bottom: end } = scroller.getBoundingClientRect();
  const isSeen = bottom > top && bottom <= end;
  parted = isSeen ? { before: removed.previousElementSibling, bottom } : null;
});

function keepPlace() {
  if (!parted) return;
  const { before, bottom } = parted;
  parted = null;
  const put = before ? before.nextElementSibling : $(".messages").firstElementChild;
  if (!put) return;
  // Its height must be its own, not the one that stands for what is not looked at.
  put.classList.add("message-laid-out");
  scroller.scrollTop += put.getBoundingClientRect().bottom - bottom;
  isStuck = isAtEnd();
}

document.addEventListener("htmx:afterSwap", keepPlace);

// What stands above it gets its own heights in the first frames; a reader's hand ends this.
const SETTLING_FRAMES = 40;
let isHeld = false;

function jumpTo(found, frames) {
  if (!isHeld || !found.isConnected || !frames) return;
  found.scrollIntoView({ block: "start" });
  jumpedTo = scroller.scrollTop;
  const isReady = document.readyState === "complete";
  requestAnimationFrame(() => jumpTo(found, isReady ? frames - 1 : SETTLING_FRAMES));
}

for (const hand of ["wheel", "touchstart", "pointerdown", "keydown"]) {
  document.addEventListener(hand, () => { isHeld = false; }, { passive: true });
}

export function watchScroller() {
  const shown = $(".scroller");
  if (shown === scroller) return;
  growth.disconnect();
  scroller = shown;
  if (!scroller) return;
  endButton = $(".to-bottom");
  // What a search found stands in the address; else the newest is what is read first.
  const found = /^#message-\d+$/.test(location.hash) && $(location.hash);
  isStuck = !found && !$(".elsewhere-later");
  jumpedTo = null;
  if (found) {
    found.dataset.found = "";
    isHeld = true;
    jumpTo(found, SETTLING_FRAMES);
  } else if (isStuck) toEnd();
  lastTop = scroller.scrollTop;
  scroller.addEventListener("scroll", onScroll, { passive: true });
  growth.observe(scroller);
  growth.observe($(".messages"));
}

// --- Earlier and later messages come when one gets near; what is read stays where it is

const NEAR = "800px 0px";
let nearness = null;
// Looked for here, once for what is put in: text that is followed scrolls with each frame.
let hasLater = false;

export function watchEdges() {
  nearness?.disconnect();
  hasLater = Boolean($(".elsewhere-later"));
  if (!scroller) return;
  const told = ({ isIntersecting, target }) => isIntersecting && window.htmx.trigger(target, "chat:near");
  nearness = new IntersectionObserver((entries) => entries.forEach(told), { root: scroller, rootMargin: NEAR });
  document.querySelectorAll(".elsewhere").forEach((edge) => nearness.observe(edge));
}

// While what came above it gets its own heights, the browser's own anchor would count them twice.
const PINNED_FRAMES = 20;
let pinned = null; // the first message that reaches into what is seen, and how far down it begins

const depthOf = (message) => message.getBoundingClientRect().top + scroller.scrollTop;

document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (!detail.target.matches(".elsewhere-earlier")) return;
  const { top } = scroller.getBoundingClientRect();
  const messages = [...scroller.querySelectorAll(".message")];
  const message = messages.find((one) => one.getBoundingClientRect().bottom > top);
  if (!message) return;
  scroller.style.overflowAnchor = "none";
  pinned = { message, depth: depthOf(message), frames: PINNED_FRAMES };
});

function keepPinned() {
  if (!pinned) return;
  const { message, depth } = pinned;
  if (message.isConnected && pinned.frames > 0) {
    pinned.frames -= 1;
    pinned.depth = depthOf(message);
    // Whatever the reader has scrolled meanwhile stays scrolled.
    scroller.scrollTop += pinned.depth - depth;
    requestAnimationFrame(keepPinned);
  } else {
    pinned = null;
    scroller.style.overflowAnchor = "";
  }
}

document.addEventListener("htmx:afterSwap", () => pinned?.frames === PINNED_FRAMES && keepPinned());
