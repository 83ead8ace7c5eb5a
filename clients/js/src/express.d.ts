import type { NextFunction, Request, Response } from "express";

import type { LogIn, Once, SessionShape, SessionTokens } from "./index.js";
import type { Asking, CookieOptions, SessionOptions } from "./requests.js";

declare global {
  namespace Express {
    interface Request {
      session_tokens: Asking;
    }
  }
}

type Middleware = (req: Request, res: Response, next: NextFunction) => void;
export function sessionTokens(client: SessionTokens, options?: SessionOptions): Middleware;
export function requireSession(): Middleware;
export function logIn(
  client: SessionTokens,
  req: Request,
  res: Response,
  owner: string,
  options?: Omit<LogIn, "owner" | "former"> & Once & { cookie?: CookieOptions },
): Promise<SessionShape>;
export function logOut(
  client: SessionTokens,
  req: Request,
  res: Response,
  options?: { cookie?: CookieOptions },
): Promise<void>;
