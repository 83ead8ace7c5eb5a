-- Two roles for session-tokens: one that owns the tables and changes them, one that only works with what is in them.
--
-- Run it once, as the owner of an empty database in UTF-8:  psql --dbname=session_tokens --file=roles.sql
-- The roles have no passwords yet; give each one of its own:  \password session_tokens

CREATE ROLE session_tokens_migrate LOGIN;
CREATE ROLE session_tokens LOGIN;

-- session_tokens holds the sessions and tokens of SessionTokens and of the service, session_tokens_tt those of
-- TokenTables. With ?namespace=name in the store's URL they are called name and name_tt.
CREATE SCHEMA session_tokens AUTHORIZATION session_tokens_migrate;
CREATE SCHEMA session_tokens_tt AUTHORIZATION session_tokens_migrate;

-- The running role may use what the migrating role makes, now and later, and make nothing itself.
GRANT USAGE ON SCHEMA session_tokens, session_tokens_tt TO session_tokens;
ALTER DEFAULT PRIVILEGES FOR ROLE session_tokens_migrate IN SCHEMA session_tokens, session_tokens_tt
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO session_tokens;
ALTER DEFAULT PRIVILEGES FOR ROLE session_tokens_migrate IN SCHEMA session_tokens, session_tokens_tt
    GRANT EXECUTE ON FUNCTIONS TO session_tokens;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
