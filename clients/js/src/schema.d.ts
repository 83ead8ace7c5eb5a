// Generated from the service's OpenAPI document by tools/generate_js_types.py; change that and run it again.

/** Take an offered token, for what was seen of the offer. */
export interface AcceptOffer {
  /** The application's identity string: 1 to 255 bytes of UTF-8 in NFC. */
  receiver: string;
  /** As it was seen; null: none was. */
  price?: number | string | null;
  currency?: string | null;
  settlement?: string | null;
}

/** Who acts for the owner (RFC 8693, section 4.1). */
export interface Actor {
  sub: string;
}

/** Tell an address of events from now on. */
export interface AddWebhook {
  /** https:// and a host. */
  url: string;
  /** Of events; left out or null: all. */
  kinds?: string[] | null;
}

/** A page of the audit log, the newest entries first. */
export interface AuditEntries {
  entries: (Record<string, unknown>)[];
  /** For the next page; null when no older ones are there. */
  next: string | null;
}

/** Call one of the names of TokenTables. */
export interface CallTables {
  /** In the order of its parameters; durations in milliseconds. */
  arguments?: unknown[];
}

/** Change a session: either its data, field by field, or its clocks, label and detachability. */
export interface ChangeSession {
  /** Seconds; null: never. */
  idle_timeout?: number | null;
  /** Seconds; null: never. */
  max_age?: number | null;
  /** Seconds; null: never. */
  detached_timeout?: number | null;
  detachable?: boolean;
  label?: string | null;
  /** Fields to write; null is a value. */
  data?: Record<string, unknown>;
  /** Names of fields of the data that shall go. */
  removed?: string[];
  /** Only if the record still has this version (or send If-Match). */
  version?: number;
}

/** Change value or clocks of a token. */
export interface ChangeToken {
  /** Seconds; null: never. */
  timeout?: number | null;
  /** Seconds; null: never. */
  disownment_timeout?: number | null;
  /** A string, kept verbatim, or any JSON value; at most 16 KiB. */
  value?: unknown;
  /** Only if the record still has this version (or send If-Match). */
  version?: number;
}

/** Change a webhook; what is left out stays. */
export interface ChangeWebhook {
  /** https:// and a host. */
  url?: string;
  /** Of events; null: all. */
  kinds?: string[] | null;
  /** Whether events are sent; off, they wait in the log. */
  is_on?: boolean;
}

/** Take the token that has been unassigned for longest. */
export interface ClaimNextToken {
  /** The id (ses_…) or secret (sts_…) of a living session. */
  session: string;
  tag?: string | null;
}

/** Take an unassigned token into a living session. */
export interface ClaimToken {
  /** The id (ses_…) or secret (sts_…) of a living session. */
  session: string;
}

/** The token that was taken and its secret, both null where none waits. */
export interface Claimed {
  token: TokenShape | null;
  /** The bearer string: shown this once and kept nowhere. */
  secret: string | null;
}

/** Use a counted token up. */
export interface ConsumeToken {
  /** How many uses, all of them or none. */
  amount?: number;
}

/** Make a service key. */
export interface CreateKey {
  /** verify, issue, transfer, revoke, audit, operator or admin. */
  role: string;
  label?: string | null;
  /** Those that it may be used from, such as 10.0.0.0/8. */
  networks?: string[];
  /** How the owners begin for whom it acts, such as app1:. */
  owner_prefix?: string;
  /** What it makes belongs to it; it sees nothing else. */
  namespace?: string;
  /** It sees tokens that were issued for it, and nothing else. */
  audience?: string;
  /** Seconds: the longest life that it may give. */
  max_age?: number;
  /** Requests a second. */
  rate?: number;
  /** What it may make for one owner a minute. */
  owner_creations?: number;
  /** Seconds; null: never. */
  lifetime?: number | null;
}

/** An event that was given up; ``at`` tells when. */
export interface DeadEvent {
  /** By which a reader goes on (after, Last-Event-ID) and knows it again. */
  id: string;
  /** Such as session_ended; gap where events are not kept any more. */
  kind: string;
  /** Milliseconds since the epoch. */
  at: number;
  /** Of the session, token or service key; else the owner; empty for gap. */
  subject_id: string;
  owner: string | null;
  reason: string | null;
  previous_owner: string | null;
  /** Price, currency and settlement of a sale; borrower and end of a loan. */
  terms: Record<string, unknown> | null;
  attempts: number;
  /** What was answered last. */
  why: string;
}

