// The page for people: asks once a second, shows what has changed, and asks for what a person wants.

import { charts } from "./charts.js";
import { age } from "./format.js";
import { History } from "./history.js";
import { change, get, useToken } from "./server.js";
import { listeners, Peers, reasons } from "./tables.js";

const SECOND = 1000;
/** With so many connections their list is asked for less often. */
const MANY = 2000;

const element = (id) => document.getElementById(id);
const history = new History();
const draw = charts(element("charts"));
const peers = new Peers(kill);
let wanted = null;

function say(text, list = [], isBad = false) {
  const place = element("said");
  place.classList.toggle("bad", isBad);
  const lines = list.map((line) => Object.assign(document.createElement("li"), { textContent: line }));
  const items = document.createElement("ul");
  items.append(...lines);
  place.replaceChildren(text, ...(lines.length ? [items] : []));
  place.hidden = false;
}

/** Asks for a change; where the token is missing, the person is asked for it and the change is made then. */
async function ask(method, path, body, done) {
  let answer;
  try {
    answer = await change(method, path, body);
  } catch {
    return say("The server did not answer.", [], true);
  }
  if (answer.status === 401) {
    wanted = () => ask(method, path, body, done);
    element("token").hidden = false;
    element("secret").focus();
    return say(answer.said, [], true);
  }
  element("token").hidden = true;
  done(answer);
}

function kill(id, button) {
  button.disabled = true;
  ask("DELETE", `/connections/${id}`, undefined, ({ status, said }) => {
    say(said, [], status !== 200);
    button.disabled = false;
    update();
  });
}

element("reload").addEventListener("click", () =>
  ask("POST", "/reload", undefined, ({ status, said }) => {
    if (status === 200) say("Reloaded.");
    else say("The reload was refused; nothing has changed.", said.errors ?? [said], true);
  }),
);

element("drain").addEventListener("click", () => element("sure").showModal());
element("sure").addEventListener("close", ({ target }) => {
  const isSure = target.returnValue === "yes";
  target.returnValue = "";
  if (isSure) ask("POST", "/drain", undefined, ({ status, said }) => say(said, [], status >= 400));
});

element("token").addEventListener("submit", (event) => {
  event.preventDefault();
  useToken(element("secret").value);
  element("secret").value = "";
  wanted?.();
});

element("log").addEventListener("submit", (event) => {
  event.preventDefault();
  ask("PUT", "/log-level", element("level").value, ({ status, said }) => {
    say(status === 200 ? `Logged now: ${said}` : said, [], status !== 200);
  });
});

element("filter").addEventListener("input", ({ target }) => {
  peers.filter = target.value;
  peers.show(peers.known);
});

function show(status) {
  const isDown = status.listeners.some(({ state }) => state === "down");
  const text = isDown && status.phase === "running" ? "a listener is down" : status.phase;
  const phase = element("phase");
  if (phase.textContent !== text) phase.textContent = text;
  phase.className = `badge ${text === "running" ? "good" : "bad"}`;
  element("about").textContent = `version ${status.version} · process ${status.pid} · up ${age(status.uptime_seconds)}`;
  history.add(status, Date.now() / 1000);
  draw(history.columns);
  listeners(status, history);
  reasons(status);
}

let turn = 0;
async function update() {
  try {
    const status = await get("/status");
    show(status);
    element("lost").hidden = true;
    const open = status.listeners.reduce((all, one) => all + one.open, 0);
    if (turn++ % (open > MANY ? 5 : 1) === 0) peers.show((await get("/connections")).connections);
  } catch (error) {
    const phase = element("phase");
    phase.className = "badge bad";
    if (phase.textContent !== "unreachable") phase.textContent = "unreachable";
    element("lost").textContent = "The server does not answer. What is shown is what it said last.";
    element("lost").hidden = false;
  }
}

/** Once a second, while somebody looks. */
async function watch() {
  if (!document.hidden) await update();
  setTimeout(watch, SECOND);
}

get("/log-level").then((level) => (element("level").value = level.trim()), () => {});
watch();
