// What the server is asked. A token, where one is wanted, stays in this page.

let token = "";

export function useToken(secret) {
  token = secret;
}

export async function get(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(5000) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.headers.get("content-type").startsWith("application/json") ? answer.json() : answer.text();
}

/** Asks for a change. What comes back is the status and a text, or what a JSON answer holds. */
export async function change(method, path, body) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const answer = await fetch(path, { method, headers, body });
  const isJson = (answer.headers.get("content-type") ?? "").startsWith("application/json");
  return { status: answer.status, said: isJson ? await answer.json() : (await answer.text()).trim() };
}
