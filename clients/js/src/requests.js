// What the middleware of every framework does: find the secret in a request, verify it, and write the cookie.

/** Finds the secret of a request: of `Authorization: Bearer`, else of the cookie; `null` where there is none. */
export function secretIn(header, { cookie = "session" } = {}) {
  const [scheme, value] = (header("authorization") ?? "").split(" ", 2);
  if (scheme.toLowerCase() === "bearer" && value) return value.trim();
  const found = new Set();
  for (const pair of (header("cookie") ?? "").split(";")) {
    const at = pair.indexOf("=");
    if ([cookie, `__Host-${cookie}`].includes(pair.slice(0, at).trim()) && at > 0) found.add(pair.slice(at + 1).trim());
  }
  return found.size === 1 ? [...found][0] : null; // of two different ones, nobody can tell which is ours
}

/** Verifies the secret of a request; the session is `null` for a visitor. Throws where the service cannot say. */
export async function sessionOf(client, header, options = {}) {
  const secret = secretIn(header, options);
  return { secret, session: secret === null ? null : await client.verifySession(secret, options) };
}

/** Returns the `Set-Cookie` header that hands a secret out, or with `null` has the browser forget it. */
export function cookieOf(secret, { cookie = "session", secure = true, sameSite = "Lax", maxAgeS } = {}) {
  const name = secure ? `__Host-${cookie}` : cookie;
  const age = secret === null ? "; Max-Age=0" : maxAgeS === undefined ? "" : `; Max-Age=${Math.floor(maxAgeS)}`;
  return `${name}=${secret ?? ""}; Path=/; HttpOnly; SameSite=${sameSite}${secure ? "; Secure" : ""}${age}`;
}

/** What is answered where the session is missing, or cannot be looked up. */
export const REFUSALS = {
  401: { headers: { "WWW-Authenticate": "Bearer", "Cache-Control": "no-store" }, body: { error: "log in first" } },
  503: { headers: { "Retry-After": "1", "Cache-Control": "no-store" }, body: { error: "try again in a moment" } },
};
