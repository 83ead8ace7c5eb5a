// The client against a real service: SERVICE_URL and SERVICE_KEY say where it is.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";

import { SessionTokens, SessionTokensError, Unavailable } from "../src/index.js";
import { FROM_DB, TokenTables } from "../src/tables.js";

const url = process.env.SERVICE_URL;
const key = process.env.SERVICE_KEY;
const st = new SessionTokens(url, { key });
const refused = (code) => (error) => error instanceof SessionTokensError && error.code === code;

test("a session lives until it is ended", async () => {
  const { session, secret } = await st.openSession("ann", { max_age: 600, data: { cart: [1] }, detachable: true });
  assert.deepEqual((await st.verifySession(secret)).data, { cart: [1] });
  assert.deepEqual((await st.updateSessionData(session.id, { theme: null }, { removed: ["cart"] })).data, { theme: null });
  const rotated = await st.rotateSession(secret);
  assert.equal(await st.verifySession(secret), null);
  assert.equal((await st.listSessions({ owner: "ann" })).sessions.length, 1);
  assert.equal((await st.getSession(session.id)).owner, "ann");
  assert.equal(await st.destroySession(rotated.secret), true);
  assert.equal(await st.destroySession(session.id), false);
  assert.equal(await st.getSession(session.id), null);
  await assert.rejects(st.rotateSession(session.id), (error) => error.code === "session_ended" && error.reason === "logout");
});

