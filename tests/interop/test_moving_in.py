"""Users move in from what was published: packages of today, and of yesterday where both run in one deployment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import redis

from session_tokens import SessionTokens
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
        seen = []
        for value in (yesterdays, todays.value if todays else ""):
            browser = app.test_client()
            browser.set_cookie("session", value)
            seen += [browser.get("/show").json, browser.get("/show").json]

    assert "0.5.0" == version
    assert ["ann", "ann", "bob", "bob"] == [each["user"] for each in seen]
    assert [1, 2] == seen[0]["cart"]
