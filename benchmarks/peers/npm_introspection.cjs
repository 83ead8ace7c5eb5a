// Serves introspection with node's own http server over the npm package session_tokens 1.0.1; prints its port.
//
// What it leaves out, in the package's favour: the caller is not checked beyond a string that must be equal, and nothing
// is kept on disk. A session's first token is the secret that is asked about: `transition_token_is_active` says whether
// it lives, `from_token` whose it is. The timer that would end sessions is stopped, as in npm_tokens.cjs, where it is
// told what else must be done for the package to work.
"use strict";

const http = require("node:http");

const TokenTables = require(process.argv[2]).defaults;
const sessions = Number(process.argv[3]);
const KEY = "Bearer benchmark";
const DAY_MS = 24 * 60 * 60 * 1000;

class MemoryDB {
    constructor() { this.owners = new Map(); this.values = new Map(); }
    set_session_key_value(session, owner) { this.owners.set(session, owner); return session; }
    async del_session_key_value(session) { return this.owners.delete(session); }
    set_key_value(token, value) { this.values.set(token, value); }
    async get_key_value(token) { return this.values.get(token) ?? false; }
    del_key_value(token) { this.values.delete(token); }
    async check_hash(hash, owner) { return this.owners.get(hash) === owner; }
}

function answer(response, status, body) {
    response.writeHead(status, {
        "content-type": "application/json", "content-length": Buffer.byteLength(body), "cache-control": "no-store",
    });
    response.end(body);
}

async function main() {
    const tables = new TokenTables(new MemoryDB());
    tables.shutdown();
    tables.set_general_token_timeout(DAY_MS);
    tables.set_general_session_timeout(DAY_MS);
    for (let number = 0; number < sessions; number++) {
        await tables.add_session(`session-${number}`, `owner-${number}`, `token-${number}`);
    }
    const server = http.createServer((request, response) => {
        let form = "";
        request.setEncoding("latin1");
        request.on("data", (part) => { form += part; });
        request.on("end", async () => {
            if (request.method !== "POST" || request.url !== "/introspect") return answer(response, 404, "{}");
            if (request.headers.authorization !== KEY) return answer(response, 401, "{}");
            const token = new URLSearchParams(form).get("token");
            const lives = (await tables.transition_token_is_active(token)) !== false;
            const owner = lives && tables.from_token(token);
            if (!owner) return answer(response, 200, '{"active":false}');
            return answer(response, 200, JSON.stringify({ active: true, sub: owner, token_type: "Bearer" }));
        });
    });
    server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
}

main();
