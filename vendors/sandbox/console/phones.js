// The phones page: draws what `/phones/events` says, and writes as alice through `/console/write`.
//
// Every text comes from strangers and only ever becomes `textContent`. The stream repeats the whole
// picture each time, so elements are kept by key and only what differs is touched; that is also
// what lets a card update in place and its neighbours glide.
"use strict";

const NAMES = {
  apns: "APNs", fcm: "FCM", huawei: "Huawei", harmony: "HarmonyOS", honor: "Honor",
  xiaomi: "Xiaomi", oppo: "OPPO", vivo: "vivo", meizu: "Meizu", webpush: "Web Push",
};
const NEWEST = 20; // A screen scrolls, but nobody reads hundreds; the rest is a number.

const $ = (selector, root = document) => root.querySelector(selector);
const clone = (name) => $(`#${name}-template`).content.firstElementChild.cloneNode(true);
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const keyOf = ({ id, token }) => `${id} ${token}`; // A restarted sandbox counts from phone-1 again.
const views = new Map(); // a phone's key → its elements
const news = new Map(); // what arrived and is not announced yet → the phones it arrived on
let sent = []; // alice's last messages, for "on 3 phones in 80 ms"
let latest = null; // the newest picture that is not drawn yet
let picture = null; // what is drawn; the first one arrives silently

// ---- the picture -------------------------------------------------------------------------------

function draw(phones) {
  const keys = new Set(phones.map(keyOf));
  for (const [key, { root }] of views) if (!keys.has(key) && views.delete(key)) root.remove();
  for (const phone of phones) drawPhone(phone);
  $("#phones").dataset.size = phones.length > 24 ? "crowd" : phones.length > 3 ? "many" : "few";
  $("#none").hidden = phones.length > 0;
  for (const list of ["shown", "replaced", "dropped"]) {
    const sum = phones.reduce((sum, phone) => sum + phone[list].length, 0);
    write($(`#${list}`), sum.toLocaleString());
  }
  picture = phones;
  sent = sent.filter(({ at }) => Date.now() - at < 30_000);
  sent.forEach(follow);
  tick();
}

function drawPhone(phone) {
  const view = views.get(keyOf(phone)) ?? addPhone(phone);
  // Lists only grow, save that a replaced entry moves: their lengths and the newest entry tell every
  // change apart, at less cost than comparing hundreds of notifications.
  const last = phone.shown.at(-1);
  const print = [phone.state, phone.shown.length, phone.replaced.length,
    phone.dropped.length, last?.vendor_ref, last?.received_at].join();
  if (view.print === print) return;
  view.print = print;

  const gone = phone.state === "uninstalled";
  view.root.classList.toggle("gone", gone);
  view.root.classList.toggle("empty", phone.shown.length === 0);
  write($(".quiet", view.root), gone ? "App removed" : "All quiet");
  write($(".sum", view.root), gone ? `${view.vendor} · app removed` : view.vendor);
  const badge = phone.shown.findLast((push) => Number.isInteger(push.badge))?.badge ?? 0;
  write($(".badge", view.root), badge > 99 ? "99+" : badge > 0 ? String(badge) : "");
  $(".drops", view.root).hidden = phone.dropped.length === 0;
  write($(".drops summary", view.root), `${phone.dropped.length} dropped`);
  $(".drops ul", view.root).replaceChildren(...phone.dropped.slice(-5).reverse().map(({ why, vendor_ref }) =>
    element("li", why || "no reason given", { title: vendor_ref ?? "" })));
  drawCards(view, phone);
}

function addPhone(phone) {
  const root = clone("phone");
  const name = phone.name || phone.id;
  const view = { root, cards: new Map(), vendor: NAMES[phone.vendor] ?? phone.vendor, print: null };
  root.dataset.vendor = phone.vendor;
  root.setAttribute("aria-label", `${name}, ${view.vendor}`);
  $("h2", root).textContent = name;
  $(".carrier", root).textContent = view.vendor;
  $(".cards", root).setAttribute("aria-label", `Notifications on ${name}`);
  views.set(keyOf(phone), view);
  $("#phones").append(root);
  return view;
}

function drawCards(view, phone) {
  const list = $(".cards", view.root);
  const before = new Map([...view.cards.values()].map((card) => [card, card.offsetTop]));
  const versions = new Map();
  for (const { tag } of phone.replaced) if (tag) versions.set(tag, (versions.get(tag) ?? 0) + 1);

  const cards = new Map();
  const [fresh, updated] = [[], []];
  for (const push of phone.shown.slice(-NEWEST).reverse()) {
    let key = push.tag ? `tag ${push.tag}` : `ref ${push.vendor_ref} ${push.received_at}`;
    while (cards.has(key)) key += "+";
    const known = view.cards.get(key);
    const card = known ?? clone("card");
    if (!fillCard(card, push, view.vendor, (versions.get(push.tag) ?? 0) + 1)) {
      (known ? updated : fresh).push(card);
      if (picture) announce(`${push.title ?? ""}: ${push.body ?? ""}`, phone.id);
    }
    const place = list.children[cards.size];
    if (place !== card) list.insertBefore(card, place ?? null);
    cards.set(key, card);
  }
  while (list.children.length > cards.size) list.lastElementChild.remove();
  const more = phone.shown.length - cards.size;
  if (more > 0) list.append(element("li", `${more.toLocaleString()} more`, { className: "more" }));
  view.cards = cards;
  if (picture && !calm.matches) move(view, before, fresh, updated);
}

