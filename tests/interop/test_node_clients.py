"""Published Node programs: clients of introspection, and express-session whose users move in."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from urllib.parse import unquote

import pytest

from session_tokens import AsyncSessionTokens
from session_tokens.web.moving_in.peers import ExpressRedis
from tests.helpers.npm import node, packages, run
from tests.helpers.running_service import RunningService
from tests.helpers.servers.valkey import ValkeyServer

pytestmark = [pytest.mark.interop, pytest.mark.server]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("node")
    running = RunningService(f"sqlite:///{folder}/s.db", folder / "log")
    yield running
    running.stop()


OAUTH4WEBAPI = """
import * as oauth from "oauth4webapi";
const url = process.env.SERVICE_URL, key = process.env.SERVICE_KEY, id = process.env.SERVICE_KEY_ID;
const insecure = { [oauth.allowInsecureRequests]: true };
const issuer = new URL(url);
const found = await oauth.discoveryRequest(issuer, { algorithm: "oauth2", ...insecure });
const as = await oauth.processDiscoveryResponse(issuer, found);
const client = { client_id: id };
const ask = async (secret) => {
  const answer = await oauth.introspectionRequest(as, client, oauth.ClientSecretBasic(key), secret, insecure);
  return oauth.processIntrospectionResponse(as, client, answer);
};
const first = await ask(process.env.SECRET);
const revoked = await oauth.revocationRequest(as, client, oauth.ClientSecretBasic(key), process.env.SECRET, insecure);
await oauth.processRevocationResponse(revoked);
console.log(JSON.stringify([first.active, first.username, first.scope, (await ask(process.env.SECRET)).active]));
"""
OPENID_CLIENT = """
import * as client from "openid-client";
const key = process.env.SERVICE_KEY, id = process.env.SERVICE_KEY_ID;
const config = await client.discovery(
  new URL(process.env.SERVICE_URL), id, key, undefined,
  { algorithm: "oauth2", execute: [client.allowInsecureRequests] },
);
const first = await client.tokenIntrospection(config, process.env.SECRET);
await client.tokenRevocation(config, process.env.SECRET);
const second = await client.tokenIntrospection(config, process.env.SECRET);
console.log(JSON.stringify([first.active, first.username, first.scope, second.active]));
"""


@pytest.mark.parametrize(
    ("package", "version", "program"),
    [("oauth4webapi", "3.8.8", OAUTH4WEBAPI), ("openid-client", "6.8.1", OPENID_CLIENT)],
    ids=["oauth4webapi", "openid-client"],
)
def test_they_discover_introspect_and_revoke_and_keep_nothing(
    service: RunningService, package: str, version: str, program: str
) -> None:
    folder = packages(**{package: version})
    with service.http() as http:
        id = http.get("/v1/keys").json()["keys"][0]["id"]
        secret = http.post("/v1/sessions", json={"owner": "ann"}).json()["secret"]
    environment = {
        **os.environ, "SERVICE_URL": service.url, "SERVICE_KEY": service.secret, "SERVICE_KEY_ID": id, "SECRET": secret,
    }  # fmt: skip
    told = run(node(), "--input-type=module", "-e", program, cwd=folder, environment=environment)

    assert [True, "ann", "session", False] == json.loads(told.splitlines()[-1])


EXPRESS = """
import express from "express";
import session from "express-session";
import { RedisStore } from "connect-redis";
import { createClient } from "redis";
const redis = createClient({ url: process.env.REDIS_URL });
await redis.connect();
const app = express();
app.use(session({
  store: new RedisStore({ client: redis, prefix: process.env.PREFIX }), secret: ["new", "old"], resave: false,
  saveUninitialized: false, cookie: { maxAge: 600000 },
}));
app.get("/log-in", (req, res) => {
  req.session.passport = { user: "7" };
  req.session.cart = [1, { n: null }];
  res.end();
});
app.get("/log-out", (req, res) => req.session.destroy(() => res.end()));
const server = app.listen(0, "127.0.0.1", async () => {
  const url = `http://127.0.0.1:${server.address().port}`;
  const ask = async (path, cookie) => {
    const answer = await fetch(url + path, { headers: cookie ? { cookie } : {} });
    return answer.headers.get("set-cookie")?.split(";")[0].split("=").slice(1).join("=");
  };
  const stays = await ask("/log-in"), leaves = await ask("/log-in");
  await ask("/log-out", "connect.sid=" + leaves);
  console.log(JSON.stringify([stays, leaves]));
  server.close(); await redis.quit();
});
"""


async def test_users_of_express_session_move_in_and_who_left_does_not(valkey_server: ValkeyServer) -> None:
    folder = packages(**{"express": "5.1.0", "express-session": "1.18.2", "connect-redis": "9.0.0", "redis": "5.9.0"})
    prefix = f"e{uuid.uuid4().hex[:8]}:"
    url = valkey_server.url.replace("valkey://", "redis://")
    environment = {**os.environ, "REDIS_URL": url, "PREFIX": prefix}
    told = run(node(), "--input-type=module", "-e", EXPRESS, cwd=folder, environment=environment)
    stays, leaves = json.loads(told.splitlines()[-1])
    peer = ExpressRedis(url, secret="new", prefix=prefix)  # of a test
    former = peer.read(stays)

    assert former is not None
    assert ("7", [1, {"n": None}]) == (former.owner, former.fields["cart"])
    assert "cookie" not in former.fields
    again = peer.read(unquote(stays))
    assert again is not None
    assert again.key == former.key
    assert peer.read(leaves) is None
    assert ExpressRedis(url, secret="another", prefix=prefix).read(stays) is None
    async with await AsyncSessionTokens.open() as st:
        issued = await st.move_in(former.key, former.owner, data=former.fields)
        assert issued is not None
        assert issued.session.owner == "7"
