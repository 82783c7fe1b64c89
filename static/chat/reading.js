// What a person reads: what is said of the messages, and what is copied of them.

import { $, leaveForm, say, words } from "./page.js";

// --- For screen readers: silent while text streams in, told once when it begins and once when it ends

const TOLD_MS = 500; // so long a sentence stands before another may take its place
const OPEN = ':is([data-status="pending"], [data-status="streaming"])';

let running = null; // the stream and the message of the answer whose beginning was told
let known = { chat: null, version: 0 }; // what began by this version of this chat is no news
let telling = Promise.resolve();

// One after the other: two at once would be one change, and the first never heard.
function tell(sentence) {
  telling = telling.then(() => {
    $("#announcer").textContent = sentence;
    return new Promise((resolve) => setTimeout(resolve, TOLD_MS));
  });
}

function tellStart() {
  tell($("#announcer").dataset.started);
}

function tellEnd(message) {
  tell($(".actions-shown .state", message)?.textContent ?? $("#announcer").dataset.done);
}

export function tellAnswers() {
  if (running && !$(`.stream[data-stream="${running.stream}"]${OPEN}`)) {
    // Where it is not in the page any more, the reader has gone to another chat.
    const message = document.getElementById(running.message);
    running = null;
    if (message) tellEnd(message);
  }
  const stream = $(`.stream[data-stream]${OPEN}`);
  // The server knows for how long it thinks, not whether it still does.
  if (stream) showThinking(stream);
  const { topic, version } = $("#state")?.dataset ?? {};
  if (known.chat !== topic) known = { chat: topic, version: isBegunHere(topic) ? 0 : Number(version ?? 0) };
  const answer = [...document.querySelectorAll(".message-assistant")].at(-1);
  const begun = Number(answer?.dataset.version ?? 0);
  if (stream && !running) {
    running = { stream: stream.dataset.stream, message: stream.closest(".message").id };
    tellStart();
  } else if (!stream && begun > known.version) {
    // Over before the page has seen it run: refused at once, or quicker than the page.
    tellStart();
    tellEnd(answer);
  }
  known.version = Math.max(known.version, begun, Number(version ?? 0));
}

// A chat that a form of this tab has begun, on this page or the one before: its answer is news.
document.addEventListener("htmx:beforeOnLoad", ({ detail: { xhr, requestConfig } }) => {
  const address = xhr.getResponseHeader("HX-Push-Url") ?? xhr.getResponseHeader("HX-Redirect");
  if (!address || requestConfig.verb !== "post") return;
  try {
    sessionStorage.setItem("begun", address);
  } catch {
    // Storage is forbidden: an answer that is over at once is not told.
  }
});

function isBegunHere(topic = "") {
  try {
    const address = sessionStorage.getItem("begun");
    if (topic) sessionStorage.removeItem("begun");
    return Boolean(topic && address?.includes(topic.split(":")[1]));
  } catch {
    return false;
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

// --- How long a model thinks: counted while it does, and told by the server at the end

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;

function showClock() {
  for (const reasoning of document.querySelectorAll('.reasoning[data-state="now"]')) {
    const time = $(".reasoning-time", reasoning);
    time.dataset.began ??= performance.now() - Number(time.dataset.seconds ?? 0) * 1000;
    time.textContent = clock(Math.round((performance.now() - time.dataset.began) / 1000));
  }
}

// Told by the first and the last block alone: it is asked for each frame.
function showThinking(stream) {
  const reasoning = stream.previousElementSibling;
  if (!reasoning?.matches('.reasoning:not([data-state="past"])')) return;
  const open = document.getElementById(`${stream.id}-open`);
  const first = open?.parentElement.firstElementChild;
  const isThought = (block) => block?.matches(".thought");
  if (!isThought(first === open ? open?.firstElementChild : first)) return;
  const state = isThought(open.firstElementChild ?? open.previousElementSibling) ? "now" : "past";
  if (reasoning.dataset.state === state) return;
  showClock();
  reasoning.dataset.state = state;
  showClock();
}

setInterval(showClock, 1000);
document.addEventListener("streaming:grew", ({ target }) => showThinking(target));

function showThought({ target }) {
  const told = $(".stream-foot > data", target);
  if (!told) return;
  const reasoning = target.previousElementSibling;
  reasoning.dataset.state = "past";
  $(".reasoning-time", reasoning).textContent = clock(Number(told.value));
}

document.addEventListener("streaming:ended", showThought);

// --- The tab's title marks an answer that ended while nobody could see it

let hasEndedUnseen = false;

export function showTitle() {
  const title = $(".chat-head h1");
  if (title) document.title = `${hasEndedUnseen ? "● " : ""}${title.textContent} · chatsite`;
}

function mark(isUnseen) {
  hasEndedUnseen = isUnseen;
  showTitle();
}

document.addEventListener("streaming:ended", () => document.hidden && mark(true));
document.addEventListener("visibilitychange", () => document.hidden || mark(false));

// --- Copy: a message as the Markdown that it is, an answer with its formatting too; code as it is

// A promise, so that the click's permission to write still holds when the text comes.
async function markdownFrom(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(response.statusText);
  return new Blob([await response.text()], { type: "text/plain" });
}

function answerItem(body, url) {
  const copy = body.cloneNode(true);
  copy.querySelectorAll(".code-copy, .code-wrap, .link-host, .thought").forEach((part) => part.remove());
  const markdown = { "text/plain": markdownFrom(url) };
  // While a selection holds text back, the page does not show all of it.
  if (body.closest("[data-held]")) return new ClipboardItem(markdown);
  return new ClipboardItem({ ...markdown, "text/html": new Blob([copy.innerHTML], { type: "text/html" }) });
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
function addCodeButtons(part) {
  for (const head of part.querySelectorAll(".code-head:not(:has(.code-copy))")) {
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

// What comes is looked through, never the whole page: text comes twenty times a second.
new MutationObserver((records) => {
  for (const { addedNodes } of records) {
    for (const node of addedNodes) if (node.nodeType === Node.ELEMENT_NODE) addCodeButtons(node);
  }
}).observe(document.body, { childList: true, subtree: true });
addCodeButtons(document.body);

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
