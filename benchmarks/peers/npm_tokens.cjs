// Measures the npm package session_tokens 1.0.1 on node: reads one JSON request a line, answers one JSON line each.
//
// What had to be done so that the package is measured at its best, and doing real work:
//
// - `defaults/js` is the build that package's own index.js exports, so it is the one measured. (`defaults/ts` imports
//   "./uuid" as an ES module, which that package does not contain in that form.)
// - Every token lives for no time at all by default: the general token timeout starts as `Infinity`, is handed on as
//   `undefined`, and becomes a time left of 0, so the first tick (after 500 ms) destroys all of them. Here the general
//   token timeout is set to a day.
// - The 500 ms timer would run inside the loops that time single operations and would make them slower (a tick at
//   100,000 sessions is some 10 ms). It is stopped there, in the package's favour, and measured by itself in `idle`.
// - A session that was added without a `t_token` cannot be ended, so every session gets one and is ended through it.
// - `transfer_token` and `destroy_session` leave promises behind that they do not wait for. Every timed batch ends by
//   draining them, so that the work counts where it was asked for.
// - A transfer to an owner without a session destroys the token, and `add_transferable_token` needs a JSON object as
//   its value: every receiver here has a session and every value is a JSON object.
// - The database is the cheapest one that keeps the contract of the package's own interface file (defaults/ts/iDB.ts):
//   three Maps; `get_key_value`, `check_hash` and `del_session_key_value` answer promises, the rest is synchronous.
// - `check_hash(hash, owner)` is measured in two forms: `active_session` with a database that hashes the owner and
//   compares, as the name says and as a database must that is not in this process; `active_session_looked_up` with one
//   that keeps hash -> owner and only looks it up: the least that any database could do.
// - Arguments are fresh strings, equal to the stored ones but not the same objects, as they would arrive with a request.
//   The side of session-tokens does the same.
"use strict";

const crypto = require("node:crypto");
const readline = require("node:readline");

const TokenTables = require(process.argv[2]).defaults;
const DAY_MS = 24 * 60 * 60 * 1000;
const TICK_MS = 500;

class MemoryDB {
    constructor() {
        this.looks_up = false;
        this.owner_by_hash = new Map();
        this.hash_by_session = new Map();
        this.values = new Map();
    }
    set_session_key_value(session_token, ownership_key) {
        const hash = fnv1a(ownership_key);
        this.hash_by_session.set(session_token, hash);
        this.owner_by_hash.set(hash, ownership_key);
        return hash;
    }
    async del_session_key_value(session_token) { return this.hash_by_session.delete(session_token); }
    set_key_value(t_token, value) { this.values.set(t_token, value); }
    async get_key_value(t_token) { return this.values.has(t_token) ? this.values.get(t_token) : false; }
    del_key_value(t_token) { this.values.delete(t_token); }
    async check_hash(hash, ownership_key) {
        if (this.looks_up) return this.owner_by_hash.get(hash) === ownership_key;
        return fnv1a(ownership_key) === hash;
    }
}

// The same interface, keeping nothing: with it the memory of the package's own tables is seen by itself.
class ForgetfulDB {
    set_session_key_value(_session_token, ownership_key) { return fnv1a(ownership_key); }
    async del_session_key_value() { return true; }
    set_key_value() { ForgetfulDB.writes += 1; }
    async get_key_value() { return false; }
    del_key_value() {}
    async check_hash() { return true; }
}
ForgetfulDB.writes = 0;

// 64 bits of FNV-1a in two halves: a cheap stand-in for the xxhash that the package's comments speak of.
function fnv1a(text) {
    let low = 0x811c9dc5, high = 0x01000193;
    for (let i = 0; i < text.length; i++) {
        const code = text.charCodeAt(i);
        low = Math.imul(low ^ code, 0x01000193);
        high = Math.imul(high ^ code, 0x85ebca6b);
    }
    return (low >>> 0).toString(16).padStart(8, "0") + (high >>> 0).toString(16).padStart(8, "0");
}

// The same strings as `benchmarks/sides/names.py` makes.
function digest(kind, number) {
    return crypto.createHash("md5").update(`${kind}${number}`).digest("hex");
}
const session_name = (number) => fresh(`session-${digest("s", number)}`);
const token_name = (number) => fresh(`token-${digest("t", number)}`);
const owner_name = (number) => fresh(`owner-${number}`);
const VALUE = '{"asset":"film-0042","rights":"play"}';

// A flat string of its own: not a rope, not shared with the tables, its hash not yet computed.
function fresh(text) { return Buffer.from(text, "latin1").toString("latin1"); }

