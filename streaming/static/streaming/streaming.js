// The page's one socket: follows the streams and topics it finds in the document, lets htmx's ws
// extension apply only frames that are current, acknowledges them, and comes back after any silence.
// The protocol stands in docs/design.md. Positions are the server's numbers; nothing is counted here.

const ACK_BYTES = 32 * 1024;
const ACK_MS = 1000;
const SILENCE_MS = 15_000; // the server's heartbeat comes every 10 s
const LISTEN_MS = 2500; // silence is looked for so often
const LOOKED_AT_MS = 12_000; // a page that is looked at again takes it for silence sooner
const LASTING_MS = 5000; // a socket that lived so long was no failed attempt
const SHOW_LOST_MS = 1500;
// A restarted server is found and read within two seconds; one that stays away is asked less often.
const PROMPT_MS = 1500;
const PROMPT_ATTEMPTS = 30;
const LONG_MS = 10_000;
const NOTICE_MS = 150;
const SIGNED_OUT = 4401;
const HEADER = /^<!--(\{.*?\})-->/;

const htmx = window.htmx;
Object.assign(htmx.config, {
  allowEval: false,
  allowScriptTags: false,
  historyCacheSize: 0,
  includeIndicatorStyles: false,
  selfRequestsOnly: true,
  wsReconnectDelay: () => 2 ** 31 - 1, // this module reconnects, sooner and on any code
});

let socket = null;
let generation = 0;
let attempts = 0;
let openedAt = Infinity;
let heardAt = 0;
let retryTimer = 0;
let lostTimer = 0;
const followed = new Map(); // stream id -> its element
const watched = new Map(); // topic -> its element
const asked = new Set(); // streams whose follow has no answer yet

// --- The socket

htmx.createWebSocket = (url) => {
  const previous = socket;
  const mine = new WebSocket(url);
  socket = mine;
  generation += 1;
  heardAt = Date.now();
  openedAt = Infinity;
  previous?.close();
  mine.addEventListener("open", () => {
    if (mine !== socket) return;
    openedAt = Date.now();
    showLost(false);
    acks.reset();
    send({ type: "hello", generation });
    followed.forEach(sendFollow);
    watched.forEach(sendWatch);
  });
  mine.addEventListener("close", (event) => {
    if (mine === socket) lost(event.code);
  });
  return mine;
};

function send(message) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function lost(code) {
  socket = null;
  showLost(true, code);
  // 44xx: the server refused this page; coming back at once would not change its mind.
  // A server that accepts and then fails at once must not be asked four times a second.
  if (Date.now() - openedAt > LASTING_MS) attempts = 0;
  const patience = code >= 4400 && code < 4500 ? 10_000 : 0;
  const most = attempts < PROMPT_ATTEMPTS ? PROMPT_MS : LONG_MS;
  const backoff = Math.min(most, 250 * 2 ** attempts);
  attempts += 1;
  clearTimeout(retryTimer);
  retryTimer = setTimeout(reconnect, patience + backoff * Math.random());
}

// A fresh element makes the extension open a fresh socket; it forgets the old one with its element.
function reconnect() {
  clearTimeout(retryTimer);
  const element = document.getElementById("streaming-socket");
  if (!element) return;
  const fresh = element.cloneNode(false);
  element.replaceWith(fresh);
  htmx.process(fresh);
}

function showLost(isLost, code) {
  clearTimeout(lostTimer);
  const bar = document.getElementById("streaming-connection");
  if (!bar) return;
  if (isLost) bar.textContent = code === SIGNED_OUT ? bar.dataset.signedOut : bar.dataset.lost;
  if (!isLost) bar.hidden = true;
  else lostTimer = setTimeout(() => (bar.hidden = false), SHOW_LOST_MS);
}

function reconnectIfSilent(limit) {
  const isDead = !socket || socket.readyState > WebSocket.OPEN;
  if (isDead || Date.now() - heardAt > limit) reconnect();
}

setInterval(() => socket && reconnectIfSilent(SILENCE_MS), LISTEN_MS);
window.addEventListener("online", reconnect);
window.addEventListener("pageshow", (event) => event.persisted && reconnect());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) reconnectIfSilent(LOOKED_AT_MS);
});

// --- Acknowledgements: each 32 KiB or second, so that a slow tab is noticed

const acks = {
  number: 0,
  bytes: 0,
  sentAt: 0,
  timer: 0,
  reset() {
    clearTimeout(this.timer);
    this.number = this.bytes = this.timer = 0;
  },
  took(number, bytes) {
    this.number = number;
    this.bytes += bytes;
    // Timers of a hidden tab are late; messages are not.
    if (this.bytes >= ACK_BYTES || Date.now() - this.sentAt >= ACK_MS) this.send();
    else this.timer ||= setTimeout(() => this.send(), ACK_MS);
  },
  send() {
    clearTimeout(this.timer);
    this.bytes = this.timer = 0;
    this.sentAt = Date.now();
    send({ type: "ack", n: this.number });
  },
};

// --- Frames: only what is current reaches htmx

let applying = null;

document.addEventListener("htmx:wsBeforeMessage", (event) => {
  const { message } = event.detail;
  const header = parse(message);
  heardAt = Date.now();
  applying = null;
  if (!header || header.g !== generation || !isCurrent(header, message)) event.preventDefault();
  else applying = header;
  if (header?.g === generation) acks.took(header.n, message.length);
});

document.addEventListener("htmx:wsAfterMessage", () => {
  if (!applying) return;
  const detail = applying;
  applying = null;
  tell(detail, detail.t === "end" && !detail.isTold ? "ended" : "grew");
});

function tell(header, what) {
  const element = document.getElementById(`stream-${header.s}`);
  element?.dispatchEvent(new CustomEvent(`streaming:${what}`, { bubbles: true, detail: header }));
}

