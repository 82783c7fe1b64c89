// What a person reads: the messages, where the page stands in them, and what is copied of them.

import { $, leaveForm, say, words } from "./page.js";

// --- Scroll: follow the text while the reader is at its end, never otherwise

let isStuck = true;
let scroller = null;
let jumpedTo = null; // where a find was put

export function toEnd() {
  scroller.scrollTop = scroller.scrollHeight;
}

// The reader is at the end from now on: what comes is followed.
export function follow() {
  isStuck = true;
}

function isAtEnd() {
  return scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 48;
}

const growth = new ResizeObserver(() => {
  // A form to edit grows while it is written in; it must not leave the page by its top.
  if (isStuck && !document.activeElement.closest(".edit-form")) toEnd();
  else if (!isAtEnd() && $('.stream[data-stream]')) $(".to-bottom").hidden = false;
});

function onScroll() {
  // At the end of a short chat too it is no wish to follow what comes.
  if (scroller.scrollTop === jumpedTo) return;
  isStuck = isAtEnd();
  if (isStuck) $(".to-bottom").hidden = true;
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

export function watchScroller() {
  const shown = $(".scroller");
  if (shown === scroller) return;
  growth.disconnect();
  scroller = shown;
  if (!scroller) return;
  // What a search found stands in the address; else the newest is what is read first.
  const found = /^#message-\d+$/.test(location.hash) && $(location.hash);
  isStuck = !found;
  jumpedTo = null;
  if (found) {
    found.dataset.found = "";
    found.scrollIntoView({ block: "start" });
    jumpedTo = scroller.scrollTop;
  } else toEnd();
  scroller.addEventListener("scroll", onScroll, { passive: true });
  growth.observe(scroller);
  growth.observe($(".messages"));
}

// --- For screen readers: silent while text streams in, told once when it begins and once when it ends

let running = null; // the answer whose beginning was told

function tell(sentence) {
  $("#announcer").textContent = sentence;
}

export function tellAnswers() {
  const stream = $(".stream[data-stream]");
  if (stream) {
    const id = stream.dataset.stream;
    if (running?.id === id) return;
    running = { id, message: stream.closest(".message").id };
    tell($("#announcer").dataset.started);
  } else if (running) {
    // Not in the page any more: the reader has gone to another chat.
    const message = document.getElementById(running.message);
    running = null;
    if (message) tell($(".actions-shown .state", message)?.textContent ?? $("#announcer").dataset.done);
  }
}

document.addEventListener("streaming:ended", () => {
  say("");
  tellAnswers();
  // What the newest version of the page would show: see `store` in conversations/replies.py.
  // A form that was sent stays until its answer: htmx looks for the parts to swap from there.
  const form = $(".stop-form:not(.htmx-request)");
  if (form) leaveForm(form);
  form?.remove();
});

// --- Copy: a message as the Markdown that it is, an answer with its formatting too; code as it is

// A promise, so that the click's permission to write still holds when the text comes.
async function markdownFrom(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(response.statusText);
  return new Blob([await response.text()], { type: "text/plain" });
}

function answerItem(body, url) {
  const copy = body.cloneNode(true);
  copy.querySelectorAll(".code-copy, .code-wrap, .link-host").forEach((part) => part.remove());
  return new ClipboardItem({
    "text/plain": markdownFrom(url),
    "text/html": new Blob([copy.innerHTML], { type: "text/html" }),
  });
}

export async function copyFrom(button) {
  const block = button.closest(".code-block");
  const bubble = $(".bubble", button.closest(".message"));
  try {
    if (block) await navigator.clipboard.writeText($("code", block).textContent);
    else if (bubble) await navigator.clipboard.writeText(bubble.textContent);
    else {
      const body = $(".stream-body", button.closest(".stream"));
      await navigator.clipboard.write([answerItem(body, button.dataset.copy)]);
    }
  } catch {
    return; // The browser forbids it, or the server is away: the icon stays as it is.
  }
  const use = $("use", button);
  use.setAttribute("href", "#icon-check");
  setTimeout(() => use.setAttribute("href", "#icon-copy"), 1500);
}

// The head of a code block is drawn by the server; its buttons only work with this script.
export function addCodeButtons() {
  for (const head of document.querySelectorAll(".code-head:not(:has(.code-copy))")) {
    const wrap = codeButton("wrap", words().wrapCode);
    wrap.setAttribute("aria-pressed", wraps());
    head.append(wrap, codeButton("copy", words().copyCode));
  }
}

function codeButton(name, label) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = `code-${name}`;
  button.innerHTML = `<svg class="icon" aria-hidden="true"><use href="#icon-${name}"/></svg>`;
  button.append(label);
  return button;
}

// Long lines of code scroll, or wrap in all blocks alike: that is the reader's choice, and stays.
const wraps = () => document.documentElement.hasAttribute("data-wrap");

export function wrapCode(isWrapped = !wraps()) {
  document.documentElement.toggleAttribute("data-wrap", isWrapped);
  document.querySelectorAll(".code-wrap").forEach((button) => button.setAttribute("aria-pressed", isWrapped));
  try {
    localStorage.setItem("wrap-code", isWrapped ? "1" : "");
  } catch {
    // Storage is forbidden: it holds for this page.
  }
}

let isAdding = false;
new MutationObserver(() => {
  if (isAdding) return;
  isAdding = true;
  requestAnimationFrame(() => {
    isAdding = false;
    addCodeButtons();
  });
}).observe(document.body, { childList: true, subtree: true });

// --- A rating's word is taken away when it is stored, or by Esc; the focus goes to what it was about

function toThumb(form) {
  $("[aria-pressed=true]", form.parentElement).focus();
}

document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  const form = detail.requestConfig.elt;
  if (detail.xhr.status === 200 && form.matches(".word-form")) toThumb(form);
});

// The rating stays, without a word.
export function leaveWord(form) {
  toThumb(form);
  form.remove();
}

// --- All pages show the version now that this one has found

document.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (detail.successful && detail.elt.matches(".switch-form")) detail.elt.remove();
});

// --- What stands behind 'more' tells the time of the reader's place

document.addEventListener("toggle", ({ target, newState }) => {
  if (newState !== "open") return;
  for (const time of target.querySelectorAll("time")) {
    const at = new Date(time.dateTime);
    time.textContent = at.toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
  }
}, true);
