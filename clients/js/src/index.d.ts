import type {
  AcceptOffer,
  AuditEntries,
  ChangeSession,
  ChangeToken,
  ClaimNextToken,
  ConsumeToken,
  EventPage,
  ExplanationShape,
  ForgottenShape,
  HandOver,
  IssueToken,
  IssuedSession,
  IssuedToken,
  LendToken,
  ListAudit,
  ListEvents,
  ListOwners,
  ListSessions,
  ListTokens,
  LogIn,
  OfferToken,
  OpenSession,
  OwnerPage,
  RecallToken,
  ReleaseToken,
  RenameOwner,
  RotateSession,
  SessionPage,
  SessionShape,
  SettingShape,
  TokenPage,
  TokenShape,
  Verified,
} from "./schema.js";

export type * from "./schema.js";

export interface Options {
  /** The secret of a service key (stk_…). */
  key: string;
  /** Milliseconds for one try; 5,000 if not given. */
  timeoutMs?: number;
  /** For how many milliseconds a command is sent again while the service does not answer; 10,000 if not given. */
  retryForMs?: number;
  fetch?: typeof globalThis.fetch;
}

export interface Once {
  /** The same command with the same key within 24 hours answers its first outcome. */
  idempotencyKey?: string;
}

export interface IfVersion {
  /** Only if the record still has this version. */
  version?: number;
}

/** What the service refused, or could not do. */
export class SessionTokensError extends Error {
  /** The stable word for programs, such as `not_owner`. */
  readonly code: string;
  /** Of HTTP; 0 where nothing was sent. */
  readonly status: number;
  /** Why a session ended, where it did. */
  readonly reason: string | null;
  readonly retryAfterS: number | null;
}

/** The service did not answer, or its store could not be asked; that never means "not valid". */
export class Unavailable extends SessionTokensError {}

export interface Request {
  body?: unknown;
  query?: Record<string, string | number | boolean | null | undefined>;
  headers?: Record<string, string>;
  idempotencyKey?: string;
  once?: boolean;
  again?: boolean;
}

/** The service at an address. A `key` is an id, which manages, or a secret, which must authenticate. */
export class SessionTokens {
  constructor(url: string | URL, options: Options);
  /** Returns the living session or token of a secret, `null` for everything else. */
  verify(secret: string, options?: { touch?: boolean }): Promise<Verified | null>;
  verifySession(secret: string, options?: { touch?: boolean }): Promise<SessionShape | null>;
  verifyToken(secret: string): Promise<TokenShape | null>;

  openSession(owner: string, options?: Omit<OpenSession, "owner"> & Once): Promise<IssuedSession>;
  logIn(owner: string | null, options?: Omit<LogIn, "owner"> & Once): Promise<IssuedSession>;
  rotateSession(key: string, options?: RotateSession & Once): Promise<IssuedSession>;
  detachSession(key: string, options?: Once): Promise<SessionShape>;
  attachSession(id: string, options?: Once): Promise<IssuedSession>;
  changeSession(key: string, changes: ChangeSession & Once): Promise<SessionShape>;
  updateSessionData(
    key: string,
    data: Record<string, unknown>,
    options?: { removed?: string[] } & IfVersion & Once,
  ): Promise<SessionShape>;
  /** Returns whether it lived. */
  destroySession(key: string, options?: { reason?: string } & IfVersion & Once): Promise<boolean>;
  /** Returns how many were ended. */
  destroySessions(owner: string, options?: { reason?: string; except_session?: string } & Once): Promise<number>;
  disableOwner(owner: string, options?: Once): Promise<boolean>;
  enableOwner(owner: string, options?: Once): Promise<boolean>;
  getSession(id: string): Promise<SessionShape | null>;
  listSessions(query?: ListSessions): Promise<SessionPage>;

  issueToken(session: string | null, options?: Omit<IssueToken, "session"> & Once): Promise<IssuedToken>;
  transferToken(
    key: string,
    hands: { receiver: string; giver?: string | null; epoch?: number } & Once,
  ): Promise<IssuedToken>;
  claimToken(key: string, options: { session: string } & Once): Promise<IssuedToken>;
  reissueToken(key: string, options: { owner: string | null } & Once): Promise<IssuedToken>;
  offerToken(key: string, options?: OfferToken & Once): Promise<TokenShape>;
  withdrawToken(key: string, options?: IfVersion & Once): Promise<TokenShape>;
  acceptOffer(key: string, terms: AcceptOffer & Once): Promise<IssuedToken>;
  /** Returns the borrower's secret. */
  lendToken(key: string, options: LendToken & Once): Promise<IssuedToken>;
  recallToken(key: string, options?: RecallToken & Once): Promise<TokenShape>;
  consumeToken(key: string, options?: ConsumeToken & Once): Promise<TokenShape>;
  releaseToken(key: string, options: ReleaseToken & Once): Promise<TokenShape>;
  /** Returns `null` where none waits. */
  claimNextToken(options: ClaimNextToken & Once): Promise<IssuedToken | null>;
  /** Returns how many were handed over. */
  handOver(owner: string, options: HandOver & Once): Promise<number>;
  changeToken(key: string, changes: ChangeToken & Once): Promise<TokenShape>;
  /** Returns whether it lived. */
  destroyToken(key: string, options?: IfVersion & Once): Promise<boolean>;
  getToken(id: string): Promise<TokenShape | null>;
  listTokens(query?: ListTokens): Promise<TokenPage>;

  listEvents(query?: ListEvents): Promise<EventPage>;
  explain(id: string): Promise<ExplanationShape>;
  listAudit(query?: ListAudit): Promise<AuditEntries>;
  listOwners(query?: ListOwners): Promise<OwnerPage>;
  /** Returns how many sessions and tokens have the other name now. */
  renameOwner(owner: string, options: Omit<RenameOwner, "owner"> & Once): Promise<number>;
  forgetOwner(owner: string, options?: Once): Promise<ForgottenShape>;
  listSettings(): Promise<SettingShape[]>;
  /** `null` is never, or no cap. */
  setSetting(name: string, value: SettingShape["value"], options?: Once): Promise<SettingShape>;
  unsetSetting(name: string, options?: Once): Promise<SettingShape>;
  /** Sends any request of the HTTP API. */
  request(method: string, path: string, request?: Request): Promise<{ status: number; headers: Headers; body: unknown }>;
}