// Fills a card and says whether it already showed exactly this push.
function fillCard(card, push, vendor, versions) {
  const print = [push.vendor_ref, push.received_at, push.title, push.body].join("\n");
  if (card.print === print) return true;
  Object.assign(card, { print, push });
  face($(".face", card), push.title, push.image);
  write($("strong", card), push.title || "No title");
  write($(".body", card), push.body ?? "");
  write($(".via", card), vendor);
  write($(".versions", card), versions > 1 ? `×${versions}` : "");
  $(".versions", card).title = `Updated in place; this is version ${versions}`;
  const at = new Date(push.received_at ?? 0);
  Object.assign($("time", card), { dateTime: at.toISOString(), title: at.toLocaleString() });
  const details = $("details", card);
  details.ontoggle = () => details.open && drawFacts($(".facts", card), card.push);
  if (details.open) details.ontoggle();
  return false;
}

// What the app would be handed: only built when somebody opens the card.
function drawFacts(facts, push) {
  const rows = [["ref", push.vendor_ref], ["tag", push.tag], ...Object.entries(push.data ?? {})];
  facts.replaceChildren(...rows.filter(([, value]) => value)
    .flatMap(([name, value]) => [element("dt", name), element("dd", String(value))]));
}

// New cards settle in from above, the others glide to their new place, updated ones pulse once.
function move(view, before, fresh, updated) {
  const ease = { duration: 520, easing: "cubic-bezier(.2, .9, .25, 1)" };
  for (const card of view.cards.values()) {
    const by = (before.get(card) ?? card.offsetTop) - card.offsetTop;
    if (by) card.animate({ transform: [`translateY(${by}px)`, "none"] }, ease);
  }
  for (const card of fresh) {
    card.animate({ transform: ["translateY(-18px) scale(.94)", "none"], opacity: [0, 1] }, ease);
  }
  for (const card of updated) {
    card.classList.remove("updated");
    void card.offsetWidth; // Restarts the animation when one update follows another.
    card.classList.add("updated");
  }
  if (fresh.length + updated.length > 0) {
    $(".glow", view.root).animate({ opacity: [0, 1, 0.4, 0] }, 1800);
  }
}

// One sentence however many phones rang, once they have: a reader must not hear "Lunch?" ten times.
function announce(line, phone) {
  if (news.size === 0) {
    setTimeout(() => {
      const lines = [...news].map(([what, on]) => `${what} (on ${count(on.size, "phone")})`);
      news.clear();
      write($("#news"), lines.slice(-3).join(", "));
    }, 800);
  }
  news.set(line, (news.get(line) ?? new Set()).add(phone));
}

// A picture if there is one and it loads, else initials on a disc whose colour follows the name.
function face(disc, title, image) {
  const name = (title ?? "").replace(/^\[[^\]]*\]\s*/, ""); // Xiaomi's template: "[New message]Alice"
  if (disc.dataset.face === `${name}\n${image}`) return;
  disc.dataset.face = `${name}\n${image}`;
  const letters = name.split(/\s+/).map((word) => word.match(/[\p{L}\p{N}]/u)?.[0]).filter(Boolean);
  disc.textContent = letters.slice(0, 2).join("").toUpperCase() || [...name][0] || "?";
  const hash = [...name].reduce((sum, char) => (sum * 31 + char.codePointAt(0)) % 3600, 23);
  disc.style.setProperty("--hue", hash / 10);
  if (!/^(https:|data:image\/|\/\w)/i.test(image ?? "")) return; // The page's policy would refuse it.
  const photo = Object.assign(new Image(), { alt: "", referrerPolicy: "no-referrer", src: image });
  photo.onerror = () => photo.remove();
  disc.append(photo);
}

// ---- writing -----------------------------------------------------------------------------------

async function askState() {
  const reply = await fetch("/console/state");
  if (!reply.ok) return;
  const state = await reply.json();
  $("#writer").hidden = !state.can_write;
  $("#alone").hidden = state.can_write;
  if (!state.can_write) return;
  const nickname = state.writer?.nickname || state.writer?.id || "alice";
  face($("#writer-face"), nickname, state.writer?.avatar);
  write($("#writer-name"), nickname);
  write($("#recipient"), state.recipient ?? "bob");
  $("#text").placeholder = `Write as ${nickname}`;
  write($("#text-label"), `Write to ${state.recipient ?? "bob"} as ${nickname}`);
}

