// What a user of the package writes: compiled by tsc --strict from the packed file alone, and never run.

import express from "express";
import fastify from "fastify";
import { Hono } from "hono";
import { SessionTokens, SessionTokensError, Unavailable, type SessionShape } from "session-tokens-client";
import { logIn, requireSession, sessionTokens } from "session-tokens-client/express";
import * as inFastify from "session-tokens-client/fastify";
import * as inHono from "session-tokens-client/hono";
import { FROM_DB, TokenTables } from "session-tokens-client/tables";

const st = new SessionTokens("https://tokens.example", { key: "stk_", retryForMs: 1 });

export async function use(): Promise<SessionShape | null> {
  const { session, secret } = await st.openSession("alice", { idle_timeout: 1800, data: { cart: [1] } });
  const { token } = await st.issueToken(session.id, { value: { a: 1 }, transferable: true, audience: ["https://api"] });
  const price: string | null = (await st.offerToken(token.id, { price: 5, currency: "EUR" })).price;
  const ended: boolean = await st.destroySession(session.id, { reason: price ?? "logout", version: 1 });
  try {
    await st.transferToken(token.id, { giver: "alice", receiver: "bob", idempotencyKey: "x" });
  } catch (error) {
    if (error instanceof Unavailable || (error instanceof SessionTokensError && error.code === "conflict")) return null;
  }
  const tables = new TokenTables(st);
  const left: number | null = await tables.get_session_time_left("s1");
  await tables.set_general_session_timeout(left === null || ended ? FROM_DB : Infinity);
  // @ts-expect-error an option that there is not
  await st.openSession("alice", { idle: 5 });
  // @ts-expect-error the receiver is missing
  await st.transferToken(token.id, { giver: "alice" });
  return st.verifySession(secret);
}

const app = express();
app.use(sessionTokens(st, { cookie: "sid" }));
app.get("/", requireSession(), (req, res) => void res.send(req.session_tokens.session?.owner));
app.post("/log-in", async (req, res) => void res.json(await logIn(st, req, res, "alice", { remember: true })));

const other = fastify();
other.register(inFastify.sessionTokens, { client: st });
other.get("/", { preHandler: inFastify.requireSession }, async (request) => request.session_tokens.secret);

export const small = new Hono<inHono.SessionTokensEnv>();
small.use(inHono.sessionTokens(st));
small.get("/", inHono.requireSession(), (c) => c.text(c.get("session_tokens").session?.owner ?? ""));