test("two tabs with one old secret get one new one, and late use of it is theft", async () => {
  const { session, secret } = await st.openSession("kim");
  const [one, two] = await Promise.all([1, 2].map(() => st.rotateSession(secret, { grace: 60 })));
  assert.equal(one.secret, two.secret);
  assert.notEqual((await st.verifySession(secret)).secret_until, null);
  assert.equal((await st.verifySession(one.secret)).secret_until, null);
  const last = await st.rotateSession(one.secret, { grace: 0.05 });
  for (let tries = 0; (await st.verifySession(one.secret)) !== null; tries += 1) {
    assert.ok(tries < 600, "it is good for longer than its grace");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.equal(await st.verifySession(last.secret), null);
  assert.equal((await st.explain(session.id)).reason, "theft");
});

test("a secret is sent in no address, not even by mistake", async () => {
  const asked = [];
  const fetch = (...request) => asked.push(request);
  const own = new SessionTokens(url, { key, fetch });
  const secret = `sts_00${"a".repeat(49)}`;
  await assert.rejects(own.listSessions({ owner: secret }), refused("invalid_input"));
  await assert.rejects(own.listTokens({ session: secret }), refused("invalid_input"));
  assert.deepEqual(asked, []);
});

test("a token passes from hand to hand", async () => {
  const { session } = await st.openSession("bea");
  const issued = await st.issueToken(session.id, { value: { seat: 7 }, transferable: true });
  await assert.rejects(st.transferToken(issued.token.id, { giver: "eve", receiver: "bob" }), refused("not_owner"));
  const passed = await st.transferToken(issued.secret, { giver: "bea", receiver: "bob" });
  assert.equal(await st.verifyToken(issued.secret), null);
  assert.deepEqual((await st.verifyToken(passed.secret)).value, { seat: 7 });
  assert.equal((await st.offerToken(issued.token.id, { price: "12.50" })).price, "12.50");
  assert.equal(await st.destroyToken(issued.token.id), true);
  assert.equal(await st.getToken(issued.token.id), null);
});

test("a token is lent, used up, offered and put into the pool", async () => {
  const { session } = await st.openSession("ida");
  const other = await st.openSession("jon");
  const { token, secret } = await st.issueToken(session.id, { transferable: true, uses: 3, tag: "jobs" });
  const loan = await st.lendToken(secret, { borrower: "jon" });
  assert.equal((await st.consumeToken(loan.secret)).uses_left, 2);
  await st.recallToken(token.id);
  assert.equal(await st.verifyToken(loan.secret), null);
  await st.offerToken(token.id, { price: "5", currency: "EUR" });
  await assert.rejects(st.acceptOffer(token.id, { receiver: "jon", price: "4", currency: "EUR" }), refused("conflict"));
  assert.equal((await st.acceptOffer(token.id, { receiver: "jon", price: "5", currency: "EUR" })).token.owner, "jon");
  await st.releaseToken(token.id, { owner: "jon" });
  assert.equal((await st.claimNextToken({ session: other.session.id, tag: "jobs" })).token.id, token.id);
  assert.equal(await st.claimNextToken({ session: other.session.id, tag: "jobs" }), null);
  assert.equal(await st.handOver("jon", { receiver: "ida" }), 1);
});

test("a log-in takes the place of a visitor's session", async () => {
  const visitor = await st.logIn(null, { data: { cart: [1] } });
  const user = await st.logIn("cat", { former: visitor.secret });
  assert.equal(await st.verifySession(visitor.secret), null);
  assert.deepEqual(user.session.data, { cart: [1] });
  assert.equal(await st.destroySessions("cat", { reason: "revoked" }), 1);
});

test("the session to keep is named by its secret as well", async () => {
  const kept = await st.openSession("lea");
  await st.openSession("lea");
  assert.equal(await st.destroySessions("lea", { except_session: kept.secret }), 1);
  assert.equal((await st.verifySession(kept.secret)).id, kept.session.id);
});

test("an operator looks, renames and sets", async () => {
  const { session, secret } = await st.openSession("kim");
  assert.equal((await st.explain(session.id)).state, "active");
  assert.equal(await st.renameOwner("kim", { to: "kit" }), 1);
  assert.deepEqual((await st.listOwners()).owners.filter(({ owner }) => owner.startsWith("ki")).map(({ owner }) => owner), ["kit"]);
  assert.equal(await st.disableOwner("kit"), true);
  const forgotten = await st.forgetOwner("kim");
  assert.match(forgotten.pseudonym, /^forgotten:[0-9a-f]{32}$/);
  assert.ok((await st.listOwners({ disabled: true })).owners.some(({ owner }) => owner === "kit"));
  assert.equal((await st.setSetting("max_tokens_per_session", 400)).stored, 400);
  assert.ok((await st.listSettings()).some(({ name, stored }) => name === "max_tokens_per_session" && stored === 400));
  assert.equal((await st.unsetSetting("max_tokens_per_session")).is_stored, false);
  await assert.rejects(st.explain(secret), refused("invalid_input"));
});

test("a secret is no id by which to look something up", async () => {
  const { session, secret } = await st.openSession("lea");
  const issued = await st.issueToken(session.id);
  assert.equal(await st.getSession(secret), null);
  assert.equal(await st.getToken(issued.secret), null);
  assert.equal(await st.getSession("nothing"), null);
});

test("what is no secret is nobody's and is not asked for", async () => {
  const nowhere = new SessionTokens("http://127.0.0.1:1", { key, retryForMs: 1 });
  for (const wrong of ["", "nonsense", "sts_short", null, undefined, 5]) assert.equal(await nowhere.verify(wrong), null);
  await assert.rejects(nowhere.rotateSession("nonsense"), refused("unknown_session"));
});

test("what can never be right is refused before anything is sent", () => {
  for (const wrong of ["http://tokens.example", "ftp://x.example"]) {
    assert.throws(() => new SessionTokens(wrong, { key }), refused("invalid_input"));
  }
  assert.throws(() => new SessionTokens(url, { key: "sts_x" }), refused("invalid_input"));
  for (const [option, wrong] of [["timeoutMs", NaN], ["timeoutMs", 0], ["timeoutMs", Infinity], ["timeoutMs", "5"],
    ["retryForMs", NaN], ["retryForMs", -1], ["retryForMs", null]]) {
    assert.throws(() => new SessionTokens(url, { key, [option]: wrong }), refused("invalid_input"), `${option} ${wrong}`);
  }
  assert.ok(!JSON.stringify(st).includes("stk_"));
});

test("a number that JSON has not becomes no time without end", async () => {
  const asked = [];
  const own = new SessionTokens(url, { key, fetch: (...request) => asked.push(request) });
  const tables = new TokenTables(own);
  for (const wrong of [NaN, -Infinity]) {
    await assert.rejects(own.openSession("ann", { max_age: wrong }), refused("invalid_input"));
    await assert.rejects(own.changeToken("tok_1", { timeout: wrong }), refused("invalid_input"));
    await assert.rejects(own.setSetting("max_sessions", wrong), refused("invalid_input"));
    await assert.rejects(own.issueToken("ses_1", { value: { deep: [wrong] } }), refused("invalid_input"));
    await assert.rejects(tables.set_session_timeout("s1", wrong), refused("invalid_input"));
    await assert.rejects(tables.set_token_sellable("t1", wrong), refused("invalid_input"));
  }
  await assert.rejects(own.openSession("ann", { max_age: Infinity }), refused("invalid_input"));
  assert.deepEqual(asked, []);
});

test("what was left out by mistake is not taken for null", async () => {
  const tables = new TokenTables(st);
  await tables.add_session("left out", "ivo", undefined, true);
  await assert.rejects(st.issueToken(undefined), refused("invalid_input"));
  await assert.rejects(st.logIn(undefined), refused("invalid_input"));
  await assert.rejects(tables.set_session_timeout("left out", undefined), refused("invalid_input"));
  assert.equal(await tables.get_session_timeout("left out"), 3_600_000);
});

test("half of a surrogate pair names nobody else", async () => {
  const { secret } = await st.openSession("half \ufffd");
  for (const ask of [() => st.destroySessions("half \ud83d"), () => st.disableOwner("half \ud83d"),
    () => st.listSessions({ owner: "half \ud83d" })]) {
    await assert.rejects(ask(), refused("invalid_input"));
  }
  assert.notEqual(await st.verifySession(secret), null);
});

test("a service that does not answer is unavailable, never not valid", async () => {
  const { secret } = await st.openSession("dan");
  const nowhere = new SessionTokens("http://127.0.0.1:1", { key, retryForMs: 100 });
  await assert.rejects(nowhere.verifySession(secret), (error) => error instanceof Unavailable);
});

test("a command whose reply was lost is done once", async () => {
  let isLost = false;
  const proxy = createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", async () => {
      const answer = await fetch(url + request.url, {
        method: request.method,
        headers: Object.fromEntries(Object.entries(request.headers).filter(([name]) => name !== "connection" && name !== "host" && name !== "content-length")),
        body: parts.length ? Buffer.concat(parts) : undefined,
      });
      const text = await answer.text();
      if (!isLost) {
        isLost = true;
        return request.socket.destroy();
      }
      response.writeHead(answer.status, Object.fromEntries(answer.headers)).end(text);
    });
  });
  await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const lossy = new SessionTokens(`http://127.0.0.1:${proxy.address().port}`, { key });
  await lossy.openSession("eli");
  proxy.close();
  assert.equal(isLost, true);
  assert.equal((await st.listSessions({ owner: "eli" })).sessions.length, 1);
});

