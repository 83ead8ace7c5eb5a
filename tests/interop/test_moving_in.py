"""Users move in from what was published: packages of today, and of yesterday where both run in one deployment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import redis

from session_tokens import SessionTokens, TokenTables
from session_tokens.web.moving_in.peers import ExpressPostgres
from tests.helpers.moving_shop import ours, theirs
from tests.helpers.npm import node, packages, run
from tests.helpers.servers.postgres import PostgresServer
from tests.helpers.servers.valkey import ValkeyServer
from tools.suites.running import environment_of

pytestmark = [pytest.mark.interop, pytest.mark.server]

PG_SIMPLE = """
import express from "express";
import session from "express-session";
import connect from "connect-pg-simple";
const Store = connect(session);
const zone = "-c TimeZone=" + process.env.ZONE;
const store = new Store({
  conObject: { connectionString: process.env.POSTGRES_URL, options: zone }, createTableIfMissing: true,
  pruneSessionInterval: false,
});
const app = express();
app.use(session({
  store, secret: ["new", "old"], resave: false, saveUninitialized: false, cookie: { maxAge: 600000 },
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
  server.close(); await store.close();
});
"""


def test_users_of_connect_pg_simple_move_in_by_the_zone_of_their_application(postgres_server: PostgresServer) -> None:
    folder = packages(
        **{"express": "5.1.0", "express-session": "1.18.2", "connect-pg-simple": "10.0.0", "pg": "8.16.3"}
    )
    url, zone = postgres_server.new_database(), "America/New_York"
    environment = {**os.environ, "POSTGRES_URL": url, "ZONE": zone}
    told = run(node(), "--input-type=module", "-e", PG_SIMPLE, cwd=folder, environment=environment)
    stays, leaves = json.loads(told.splitlines()[-1])
    peer = ExpressPostgres(url, secret="new", time_zone=zone)  # of a test
    former = peer.read(stays)

    assert former is not None
    assert ("7", [1, {"n": None}]) == (former.owner, former.fields["cart"])
    assert 300 < former.kept_s <= 601
    assert peer.read(leaves) is None
    assert ExpressPostgres(url, secret="new", time_zone="UTC").read(stays) is None  # over for hours, by that clock
    with SessionTokens.open() as st:
        issued = st.move_in(former.key, former.owner, data=former.fields)
        assert issued is not None
        assert issued.session.owner == "7"
    postgres_server.drop_database(url)


YESTERDAY = """
import sys
import flask, redis
from datetime import datetime
from decimal import Decimal
from flask_session import Session, __version__
app = flask.Flask("shop")
app.config.update(SESSION_TYPE="redis", SESSION_REDIS=redis.Redis.from_url(sys.argv[1]), SESSION_KEY_PREFIX=sys.argv[2])
Session(app)
@app.get("/log-in/<name>")
def log_in(name):
    flask.session.update(_user_id=name, cart=(1, 2), price=Decimal("1.5"), when=datetime(2026, 11, 28))
    return "in"
browser = app.test_client()
browser.get("/log-in/" + sys.argv[3])
cookie = browser.get_cookie("session").value
print(__version__, cookie)
"""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_users_of_flask_session_of_yesterday_and_today_move_in_under_one_prefix(valkey_server: ValkeyServer) -> None:
    """0.5 writes pickles and 0.8 MessagePack; the workers of one deployment may have either."""
    place = Path(sys.prefix) / "suites" / "flask-session-yesterday"
    python = environment_of(
        place, sys.executable, "Flask-Session==0.5.0", "Flask==2.3.3", "Werkzeug<3", "redis", "setuptools<81"
    )
    url, prefix = valkey_server.url.replace("valkey://", "redis://"), f"y{uuid.uuid4().hex[:8]}:"
    words = [python, "-W", "ignore", "-c", YESTERDAY, url, prefix, "ann"]
    told = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert told.returncode == 0, told.stderr
    version, yesterdays = told.stdout.split()
    with redis.Redis.from_url(url) as server, SessionTokens.open() as st:
        today = theirs(server, prefix).test_client()
        today.get("/log-in/bob")
        todays = today.get_cookie("session")
        app = ours(st, server, prefix)
        seen = list[Any]()
        for value in (yesterdays, todays.value if todays else ""):
            browser = app.test_client()
            browser.set_cookie("session", value)
            seen += [browser.get("/show").get_json(), browser.get("/show").get_json()]

    assert "0.5.0" == version
    assert ["ann", "ann", "bob", "bob"] == [each["user"] for each in seen]
    assert [1, 2] == seen[0]["cart"]


PACKAGE = """
import { createRequire } from "node:module";
import { createHash } from "node:crypto";
import { createClient } from "redis";
const { defaults: TokenTables } = createRequire(process.cwd() + "/x.js")("session_tokens");
const redis = createClient({ url: process.env.REDIS_URL }), at = process.env.PREFIX;
await redis.connect();
const db = {
  set_session_key_value: async (session, owner) => {
    const hash = createHash("sha256").update(owner + session).digest("hex");
    await redis.set(at + "hash:" + hash, owner);
    return hash;
  },
  del_session_key_value: async () => true,
  set_key_value: (token, value) => redis.set(at + token, value),
  get_key_value: async (token) => (await redis.get(at + token)) ?? false,
  del_key_value: (token) => redis.del(at + token),
  check_hash: async (hash, owner) => (await redis.get(at + "hash:" + hash)) === owner,
};
const tables = new TokenTables(db);
const hash = await tables.add_session("S1", "alice", "T0", true);
await tables.add_token("T1", { a: 1 });
await tables.add_transferable_token("X1", { b: 2 }, "alice");
for (;;) {  // until its first tick has taken the tokens of sessions, and noted what is left of the session
  const noted = JSON.parse((await db.get_key_value("S1")) || "{}");
  if (noted._time_left < 3600000 && !(await db.get_key_value("X1"))) break;
  await new Promise((done) => setTimeout(done, 50));
}
tables.shutdown();
console.log(JSON.stringify(hash));
await redis.quit();
"""


class OnRedis:
    """The same DB for Python, which reads what the package wrote."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self.client, self.prefix = client, prefix

    def get_key_value(self, t_token: str) -> str | None:
        found = self.client.get(self.prefix + t_token)
        return found.decode() if isinstance(found, bytes) else None

    def check_hash(self, hh_unidentified: str, ownership_key: str) -> bool:
        return self.get_key_value(f"hash:{hh_unidentified}") == ownership_key

    def _refused(self, *_: str) -> None:
        raise AssertionError("nothing is written there")

    set_session_key_value = del_session_key_value = set_key_value = del_key_value = _refused


def test_what_the_npm_package_keeps_in_its_db_moves_in(valkey_server: ValkeyServer, tmp_path: Path) -> None:
    folder = packages(session_tokens="1.0.1", redis="5.9.0")
    url, prefix = valkey_server.url.replace("valkey://", "redis://"), f"n{uuid.uuid4().hex[:8]}:"
    environment = {**os.environ, "REDIS_URL": url, "PREFIX": prefix}
    told = run(node(), "--input-type=module", "-e", PACKAGE, cwd=folder, environment=environment)
    link = json.loads(told.splitlines()[-1])
    store = f"sqlite:///{tmp_path / 'tables.db'}"
    with redis.Redis.from_url(url) as client:
        db = OnRedis(client, prefix)
        with TokenTables.open(store, migrate_from=db) as tables:
            moved = tables.reload_session_info("S1", "alice", link)
            left_ms = tables.get_session_time_left("S1")
            values = [tables.transition_token_is_active(token) for token in ("T1", "X1", "S1")]
            tables.destroy_session("S1")
        with TokenTables.open(store, migrate_from=db) as tables:
            again = tables.reload_session_info("S1", "alice", link)
            kept = tables.transition_token_is_active("T1")

    assert (True, False) == (moved, again)
    assert left_ms is not None
    assert 3_500_000 < left_ms < 3_600_000
    assert ['{"a":1}', None, None] == values
    assert '{"a":1}' == kept
