import type { MiddlewareHandler } from "hono";

import type { SessionTokens } from "./index.js";
import type { Asking, SessionOptions } from "./requests.js";

/** As `new Hono<SessionTokensEnv>()`. */
export interface SessionTokensEnv {
  Variables: { session_tokens: Asking };
}

export function sessionTokens(client: SessionTokens, options?: SessionOptions): MiddlewareHandler<SessionTokensEnv>;
export function requireSession(): MiddlewareHandler<SessionTokensEnv>;
