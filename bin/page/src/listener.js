// The page of a listener: the way of a connection from the address to the handler, limits, certificates, and the
// connections that closed last.

import { get, HttpError } from "./api.js";
import { formatAge, formatCount, formatDay, plural } from "./format.js";
import { failedMessages, sumValues } from "./rates.js";
import { Table, showBreakable } from "./table.js";
import { closedByError, createClosedTable, createReasonTable, reasonRows } from "./tables.js";

/** A certificate that expires within this time is shown as an error. */
const EXPIRES_SOON_SECONDS = 14 * 86400;

/** The counter of /status that counts how often a setting was reached. Some settings share a counter. */
const REACHED = {
  "limits.connections": ["rejected", "limit"],
  "limits.connections_per_source": ["rejected", "limit"],
  "limits.frame": ["closed", "frame_too_large"],
  "limits.outbox": ["closed", "outbox_full"],
  "timeouts.first_message": ["closed", "first_message"],
  "timeouts.frame": ["closed", "frame_timeout"],
  "timeouts.idle": ["closed", "idle"],
  "timeouts.message": ["closed", "message_timeout"],
  "timeouts.write": ["closed", "write_stalled"],
  "timeouts.lifetime": ["closed", "lifetime"],
  "rate.connections_per_source": ["rejected", "rate"],
  "rate.failed_handshakes_per_source": ["rejected", "rate"],
};

/** Settings with a current value. */
const CURRENT = {
  "limits.connections": ({ open }) => open,
  "limits.sessions": ({ sessions }) => sessions,
  "limits.handshakes": (_, { handshakes }) => handshakes,
};

/** Settings that apply to one kind of listener only. */
const ONLY_FOR = {
  connections: ["limits.connections", "limits.connections_per_source", "limits.handshakes", "limits.outbox",
    "timeouts.handshake", "timeouts.first_message", "timeouts.frame", "timeouts.write", "timeouts.lifetime",
    "rate.connections_per_source", "rate.failed_handshakes_per_source"],
  datagrams: ["limits.sessions", "limits.amplification", "rate.replies_per_peer"],
};

const element = (id) => document.getElementById(id);
const isOff = (value) => /^0(s|\/s)?$/.test(String(value));

function steps(status, { config, certificates }) {
  if (!config) return [["Removed", "A reload has removed this listener; its last connections finish."]];
  const { accepted, rejected, messages, closed } = status;
  const list = [["Address", `${status.address}, ${config.kind}; ${formatCount(accepted)} accepted`]];
  if (config.proxy) list.push(["PROXY protocol", "required, from trusted networks only"]);
  if (config.tls) {
    const certificate = certificates[0] ? `, ${expiry(certificates[0])}` : "";
    const client = config.tls.requires_client_certificate ? ", client certificate required" : "";
    const start = config.tls.on_request ? "on request" : "from the start";
    list.push(["TLS", `${start}${client}${certificate}; ${formatCount(closed.handshake)} handshakes failed`]);
  }
  const lists = [config.allow && `allow ${plural(config.allow, "network")}`, config.deny && `deny ${plural(config.deny, "network")}`];
  const access = lists.filter(Boolean).join(", ") || "all clients";
  list.push(["Access and limits", `${access}; ${formatCount(sumValues(rejected))} rejected`]);
  const bad = closed.frame_too_large + closed.bad_frame + closed.frame_timeout;
  list.push(["Framing", `${config.framing}, at most ${config.limits.frame}; ${formatCount(bad)} closed by invalid messages`]);
  for (const layer of config.layers) list.push(["Layer", layer]);
  const failed = failedMessages(status);
  list.push(["Handler", `${config.handler}; ${formatCount(messages.ok)} messages handled, ${formatCount(failed)} failed`]);
  return list;
}

function expiry({ not_after, seconds_left }) {
  const left = seconds_left > 0 ? `in ${formatAge(seconds_left)}` : "expired";
  return `certificate expires ${formatDay(not_after)} (${left})`;
}

