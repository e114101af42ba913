// SPDX-License-Identifier: Apache-2.0
//
// Calls of the daemon, as api/openapi.yaml has them. The token is in the session storage of this
// tab and goes into the header Authorization, never into a URL. Where none is needed, as behind a
// proxy to the Unix socket, none is sent.
//
// A reply 401 ends the session: whoever registered with onLogout() is told, and the page asks for a
// token.
const TOKEN = "snapgroupd-token";
const listeners = new Set();

export class Problem extends Error {
  /** `body`: RFC 9457, or null if the reply is none of the daemon's. */
  constructor(status, body) {
    super(body?.detail || (status ? `The reply is ${status}` : "The daemon cannot be reached"));
    this.status = status;
    this.code = body?.code || "";
    this.isRetryable = body ? Boolean(body.retryable) : true;
  }
}

export function hasToken() {
  return sessionStorage.getItem(TOKEN) !== null;
}

export function setToken(token) {
  if (token) sessionStorage.setItem(TOKEN, token);
  else sessionStorage.removeItem(TOKEN);
}

export function onLogout(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Forgets the token; `problem`: why. */
export function logout(problem) {
  setToken(null);
  for (const listener of listeners) listener(problem);
}

/** A new one for what a user decides to do once: a call that is repeated does not do it again. */
export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `"${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}"`;
}

/** The reply, whatever its status is; Problem, with status 0, if there is none. */
export async function request(method, path, { body, headers = {}, key, signal } = {}) {
  const sent = { Accept: "application/json", ...headers };
  const token = sessionStorage.getItem(TOKEN);
  if (token) sent.Authorization = "Bearer " + token;
  if (key) sent["Idempotency-Key"] = key;
  if (body !== undefined)
    sent["Content-Type"] = method === "PATCH" ? "application/merge-patch+json" : "application/json";
  try {
    return await fetch(path, {
      method, headers: sent, signal, cache: "no-store", credentials: "omit", redirect: "error",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, null);
  }
}

/** What the reply, which is no success, says. */
export async function problemOf(response) {
  const problem = new Problem(response.status, await response.json().catch(() => null));
  if (response.status === 401) logout(problem);
  return problem;
}

/** The JSON of the reply, null if it has none; throws a Problem unless it succeeds. */
export async function call(method, path, options) {
  const response = await request(method, path, options);
  if (!response.ok) throw await problemOf(response);
  if (response.status === 204) return null;
  const isJson = (response.headers.get("Content-Type") || "").includes("json");
  return isJson ? response.json() : response.text();
}

export function get(path, options) {
  return call("GET", path, options);
}

/** The path of a list with these parameters; those that are empty are left out. */
export function query(path, parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value);
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

/** What the caller may do: "read", "snapshot" or "admin". The contract has no call that says it, so
 * two are tried that change nothing: a list for admins, and a patch of a group that cannot exist. */
export async function scope() {
  const nobody = "/snapshot-groups/00000000-0000-4000-8000-000000000000";
  try {
    await get("/tokens?limit=1");
    return "admin";
  } catch (problem) {
    if (problem.code !== "InsufficientScope") throw problem;
  }
  try {
    await call("PATCH", nobody, { body: {} });
  } catch (problem) {
    if (problem.code === "InsufficientScope") return "read";
  }
  return "snapshot";
}