/** What a webhook was not told, in the order in which it was given up. */
export interface DeadEvents {
  events: DeadEvent[];
  /** How many more are still tried. */
  waiting: number;
}

/** Why to end a session. */
export interface EndSession {
  /** logout, revoked, theft, or another reason why sessions end. */
  reason?: string;
}

/** Which sessions of an owner to end, and why. */
export interface EndSessions {
  /** logout, revoked, theft, or another reason why sessions end. */
  reason?: string;
  /** The id of one to keep; or by-secret: then the body has its secret. */
  except_session?: string;
}

/** Whose sessions to end, which, and why. */
export interface EndSessionsNamed {
  /** logout, revoked, theft, or another reason why sessions end. */
  reason?: string;
  /** The id of one to keep; or by-secret: then the body has its secret. */
  except_session?: string;
  /** The owner: any, also one that a path cannot hold, such as .. */
  owner: string;
}

/** How many sessions were ended. */
export interface Ended {
  ended: number;
}

/** A page of events, in the order in which they were committed. */
export interface EventPage {
  events: EventShape[];
  /** For the next page; null when no more are there yet. */
  next: string | null;
  unreadable: string[];
}

/** A committed state change; it holds no value, data or secret. */
export interface EventShape {
  /** By which a reader goes on (after, Last-Event-ID) and knows it again. */
  id: string;
  /** Such as session_ended; gap where events are not kept any more. */
  kind: string;
  /** Milliseconds since the epoch. */
  at: number;
  /** Of the session, token or service key; else the owner; empty for gap. */
  subject_id: string;
  owner: string | null;
  reason: string | null;
  previous_owner: string | null;
  /** Price, currency and settlement of a sale; borrower and end of a loan. */
  terms: Record<string, unknown> | null;
}

/** Why something is as it is. */
export interface ExplanationShape {
  id: string;
  /** session, token or key. */
  kind: string;
  /** active, detached, unassigned, ended, unreadable or unknown. */
  state: string;
  /** Why it ended, as in events. */
  reason: string | null;
  /** Since when it is in that state. */
  since: number | null;
  owner: string | null;
  /** Sentences that say how it came to that. */
  because: string[];
}

/** Forget an owner. */
export interface ForgetOwner {
  /** The application's identity string: 1 to 255 bytes of UTF-8 in NFC. */
  owner: string;
}

/** In how much an owner's name was replaced by a pseudonym, or taken away. */
export interface ForgottenShape {
  /** What stands in their place from now on. */
  pseudonym: string;
  sessions: number;
  /** Theirs, offered to them, and loans to them. */
  tokens: number;
  /** Of commands with an idempotency key. */
  outcomes: number;
  events: number;
  /** Events that wait for a webhook or were given up. */
  webhook_events: number;
  audit_entries: number;
}

/** Hand on what an owner may hand on. */
export interface HandOver {
  /** The application's identity string: 1 to 255 bytes of UTF-8 in NFC. */
  receiver: string;
  limit?: number | null;
}

/** How many tokens were handed over. */
export interface Handed {
  handed: number;
}

/** What RFC 7662 answers: ``active`` alone for whatever is not alive. ``exp`` and ``iat`` are whole seconds. */
export interface Introspection {
  active: boolean;
  sub?: string;
  username?: string;
  exp?: number;
  iat?: number;
  token_type?: string;
  scope?: string;
  aud?: string[] | string;
  client_id?: string;
  auth_time?: number;
  acr?: string;
  amr?: string[];
  st_issuer?: string;
  st_id?: string;
  st_kind?: string;
  st_epoch?: number;
  st_value?: unknown;
  act?: Actor;
  st_uses_left?: number;
  st_expires_at?: number;
}

/** Issue a token under a session, or a free one. */
export interface IssueToken {
  session?: string | null;
  /** A string, kept verbatim, or any JSON value; at most 16 KiB. */
  value?: unknown;
  transferable?: boolean;
  /** Seconds; null: never. */
  timeout?: number | null;
  /** Seconds; null: never. */
  disownment_timeout?: number | null;
  uses?: number | null;
  tag?: string | null;
  scope?: string | null;
  audience?: string[] | string | null;
  for_client?: string | null;
}

