// The names of the npm package's TokenTables, over the service: each call is awaited, and asks /v1/tables/{call}.

const CALLS = [
  "acquire_token", "active_session", "add_session", "add_session_bounded_token", "add_token",
  "add_transferable_token", "allow_session_detach", "attach_session", "create_token", "decrement_timers",
  "destroy_session", "destroy_token", "detach_session", "from_token", "get_session_time_left", "get_session_timeout",
  "get_token_time_left", "get_token_timeout", "list_detached_sessions", "list_gifted_tokens",
  "list_sellable_tokens", "list_tranferable_tokens", "list_transferable_tokens", "list_unassigned_tokens",
  "map_sellable_tokens", "owner_from_session", "reload_session_info", "reload_token_info", "session_from_owner",
  "session_from_token", "set_disownment_token_timeout", "set_general_session_timeout", "set_general_token_timeout",
  "set_session_timeout", "set_token_gift", "set_token_sellable", "set_token_timeout",
  "share_general_session_timeout", "token_is_transferable", "tokens_from_owner", "tokens_from_session",
  "transfer_token", "transition_token_is_active", "unset_token_gift", "unset_token_sellable",
];

/** As the general session timeout: read it from the shared store. */
export const FROM_DB = Object.freeze({ from_db: true });

/** The tables of a service; its key is of the role admin. */
export class TokenTables {
  #client;

  constructor(client) {
    this.#client = client;
  }

  /** Calls a name with its arguments; a time without end is `Infinity`, as an argument too. */
  async call(name, ...given) {
    const last = given.findLastIndex((each) => each !== undefined); // behind it, what was left out
    const said = given.slice(0, last + 1).map((each) => (each === undefined || each === Infinity ? null : each));
    const body = { arguments: said };
    // Sent once: the tables know no idempotency keys, and a second transfer of a token would be refused.
    const sent = { body, once: false, again: false };
    const { answer } = (await this.#client.request("POST", `/v1/tables/${name}`, sent)).body;
    return answer === "never" && name.includes("time") ? Infinity : answer;
  }
}

for (const name of CALLS) {
  const method = async function (...given) {
    return this.call(name, ...given);
  };
  Object.defineProperty(method, "name", { value: name });
  Object.defineProperty(TokenTables.prototype, name, { value: method, writable: true, configurable: true });
}
