-- The ledger. Amounts are nano-credits; times are seconds since 1970.

-- What happened, in this order. Never changed, never deleted: a mistake is put right by an `adjust`. So the ids have no
-- gaps, and need no AUTOINCREMENT.
CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    time REAL NOT NULL,
    account TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('grant', 'adjust', 'hold', 'settle', 'release')),
    amount INTEGER NOT NULL,    -- signed; available = the sum of an account's amounts
    cost INTEGER,               -- of a settle: its amount is the hold less this
    request_id TEXT,            -- NULL: grant, adjust
    key_id TEXT,
    model TEXT,                 -- from here on: settle and release only
    provider TEXT,
    outcome TEXT,
    input INTEGER,              -- the usage in the normal form; NULL: none is known
    cached_input INTEGER,
    cache_write INTEGER,
    output INTEGER,
    reasoning INTEGER,
    extra_units TEXT,           -- JSON object
    parts TEXT,                 -- JSON list of [unit, count, nano-credits per million]: how the cost came about
    estimated INTEGER NOT NULL DEFAULT 0,
    note TEXT NOT NULL DEFAULT ''
) STRICT;

-- A call is held at most once and closed at most once, whoever tries again.
CREATE UNIQUE INDEX entries_once ON entries (request_id, kind = 'hold') WHERE request_id IS NOT NULL;
CREATE INDEX entries_account ON entries (account);
-- What a key has spent in a period, answered from the index alone.
CREATE INDEX entries_spent ON entries (key_id, time, cost) WHERE cost IS NOT NULL;

CREATE TRIGGER entries_stay BEFORE UPDATE ON entries
BEGIN SELECT raise(ABORT, 'entries are never changed; enter an adjust'); END;
CREATE TRIGGER entries_remain BEFORE DELETE ON entries
BEGIN SELECT raise(ABORT, 'entries are never deleted; enter an adjust'); END;

-- Written in the same transaction as the entries: available = their sum, always.
CREATE TABLE accounts (name TEXT NOT NULL PRIMARY KEY, available INTEGER NOT NULL) STRICT, WITHOUT ROWID;

-- Hold entries that nothing has closed yet.
CREATE TABLE holds (
    request_id TEXT NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    key_id TEXT NOT NULL,
    amount INTEGER NOT NULL,    -- not negative
    deadline REAL NOT NULL
) STRICT, WITHOUT ROWID;
