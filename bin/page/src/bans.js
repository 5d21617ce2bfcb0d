// The view of the bans: those in effect, and a form that adds one.

import { get } from "./api.js";
import { command, notify } from "./commands.js";
import { formatAge, formatCount } from "./format.js";
import { Table } from "./table.js";

/** The view shows at most this many bans. `switchboard ban --list` prints all. */
const MAX_BANS = 1000;

const element = (id) => document.getElementById(id);

export class BansView {
  constructor() {
    const removeButton = (cell, ban) => {
      const button = document.createElement("button");
      Object.assign(button, { type: "button", textContent: "Remove", className: "danger small" });
      button.setAttribute("aria-label", `Remove the ban of ${ban.network}`);
      button.addEventListener("click", () => this.#remove(ban.network, button));
      cell.append(button);
    };
    const columns = [
      { title: "Network", value: ({ network }) => network, className: "peer" },
      { title: "Left", value: ({ seconds_left }) => seconds_left, text: (ban) => formatAge(ban.seconds_left), isNumeric: true },
      { title: "Origin", value: ({ origin }) => origin },
      { title: "Times", value: ({ times }) => times, text: ({ times }) => times || "", isNumeric: true, isWide: true },
      { title: "Reason", value: ({ reason }) => reason, isText: true },
      { title: "Age", value: ({ age_seconds }) => age_seconds, text: (ban) => formatAge(ban.age_seconds), isNumeric: true, isWide: true },
      { title: "Remove", render: removeButton },
    ];
    this.table = new Table("bans", columns, {
      key: ({ network }) => network,
      sort: "Left",
      search: ({ network, origin, reason }) => `${network} ${origin} ${reason}`,
      empty: "No bans.",
    });
    element("ban-filter").addEventListener("input", ({ target }) => this.table.setFilter(target.value));
    element("ban-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#add();
    });
  }

  async update(status) {
    const { bans } = await get(`/bans?limit=${MAX_BANS}`);
    this.table.update(bans);
    const { active, entries, file, file_error: error } = status.bans;
    const shown = active > bans.length ? `, the first ${formatCount(bans.length)} by network are shown` : "";
    const kept = error ? `Not saved: ${error}` : file ? `Saved in ${file}` : "Only in memory: a restart forgets them";
    element("ban-count").textContent = `${formatCount(active)} of at most ${formatCount(entries)}${shown}. ${kept}.`;
    element("ban-count").classList.toggle("error", !!error);
  }

  #add() {
    const [network, duration, reason] = ["network", "duration", "reason"].map((name) => element(`ban-${name}`).value.trim());
    const body = JSON.stringify({ network, ...(duration && { duration }), reason });
    command("POST", "/bans", body, (response) => {
      if (response.status !== 200) return notify(response.body, { isError: true });
      const { network: banned, seconds_left: left, exempt_listeners: exempt } = response.body;
      const details = exempt.map((listener) => `Listener ${listener} still accepts it, because access.allow names it.`);
      notify(`Banned ${banned} for ${formatAge(Math.round(left))}.`, { details });
      element("ban-form").reset();
    });
  }

  #remove(network, button) {
    button.disabled = true;
    command("DELETE", `/bans/${network}`, undefined, ({ status, body }) => {
      const isError = status !== 200;
      notify(isError ? body : `Removed the ban of ${network}.`, { isError });
      button.disabled = false;
    });
  }
}