/** Writes the steps only if they have changed, so that a selection of text stays. */
function showSteps(list) {
  const container = element("chain");
  list.forEach(([title, text], index) => {
    let item = container.children[index];
    if (!item) {
      item = container.appendChild(document.createElement("li"));
      item.append(document.createElement("strong"), document.createElement("span"));
    }
    const [name, detail] = item.children;
    if (name.textContent !== title) name.textContent = title;
    if (detail.textContent !== text) detail.textContent = text;
  });
  while (container.children.length > list.length) container.lastChild.remove();
}

function settingRows(status, details) {
  const { config } = details;
  if (!config) return [];
  const other = config.kind === "connections" ? "datagrams" : "connections";
  const settings = ["limits", "timeouts", "rate"]
    .flatMap((section) => Object.entries(config[section] ?? {}).map(([key, value]) => ({ key: `${section}.${key}`, value })))
    .filter(({ key }) => !ONLY_FOR[other].includes(key));
  const counter = (key) => REACHED[key]?.join(" ");
  return settings.map(({ key, value }) => {
    const current = CURRENT[key]?.(status, details) ?? null;
    const [counters, label] = REACHED[key] ?? [];
    const counting = settings.filter((setting) => counter(setting.key) === counter(key) && !isOff(setting.value));
    return {
      key,
      value: isOff(value) ? "off" : typeof value === "number" ? formatCount(value) : value,
      current,
      share: typeof value === "number" && value > 0 && current !== null ? current / value : 0,
      reached: counters && !isOff(value) ? (status[counters][label] ?? 0) : null,
      isShared: counting.length > 1,
    };
  });
}

export class ListenerPage {
  constructor() {
    this.settings = new Table(
      "settings",
      [
        {
          title: "Setting",
          value: ({ key }) => key,
          render: (cell, { key }) => showBreakable(cell, key.split(/(?<=[._])/)),
          className: "setting",
        },
        { title: "Limit", value: ({ value }) => value, isNumeric: true },
        {
          title: "Now",
          value: ({ current }) => current,
          text: ({ current }) => (current === null ? "" : formatCount(current)),
          isNumeric: true,
          className: ({ share }) => (share >= 0.9 ? "error" : ""),
        },
        {
          title: "Reached",
          value: ({ reached }) => reached,
          text: ({ reached, isShared }) =>
            reached === null ? "" : `${plural(reached, "time")}${isShared && reached ? ", one of several" : ""}`,
          isNumeric: true,
          className: ({ reached }) => (reached ? "error" : ""),
        },
      ],
      { key: ({ key }) => key, label: "limits", caption: "Limits, timeouts and rates", empty: "No settings." },
    );
    this.certificates = new Table(
      "certificates",
      [
        { title: "Host", value: ({ host }) => host ?? "default" },
        { title: "Subject", value: ({ subject }) => subject, isText: true },
        {
          title: "Expires",
          value: ({ not_after }) => not_after,
          text: (certificate) => `${formatDay(certificate.not_after)}, in ${formatAge(certificate.seconds_left)}`,
          className: ({ seconds_left }) => (seconds_left < EXPIRES_SOON_SECONDS ? "error" : "success"),
        },
      ],
      { key: ({ host }) => host ?? "", label: "certificates", empty: "No certificates." },
    );
    this.closed = createClosedTable();
    this.reasons = createReasonTable("listener-reasons");
  }

  /** Shows a listener. Without it in the status, the page says so. */
  async update(name, status) {
    const listener = status.listeners.find((candidate) => candidate.name === name);
    element("listener-missing").hidden = !!listener;
    element("listener-details").hidden = !listener;
    if (!listener) return;
    let details;
    try {
      details = await get(`/listeners/${encodeURIComponent(name)}`);
    } catch (error) {
      if (error instanceof HttpError && error.status === 404) return;
      throw error;
    }
    showSteps(steps(listener, details));
    const errors = closedByError(listener) + failedMessages(listener);
    const problem = listener.problem ? ` · ${listener.problem}` : "";
    element("listener-summary").textContent =
      `${listener.state}${problem} · ${formatCount(listener.open + listener.sessions)} open · ${plural(errors, "error")} since the start`;
    this.settings.update(settingRows(listener, details));
    element("certificates-section").hidden = !details.certificates.length;
    this.certificates.update(details.certificates);
    this.closed.update(details.recently_closed);
    this.reasons.update(reasonRows([listener]));
  }
}