function parse(message) {
  const match = typeof message === "string" && HEADER.exec(message);
  return match ? JSON.parse(match[1]) : null;
}

function isCurrent(header, message) {
  if (header.t === "topic") notice(header.topic, header.version);
  if (header.t === "gone") {
    const gone = followed.get(header.s);
    delete gone?.dataset.held;
    // Nothing more comes: its text does not look as if it ran.
    gone?.setAttribute("data-status", "gone");
    forget(header.s);
  }
  if (header.t !== "frame" && header.t !== "end") return false;
  const element = followed.get(header.s);
  if (!element?.isConnected) return false;
  const data = element.dataset;
  const part = header.full ? "body" : "open";
  header.isHeld = isInHand(element, part);
  header.isTold = !OPEN.includes(data.status);
  if (header.isHeld) {
    hold(header, data, part);
    if (header.t !== "end") return false;
  } else if (!header.full && !fits(header, data, message)) {
    // Out of step: ask once for what is missing; frames that were on their way fit no better.
    if (!asked.has(header.s)) sendFollow(element, header.s);
    return false;
  } else {
    asked.delete(header.s);
    header.isCaughtUp = "held" in data;
    delete data.held;
    Object.assign(data, { cut: header.cut, end: header.end, key: header.key });
  }
  if (header.t === "end") {
    data.status = header.status;
    Object.entries(header.topics).forEach(bring);
    forget(header.s);
  } else if (data.status === "pending") data.status = "streaming";
  return true;
}

function fits(header, data, message) {
  if (Number(data.cut) !== header.from || data.key !== header.key) return false;
  // Frames before it were passed over: it must not build on the open block that they brought.
  return !("held" in data) || message.includes(`"innerHTML:#stream-${header.s}-open"`);
}

function forget(id) {
  asked.delete(id);
  followed.get(id)?.removeAttribute("data-stream");
  followed.delete(id);
}

// --- What a reader selects stays: its frames are passed over, and made up for when it is let go

const OPEN = ["pending", "streaming"];

// Also while a button is down: a selection may begin there, or a click end.
function isInHand(element, part) {
  if (element.matches(":active")) return true;
  // A field that is written in has the selection, whatever was left behind elsewhere.
  if (document.activeElement.matches("input, textarea")) return false;
  const selection = getSelection();
  const node = document.getElementById(`${element.id}-${part}`);
  return !selection.isCollapsed && selection.containsNode(node, true);
}

function hold(header, data, part) {
  asked.delete(header.s);
  data.held = part;
  tell(header, "held");
}

// The end of an answer is told at once, without its text, and not again with it.
document.addEventListener("htmx:oobBeforeSwap", ({ detail }) => {
  if (!applying) return;
  const isText = detail.target.closest(".stream-body");
  if (isText ? applying.isHeld : applying.isTold) detail.shouldSwap = false;
});

function letGo() {
  for (const element of document.querySelectorAll("[data-held]")) {
    const id = element.id.slice("stream-".length);
    if (asked.has(id) || isInHand(element, element.dataset.held)) continue;
    element.dataset.stream = id; // also where the end was told
    followed.set(id, element);
    sendFollow(element, id);
  }
}

for (const type of ["selectionchange", "pointerup", "pointercancel", "focusin"]) {
  document.addEventListener(type, () => setTimeout(letGo));
}

// --- What the document shows is what is followed

function sendFollow(element, id) {
  const { cut, end, key } = element.dataset;
  asked.add(id);
  send({
    type: "follow",
    stream: id,
    cut: Number(cut ?? -1),
    end: Number(end ?? 0),
    key: key ?? "",
  });
}

function sendWatch(element, topic) {
  send({ type: "watch", topic, version: Number(element.dataset.version) });
}

function scan() {
  compare(followed, "stream", sendFollow, (id) => send({ type: "unfollow", stream: id }));
  compare(watched, "topic", sendWatch, (topic) => send({ type: "unwatch", topic }));
}

function compare(known, attribute, begin, end) {
  const found = new Map();
  for (const element of document.querySelectorAll(`[data-${attribute}]`)) {
    found.set(element.dataset[attribute], element);
  }
  for (const id of known.keys()) {
    if (!found.has(id)) {
      known.delete(id);
      end(id);
    }
  }
  for (const [id, element] of found) {
    if (known.get(id) !== element) {
      known.set(id, element);
      begin(element, id);
    }
  }
}

new MutationObserver((records) => {
  // Text that streams in brings no streams of its own.
  if (records.some(({ target }) => !target.closest?.(".stream-body"))) scan();
}).observe(document.body, { childList: true, subtree: true });
scan();

// --- Topics: the element fetches what changed by its own hx-get, unless an answer brought it

let requests = 0;
document.addEventListener("htmx:beforeSend", ({ detail: { xhr } }) => {
  requests += 1;
  // Not htmx's own event: it does not come from an element that has left the page meanwhile.
  xhr.addEventListener("loadend", () => (requests -= 1));
});

// An answer or an end frame that is on its way may bring the version: it gets this long.
function notice(topic, version) {
  setTimeout(fetchIfOld, NOTICE_MS, topic, version);
}

function fetchIfOld(topic, version) {
  const element = watched.get(topic);
  if (!element || Number(element.dataset.version) >= version) return;
  if (requests > 0) notice(topic, version);
  else htmx.trigger(element, "streaming:changed");
}

// The answer to what this page said of itself: it knows what that changed.
document.addEventListener("streaming:brought", ({ detail }) => Object.entries(detail).forEach(bring));

// The end that a page shows is all that this version changed, if it had the one before.
function bring([topic, version]) {
  const element = watched.get(topic);
  if (Number(element?.dataset.version) === version - 1) element.dataset.version = version;
}
