import type { SessionTokens } from "./index.js";

/** As the general session timeout: read it from the shared store. */
export const FROM_DB: Readonly<{ from_db: true }>;

type Amount = number | string | null;
/** Milliseconds; `Infinity` or `null` for never. */
type Duration = number | null;
/** Milliseconds, `Infinity` for never, `null` for the unknown. */
type Time = Promise<number | null>;

/** The names of the npm package's TokenTables over a service; durations are whole milliseconds. */
export class TokenTables {
  constructor(client: SessionTokens);
  call(name: string, ...given: unknown[]): Promise<unknown>;
  create_token(prefix?: string): Promise<string>;
  add_session(session_token: string, ownership_key: string, t_token?: string | null, shared?: boolean): Promise<string | null>;
  active_session(session_token: string, ownership_key: string): Promise<boolean | null>;
  destroy_session(token: string): Promise<boolean>;
  allow_session_detach(session_token: string): Promise<boolean>;
  detach_session(session_token: string): Promise<boolean>;
  attach_session(session_token: string): Promise<boolean>;
  reload_session_info(session_token: string, ownership_key: string, hash_of_p2: string): Promise<boolean>;
  add_token(t_token: string, value: unknown): Promise<boolean>;
  add_session_bounded_token(t_token: string, value: unknown, ownership_key: string): Promise<boolean>;
  add_transferable_token(t_token: string, value: unknown, ownership_key: string): Promise<boolean>;
  transition_token_is_active(t_token: string): Promise<string | null>;
  from_token(t_token: string): Promise<string>;
  token_is_transferable(t_token: string): Promise<boolean>;
  transfer_token(t_token: string, yielder_key: string, receiver_key: string): Promise<boolean>;
  acquire_token(t_token: string, session_token: string, owner: string): Promise<boolean>;
  destroy_token(t_token: string): Promise<boolean>;
  reload_token_info(t_token: string): Promise<boolean>;
  owner_from_session(session_token: string): Promise<string>;
  session_from_owner(ownership_key: string): Promise<string>;
  session_from_token(t_token: string): Promise<string>;
  tokens_from_session(session_token: string): Promise<string[]>;
  tokens_from_owner(ownership_key: string): Promise<string[]>;
  set_general_session_timeout(timeout: Duration | typeof FROM_DB): Promise<boolean>;
  share_general_session_timeout(timeout: Duration): Promise<boolean>;
  set_session_timeout(session_token: string, timeout: Duration): Promise<boolean>;
  get_session_timeout(session_token: string): Time;
  get_session_time_left(session_token: string): Time;
  set_general_token_timeout(timeout: Duration): Promise<boolean>;
  set_token_timeout(t_token: string, timeout: Duration): Promise<boolean>;
  set_disownment_token_timeout(t_token: string, timeout: Duration): Promise<boolean>;
  get_token_timeout(t_token: string): Time;
  get_token_time_left(t_token: string): Time;
  set_token_sellable(t_token: string, amount?: Amount): Promise<boolean>;
  unset_token_sellable(t_token: string): Promise<boolean>;
  set_token_gift(t_token: string): Promise<boolean>;
  unset_token_gift(t_token: string): Promise<boolean>;
  list_tranferable_tokens(session_token: string): Promise<string[]>;
  list_transferable_tokens(session_token: string): Promise<string[]>;
  list_sellable_tokens(): Promise<string[]>;
  map_sellable_tokens(): Promise<Record<string, string | null>>;
  list_gifted_tokens(): Promise<string[]>;
  list_unassigned_tokens(): Promise<string[]>;
  list_detached_sessions(): Promise<string[]>;
  decrement_timers(): Promise<boolean>;
}
