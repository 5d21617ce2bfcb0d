// Requests to the admin endpoint.

const TIMEOUT_MS = 5000;
/** The server returns at most this many connections per request. */
const PAGE_SIZE = 10000;

/** Only kept in memory: a reload of the page asks for it again. */
let token = "";

export function setToken(value) {
  token = value;
}

const isJson = (response) => (response.headers.get("content-type") ?? "").startsWith("application/json");

export async function get(path) {
  const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return isJson(response) ? response.json() : response.text();
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

/** Sends a request that changes the server. Returns the status and the body: a text or a parsed JSON value. */
export async function send(method, path, body) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const response = await fetch(path, { method, headers, body });
  return { status: response.status, body: isJson(response) ? await response.json() : (await response.text()).trim() };
}
