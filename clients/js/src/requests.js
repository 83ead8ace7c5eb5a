// What the middleware of every framework does: find the secret in a request, verify it, and write the cookie.

const OURS = /^\s*st[sdtk]_/;

/**
 * Finds the secret of a request: a Bearer of ours, else the cookie; `null` where there is none.
 *
 * Any other Bearer, such as a JWT, is the application's. The cookie with `__Host-` goes first: only this host sets it.
 */
export function secretIn(header, { cookie = "session" } = {}) {
  const [scheme, ...words] = (header("authorization") ?? "").split(" ");
  const bearer = words.join(" ");
  if (scheme.toLowerCase() === "bearer" && OURS.test(bearer)) return bearer; // with something around it, it opens nothing
  const sent = header("cookie") ?? "";
  const own = valuesIn(sent, `__Host-${cookie}`);
  const found = own.size ? own : valuesIn(sent, cookie);
  return found.size === 1 ? [...found][0] : null; // of two different ones, nobody can tell which is ours
}

function valuesIn(sent, cookie) {
  const found = new Set();
  for (const pair of sent.split(";")) {
    const at = pair.indexOf("=");
    if (at > 0 && pair.slice(0, at).trim() === cookie) found.add(pair.slice(at + 1).trim());
  }
  return found;
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
