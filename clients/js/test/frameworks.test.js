// The middleware in real Express, Fastify and Hono, against a real service.

import assert from "node:assert/strict";
import { test } from "node:test";

import express from "express";
import fastify from "fastify";
import { Hono } from "hono";

import * as inExpress from "../src/express.js";
import * as inFastify from "../src/fastify.js";
import * as inHono from "../src/hono.js";
import { SessionTokens } from "../src/index.js";
import { cookieOf, secretIn } from "../src/requests.js";

const options = { key: process.env.SERVICE_KEY, retryForMs: 50 };
const st = new SessionTokens(process.env.SERVICE_URL, options);
const nowhere = new SessionTokens("http://127.0.0.1:1", options);

const served = {
  async Express(client) {
    const app = express();
    app.use(inExpress.sessionTokens(client));
    app.get("/", (req, res) => res.json({ owner: req.session_tokens.session?.owner ?? null }));
    app.get("/account", inExpress.requireSession(), (req, res) => res.json({ owner: req.session_tokens.session.owner }));
    app.post("/log-in", async (req, res) => {
      await inExpress.logIn(client, req, res, "ann", { cookie: { secure: false } });
      res.json({});
    });
    app.post("/log-out", async (req, res) => {
      await inExpress.logOut(client, req, res, { cookie: { secure: false } });
      res.json({});
    });
    const server = app.listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const address = `http://127.0.0.1:${server.address().port}`;
    return { ask: (path, init) => fetch(address + path, init), close: () => server.close() };
  },
  async Fastify(client) {
    const app = fastify();
    app.register(inFastify.sessionTokens, { client });
    app.get("/", async (request) => ({ owner: request.session_tokens.session?.owner ?? null }));
    app.get("/account", { preHandler: inFastify.requireSession }, async (request) => ({
      owner: request.session_tokens.session.owner,
    }));
    const address = await app.listen({ port: 0, host: "127.0.0.1" });
    return { ask: (path, init) => fetch(address + path, init), close: () => app.close() };
  },
  async Hono(client) {
    const app = new Hono();
    app.use(inHono.sessionTokens(client));
    app.get("/", (c) => c.json({ owner: c.get("session_tokens").session?.owner ?? null }));
    app.get("/account", inHono.requireSession(), (c) => c.json({ owner: c.get("session_tokens").session.owner }));
    return { ask: (path, init) => app.request(path, init), close: () => {} };
  },
};

for (const [name, serve] of Object.entries(served)) {
  test(`${name}: who is logged in, who is not, and who is no more`, async () => {
    const { session, secret } = await st.openSession("ann");
    const site = await serve(st);
    try {
      for (const headers of [{ cookie: `a=b; session=${secret}` }, { authorization: `Bearer ${secret}` }]) {
        const answer = await site.ask("/account", { headers });
        assert.deepEqual([answer.status, await answer.json()], [200, { owner: "ann" }]);
        assert.match(answer.headers.get("vary") ?? "", /cookie/i);
      }
      const visitor = await site.ask("/");
      assert.deepEqual([visitor.status, await visitor.json()], [200, { owner: null }]);
      await st.destroySession(session.id);
      const late = await site.ask("/account", { headers: { cookie: `session=${secret}` } });
      assert.deepEqual([late.status, late.headers.get("www-authenticate")], [401, "Bearer"]);
    } finally {
      await site.close();
    }
  });

  test(`${name}: an outage is 503 and logs nobody out`, async () => {
    const { secret } = await st.openSession("bea");
    const site = await serve(nowhere);
    try {
      const answer = await site.ask("/account", { headers: { cookie: `session=${secret}` } });
      assert.deepEqual([answer.status, answer.headers.get("retry-after")], [503, "1"]);
      assert.equal(answer.headers.get("set-cookie"), null);
      assert.equal((await site.ask("/")).status, 200);
    } finally {
      await site.close();
    }
  });
}

test("Express: a log-in hands a cookie out, a log-out takes it back", async () => {
  const site = await served.Express(st);
  try {
    const answer = await site.ask("/log-in", { method: "POST" });
    const [cookie] = answer.headers.get("set-cookie").split(";");
    assert.deepEqual(await (await site.ask("/account", { headers: { cookie } })).json(), { owner: "ann" });
    const out = await site.ask("/log-out", { method: "POST", headers: { cookie } });
    assert.match(out.headers.get("set-cookie"), /^session=; .*Max-Age=0/);
    assert.equal((await site.ask("/account", { headers: { cookie } })).status, 401);
  } finally {
    await site.close();
  }
});

test("a Bearer of ours goes before the cookie, and any other is the application's", () => {
  const of = (authorization) => secretIn((name) => (name === "authorization" ? authorization : "session=sts_c"));
  assert.equal(of("Bearer sts_a"), "sts_a");
  assert.equal(of("bearer std_a"), "std_a");
  for (const other of ["Bearer eyJhbGciOiJub25lIn0.e30.", "Bearer", "Bearer ", "Basic c3RzX2E6", "sts_a", ""]) {
    assert.equal(of(other), "sts_c");
  }
  for (const more of ["sts_a sts_b", "sts_a,sts_b", " sts_a"]) assert.equal(of(`Bearer ${more}`), more);
});

test("the cookie of ours is found, and nobody's taken for it", () => {
  const of = (cookie) => secretIn((name) => (name === "cookie" ? cookie : undefined));
  assert.equal(of("x=1; __Host-session=sts_a"), "sts_a");
  assert.equal(of("session=sts_a; session=sts_b"), null);
  assert.equal(of("session=planted; __Host-session=sts_a; session=sts_b"), "sts_a");
  assert.equal(of("__Host-session=sts_a; __Host-session=sts_b; session=sts_a"), null);
  assert.equal(of("my_session=sts_a; =sts_b"), null);
  assert.equal(of(""), null);
  assert.equal(cookieOf("sts_a"), "__Host-session=sts_a; Path=/; HttpOnly; SameSite=Lax; Secure");
});
