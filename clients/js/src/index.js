// Asks the HTTP service of session-tokens. Each command is a line of COMMANDS: its method, its address, and what of the
// answer it returns. What changes something carries an idempotency key, so that it is done once however often it is sent.

const ID = /^(ses|tok|key)_[0-9A-Za-z]{1,64}$/;
const SECRET = /^(sts|std|stt)_[0-9A-Za-z]{30,80}$/;
const SECRET_LIKE = /(?<![0-9A-Za-z])st[sdtk]_[0-9A-Za-z]{20,}/;
const AGAIN = new Set([429, 502, 503, 504]);
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1000;

/** What the service refused, or could not do; `code` is the stable word for programs. */
export class SessionTokensError extends Error {
  constructor(code, message, { status = 0, reason = null, retryAfterS = null } = {}) {
    super(message);
    this.name = new.target.name;
    this.code = code;
    this.status = status;
    this.reason = reason;
    this.retryAfterS = retryAfterS;
  }
}

/** The service did not answer, or its store could not be asked; that never means "not valid". */
export class Unavailable extends SessionTokensError {}

const whole = (body) => body;
const ofSession = (body) => body.session;
const ofToken = (body) => body.token;
const S = "/v1/sessions";
const T = "/v1/tokens";

// name: [method, path, what of the body is returned, how the first argument is called where it is not the key]
const COMMANDS = {
  openSession: ["POST", S, whole, "owner"],
  logIn: ["POST", "/v1/log-in", whole, "owner"],
  rotateSession: ["POST", `${S}/{key}/rotate`, whole],
  detachSession: ["POST", `${S}/{key}/detach`, ofSession],
  attachSession: ["POST", `${S}/{key}/attach`, whole],
  changeSession: ["PATCH", `${S}/{key}`, ofSession],
  destroySession: ["DELETE", `${S}/{key}`, "changed"],
  destroySessions: ["DELETE", "/v1/owners/sessions", (body) => body.ended, "owner"],
  getSession: ["GET", `${S}/{key}`, ofSession],
  listSessions: ["GET", S, whole, null],
  issueToken: ["POST", T, whole, "session"],
  transferToken: ["POST", `${T}/{key}/transfer`, whole],
  claimToken: ["POST", `${T}/{key}/claim`, whole],
  reissueToken: ["POST", `${T}/{key}/reissue`, whole],
  offerToken: ["POST", `${T}/{key}/offer`, ofToken],
  withdrawToken: ["POST", `${T}/{key}/withdraw`, ofToken],
  acceptOffer: ["POST", `${T}/{key}/accept`, whole],
  lendToken: ["POST", `${T}/{key}/lend`, whole],
  recallToken: ["POST", `${T}/{key}/recall`, ofToken],
  consumeToken: ["POST", `${T}/{key}/consume`, ofToken],
  releaseToken: ["POST", `${T}/{key}/release`, ofToken],
  claimNextToken: ["POST", `${T}/claim-next`, (body) => (body.token === null ? null : body), null],
  changeToken: ["PATCH", `${T}/{key}`, ofToken],
  destroyToken: ["DELETE", `${T}/{key}`, "changed"],
  getToken: ["GET", `${T}/{key}`, ofToken],
  listTokens: ["GET", T, whole, null],
  listEvents: ["GET", "/v1/events", whole, null],
  explain: ["GET", "/v1/explain/{key}", whole],
  listAudit: ["GET", "/v1/audit", whole, null],
  listOwners: ["GET", "/v1/owners", whole, null],
  renameOwner: ["POST", "/v1/owners/rename", (body) => body.renamed, "owner"],
  forgetOwner: ["POST", "/v1/owners/forget", whole, "owner"],
  listSettings: ["GET", "/v1/settings", (body) => body.settings, null],
};

/** The service at an address. */
export class SessionTokens {
  #url;
  #key;
  #timeoutMs;
  #retryForMs;
  #fetch;

  constructor(url, { key, timeoutMs = 5000, retryForMs = 10000, fetch = globalThis.fetch } = {}) {
    const address = new URL(url);
    const isHere = ["localhost", "127.0.0.1", "[::1]"].includes(address.hostname);
    if (address.protocol !== "https:" && !(address.protocol === "http:" && isHere)) {
      throw invalid("give an address that begins with https://, or http:// on this machine");
    }
    if (typeof key !== "string" || !key.startsWith("stk_")) throw invalid("key is the secret of a service key (stk_…)");
    if (!(Number.isFinite(timeoutMs) && timeoutMs > 0)) throw invalid("timeoutMs is a number of milliseconds above 0");
    if (!(Number.isFinite(retryForMs) && retryForMs >= 0)) throw invalid("retryForMs is a number of milliseconds, 0 or more");
    this.#url = address.href.replace(/\/+$/, "");
    this.#key = key;
    this.#timeoutMs = timeoutMs;
    this.#retryForMs = retryForMs;
    this.#fetch = fetch;
  }

