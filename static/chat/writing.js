// What a person writes: the composer and the forms to edit. No text is ever lost.

import { $, composerText, hasKeyboard, leaveForm, say } from "./page.js";
import { follow } from "./scrolling.js";

// Where messages are written.
export const TEXTS = "#composer-text, .edit-form textarea";

// --- Drafts

function draftKey(textarea) {
  return `draft:${$("#app").dataset.user}:${textarea.form.dataset.draft}`;
}

export function saveDraft(textarea) {
  try {
    if (textarea.value) localStorage.setItem(draftKey(textarea), textarea.value);
    else localStorage.removeItem(draftKey(textarea));
  } catch {
    // Storage is full or forbidden: the text stays in the field.
  }
}

// A refused text comes back from the server; what was typed after it is in the draft alone. A form
// to edit comes with the message as it is stored: its draft is newer.
function restoreDraft(textarea) {
  try {
    const draft = localStorage.getItem(draftKey(textarea));
    const isNewer = draft && textarea.form.matches(".edit-form");
    if (isNewer || draft?.startsWith(textarea.value)) textarea.value = draft;
  } catch {
    // As above.
  }
}

// Nobody sees another person's drafts; what was typed before signing in comes along.
export function inheritDrafts() {
  const mine = `draft:${$("#app").dataset.user}:`;
  const typed = localStorage.getItem("draft::new");
  if (typed && !localStorage.getItem(`${mine}new`)) localStorage.setItem(`${mine}new`, typed);
  Object.keys(localStorage)
    .filter((key) => key.startsWith("draft:") && !key.startsWith(mine))
    .forEach((key) => localStorage.removeItem(key));
}

function forgetDraft(form) {
  try {
    localStorage.removeItem(draftKey($("textarea", form)));
  } catch {
    // Storage is forbidden: there was none.
  }
}

function fit(textarea) {
  if (!CSS.supports("field-sizing", "content")) {
    textarea.style.height = "auto";
    textarea.style.height = `${textarea.scrollHeight}px`;
  }
  const count = $(".composer-count", textarea.form);
  const limit = Number(textarea.dataset.limit);
  const length = [...textarea.value.trim()].length;
  const isNear = length > limit * 0.9;
  count.textContent = isNear ? `${length.toLocaleString()} / ${limit.toLocaleString()}` : "";
  count.toggleAttribute("data-over", length > limit);
}

function setText(textarea, text) {
  textarea.value = text;
  saveDraft(textarea);
  fit(textarea);
}

// --- The composer: Enter sends, Shift+Enter breaks the line

export function onEnter(event) {
  const form = event.target.form;
  event.preventDefault();
  if (!event.target.value || form.classList.contains("htmx-request")) return;
  form.requestSubmit($(".send-button, .edit-send", form));
}

document.addEventListener("input", (event) => {
  if (!event.target.matches(TEXTS)) return;
  saveDraft(event.target);
  fit(event.target);
  say("", event.target.form);
});

// A request may have to wait for another. What is sent is what stood there when it was asked for, and
// it is sent once.
const asked = new WeakMap();

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.id !== "composer") return;
  if (asked.has(form)) {
    event.preventDefault();
    event.stopPropagation();
  } else if (!event.submitter?.matches(".example")) asked.set(form, $("textarea", form).value);
}, true);

document.addEventListener("htmx:configRequest", ({ target, detail }) => {
  if (asked.has(target)) detail.parameters.content = asked.get(target);
});

document.addEventListener("htmx:beforeRequest", (event) => {
  const form = event.target;
  // Its button cannot be pressed until the answer, and goes with it.
  if (form.matches("form[hx-disabled-elt]")) leaveForm(form);
  if (form.id !== "composer") return;
  const text = asked.get(form) ?? "";
  asked.delete(form);
  const newest = newestMessage();
  say("");
  // On the form itself: the reader may be in another chat when its answer comes.
  const answered = ({ detail }) => detail.xhr.status === 200 && accepted(form, text, newest);
  form.addEventListener("htmx:afterRequest", answered, { once: true });
});

const newestMessage = () => [...document.querySelectorAll(".message")].at(-1);

// What was typed in the meantime stays. So does the reader's place, if the message has to wait.
function accepted(form, text, newest) {
  const textarea = $("textarea", form);
  if (textarea.value.startsWith(text)) setText(textarea, textarea.value.slice(text.length));
  if (newestMessage() !== newest) follow();
}

// --- Edit: a form in the place of a message, sent or waiting; what is typed there is as safe as in
// the composer

export function editLast() {
  const waiting = document.querySelectorAll(".queue .queued-open, .queue textarea");
  const sent = document.querySelectorAll(".messages .edit-open, .messages .edit-form textarea");
  const last = [...sent, ...waiting].at(-1);
  if (last?.matches("textarea")) last.focus();
  else last?.click();
}

document.addEventListener("htmx:beforeRequest", ({ target }) => {
  if (!target.matches(".edit-cancel")) return;
  const form = target.closest("form");
  forgetDraft(form);
  // Where the focus goes from there is the button that opened the form.
  $("textarea", form).focus({ preventScroll: true });
});

function isBeingWritten(form) {
  if (form.matches(".htmx-request, :has(.htmx-request)")) return false;
  const textarea = $("textarea", form);
  return textarea.value !== textarea.defaultValue || (textarea === document.activeElement && form.closest(".queue"));
}

// The form's own answer takes it away. Whatever else would leaves it where something was typed.
document.addEventListener("htmx:oobBeforeSwap", (event) => {
  const { target } = event.detail;
  // Looked at first: a frame's target holds all of an answer.
  if (!target.matches(".message, .queue")) return;
  const form = [...target.querySelectorAll(".edit-form")].find(isBeingWritten);
  if (!form) return;
  event.detail.shouldSwap = false;
  say(form.dataset.replaced, form);
});

document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  const form = detail.requestConfig.elt;
  if (detail.xhr.status !== 200) return;
  if (!form.matches(".edit-form, .queued form")) return;
  if (form.matches(".edit-form")) forgetDraft(form);
  if (!form.closest(".queue")) follow();
  if (hasKeyboard()) composerText()?.focus({ preventScroll: true });
});

// Parts that htmx has put in: a field that was not here before gets what was typed into it.
let knownTextarea = null;

export function beginWriting() {
  const textarea = composerText();
  if (textarea && textarea !== knownTextarea) {
    restoreDraft(textarea);
    fit(textarea);
    // Another part was put in: the reader goes on writing. A phone's keyboard stays down.
    if (knownTextarea && hasKeyboard()) focusAtEnd(textarea);
    knownTextarea = textarea;
  }
  document.querySelectorAll(".edit-form:not([data-begun])").forEach(beginEdit);
}

function focusAtEnd(textarea) {
  textarea.focus({ preventScroll: true });
  textarea.setSelectionRange(textarea.value.length, textarea.value.length);
}

function beginEdit(form) {
  const textarea = $("textarea", form);
  form.dataset.begun = "";
  restoreDraft(textarea);
  fit(textarea);
  focusAtEnd(textarea);
  form.scrollIntoView({ block: "nearest" });
}
