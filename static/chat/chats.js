// The list of chats: the drawer, a row's menu, a title that is written in place, what was read.

import { $, composerText, say, sentenceFor } from "./page.js";

// --- The drawer, and which chat is current

// Where there is room the list stands beside the chat, unless it is folded: the server draws it so.
const hasRoom = () => matchMedia("(min-width: 900px)").matches;

export function closeDrawer() {
  delete $("#app").dataset.drawer;
}

function openDrawer() {
  if (hasRoom()) fold(false);
  else $("#app").dataset.drawer = "";
}

function fold(isFolded) {
  $("#app").toggleAttribute("data-folded", isFolded);
  document.cookie = `chats=${isFolded ? "folded" : "shown"}; path=/; max-age=31536000; samesite=lax`;
}

export function toggleChats() {
  const isOpen = hasRoom() ? !$("#app[data-folded]") : $("#app[data-drawer]");
  $(isOpen ? ".drawer-close" : ".drawer-open")?.click();
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("a, button");
  if (target?.matches(".drawer-open")) {
    event.preventDefault();
    openDrawer();
    $(".drawer-close").focus();
  } else if (target?.matches(".drawer-close, .drawer-shade")) {
    event.preventDefault();
    if (hasRoom()) fold(true);
    closeDrawer();
    $(".drawer-open").focus();
  } else if (target?.closest('.sidebar [hx-target="#main"]')) closeDrawer();
});

export function markCurrent() {
  for (const link of document.querySelectorAll(".chat-link")) {
    if (link.pathname === location.pathname) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

// --- A row's menu, and a title that is written in place

// Beside the button that asked for it, whichever row that stands in.
function openMenu(menu, button) {
  const { bottom, left } = button.getBoundingClientRect();
  if (!menu.matches(":popover-open")) menu.showPopover();
  putMenu(menu, bottom + 4, left);
  $(".menu-item", menu).focus();
}

function putMenu(menu, top, left) {
  const lowest = innerHeight - menu.offsetHeight - 8;
  menu.style.top = `${Math.max(8, Math.min(top, lowest))}px`;
  menu.style.left = `${Math.min(left, innerWidth - menu.offsetWidth - 8)}px`;
}

// A phone that is turned does not leave it out of sight.
addEventListener("resize", () => {
  const menu = $("#chat-menu:popover-open");
  if (menu) putMenu(menu, menu.offsetTop, menu.offsetLeft);
});

document.addEventListener("htmx:afterSwap", ({ target, detail }) => {
  if (target.id === "chat-menu") openMenu(target, detail.requestConfig.elt);
  if (target.id === "chat-panel" && !target.matches(":popover-open")) target.showPopover();
  const field = $(".rename-form [name=title]", target);
  if (field) {
    field.focus();
    if (target.matches("li")) field.select();
  }
});

// A list that comes while a title is being written would take the text away: it comes afterwards.
let isListLate = false;

document.addEventListener("htmx:beforeRequest", (event) => {
  const { elt, xhr } = event.detail;
  if (elt.id === "sidebar-list" && $(".rename-form", elt)) {
    isListLate = true;
    event.preventDefault();
  } else if (elt.matches(".rename-form")) {
    xhr.addEventListener("loadend", () => xhr.status === 200 && afterRename(elt));
  } else if (elt.closest("#chat-menu")) $("#chat-menu").hidePopover();
});

export function leaveRename(form) {
  form.remove();
  afterRename(form);
}

function afterRename(form) {
  document.getElementById(form.dataset.chat)?.focus();
  if (!isListLate) return;
  isListLate = false;
  window.htmx.trigger("#sidebar-list", "streaming:changed");
}

// --- What was read

// The server is told once that this page shows the newest answer to its end, to someone who looks.
export function markRead() {
  const read = $("#read[data-unread]");
  // Before the page is loaded htmx hears nothing.
  if (!read || document.hidden || document.readyState !== "complete") return;
  read.removeAttribute("data-unread");
  $('.chat-link[aria-current="page"] .unread-mark')?.remove();
  window.htmx.trigger(read, "chat:read");
}

document.addEventListener("visibilitychange", markRead);

document.addEventListener("streaming:ended", () => {
  $("#read")?.setAttribute("data-unread", "");
  markRead();
  $('.chat-link[aria-current="page"] .running-mark')?.remove();
});

// --- Undo

const TOAST_MS = 10_000;
let knownToast = null; // what stands in it

// It goes by itself, but not from under a hand.
function letGo(said) {
  if (!said.isConnected) return;
  const toast = $("#toast");
  if (toast.matches(":hover, :focus-within")) setTimeout(letGo, TOAST_MS, said);
  else toast.replaceChildren();
}

export function watchToast() {
  const said = $("#toast").firstElementChild;
  if (said && said !== knownToast) setTimeout(letGo, TOAST_MS, said);
  knownToast = said;
}

document.addEventListener("htmx:afterRequest", ({ target, detail }) => {
  // Undone: the chat is back in the page.
  if (target.closest?.("#toast") && detail.successful) $("#toast").replaceChildren();
});

// --- Search: `/` or Ctrl K; the list comes back when the field is left

$("#search")?.removeAttribute("maxlength");

// `/` is a character where one writes.
export function isSearchKey(event) {
  if (!$("#search")) return false;
  if (event.ctrlKey || event.metaKey) return event.key.toLowerCase() === "k" && !event.shiftKey;
  return event.key === "/" && !event.target.matches("input, textarea, select");
}

export function beginSearch() {
  if (!$("#sidebar").checkVisibility({ visibilityProperty: true })) openDrawer();
  $("#search").select();
}

// A second time the writing goes on.
export function leaveSearch(field) {
  if (!field.value) composerText()?.focus();
  field.value = "";
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

// Something else has brought the list back.
export function clearSearch() {
  const search = $("#search");
  if ($("#sidebar-list[data-topic]") && search !== document.activeElement) search.value = "";
}

// --- A chat that was deleted elsewhere; an undo brings it back

export function showGone() {
  $("#state").dataset.gone = "";
  say(sentenceFor(404));
}

document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (detail.xhr.status === 200 && detail.target.matches("#state[data-gone]")) say("");
});

// A deletion and its undo change the list, whichever way that comes.
document.addEventListener("htmx:afterSettle", ({ target }) => {
  if (target.matches?.("#sidebar-list[data-topic]") && $("#state[data-gone]")) {
    window.htmx.trigger("#state", "streaming:changed");
  }
});

// --- Time

// Days and times are drawn by the server; those of a first page were the site's.
export function tellTimeZone() {
  const zone = `timezone=${Intl.DateTimeFormat().resolvedOptions().timeZone}`;
  if (document.cookie.split("; ").includes(zone)) return;
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `${zone}; path=/; max-age=31536000; samesite=lax${secure}`;
  if ($("#sidebar-list")) window.htmx.trigger("#sidebar-list", "streaming:changed");
}
