// The tap of a connection: its messages as they arrive, as steps of a conversation script.

import { open } from "./api.js";
import { askForToken, notify } from "./commands.js";
import { save } from "./download.js";

const element = (id) => document.getElementById(id);
/** Messages that the page keeps. */
const MAX_MESSAGES = 1000;

/** The events of a stream: name and data. */
async function* events(body) {
  let text = "";
  for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const [, name, data] = /^event: (\w+)\ndata: (.*)$/.exec(text.slice(0, end)) ?? [];
      text = text.slice(end + 2);
      if (name) yield { name, data: JSON.parse(data) };
    }
  }
}

class Tap {
  #abort = new AbortController();
  #waiting = [];
  #steps = [];
  #head = "";
  #isPaused = false;

  constructor(id) {
    this.id = id;
    element("tap-title").textContent = `Messages of connection ${id}`;
    element("tap-messages").replaceChildren();
    this.#show("Waiting for messages.");
    this.#showPause();
  }

  end() {
    this.#abort.abort();
  }

  async read() {
    try {
      const response = await open(`/connections/${this.id}/tap?duration=10m`, this.#abort.signal);
      if (response.status === 401) {
        element("tap-dialog").close();
        return askForToken((await response.text()).trim(), () => showTap(this.id));
      }
      if (response.status !== 200) return this.#show((await response.text()).trim());
      element("tap-save").disabled = false;
      for await (const event of events(response.body)) this.#add(event);
    } catch (error) {
      if (error.name !== "AbortError") this.#show("The tap has ended: the server cannot be reached.");
    }
  }

  togglePause() {
    this.#isPaused = !this.#isPaused;
    this.#showPause();
    if (!this.#isPaused) this.#showWaiting();
  }

  save() {
    save(`connection-${this.id}.script`, "text/plain", `${this.#head}${this.#steps.join("\n")}\n`);
    notify(`Saved ${this.#steps.length} lines`, {});
  }

  #show(text) {
    element("tap-state").textContent = text;
  }

  #showPause() {
    element("tap-pause").textContent = this.#isPaused ? "Continue" : "Pause";
  }

  #add({ name, data }) {
    if (name === "start") {
      this.#head = data.script;
      this.#show(`${data.peer} at ${data.listener}`);
    } else if (name === "message") {
      // A script has messages or bytes.
      if (data.bytes) this.#line(`# bytes on the wire:\n# ${data.step.replaceAll("\n", "\n# ")}`, data.direction);
      else this.#line(data.step, data.direction);
    } else if (name === "missed") this.#line(`# ${data.messages} messages are missing`, "");
    else if (data.why === "closed") {
      this.#line(`< closed ${data.reason}`, "sent");
      this.#show(`The connection has closed: ${data.reason}.`);
    } else this.#show("The tap has ended after 10 minutes.");
  }

  #line(text, direction) {
    this.#steps.push(text);
    this.#waiting.push({ text, direction });
    for (const list of [this.#steps, this.#waiting]) if (list.length > MAX_MESSAGES) list.shift();
    if (!this.#isPaused) this.#showWaiting();
  }

  #showWaiting() {
    const list = element("tap-messages");
    const scroll = list.parentElement;
    for (const { text, direction } of this.#waiting.splice(0)) {
      const item = document.createElement("li");
      Object.assign(item, { textContent: text, className: direction });
      list.append(item);
    }
    while (list.children.length > MAX_MESSAGES) list.firstChild.remove();
    scroll.scrollTop = scroll.scrollHeight;
  }
}

let tap = null;

export function showTap(id) {
  tap?.end();
  element("tap-save").disabled = true;
  tap = new Tap(id);
  if (!element("tap-dialog").open) element("tap-dialog").showModal();
  tap.read();
}

element("tap-pause").addEventListener("click", () => tap.togglePause());
element("tap-save").addEventListener("click", () => tap.save());
element("tap-dialog").addEventListener("close", () => tap.end());
