// The client against what is no service of ours, or one that drips, hangs and leads elsewhere.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { test } from "node:test";

import { SessionTokens, SessionTokensError, Unavailable } from "../src/index.js";
import { TokenTables } from "../src/tables.js";

const key = process.env.SERVICE_KEY;
const secret = `sts_00${"a".repeat(49)}`;
const refused = (code) => (error) => error instanceof SessionTokensError && error.code === code;
const unavailable = (error) => error instanceof Unavailable;

/** Answers each request with bytes; what `speak` gets is the connection, once a head has come. */
async function answering(speak, use, options = {}) {
  const seen = [];
  const sockets = new Set();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      if (!bytes.toString("latin1").includes(" HTTP/1.1\r\n")) return; // the rest of a body
      seen.push(bytes.toString("latin1"));
      speak(socket);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${server.address().port}`;
  try {
    return await use(new SessionTokens(url, { key, retryForMs: 300, ...options }), seen);
  } finally {
    sockets.forEach((socket) => socket.destroy());
    server.close();
  }
}

function whole(status, body, headers = "") {
  return `HTTP/1.1 ${status} X\r\nContent-Length: ${Buffer.byteLength(body)}\r\n${headers}\r\n${body}`;
}

for (const [name, text] of Object.entries({
  "a page that says to wait": whole(200, "<html>please wait</html>", "Content-Type: text/html\r\n"),
  "an object": whole(200, "{}", "Content-Type: application/json\r\n"),
  "nothing": whole(204, ""),
  "a list": whole(200, "[1]"),
  "half an object": whole(200, '{"session": {', "Session-Tokens-Now: 1\r\n"),
  "less than is announced": "HTTP/1.1 200 X\r\nContent-Length: 100\r\nSession-Tokens-Now: 1\r\n\r\n{}",
  "no HTTP": "SSH-2.0-x\r\n\r\n",
})) {
  test(`${name} is no answer, and nobody is logged out by it`, () =>
    answering((socket) => socket.end(text), async (st) => {
      await assert.rejects(st.verify(secret), unavailable);
      await assert.rejects(st.verifySession(secret), unavailable);
      await assert.rejects(st.openSession("ann"), unavailable);
      await assert.rejects(st.destroySession("ses_1"), unavailable);
      await assert.rejects(st.getSession("ses_1"), unavailable);
      await assert.rejects(new TokenTables(st).active_session("s", "ann"), unavailable);
    }));
}

for (const status of [401, 403, 404, 410, 418]) {
  test(`a ${status} of something else is an error and never "not valid"`, () =>
    answering((socket) => socket.end(whole(status, "<html>")), async (st) => {
      for (const ask of [() => st.verify(secret), () => st.getSession("ses_1"), () => st.openSession("ann")]) {
        await assert.rejects(ask(), (error) => error instanceof SessionTokensError && error.status === status);
      }
    }));
}

test("who is led elsewhere sends no key there", () =>
  answering((socket) => socket.end(whole(200, "{}")), (other, seenThere) =>
    answering(
      (socket) => socket.end(whole(307, "", `Location: ${other.toJSON().url}/v1/verify\r\n`)),
      async (st) => {
        await assert.rejects(st.verify(secret), refused("not_found"));
        assert.deepEqual(seenThere, []);
      },
    )));

for (const [name, speak] of Object.entries({
  "hangs": () => {},
  "drips its head": (socket) => {
    socket.write("HTTP/1.1 200 X\r\n");
    const timer = setInterval(() => socket.write("X: y\r\n"), 20);
    socket.on("close", () => clearInterval(timer));
  },
  "drips its body": (socket) => {
    socket.write("HTTP/1.1 200 X\r\nSession-Tokens-Now: 1\r\nContent-Length: 1000000\r\n\r\n");
    const timer = setInterval(() => socket.write(" "), 20);
    socket.on("close", () => clearInterval(timer));
  },
  "never ends its body": (socket) => {
    socket.write("HTTP/1.1 200 X\r\nSession-Tokens-Now: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
    const timer = setInterval(() => socket.write("1\r\n \r\n"), 5);
    socket.on("close", () => clearInterval(timer));
  },
})) {
  test(`one that ${name} is given up in time`, () =>
    answering(speak, async (st) => {
      const beganAt = performance.now();
      await assert.rejects(st.verify(secret), unavailable);
      assert.ok(performance.now() - beganAt < 30_000);
    }, { timeoutMs: 200 }));
}

test("one that asks for a long wait is waited for no longer than is said", () =>
  answering((socket) => socket.end(whole(503, "{}", "Retry-After: 99999\r\n")), async (st, seen) => {
    await assert.rejects(st.verify(secret), (error) => unavailable(error) && error.retryAfterS === 99999);
    assert.equal(seen.length, 1);
  }));

test("a key that fits no header is the caller's mistake, at once", () =>
  answering((socket) => socket.end(whole(200, "{}")), async (st, seen) => {
    for (const idempotencyKey of ["ü€", "a\r\nX: y"]) {
      await assert.rejects(st.openSession("ann", { idempotencyKey }), TypeError);
    }
    assert.deepEqual(seen, []);
  }));
