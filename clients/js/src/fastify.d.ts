import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from "fastify";

import type { SessionTokens } from "./index.js";
import type { Asking, SessionOptions } from "./requests.js";

declare module "fastify" {
  interface FastifyRequest {
    session_tokens: Asking;
  }
}

export const sessionTokens: FastifyPluginAsync<{ client: SessionTokens } & SessionOptions>;
export function requireSession(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply | undefined>;
