import type { SessionShape, SessionTokens } from "./index.js";

export interface SessionOptions {
  /** The cookie's name, on https with `__Host-` before it; `session` if not given. */
  cookie?: string;
  /** Whether a request is a use of the session; it is if not given. */
  touch?: boolean;
}

export interface CookieOptions {
  cookie?: string;
  /** Whether browsers are on https; they are if not given. */
  secure?: boolean;
  sameSite?: "Lax" | "Strict" | "None";
  /** How long browsers keep it; until they are closed if not given. */
  maxAgeS?: number;
}

/** Who asks. */
export interface Asking {
  session: SessionShape | null;
  secret: string | null;
}

export type Header = (name: string) => string | undefined;
export function secretIn(header: Header, options?: SessionOptions): string | null;
export function sessionOf(client: SessionTokens, header: Header, options?: SessionOptions): Promise<Asking>;
export function cookieOf(secret: string | null, options?: CookieOptions): string;