let tables = null;
let population = 0;
let next_number = 0;      // numbers of sessions that come and go, above the population
let next_token = 0;
let holders = [];         // for transfers: token number and the owner number that holds it

function make_tables(db) {
    const made = new TokenTables(db);
    made.shutdown();
    made.set_general_token_timeout(DAY_MS);
    made.set_general_session_timeout(DAY_MS);
    return made;
}

const drained = () => new Promise((resolve) => setImmediate(resolve));

async function prepare({ sessions }) {
    tables = make_tables(new MemoryDB());
    population = sessions;
    next_number = sessions;
    next_token = sessions;
    for (let i = 0; i < sessions; i++) {
        await tables.add_session(session_name(i), owner_name(i), token_name(i));
    }
    holders = [];
    const transferables = Math.min(sessions, 10000);
    for (let i = 0; i < transferables; i++) {
        const token = next_token++;
        await tables.add_transferable_token(token_name(token), VALUE, owner_name(i));
        holders.push([token, i]);
    }
    await drained();
    return { sessions: tables._session_timing.size, tokens: tables._token_timing.size };
}

// A walk through the whole population in an order that the processor cannot guess.
function picks(count) {
    const chosen = new Array(count);
    let at = (Math.random() * 4294967296) >>> 0;
    for (let i = 0; i < count; i++) {
        at = (Math.imul(at, 1664525) + 1013904223) >>> 0;
        chosen[i] = (at >>> 4) % population;
    }
    return chosen;
}

const seconds = (from, to) => Number(to - from) / 1e9;

// Two clocks: the wall's, and the processor time of the whole process, so that a collector on a thread of its own counts.
function started() {
    const cpu_before = process.cpuUsage();
    const start = process.hrtime.bigint();
    return () => {
        const end = process.hrtime.bigint();
        const cpu = process.cpuUsage(cpu_before);
        return { seconds: seconds(start, end), cpu_seconds: (cpu.user + cpu.system) / 1e6 };
    };
}

const operations = {
    async active_session(count) {
        const asked = picks(count).map((i) => [session_name(i), owner_name(i)]);
        let right = 0;
        const watch = started();
        for (const [session, owner] of asked) {
            if (await tables.active_session(session, owner)) right += 1;
        }
        return { ...watch(), operations: count, right };
    },

    async active_session_looked_up(count) {
        tables._db.looks_up = true;
        try {
            return await operations.active_session(count);
        } finally {
            tables._db.looks_up = false;
        }
    },

    async transition_token_is_active(count) {
        const asked = picks(count).map(token_name);
        let right = 0;
        const watch = started();
        for (const token of asked) {
            if ((await tables.transition_token_is_active(token)) !== false) right += 1;
        }
        return { ...watch(), operations: count, right };
    },

    async from_token(count) {
        const asked = picks(count).map((i) => [token_name(i), owner_name(i)]);
        let right = 0;
        const watch = started();
        for (const [token, owner] of asked) {
            if (tables.from_token(token) === owner) right += 1;
        }
        return { ...watch(), operations: count, right };
    },

    async add_session(count) {
        const first = next_number;
        const asked = [];
        for (let i = first; i < first + count; i++) asked.push([session_name(i), owner_name(i), token_name(next_token + i)]);
        const watch = started();
        for (const [session, owner, token] of asked) await tables.add_session(session, owner, token);
        await drained();
        const took = watch();
        let right = 0;
        for (const [session, owner, token] of asked) {
            if (await tables.active_session(session, owner) && tables.from_token(token) === owner) right += 1;
            tables.destroy_session(token);
            tables._owner_to_session.delete(owner); // left behind by the package; removed so that the population stays the same
        }
        await drained();
        next_number += count;
        return { ...took, operations: count, right };
    },

    async transfer_token(count) {
        const asked = [];
        for (let i = 0; i < count; i++) {
            const holder = holders[i % holders.length];
            const receiver = (holder[1] + 7919) % population;
            asked.push([token_name(holder[0]), owner_name(holder[1]), owner_name(receiver)]);
            holder[1] = receiver;
        }
        const watch = started();
        for (const [token, giver, receiver] of asked) await tables.transfer_token(token, giver, receiver);
        await drained();
        const took = watch();
        let right = 0;
        for (const [token, , receiver] of asked.slice(-holders.length)) {
            if (tables.from_token(token) === receiver && tables.token_is_transferable(token)) right += 1;
        }
        return { ...took, operations: count, right, checked: Math.min(count, holders.length) };
    },

    async destroy_session(count) {
        const first = next_number;
        const asked = [];
        for (let i = first; i < first + count; i++) {
            const owner = owner_name(i);
            const tokens = [];
            for (let k = 0; k < 10; k++) tokens.push(token_name(`${i}/${k}`));
            await tables.add_session(session_name(i), owner, tokens[0]);
            for (const token of tokens.slice(1)) await tables.add_session_bounded_token(token, VALUE, owner);
            asked.push([fresh(tokens[0]), session_name(i), owner, tokens]);
        }
        const watch = started();
        for (const [token] of asked) tables.destroy_session(token);
        await drained();
        const took = watch();
        let right = 0;
        for (const [, session, owner, tokens] of asked) {
            const tokens_gone = tokens.every((token) => tables.from_token(token) === "");
            if (tokens_gone && !(await tables.active_session(session, owner))) right += 1;
            tables._owner_to_session.delete(owner);
        }
        next_number += count;
        return { ...took, operations: count, right };
    },
};

