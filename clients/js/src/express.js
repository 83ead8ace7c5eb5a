// Middleware for Express: `req.session_tokens` is `{ session, secret }`, the session `null` for a visitor.

import { Unavailable } from "./index.js";
import { cookieOf, REFUSALS, sessionOf } from "./requests.js";

function refuse(res, status) {
  res.status(status).set(REFUSALS[status].headers).json(REFUSALS[status].body);
}

/** Looks the session of each request up; a service that cannot say is 503, and logs nobody out. */
export function sessionTokens(client, options = {}) {
  return async (req, res, next) => {
    try {
      req.session_tokens = await sessionOf(client, (name) => req.headers[name], options);
    } catch (error) {
      if (error instanceof Unavailable) return refuse(res, 503);
      return next(error);
    }
    res.vary("Cookie");
    return next();
  };
}

/** Lets requests with a living session through; others are 401. */
export function requireSession() {
  return (req, res, next) => (req.session_tokens?.session ? next() : refuse(res, 401));
}

/** Logs a user in: a session of theirs takes the place of this one, and the cookie holds its secret. */
export async function logIn(client, req, res, owner, { cookie = {}, ...options } = {}) {
  const former = req.session_tokens?.secret ?? undefined;
  const issued = await client.logIn(owner, { ...(former?.startsWith("st") ? { former } : {}), ...options });
  res.append("Set-Cookie", cookieOf(issued.secret, cookie));
  req.session_tokens = { session: issued.session, secret: issued.secret };
  return issued.session;
}

/** Logs out: the session ends, and the browser forgets the cookie. */
export async function logOut(client, req, res, { cookie = {} } = {}) {
  const session = req.session_tokens?.session;
  if (session) await client.destroySession(session.id);
  res.append("Set-Cookie", cookieOf(null, cookie));
  req.session_tokens = { session: null, secret: null };
}
