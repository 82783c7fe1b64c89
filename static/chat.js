// What the chat's pages do beyond plain HTML and htmx: the composer's keys and drafts, sticky scroll,
// copy buttons, the drawer. Listeners stand on the document, so swapped parts need no set-up.

const $ = (selector, root = document) => root.querySelector(selector);
const composerText = () => $("#composer-text");
// What the script says comes from the page, in its language.
const words = () => $("#words").dataset;
// Where messages are written.
const TEXTS = "#composer-text, .edit-form textarea";

// --- The composer: Enter sends, Shift+Enter breaks the line, no text is ever lost

function draftKey(textarea) {
  return `draft:${$("#app").dataset.user}:${textarea.form.dataset.draft}`;
}

function saveDraft(textarea) {
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
function inheritDrafts() {
  const mine = `draft:${$("#app").dataset.user}:`;
  const typed = localStorage.getItem("draft::new");
  if (typed && !localStorage.getItem(`${mine}new`)) localStorage.setItem(`${mine}new`, typed);
  Object.keys(localStorage)
    .filter((key) => key.startsWith("draft:") && !key.startsWith(mine))
    .forEach((key) => localStorage.removeItem(key));
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

// Beside the text that it is about: in a form to edit, else in the composer.
function say(sentence, form = null) {
  const place = form ? $(".field-error", form) : $("#composer-error");
  if (place) place.textContent = sentence;
}

function mayType(event) {
  // 229 is what some keyboards send while a word is composed.
  return !event.isComposing && event.keyCode !== 229;
}

function onEnter(event) {
  const form = event.target.form;
  event.preventDefault();
  if (!event.target.value.trim() || form.classList.contains("htmx-request")) return;
  if ($(".stop-form")) say(words().running, form);
  else form.requestSubmit($(".send-button, .edit-send", form));
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

// `/` is a character where one writes.
function isSearchKey(event) {
  if (!$("#search")) return false;
  if (event.ctrlKey || event.metaKey) return event.key.toLowerCase() === "k" && !event.shiftKey;
  return event.key === "/" && !event.target.matches("input, textarea, select");
}

// The list is back; a second time the writing goes on.
function leaveSearch(field) {
  if (!field.value) composerText()?.focus();
  field.value = "";
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

document.addEventListener("keydown", (event) => {
  const isText = event.target.matches(TEXTS);
  if (event.key === "Enter" && isText && !event.shiftKey && mayType(event)) {
    // On a phone Enter is the only way to a new line.
    if (matchMedia("(hover: hover)").matches || event.ctrlKey || event.metaKey) onEnter(event);
  } else if (event.key === "Escape" && mayType(event)) {
    onEscape(event);
  } else if (event.key === "ArrowUp" && event.target.matches("#composer-text") && !event.target.value) {
    event.preventDefault();
    editLast();
  } else if (isSearchKey(event)) {
    event.preventDefault();
    if (getComputedStyle($("#sidebar")).visibility === "hidden") $("#app").dataset.drawer = "";
    $("#search").select();
  } else if (event.key.toLowerCase() === "o" && event.shiftKey && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    $(".new-chat")?.click();
  }
});

document.addEventListener("input", (event) => {
  if (!event.target.matches(TEXTS)) return;
  saveDraft(event.target);
  fit(event.target);
  say("", event.target.form);
});

document.addEventListener("htmx:beforeRequest", (event) => {
  const form = event.target;
  if (form.id !== "composer") return;
  const isExample = event.detail.requestConfig.triggeringEvent?.submitter?.matches(".example");
  const text = isExample ? "" : composerText().value;
  say("");
  $("#announcer").textContent = "";
  // On the form itself: the reader may be in another chat when its answer comes.
  const answered = ({ detail }) => detail.xhr.status === 200 && accepted(form, text);
  form.addEventListener("htmx:afterRequest", answered, { once: true });
});

// What was typed in the meantime stays.
function accepted(form, text) {
  const textarea = $("textarea", form);
  if (textarea.value.startsWith(text)) setText(textarea, textarea.value.slice(text.length));
  isStuck = true;
}

// By the status of an answer; 0: there was none.
function sentenceFor(status) {
  return words()[`on-${status}`] ?? words().failed;
}

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

// --- Edit: a form in the place of a message; what is typed there is as safe as in the composer

function editLast() {
  const last = [...document.querySelectorAll(".edit-open, .edit-form textarea")].at(-1);
  if (last?.matches("textarea")) last.focus();
  else last?.click();
}

function forgetDraft(form) {
  try {
    localStorage.removeItem(draftKey($("textarea", form)));
  } catch {
    // Storage is forbidden: there was none.
  }
}

document.addEventListener("htmx:beforeRequest", ({ target }) => {
  if (!target.matches(".edit-cancel")) return;
  const form = target.closest("form");
  forgetDraft(form);
  // Where the focus goes from there is the button that opened the form.
  $("textarea", form).focus({ preventScroll: true });
});

// The form's own answer takes it away. Whatever else would leaves it where something was typed.
document.addEventListener("htmx:oobBeforeSwap", (event) => {
  const { target } = event.detail;
  // Looked at first: a frame's target holds all of an answer.
  const form = target.matches(".message") && $(".edit-form", target);
  if (!form) return;
  const textarea = $("textarea", form);
  if (textarea.value === textarea.defaultValue || form.classList.contains("htmx-request")) return;
  event.detail.shouldSwap = false;
  say(form.dataset.replaced, form);
});

document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  const form = detail.requestConfig.elt;
  if (detail.xhr.status !== 200) return;
  // The word of a rating is taken away; the focus goes to what it was about.
  if (form.matches(".word-form")) toThumb(form);
  if (!form.matches(".edit-form")) return;
  forgetDraft(form);
  isStuck = true;
  if (matchMedia("(hover: hover)").matches) composerText()?.focus({ preventScroll: true });
});

function toThumb(form) {
  $("[aria-pressed=true]", form.parentElement).focus();
}

// The rating stays, without a word.
function leaveWord(form) {
  toThumb(form);
  form.remove();
}

// All pages show the version now that this one has found.
document.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (detail.successful && detail.elt.matches(".switch-form")) detail.elt.remove();
});