  /** Returns the living session or token of a secret, `null` for everything else. */
  async verify(secret, { touch = true } = {}) {
    if (typeof secret !== "string" || !SECRET.test(secret)) return null;
    try {
      return (await this.request("POST", "/v1/verify", { body: { secret, touch }, once: false })).body;
    } catch (error) {
      if (nothingLives(error)) return null;
      throw error;
    }
  }

  /** Returns the living session of a secret, `null` for everything else. */
  async verifySession(secret, options) {
    return secret?.startsWith?.("stt_") ? null : ((await this.verify(secret, options))?.session ?? null);
  }

  /** Returns the living token of a secret, `null` for everything else. */
  async verifyToken(secret) {
    return secret?.startsWith?.("stt_") ? ((await this.verify(secret))?.token ?? null) : null;
  }

  /** Merges fields into the data of a session; those in `removed` go. */
  async updateSessionData(key, data, { removed = [], version, ...options } = {}) {
    const body = { data, removed, ...(version === undefined ? {} : { version }) };
    return this.changeSession(key, body, options);
  }

  /** Lets an owner open no more sessions; those that live are dead at once. */
  async disableOwner(owner, { idempotencyKey } = {}) {
    const query = { owner };
    return (await this.request("POST", "/v1/owners/disable", { body: {}, query, idempotencyKey })).body.changed;
  }

  /** Hands all transferable tokens of an owner to another one; returns how many. */
  async handOver(owner, { idempotencyKey, ...body }) {
    return (await this.request("POST", "/v1/owners/hand-over", { body, query: { owner }, idempotencyKey })).body.handed;
  }

  /** Lets a disabled owner open sessions again. */
  async enableOwner(owner, { idempotencyKey } = {}) {
    const query = { owner };
    return (await this.request("POST", "/v1/owners/enable", { body: {}, query, idempotencyKey })).body.changed;
  }

  /** Keeps a general setting with the store; `null` is never, or no cap. */
  async setSetting(name, value, { idempotencyKey } = {}) {
    return (await this.request("PUT", settingAt(name), { body: { value }, idempotencyKey })).body.setting;
  }

  /** Takes a general setting away from the store, so that the default holds. */
  async unsetSetting(name, { idempotencyKey } = {}) {
    return (await this.request("DELETE", settingAt(name), { idempotencyKey })).body.setting;
  }

  /**
   * Sends a request until it is answered, or has not been for `retryForMs`.
   * @returns the status, headers and decoded body of a success; everything else throws.
   */
  async request(method, path, { body, query = {}, idempotencyKey, headers = {}, once = method !== "GET", again = true } = {}) {
    const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
    for (const [name, value] of given) {
      const text = String(value);
      if (SECRET_LIKE.test(text)) throw invalid(`${name} looks like a secret, and goes into an address, which others log; give an id`);
      if (!text.isWellFormed()) throw invalid(`${name} holds lone surrogates, which no encoding can carry; take them out`);
    }
    const search = given.length ? `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}` : "";
    const sent = new Headers({ Authorization: `Bearer ${this.#key}`, Accept: "application/json", ...headers });
    if (body !== undefined) sent.set("Content-Type", "application/json");
    if (once) sent.set("Idempotency-Key", idempotencyKey ?? crypto.randomUUID());
    const content = body === undefined ? undefined : JSON.stringify(body, finite);
    const endsAt = performance.now() + this.#retryForMs;
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
      let error;
      try {
        const answer = await this.#fetch(`${this.#url}${path}${search}`, {
          method,
          headers: sent,
          body: content,
          redirect: "manual", // who is led elsewhere sends no key there
          signal: AbortSignal.timeout(this.#timeoutMs),
        });
        const text = await answer.text();
        if (answer.ok) return readOf(answer, text);
        error = errorOf(answer, text);
        if (!AGAIN.has(answer.status) || error.retryAfterS === null) throw error;
      } catch (failure) {
        if (failure instanceof SessionTokensError) {
          if (failure !== error || !AGAIN.has(failure.status) || failure.retryAfterS === null) throw failure;
        } else {
          const why = failure === FOREIGN ? FOREIGN.message : failure.name;
          error = new Unavailable("store_unavailable", `the service does not answer (${why}); try again`);
        }
      }
      const waitMs = Math.max((error.retryAfterS ?? 0) * 1000, pauseMs * (0.5 + Math.random() / 2));
      if (!again || performance.now() + waitMs > endsAt) throw error;
      await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
  }

  toJSON() {
    return { url: this.#url };
  }
}