/** A service key with its secret: user name and password of Basic, or the secret alone as Bearer. */
export interface IssuedKeyShape {
  id: string;
  /** The bearer string: shown this once and kept nowhere. */
  secret: string;
  role: string;
  expires_at: number | null;
}

/** A session and its secret. */
export interface IssuedSession {
  session: SessionShape;
  /** The bearer string: shown this once and kept nowhere. */
  secret: string;
}

/** A token and its secret. */
export interface IssuedToken {
  token: TokenShape;
  /** The bearer string, shown this once; null: it waits for a claim. */
  secret: string | null;
}

/** A webhook and the key that signs what it is told. */
export interface IssuedWebhook {
  webhook: WebhookShape;
  /** whsec_ and base64, as standardwebhooks has it. */
  secret: string;
}

/** All service keys, oldest first. */
export interface KeyList {
  keys: KeyShape[];
}

/** A service key, without its secret. */
export interface KeyShape {
  id: string;
  role: string;
  label: string | null;
  /** Those that it may be used from; none: everywhere. */
  networks: string[];
  /** How the owners begin for whom it acts; null: all. */
  owner_prefix: string | null;
  /** Beyond which it sees nothing; null: it sees everything. */
  namespace: string | null;
  /** For which the tokens were issued that it sees; null: all. */
  audience: string | null;
  /** Seconds: the longest life that it may give; null: any. */
  max_age: number | null;
  /** Requests a second; null: any. */
  rate: number | null;
  /** What it may make for one owner a minute; null: any. */
  owner_creations: number | null;
  /** Milliseconds since the epoch. */
  created_at: number;
  expires_at: number | null;
  /** Up to a minute early; null: never. */
  last_used_at: number | null;
}

/** Let a borrower use a token under a secret of their own. */
export interface LendToken {
  /** The application's identity string: 1 to 255 bytes of UTF-8 in NFC. */
  borrower: string;
  /** Seconds; needed where the borrower has no session. */
  until?: number | null;
}

/** Which entries of the audit log to list. */
export interface ListAudit {
  /** What happened, such as session_ended. */
  kind?: string;
  /** Whose it is, or was before. */
  owner?: string;
  /** The id that an entry is about. */
  subject?: string;
  /** A service key (key_…), or a user (os:…). */
  actor?: string;
  /** Milliseconds since the epoch. */
  since?: number;
  /** Milliseconds since the epoch. */
  until?: number;
  /** The next of the page before. */
  after?: string;
  /** 1 to 500. */
  limit?: number;
}

/** Which events to list. */
export interface ListEvents {
  /** The id of the last event that you have. */
  after?: string;
  /** Only what concerns them, as owner or as the one before. */
  owner?: string;
  /** 1 to 500. */
  limit?: number;
}

/** Which owners to list. */
export interface ListOwners {
  /** Those who are disabled; else those with living sessions. */
  disabled?: boolean;
  /** Also visitors before a log-in. */
  anonymous?: boolean;
  /** Whose oldest session was opened last first, on each page. */
  newest?: boolean;
  /** The next of the page before. */
  after?: string;
  /** 1 to 500. */
  limit?: number;
}

/** Which sessions to list. */
export interface ListSessions {
  owner?: string;
  detached?: boolean;
  /** Also those of visitors before a log-in. */
  anonymous?: boolean;
  /** The last made first, on each page of a listing. */
  newest?: boolean;
  /** The next of the page before. */
  after?: string;
  /** 1 to 500. */
  limit?: number;
}

/** Which tokens to list. */
export interface ListTokens {
  owner?: string;
  /** The id of the session that holds them. */
  session?: string;
  transferable?: boolean;
  sellable?: boolean;
  unassigned?: boolean;
  /** That they were issued with. */
  tag?: string;
  /** The last made first, on each page of a listing. */
  newest?: boolean;
  /** The next of the page before. */
  after?: string;
  /** 1 to 500. */
  limit?: number;
}

/** Log a user in: what their visitor's session held is carried over, and it ends. */
export interface LogIn {
  /** Who has logged in; null opens a visitor's session. */
  owner: string | null;
  former?: string | null;
  secret?: string | null;
  data?: Record<string, unknown> | null;
  /** Names of fields that are not carried over. */
  removed?: string[];
  /** Whether it lasts for remember_max_age. */
  remember?: boolean;
  version?: number | null;
  /** Seconds; null: never. */
  idle_timeout?: number | null;
  /** Seconds; null: never. */
  max_age?: number | null;
  label?: string | null;
  user_agent?: string | null;
  address?: string | null;
  acr?: string | null;
  amr?: string[];
}

