// Middleware for Hono: `c.get("session_tokens")` is `{ session, secret }`, the session `null` for a visitor.

import { Unavailable } from "./index.js";
import { REFUSALS, sessionOf } from "./requests.js";

/** Looks the session of each request up; a service that cannot say is 503, and logs nobody out. */
export function sessionTokens(client, options = {}) {
  return async (c, next) => {
    try {
      c.set("session_tokens", await sessionOf(client, (name) => c.req.header(name), options));
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      return c.json(REFUSALS[503].body, 503, REFUSALS[503].headers);
    }
    c.header("Vary", "Cookie", { append: true });
    await next();
  };
}

/** Lets requests with a living session through; others are 401. */
export function requireSession() {
  return async (c, next) => {
    if (!c.get("session_tokens")?.session) return c.json(REFUSALS[401].body, 401, REFUSALS[401].headers);
    await next();
  };
}
