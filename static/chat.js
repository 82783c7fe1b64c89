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
  watchToast,
} from "./chat/chats.js";
import { $, hasKeyboard, say, sentenceFor, words } from "./chat/page.js";
import { copyFrom, leaveWord, showTitle, tellAnswers, wrapCode } from "./chat/reading.js";
import { goToEnd, watchEdges, watchScroller } from "./chat/scrolling.js";
import { beginWriting, editLast, inheritDrafts, onEnter, TEXTS } from "./chat/writing.js";

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
  } else if (event.key.toLowerCase() === "o" && event.shiftKey && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    $(".new-chat")?.click();
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

// --- Requests that fail

function onFailure(event) {
  const { xhr, elt } = event.detail;
  // The chat stays unread: no harm, and nothing that a person asked for.
  if (event.target.id === "read") return;
  if (event.target.matches(".switch-form")) event.target.dataset.failed = "";
  if ([422, 409, 503].includes(xhr.status) && xhr.responseText) return;
  if (event.target.matches(".search-form")) {
    $("#sidebar-list").innerHTML = '<p class="search-said" role="alert"></p>';
    $(".search-said").textContent = xhr.status ? words().unsearched : sentenceFor(0);
    return;
  }
  const form = elt?.closest?.(".edit-form, .rename-form");
  const isEditing = elt?.matches?.(".edit-open, .edit-cancel");
  if (event.detail.requestConfig?.verb === "get" && !isEditing) {
    // A chat that is gone, or a server that is: the whole page says so.
    if (xhr.status === 404 && event.detail.target?.id === "state") showGone();
    if (event.detail.target?.id === "main") location.assign(event.detail.pathInfo.requestPath);
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
document.addEventListener("htmx:afterSettle", settle);
document.addEventListener("htmx:pushedIntoHistory", markCurrent);
settle();
addEventListener("load", () => {
  // What came near before htmx could hear it.
  watchEdges();
  markRead();
  tellTimeZone();
});