/** Nothing is asked for; the body may be left out. */
export interface NoBody {
}

/** Advertise a transferable token. */
export interface OfferToken {
  /** Whole number, or a decimal as text such as 12.50. */
  price?: number | string | null;
  currency?: string | null;
  gift?: boolean;
  to?: string | null;
  /** Seconds for which it is theirs alone. */
  until?: number | null;
  /** Only if the record still has this version (or send If-Match). */
  version?: number;
}

/** A session. */
export interface OneSession {
  session: SessionShape;
}

/** A general setting. */
export interface OneSetting {
  setting: SettingShape;
}

/** A token. */
export interface OneToken {
  token: TokenShape;
}

/** A webhook. */
export interface OneWebhook {
  webhook: WebhookShape;
}

/** Open a session for an owner. */
export interface OpenSession {
  /** The application's identity string: 1 to 255 bytes of UTF-8 in NFC. */
  owner: string;
  /** Seconds; null: never. */
  idle_timeout?: number | null;
  /** Seconds; null: never. */
  max_age?: number | null;
  /** Seconds; null: never. */
  detached_timeout?: number | null;
  detachable?: boolean;
  data?: Record<string, unknown> | null;
  label?: string | null;
  user_agent?: string | null;
  address?: string | null;
  /** How surely the owner has just proved who they are (OpenID Connect Core 1.0). */
  acr?: string | null;
  /** By which methods, such as pwd and otp (RFC 8176). */
  amr?: string[];
}

/** Whose. */
export interface OwnerNamed {
  /** The owner: any, also one that a path cannot hold, such as .. */
  owner: string;
}

/** A page of owners. */
export interface OwnerPage {
  owners: OwnerShape[];
  /** For the next page; null when that was all. */
  next: string | null;
  unreadable: string[];
}

/** An owner. */
export interface OwnerShape {
  /** The application's identity string: 1 to 255 bytes of UTF-8 in NFC. */
  owner: string;
  /** Those that ran out of time and were not swept are counted too. */
  sessions: number;
  /** The opening of their oldest living session. */
  since: number | null;
  disabled_at: number | null;
}

/** Whether an owner is disabled, and whether this request made it so. */
export interface OwnerState {
  owner: string;
  disabled: boolean;
  changed: boolean;
}

/** What an error looks like: RFC 9457, with a stable code. */
export interface ProblemBody {
  type: string;
  title: string;
  status: number;
  code: string;
  detail?: string | null;
  reason?: string | null;
  error?: string | null;
  error_description?: string | null;
}

/** End the loans of a token. */
export interface RecallToken {
  borrower?: string | null;
}

/** Give a token a new secret. */
export interface ReissueToken {
  /** Its present owner; null for a free token. */
  owner: string | null;
}

/** Put a token back among the unassigned ones. */
export interface ReleaseToken {
  /** The application's identity string: 1 to 255 bytes of UTF-8 in NFC. */
  owner: string;
}

/** Give an owner another name. */
export interface RenameOwner {
  /** The application's identity string: 1 to 255 bytes of UTF-8 in NFC. */
  owner: string;
  /** The application's identity string: 1 to 255 bytes of UTF-8 in NFC. */
  to: string;
}

/** How many sessions and tokens have another owner's name now. */
export interface Renamed {
  renamed: number;
}

/** Send again what was given up, or everything after an event. */
export interface ReplayWebhook {
  /** The id of an event; null: what was given up. */
  after?: string | null;
}

/** How many events had been given up. */
export interface Replayed {
  replayed: number;
}

/** Make a second key beside one, which ends after the overlap. */
export interface RotateKey {
  /** Seconds for which both live. */
  overlap?: number;
  /** Seconds; null: never. */
  lifetime?: number | null;
}

/** Give a session a new secret. */
export interface RotateSession {
  /** Seconds for which the old secret stays good, up to an hour; its use after that ends the session. With the old secret as the key, the same new one is answered again. null: it is dead at once. */
  grace?: number | null;
  /** Whether its owner has just proved who they are. */
  authenticated?: boolean;
  /** How surely the owner has just proved who they are (OpenID Connect Core 1.0). */
  acr?: string | null;
  /** By which methods, such as pwd and otp (RFC 8176). */
  amr?: string[];
}

