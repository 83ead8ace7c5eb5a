// A plugin for Fastify: `request.session_tokens` is `{ session, secret }`, the session `null` for a visitor.

import { Unavailable } from "./index.js";
import { REFUSALS, sessionOf } from "./requests.js";

/** Looks the session of each request up; a service that cannot say is 503, and logs nobody out. */
export async function sessionTokens(fastify, { client, ...options }) {
  fastify.decorateRequest("session_tokens", null);
  fastify.addHook("onRequest", async (request, reply) => {
    try {
      request.session_tokens = await sessionOf(client, (name) => request.headers[name], options);
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error;
      return reply.code(503).headers(REFUSALS[503].headers).send(REFUSALS[503].body);
    }
    reply.header("Vary", "Cookie");
  });
}
sessionTokens[Symbol.for("skip-override")] = true; // holds for the whole application, as those of fastify-plugin do

/** As `preHandler`: lets requests with a living session through; others are 401. */
export async function requireSession(request, reply) {
  if (!request.session_tokens?.session) {
    return reply.code(401).headers(REFUSALS[401].headers).send(REFUSALS[401].body);
  }
}