for (const [name, [method, path, answer, first]] of Object.entries(COMMANDS)) {
  const isKeyed = path.includes("{key}");
  const command = async function (...given) {
    const subject = isKeyed || first ? given.shift() : undefined;
    if (first && subject === undefined) throw invalid(`${name} was called without ${first}; where it is nobody's, say null`);
    const { idempotencyKey, ...options } = { ...given[0], ...given[1] };
    const body = first ? { [first]: subject, ...options } : options;
    if (isKeyed && method === "GET" && !isId(subject)) {
      if (name.startsWith("get")) return null;
      throw invalid("that is no id of a session (ses_…), token (tok_…) or service key (key_…)");
    }
    const isKept = typeof options.except_session === "string" && SECRET.test(options.except_session);
    const [address, secret] = isKeyed ? addressed(path, subject) : [path, isKept ? options.except_session : undefined];
    if (isKept) body.except_session = "by-secret";
    try {
      return await this._sent(method, address, secret === undefined ? body : { ...body, secret }, answer, idempotencyKey);
    } catch (error) {
      if (name.startsWith("get") && nothingLives(error)) return null;
      throw error;
    }
  };
  Object.defineProperty(command, "name", { value: name });
  Object.defineProperty(SessionTokens.prototype, name, { value: command, writable: true, configurable: true });
}

Object.defineProperty(SessionTokens.prototype, "_sent", {
  value: async function (method, path, body, answer, idempotencyKey) {
    const { secret, version, ...rest } = body;
    const inQuery = method === "GET" || method === "DELETE";
    const options = inQuery ? { query: rest } : { body };
    if (method === "DELETE" && secret !== undefined) options.body = { secret };
    if (inQuery && version !== undefined) options.headers = { "If-Match": `"${version}"` };
    const reply = await this.request(method, path, { ...options, idempotencyKey });
    return answer === "changed" ? reply.headers.get("session-tokens-changed") === "true" : answer(reply.body);
  },
});

function nothingLives(error) {
  return error.status === 404 && ["unknown_session", "unknown_token", "session_ended"].includes(error.code);
}

function invalid(message) {
  return new SessionTokensError("invalid_input", message);
}

/** Refuses what JSON would silently make `null`, which is a time without end. */
function finite(name, value) {
  if (typeof value === "number" && !Number.isFinite(value)) {
    throw invalid(`${name || "a number"} is ${value}, which JSON has not; without end is null`);
  }
  return value;
}

function isId(key) {
  return typeof key === "string" && ID.test(key);
}

function settingAt(name) {
  return `/v1/settings/${encodeURIComponent(name)}`;
}

/** Puts an id into an address; of a secret the address says only that it is in the body. */
function addressed(path, key) {
  if (isId(key)) return [path.replace("{key}", key), undefined];
  if (typeof key === "string" && SECRET.test(key)) return [path.replace("{key}", "by-secret"), key];
  const kind = path.startsWith(S) ? "session" : "token";
  throw new SessionTokensError(`unknown_${kind}`, `that is neither the id nor the secret of a ${kind}`, { status: 404 });
}

const FOREIGN = new Error("what answers there is no session-tokens service of this version");

/** Reads an answer of the service; one of something on the way, such as a page that says to wait, is `FOREIGN`. */
function readOf(answer, text) {
  try {
    if (answer.headers.has("session-tokens-now")) {
      return { status: answer.status, headers: answer.headers, body: text ? JSON.parse(text) : null };
    }
  } catch {
    // no JSON
  }
  throw FOREIGN;
}

function errorOf(answer, text) {
  let problem = {};
  try {
    problem = JSON.parse(text) ?? {};
  } catch {
    // a proxy on the way has answered
  }
  const retryAfter = answer.headers.get("retry-after");
  const details = {
    status: answer.status,
    reason: problem.reason ?? null,
    retryAfterS: retryAfter !== null && /^\d{1,5}$/.test(retryAfter) ? Number(retryAfter) : problem.code ? null : 0,
  };
  const code = problem.code ?? (answer.status >= 500 ? "store_unavailable" : "not_found");
  const isForeign = !problem.code && answer.status < 500 && answer.status !== 429;
  const message = isForeign
    ? `there is no session-tokens service of this version at that address (${answer.status})`
    : problem.detail ?? `the service answers ${answer.status}`;
  return answer.status >= 500 || answer.status === 429
    ? new Unavailable(code, message, details)
    : new SessionTokensError(code, message, details);
}