/** Sign with a new key. */
export interface RotateWebhook {
  /** Seconds for which both sign, a day; null: the one before ends at once. */
  overlap?: number | null;
}

/** A page of sessions, in order of their opening. */
export interface SessionPage {
  sessions: SessionShape[];
  next: string | null;
  unreadable: string[];
}

/** A session, without its secret. */
export interface SessionShape {
  id: string;
  owner: string;
  /** Milliseconds since the epoch. */
  created_at: number;
  /** Milliseconds since the epoch. */
  last_seen_at: number;
  /** Milliseconds since the epoch. */
  authenticated_at: number;
  expires_at: number | null;
  idle_timeout: number | null;
  max_age: number | null;
  detached_timeout: number | null;
  detachable: boolean;
  detached_at: number | null;
  label: string | null;
  user_agent: string | null;
  address: string | null;
  acr: string | null;
  amr: string[];
  data: Record<string, unknown>;
  version: number;
  client_id: string | null;
  /** When it got its present secret, if that was with grace. */
  rotated_at: number | null;
  /** Until when the secret is good that was verified, if that is a previous one. */
  secret_until: number | null;
}

/** Keep a general setting with the store. */
export interface SetSetting {
  /** Seconds, a number or a word; null: never, or no cap. */
  value: number | string | null;
}

/** All general settings. */
export interface SettingList {
  settings: SettingShape[];
}

/** A general setting: what holds in this service, why, and what the store keeps. */
export interface SettingShape {
  name: string;
  /** Seconds, a number or a word; null: never, or no cap. */
  value: number | string | null;
  /** Of value: argument, environment, stored or default. */
  source: string;
  is_stored: boolean;
  /** Seconds, a number or a word; null: never, or no cap. */
  stored: number | string | null;
  /** Seconds, a number or a word; null: never, or no cap. */
  default: number | string | null;
}

/** What a name of TokenTables answers; a time without end is the text never. */
export interface TablesAnswer {
  answer: unknown;
}

/** A page of tokens, in order of their issue. */
export interface TokenPage {
  tokens: TokenShape[];
  next: string | null;
  unreadable: string[];
}

/** A token, without its secret. */
export interface TokenShape {
  id: string;
  kind: string;
  owner: string | null;
  session_id: string | null;
  value: unknown;
  /** Milliseconds since the epoch. */
  created_at: number;
  expires_at: number | null;
  /** Milliseconds since the epoch. */
  held_since: number;
  unassigned_at: number | null;
  previous_owner: string | null;
  timeout: number | null;
  disownment_timeout: number | null;
  sellable: boolean;
  price: string | null;
  currency: string | null;
  gift: boolean;
  epoch: number;
  version: number;
  tag: string | null;
  scope: string | null;
  audience: string[];
  /** The client for whom it was issued. */
  for_client: string | null;
  /** How often it can still be used up; null: not counted. */
  uses_left: number | null;
  /** The owner to whom alone it is offered. */
  reserved_for: string | null;
  reserved_until: number | null;
  /** Who uses it on loan, where that is who asks. */
  borrower: string | null;
  client_id: string | null;
}

/** Hand a transferable token to another owner. */
export interface TransferToken {
  /** The application's identity string: 1 to 255 bytes of UTF-8 in NFC. */
  receiver: string;
  /** Its present owner; null or left out if it is unassigned. */
  giver?: string | null;
  /** Only if it has not changed hands since. */
  epoch?: number;
}

/** The living session or token of a secret, whole. */
export interface Verified {
  session?: SessionShape;
  token?: TokenShape;
}

/** Verify a secret. */
export interface VerifySecret {
  /** Of a session (sts_…, std_…) or token (stt_…). */
  secret: string;
  /** Whether this is a use of the session: its idle clock restarts. */
  touch?: boolean;
}

/** All webhooks, oldest first. */
export interface WebhookList {
  webhooks: WebhookShape[];
}

/** An address that is told of events. */
export interface WebhookShape {
  id: string;
  url: string;
  /** Of events that are told; null: all. */
  kinds: string[] | null;
  /** Milliseconds since the epoch. */
  created_at: number;
  /** False also after the address answered 410; a replay switches it on. */
  is_on: boolean;
}

/** Take a listing away. */
export interface WithdrawToken {
  /** Only if the record still has this version (or send If-Match). */
  version?: number;
}
