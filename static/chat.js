// What the chat's pages do beyond plain HTML and htmx: keys, failures, and what is done anew for each
// part that is put in. Listeners stand on the document, so swapped parts need no set-up. The modules
// are named after what a person does: writing, reading, and keeping chats.

import {
  beginSearch,
  clearSearch,
  closeDrawer,
  isSearchKey,
  leaveRename,
  leaveSearch,
  markCurrent,
  markRead,
  showGone,
  tellTimeZone,
  toggleChats,
  watchToast,
} from "./chat/chats.js";
import { $, composerText, hasKeyboard, say, sentenceFor, words } from "./chat/page.js";
import { copyFrom, leaveWord, showTitle, tellAnswers, wrapCode } from "./chat/reading.js";
import { goToEnd, watchEdges, watchScroller } from "./chat/scrolling.js";
import { beginWriting, editLast, inheritDrafts, onEnter, saveDraft, TEXTS } from "./chat/writing.js";

// --- Keys

function mayType(event) {
  // 229 is what some keyboards send while a word is composed.
  return !event.isComposing && event.keyCode !== 229;
}

function onEscape(event) {
  const form = event.target.closest(".edit-form");
  const word = event.target.closest(".word-form");
  if (word) leaveWord(word);
  else if (event.target.closest(".rename-form")) leaveRename(event.target.form);
  else if (event.target.id === "search") leaveSearch(event.target);
  else if ($(":popover-open")) return; // It closes by itself.
  else if ($("#app[data-drawer]")) closeDrawer();
  else if (form) $(".edit-cancel", form).click();
  else $(".stop-form button")?.click();
}

// `?` is a character where one writes.
function isShortcutsKey(event) {
  if (event.ctrlKey || event.metaKey) return event.key === "/";
  return event.key === "?" && !event.target.matches("input, textarea, select");
}

function isCommand(event, letter) {
  return event.key.toLowerCase() === letter && event.shiftKey && (event.ctrlKey || event.metaKey);
}

// Who types where nothing takes it means the composer.
function isTyped(event) {
  const isCharacter = /^[^ ?]$/u.test(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey;
  return isCharacter && event.target.matches("body, .scroller") && mayType(event) && !$(":popover-open");
}

document.addEventListener("keydown", (event) => {
  // All keys are the sheet's, which closes by itself.
  if ($("#shortcuts[open]")) return;
  const isText = event.target.matches(TEXTS);
  if (event.key === "Enter" && isText && !event.shiftKey && mayType(event)) {
    // On a phone Enter is the only way to a new line.
    if (hasKeyboard() || event.ctrlKey || event.metaKey) onEnter(event);
  } else if (event.key === "Escape" && mayType(event)) {
    onEscape(event);
  } else if (event.key === "ArrowUp" && event.target.matches("#composer-text") && !event.target.value) {
    event.preventDefault();
    editLast();
  } else if (isSearchKey(event)) {
    event.preventDefault();
    beginSearch();
  } else if (isCommand(event, "o")) {
    event.preventDefault();
    $(".new-chat")?.click();
  } else if (isCommand(event, "s")) {
    event.preventDefault();
    toggleChats();
  } else if (isCommand(event, "c")) {
    event.preventDefault();
    [...document.querySelectorAll(".message-assistant [data-copy]")].at(-1)?.click();
  } else if (isTyped(event)) {
    // Before the character is put in: it stands in the composer then.
    composerText()?.focus();
  } else if (isShortcutsKey(event)) {
    event.preventDefault();
    $("#shortcuts").showModal();
  }
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button?.matches("[data-copy], .code-copy")) copyFrom(button);
  else if (button?.matches(".code-wrap")) wrapCode();
  else if (button?.matches(".to-bottom")) goToEnd();
  else if (button?.matches(".shortcuts-open")) $("#shortcuts").showModal();
});

// --- Requests, and those that fail

// After signing in again in another tab this page goes on: the cookie has a token that is good.
document.addEventListener("htmx:configRequest", ({ detail }) => {
  const token = /(?:^|; )csrftoken=([^;]+)/.exec(document.cookie)?.[1];
  if (!token || !$("#app").dataset.user) return;
  detail.headers["X-CSRFToken"] = token;
  delete detail.parameters.csrfmiddlewaretoken;
});

function onFailure(event) {
  const { xhr, elt, target } = event.detail;
  // The chat stays unread: no harm, and nothing that a person asked for.
  if (event.target.id === "read") return;
  if (event.target.matches(".switch-form")) event.target.dataset.failed = "";
  if ([422, 409, 503].includes(xhr.status) && xhr.responseText) return;
  if (event.target.matches(".search-form")) {
    $("#sidebar-list").innerHTML = '<p class="search-said" role="alert"></p>';
    $(".search-said").textContent = xhr.status ? words().unsearched : sentenceFor(0);
    return;
  }
  if (target?.matches?.(".said")) {
    target.innerHTML = '<span class="field-error"></span>';
    say(sentenceFor(xhr.status), target);
    target.scrollIntoView({ block: "nearest" });
    return;
  }
  const typed = $(TEXTS, elt);
  if (typed) saveDraft(typed);
  const form = elt?.closest?.(".edit-form, .rename-form");
  const isEditing = elt?.matches?.(".edit-open, .edit-cancel");
  if (event.detail.requestConfig?.verb === "get" && !isEditing) {
    // A chat that is gone, or a server that is: the whole page says so.
    if (xhr.status === 404 && target?.id === "state") showGone();
    if (xhr.status === 401 && target?.id === "state") say(sentenceFor(401));
    if (target?.id === "main" && xhr.status) location.assign(event.detail.pathInfo.requestPath);
    else if (elt.matches("a")) say(sentenceFor(xhr.status));
    return;
  }
  say(sentenceFor(xhr.status), form);
}

document.addEventListener("htmx:sendError", onFailure);
document.addEventListener("htmx:timeout", onFailure);
document.addEventListener("htmx:responseError", onFailure);

// --- A page that the server has drawn anew, in another theme, stands where it stood

document.addEventListener("htmx:beforeOnLoad", ({ detail }) => {
  if (detail.xhr.getResponseHeader("HX-Refresh")) sessionStorage.setItem("focus", document.activeElement.id);
});

function refocus() {
  const id = sessionStorage.getItem("focus");
  sessionStorage.removeItem("focus");
  if (id) document.getElementById(id)?.focus();
}

// --- Once for the page, and again for each part that htmx puts in

function settle() {
  beginWriting();
  watchScroller();
  tellAnswers();
  watchEdges();
  markCurrent();
  markRead();
  watchToast();
  clearSearch();
  showTitle();
}

document.documentElement.classList.add("has-script");
try {
  refocus();
  inheritDrafts();
  if (localStorage.getItem("wrap-code")) wrapCode(true);
} catch {
  // Storage is forbidden: there are no drafts, and no choices.
}
// One answer may bring many parts: they are looked at together, still before the page is painted.
let isSettling = false;
document.addEventListener("htmx:afterSettle", () => {
  if (!isSettling) queueMicrotask(settleAll);
  isSettling = true;
});

function settleAll() {
  isSettling = false;
  settle();
}

document.addEventListener("htmx:afterSwap", ({ target }) => {
  // Beside a button that may be out of sight.
  if (target.matches(".said:has(.field-error)")) target.scrollIntoView({ block: "nearest" });
});
document.addEventListener("htmx:pushedIntoHistory", markCurrent);
settle();
addEventListener("load", () => {
  // What came near before htmx could hear it.
  watchEdges();
  markRead();
  tellTimeZone();
});
