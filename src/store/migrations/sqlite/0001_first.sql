-- The first schema. What is JSON here is the serde form of the type in `model`.

CREATE TABLE store (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    generation INTEGER NOT NULL
) STRICT;
INSERT INTO store VALUES (1, 0);

-- Compare-and-set compares this generation. A mesh without a row is absent.
CREATE TABLE mesh (
    name       TEXT PRIMARY KEY,
    generation INTEGER NOT NULL UNIQUE
) STRICT, WITHOUT ROWID;

CREATE TABLE resource (
    mesh      TEXT NOT NULL REFERENCES mesh (name) ON DELETE CASCADE,
    kind      TEXT NOT NULL,
    name      TEXT NOT NULL,
    digest    TEXT NOT NULL,
    origin    TEXT NOT NULL, -- JSON
    universal TEXT NOT NULL, -- JSON, a ProvidedCa without its key
    PRIMARY KEY (mesh, kind, name)
) STRICT;

CREATE TABLE authority (
    mesh     TEXT NOT NULL REFERENCES mesh (name) ON DELETE CASCADE,
    id       TEXT NOT NULL,
    document TEXT NOT NULL, -- JSON
    key      BLOB,          -- age, sealed to the store's identity; NULL once destroyed
    PRIMARY KEY (mesh, id)
) STRICT;
CREATE INDEX authority_by_id ON authority (id);

-- Evidence goes with its Dataplane.
CREATE TABLE evidence (
    mesh     TEXT NOT NULL,
    kind     TEXT NOT NULL DEFAULT 'Dataplane' CHECK (kind = 'Dataplane'),
    name     TEXT NOT NULL,
    document TEXT NOT NULL, -- JSON
    PRIMARY KEY (mesh, kind, name),
    FOREIGN KEY (mesh, kind, name) REFERENCES resource (mesh, kind, name) ON DELETE CASCADE
) STRICT;

CREATE TABLE secret (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL -- age, sealed to the store's identity
) STRICT;

CREATE TABLE history (
    generation INTEGER PRIMARY KEY,
    document   TEXT NOT NULL -- JSON
) STRICT;

CREATE TABLE source (
    name     TEXT PRIMARY KEY,
    document TEXT NOT NULL -- JSON
) STRICT;
