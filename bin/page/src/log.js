// The views of the log and of the configuration. Both need the token where there is one.

import { get, HttpError } from "./api.js";
import { askForToken, command, notify } from "./commands.js";

const element = (id) => document.getElementById(id);
/** Lines that the page keeps; the server keeps fewer. */
const MAX_LINES = 1000;

/** Asks for the token if an error says so; otherwise throws the error. */
function onError(error, again) {
  if (error instanceof HttpError && error.status === 401) return askForToken(error.message, again);
  if (error instanceof HttpError) return notify(error.message, { isError: true });
  throw error;
}

function parseLine(line) {
  try {
    const { timestamp, level, message, target, ...fields } = JSON.parse(line);
    const rest = Object.entries(fields).map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`);
    return { time: timestamp, level, text: [message, ...rest].join("  ") };
  } catch {
    return { time: "", level: /\b(ERROR|WARN|INFO|DEBUG|TRACE)\b/.exec(line)?.[1] ?? "", text: line };
  }
}

export class LogView {
  #next = 0;
  #isWaiting = false;
  #isBusy = false;

  constructor() {
    element("log-filter").addEventListener("input", () => this.#filter());
    element("log-level-form").addEventListener("submit", (event) => {
      event.preventDefault();
      command("PUT", "/log-level", element("log-level").value, ({ status, body }) => {
        const isError = status !== 200;
        notify(isError ? body : `Log level set to ${body}`, { isError });
      });
    });
  }

  async show() {
    this.#isWaiting = false;
    try {
      element("log-level").value = await get("/log-level");
    } catch {
      // A program with its own subscriber has no level.
    }
    await this.update();
  }

  async update() {
    if (this.#isWaiting || this.#isBusy) return;
    this.#isBusy = true;
    try {
      const { next, lines } = await get(`/log?after=${this.#next}`);
      if (next < this.#next) {
        this.#add([], true); // another process
        this.#next = 0;
      } else this.#next = next;
      this.#add(lines, false);
    } catch (error) {
      this.#isWaiting = true;
      onError(error, () => this.show());
    } finally {
      this.#isBusy = false;
    }
  }

  #add(lines, isNew) {
    const list = element("log-lines");
    if (isNew) list.replaceChildren();
    if (!lines.length) return;
    const scroll = list.parentElement;
    const isAtEnd = scroll.scrollTop + scroll.clientHeight >= scroll.scrollHeight - 8;
    for (const line of lines) {
      const { time, level, text } = parseLine(line);
      const item = document.createElement("li");
      item.className = { ERROR: "error", WARN: "warning" }[level] ?? "";
      item.textContent = [time.slice(11, 23), level, text].filter(Boolean).join(" ");
      list.append(item);
    }
    while (list.children.length > MAX_LINES) list.firstChild.remove();
    this.#filter();
    if (isAtEnd) scroll.scrollTop = scroll.scrollHeight;
  }

  #filter() {
    const text = element("log-filter").value.trim().toLowerCase();
    for (const item of element("log-lines").children) item.hidden = !item.textContent.toLowerCase().includes(text);
  }
}

export async function showConfiguration() {
  try {
    element("configuration-text").textContent = await get("/config?origin=true");
  } catch (error) {
    onError(error, showConfiguration);
  }
}
