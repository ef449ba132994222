-- Gateway keys. A key is 32 random bytes, so its SHA-256 gives nothing away and is found by one index lookup; a slow
-- password hash would protect nothing more and cost every call. The callback secret signs what we send, so it must be
-- readable.
CREATE TABLE keys (
    id TEXT NOT NULL PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    account TEXT NOT NULL,
    models TEXT,                -- JSON list; NULL: all
    rpm INTEGER,                -- limits: NULL for none
    tpm INTEGER,
    concurrency INTEGER,
    budget INTEGER,             -- nano-credits
    period TEXT CHECK (period IN ('day', 'month')),
    expires REAL,               -- seconds since 1970
    disabled INTEGER NOT NULL DEFAULT 0,
    revoked REAL,               -- when
    created REAL NOT NULL,
    callback_secret TEXT NOT NULL
) STRICT;

CREATE INDEX keys_account ON keys (account);

-- Goes up with every change of a key, whoever makes it: servers look at this one row to know that theirs are fresh.
CREATE TABLE keys_version (version INTEGER NOT NULL) STRICT;
INSERT INTO keys_version VALUES (0);
CREATE TRIGGER keys_inserted AFTER INSERT ON keys BEGIN UPDATE keys_version SET version = version + 1; END;
CREATE TRIGGER keys_updated AFTER UPDATE ON keys BEGIN UPDATE keys_version SET version = version + 1; END;
CREATE TRIGGER keys_deleted AFTER DELETE ON keys BEGIN UPDATE keys_version SET version = version + 1; END;