function say(text) {
  const row = clone("sent");
  $(".bubble", row).textContent = text;
  $("#invite").hidden = true;
  $("#log").append(row);
  return post({ row, text });
}

async function post(message) {
  message.at = Date.now();
  fate(message, "sending", "Sending…");
  try {
    const headers = { "content-type": "application/json" };
    const body = JSON.stringify({ text: message.text });
    const reply = await fetch("/console/write", { method: "POST", headers, body });
    const answer = await reply.json().catch(() => ({}));
    if (!reply.ok) throw new Error(answer.error || `the gateway answered ${reply.status}`);
    message.id = answer.id;
    fate(message, "sent", "Sent", `posthorn why ${answer.id}`, () => copy(message));
    sent.push(message);
    follow(message); // The phones are often faster than this answer.
  } catch (error) {
    const why = error instanceof TypeError ? "the gateway does not answer" : error.message;
    fate(message, "failed", `Not sent: ${why}`, "Try again", () => post(message));
  }
}

function fate({ row }, name, words, hint = "", onclick = null) {
  row.dataset.fate = name;
  write($(".fate span", row), words);
  Object.assign($("button", row), { hidden: !hint, textContent: hint, title: hint, onclick });
  $(".talk").scrollTop = $(".talk").scrollHeight;
}

function copy({ row, id }) {
  navigator.clipboard?.writeText(`posthorn why ${id}`).then(() => row.classList.add("copied"), () => {});
}

// Finds a sent message on the screens by its event id, which the gateway hands to the app.
function follow({ row, id, at }) {
  const has = (push) => Object.values(push.data ?? {}).includes(id);
  const found = (picture ?? []).map(({ shown, replaced }) => shown.findLast(has) ?? replaced.findLast(has))
    .filter(Boolean);
  if (found.length === 0) return;
  const took = Math.max(...found.map((push) => push.received_at)) - at;
  const time = took > 0 ? ` in ${took.toLocaleString()} ms` : "";
  write($(".fate span", row), `On ${count(found.length, "phone")}${time}`);
}

$("#box").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("#text").value.trim();
  if (text === "") return;
  $("#box").reset();
  $("#text").dispatchEvent(new Event("input"));
  say(text);
});
$("#text").addEventListener("input", () => { $("#box button").disabled = $("#text").value.trim() === ""; });
$("#text").addEventListener("keydown", (event) => {
  // Enter also confirms a word in a Chinese or Japanese input method; that one must not send.
  // Safari ends the composition first and tells only by key code 229.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  $("#box").requestSubmit();
});
$("#chips").addEventListener("click", async (event) => {
  const words = event.target.dataset.say?.split("|") ?? [];
  for (const text of words) await say(text); // One after the other: the order is the point.
});

// ---- time and the stream -----------------------------------------------------------------------

function tick() {
  const now = new Date();
  const date = now.toLocaleDateString(undefined, { weekday: "long", day: "numeric", month: "long" });
  const [hour, minute] = [now.getHours(), now.getMinutes()].map((n) => String(n).padStart(2, "0"));
  for (const { root, cards } of views.values()) {
    write($(".date", root), date);
    write($(".hour", root), hour);
    write($(".minute", root), minute);
    for (const card of cards.values()) write($("time", card), ago(now - card.push.received_at));
  }
}

function ago(ms) {
  for (const [unit, size] of [["d", 86_400_000], ["h", 3_600_000], ["m", 60_000]]) {
    if (ms >= size) return `${Math.floor(ms / size)}${unit}`;
  }
  return "now";
}

function listen() {
  const stream = new EventSource("/phones/events");
  const live = (name, words) => { $("#live").dataset.state = name; write($("#live"), words); };
  stream.onopen = () => { live("connected", "Live"); askState().catch(() => {}); };
  stream.onerror = () => {
    live("reconnecting", "Reconnecting");
    // After an error answer an EventSource gives up for good; this page does not.
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  };
  stream.addEventListener("phones", ({ data }) => {
    // A burst brings many pictures between two frames; only the last one is worth drawing.
    if (latest === null) requestAnimationFrame(drawLatest);
    latest = data;
  });
}

function drawLatest() {
  const phones = JSON.parse(latest);
  latest = null;
  for (const phone of phones) for (const list of ["shown", "replaced", "dropped"]) phone[list] ??= [];
  draw(phones);
}

const count = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;
const write = (node, text) => { if (node.textContent !== text) node.textContent = text; };
const element = (name, textContent, more) => Object.assign(document.createElement(name), { textContent, ...more });

setInterval(tick, 5000);
listen();