test("a wrong key is told", async () => {
  const wrong = new SessionTokens(url, { key: key.slice(0, -1) + (key.endsWith("0") ? "1" : "0") });
  await assert.rejects(wrong.openSession("fay"), refused("unauthenticated"));
});

test("the seed's names work over the service", async () => {
  const tables = new TokenTables(st);
  const name = await tables.create_token("s-");
  assert.ok(name.startsWith("s-"));
  assert.equal(typeof (await tables.add_session(name, "gil", "t1", true)), "string");
  assert.equal(await tables.active_session(name, "gil"), true);
  assert.equal(await tables.set_session_timeout(name, Infinity), true);
  assert.equal(await tables.get_session_timeout(name), Infinity);
  assert.equal(await tables.add_transferable_token("t2", { a: 1 }, "gil"), true);
  assert.equal(await tables.transition_token_is_active("t2"), '{"a":1}');
  assert.equal(await tables.set_token_sellable("t2", "-1.5"), true);
  assert.deepEqual(await tables.map_sellable_tokens(), { t2: "-1.5" });
  assert.equal(await tables.transfer_token("t2", "gil", "hal"), true);
  assert.equal(await tables.from_token("t2"), "hal");
  assert.equal(await tables.set_general_session_timeout(FROM_DB), true);
  assert.equal(await tables.destroy_session("t1"), true);
  assert.equal(await tables.active_session(name, "gil"), null);
  await assert.rejects(tables.call("shutdown"), refused("not_found"));
});