async function time_operation({ operation, count }) { return operations[operation](count); }

// The load of the idle question: no database at all, so that what is measured is the package's own ticking.
async function prepare_idle({ sessions, shared }) {
    tables = make_tables(new ForgetfulDB());
    population = sessions;
    for (let i = 0; i < sessions; i++) {
        await tables.add_session(session_name(i), owner_name(i), token_name(i), shared);
    }
    await drained();
    return { sessions: tables._session_timing.size };
}

// One tick by hand, then the share of a core that the package's own timer takes over a fixed time.
async function idle({ window_s }) {
    const start = process.hrtime.bigint();
    tables.decrement_timers();
    const tick_s = seconds(start, process.hrtime.bigint());
    await drained();
    const writes_before = ForgetfulDB.writes;
    const cpu_before = process.cpuUsage();
    const window_start = process.hrtime.bigint();
    const timer = setInterval(() => tables.decrement_timers(), TICK_MS);
    await new Promise((resolve) => setTimeout(resolve, window_s * 1000));
    clearInterval(timer);
    const cpu = process.cpuUsage(cpu_before);
    const window = seconds(window_start, process.hrtime.bigint());
    const writes = ForgetfulDB.writes - writes_before;
    let alive = 0;
    const asked = picks(1000);
    for (const i of asked) alive += await tables.active_session(session_name(i), owner_name(i)) ? 1 : 0;
    return { tick_s, window_s: window, cpu_s: (cpu.user + cpu.system) / 1e6, writes, alive, asked: asked.length };
}

// Bytes of live heap and of the process, before and after. The key strings are made first and kept: they are not counted.
async function footprint({ sessions, tokens_per_session, kind, database }) {
    const names = [], owners = [], first_tokens = [], tokens = [];
    for (let i = 0; i < sessions; i++) {
        names.push(session_name(i)); owners.push(owner_name(i)); first_tokens.push(token_name(i));
        for (let k = 0; k < tokens_per_session; k++) tokens.push(token_name(`${i}/${k}`));
    }
    tables = make_tables(database === "kept" ? new MemoryDB() : new ForgetfulDB());
    const before = memory();
    for (let i = 0; i < sessions; i++) await tables.add_session(names[i], owners[i], kind === "bare" ? undefined : first_tokens[i]);
    await drained();
    const with_sessions = memory();
    const add = kind === "transferable" ? "add_transferable_token" : "add_session_bounded_token";
    for (let i = 0; i < tokens.length; i++) await tables[add](tokens[i], VALUE, owners[(i / tokens_per_session) | 0]);
    await drained();
    const with_tokens = memory();
    const right = names.filter((name) => tables._session_timing.has(name)).length + tokens.filter((t) => tables._token_timing.has(t)).length;
    return { before, with_sessions, with_tokens, right, expected: sessions + tokens.length };
}

function memory() {
    global.gc(); global.gc();
    const { heapUsed, rss } = process.memoryUsage();
    return { live_bytes: heapUsed, rss_bytes: rss };
}

const commands = {
    prepare, time_operation, prepare_idle, idle, footprint,
    async versions() { return { node: process.version, v8: process.versions.v8, session_tokens: require(process.argv[2] + "/package.json").version }; },
};

async function main() {
    for await (const line of readline.createInterface({ input: process.stdin })) {
        const { command, ...request } = JSON.parse(line);
        let answer;
        try {
            answer = { answer: await commands[command](request) };
        } catch (error) {
            answer = { error: String(error && error.stack) };
        }
        process.stdout.write(JSON.stringify(answer) + "\n");
    }
}

main();