// --- A chat that was deleted elsewhere; an undo brings it back

function showGone() {
  $("#state").dataset.gone = "";
  say(sentenceFor(404));
}

document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (detail.xhr.status === 200 && detail.target.matches("#state[data-gone]")) say("");
});

// Both change the list, whichever way it comes.
document.addEventListener("htmx:afterSettle", ({ target }) => {
  if (target.matches?.("#sidebar-list[data-topic]") && $("#state[data-gone]")) {
    window.htmx.trigger("#state", "streaming:changed");
  }
});

// --- Scroll: follow the text while the reader is at its end, never otherwise

let isStuck = true;
let scroller = null;
let jumpedTo = null; // where a find was put

function toEnd() {
  scroller.scrollTop = scroller.scrollHeight;
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

function watchScroller() {
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

// --- For screen readers: silent while text streams in, told once when it ended

document.addEventListener("streaming:ended", (event) => {
  say("");
  $("#read")?.setAttribute("data-unread", "");
  markRead();
  // What the newest version of both would show: see `store` in conversations/replies.py.
  $(".stop-form")?.remove();
  $('.chat-link[aria-current="page"] .running-mark')?.remove();
  if (event.detail.status === "done") $("#announcer").textContent = $("#announcer").dataset.done;
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
  copy.querySelectorAll(".code-copy").forEach((button) => button.remove());
  return new ClipboardItem({
    "text/plain": markdownFrom(url),
    "text/html": new Blob([copy.innerHTML], { type: "text/html" }),
  });
}

async function copyFrom(button) {
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

// The head of a code block is drawn by the server; its button only works with this script.
function addCopyButtons() {
  for (const head of document.querySelectorAll(".code-head:not(:has(.code-copy))")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "code-copy";
    button.innerHTML = '<svg class="icon" aria-hidden="true"><use href="#icon-copy"/></svg>';
    button.append(words().copyCode);
    head.append(button);
  }
}

let isAdding = false;
new MutationObserver(() => {
  if (isAdding) return;
  isAdding = true;
  requestAnimationFrame(() => {
    isAdding = false;
    addCopyButtons();
  });
}).observe(document.body, { childList: true, subtree: true });

// --- What stands behind 'more' tells the time of the reader's place

document.addEventListener("toggle", ({ target, newState }) => {
  if (newState !== "open") return;
  for (const time of target.querySelectorAll("time")) {
    const at = new Date(time.dateTime);
    time.textContent = at.toLocaleString(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" });
  }
}, true);

// --- The drawer, and which chat is current

function closeDrawer() {
  delete $("#app").dataset.drawer;
}

document.addEventListener("click", (event) => {
  const target = event.target.closest("a, button");
  if (!target) return;
  if (target.matches("[data-copy], .code-copy")) copyFrom(target);
  else if (target.matches(".to-bottom")) toEnd();
  else if (target.matches(".drawer-open")) {
    event.preventDefault();
    $("#app").dataset.drawer = "";
    $(".drawer-close").focus();
  } else if (target.matches(".drawer-close, .drawer-shade")) {
    event.preventDefault();
    closeDrawer();
  } else if (target.closest('.sidebar [hx-target="#main"]')) closeDrawer();
});

function markCurrent() {
  for (const link of document.querySelectorAll(".chat-link")) {
    if (link.pathname === location.pathname) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

// --- The list of chats: a row's menu, a title that is written in place, what was read

// Beside the button that asked for it, whichever row that stands in.
function openMenu(menu, button) {
  const place = button.getBoundingClientRect();
  if (!menu.matches(":popover-open")) menu.showPopover();
  const lowest = innerHeight - menu.offsetHeight - 8;
  menu.style.top = `${Math.max(8, Math.min(place.bottom + 4, lowest))}px`;
  menu.style.left = `${Math.min(place.left, innerWidth - menu.offsetWidth - 8)}px`;
  $(".menu-item", menu).focus();
}

document.addEventListener("htmx:afterSwap", ({ target, detail }) => {
  if (target.id === "chat-menu") openMenu(target, detail.requestConfig.elt);
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

function leaveRename(form) {
  form.remove();
  afterRename(form);
}

function afterRename(form) {
  document.getElementById(form.dataset.chat)?.focus();
  if (!isListLate) return;
  isListLate = false;
  window.htmx.trigger("#sidebar-list", "streaming:changed");
}

// The server is told once that this page shows the newest answer to its end, to someone who looks.
function markRead() {
  const read = $("#read[data-unread]");
  // Before the page is loaded htmx hears nothing.
  if (!read || document.hidden || document.readyState !== "complete") return;
  read.removeAttribute("data-unread");
  $('.chat-link[aria-current="page"] .unread-mark')?.remove();
  window.htmx.trigger(read, "chat:read");
}

document.addEventListener("visibilitychange", markRead);

const TOAST_MS = 10_000;
let knownToast = null; // what stands in it

// It goes by itself, but not from under a hand.
function letGo(said) {
  if (!said.isConnected) return;
  const toast = $("#toast");
  if (toast.matches(":hover, :focus-within")) setTimeout(letGo, TOAST_MS, said);
  else toast.replaceChildren();
}

function watchToast() {
  const said = $("#toast").firstElementChild;
  if (said && said !== knownToast) setTimeout(letGo, TOAST_MS, said);
  knownToast = said;
}

document.addEventListener("htmx:afterRequest", ({ target, detail }) => {
  // Undone: the chat is back in the page.
  if (target.closest?.("#toast") && detail.successful) $("#toast").replaceChildren();
});

// --- Once for the page, and again for each part that htmx puts in

let knownTextarea = null;

function settle() {
  const textarea = composerText();
  if (textarea && textarea !== knownTextarea) {
    restoreDraft(textarea);
    fit(textarea);
    // Another part was put in: the reader goes on writing. A phone's keyboard stays down.
    if (knownTextarea && matchMedia("(hover: hover)").matches) {
      textarea.focus({ preventScroll: true });
      textarea.setSelectionRange(textarea.value.length, textarea.value.length);
    }
    knownTextarea = textarea;
  }
  document.querySelectorAll(".edit-form:not([data-begun])").forEach(beginEdit);
  watchScroller();
  markCurrent();
  addCopyButtons();
  markRead();
  watchToast();
  // Something else has brought the list back.
  const search = $("#search");
  if ($("#sidebar-list[data-topic]") && search !== document.activeElement) search.value = "";
  const title = $(".chat-head h1");
  if (title) document.title = `${title.textContent} · chatsite`;
}

// Days and times are drawn by the server; those of a first page were the site's.
function tellTimeZone() {
  const zone = `timezone=${Intl.DateTimeFormat().resolvedOptions().timeZone}`;
  if (document.cookie.split("; ").includes(zone)) return;
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `${zone}; path=/; max-age=31536000; samesite=lax${secure}`;
  if ($("#sidebar-list")) window.htmx.trigger("#sidebar-list", "streaming:changed");
}

function beginEdit(form) {
  const textarea = $("textarea", form);
  form.dataset.begun = "";
  restoreDraft(textarea);
  fit(textarea);
  textarea.focus({ preventScroll: true });
  textarea.setSelectionRange(textarea.value.length, textarea.value.length);
  form.scrollIntoView({ block: "nearest" });
}

document.documentElement.classList.add("has-script");
try {
  inheritDrafts();
} catch {
  // Storage is forbidden: there are no drafts.
}
document.addEventListener("htmx:afterSettle", settle);
document.addEventListener("htmx:pushedIntoHistory", markCurrent);
settle();
addEventListener("load", () => {
  markRead();
  tellTimeZone();
});
