// Requests to the admin endpoint.

const TIMEOUT_MS = 5000;
/** The server returns at most this many connections per request. */
const PAGE_SIZE = 10000;

/** Only kept in memory: a reload of the page asks for it again. */
let token = "";

export function setToken(value) {
  token = value;
}

/** A reply with an error status. */
export class HttpError extends Error {
  constructor(path, status, body) {
    super(typeof body === "string" && body ? body : `${path}: ${status}`);
    this.status = status;
  }
}

const isJson = (response) => (response.headers.get("content-type") ?? "").startsWith("application/json");

/** Sends a request whose reply arrives over time. */
export function open(path, signal) {
  return fetch(path, { headers: token ? { authorization: `Bearer ${token}` } : {}, signal, cache: "no-store" });
}

/** Sends a request. Returns the status and the body: a text or a parsed JSON value. */
export async function send(method, path, body, timeout) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const signal = timeout ? AbortSignal.timeout(timeout) : undefined;
  const response = await fetch(path, { method, headers, body, signal, cache: "no-store" });
  return { status: response.status, body: isJson(response) ? await response.json() : (await response.text()).trim() };
}

export async function get(path, timeout = TIMEOUT_MS) {
  const { status, body } = await send("GET", path, undefined, timeout);
  if (status !== 200) throw new HttpError(path, status, body);
  return body;
}

/** Returns all connections, oldest first. */
export async function getConnections() {
  const all = [];
  let after = null;
  do {
    const page = await get(`/connections?limit=${PAGE_SIZE}${after === null ? "" : `&after=${after}`}`);
    all.push(...page.connections);
    after = page.next ?? null;
  } while (after !== null);
  return all;
}
