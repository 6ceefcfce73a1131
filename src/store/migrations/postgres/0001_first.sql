-- The first schema. What is JSON here is the serde form of the type in `model`,
-- kept as text: as it was written, NUL characters in it included. Names are in
-- the order of their bytes.

-- Marks the schema as Windlass's.
CREATE TABLE windlass_schema (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    version BIGINT NOT NULL
);

-- One row, which every write changes first. So one write follows another, and
-- whoever sees a number sees all that was written under the lower ones.
CREATE TABLE store (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    generation BIGINT NOT NULL, -- of meshes
    evidence   BIGINT NOT NULL, -- of what proxies have acknowledged
    secrets    BIGINT NOT NULL,
    sources    BIGINT NOT NULL,
    sync       BIGINT NOT NULL
);
INSERT INTO store VALUES (1, 0, 0, 0, 0, 0);

-- Compare-and-set compares this generation. A mesh without a row is absent.
CREATE TABLE mesh (
    name       TEXT COLLATE "C" PRIMARY KEY,
    generation BIGINT NOT NULL UNIQUE,
    progress   TEXT NOT NULL -- JSON
);

CREATE TABLE resource (
    mesh      TEXT COLLATE "C" NOT NULL REFERENCES mesh (name) ON DELETE CASCADE,
    kind      TEXT COLLATE "C" NOT NULL,
    name      TEXT COLLATE "C" NOT NULL,
    digest    TEXT NOT NULL,
    origin    TEXT NOT NULL, -- JSON
    universal TEXT NOT NULL, -- JSON, a ProvidedCa without its key
    PRIMARY KEY (mesh, kind, name)
);

CREATE TABLE authority (
    mesh     TEXT COLLATE "C" NOT NULL REFERENCES mesh (name) ON DELETE CASCADE,
    id       TEXT COLLATE "C" NOT NULL,
    document TEXT NOT NULL, -- JSON
    key      BYTEA,         -- age, sealed to the store's identity; NULL once destroyed
    PRIMARY KEY (mesh, id)
);
CREATE INDEX authority_by_id ON authority (id);

-- What each replica knows of a proxy. It goes with the Dataplane. `mark` rises
-- with every record, so that others read only what is new.
CREATE TABLE evidence (
    mesh     TEXT COLLATE "C" NOT NULL,
    kind     TEXT COLLATE "C" NOT NULL DEFAULT 'Dataplane' CHECK (kind = 'Dataplane'),
    name     TEXT COLLATE "C" NOT NULL,
    replica  TEXT COLLATE "C" NOT NULL,
    mark     BIGINT NOT NULL,
    document TEXT NOT NULL, -- JSON
    PRIMARY KEY (mesh, kind, name, replica),
    FOREIGN KEY (mesh, kind, name) REFERENCES resource (mesh, kind, name) ON DELETE CASCADE
);
CREATE INDEX evidence_by_mark ON evidence (mark);

CREATE TABLE secret (
    name  TEXT COLLATE "C" PRIMARY KEY,
    value BYTEA NOT NULL -- age, sealed to the store's identity
);

CREATE TABLE history (
    generation BIGINT PRIMARY KEY,
    document   TEXT NOT NULL -- JSON
);

CREATE TABLE source (
    name     TEXT COLLATE "C" PRIMARY KEY,
    document TEXT NOT NULL -- JSON
);

CREATE TABLE replica (
    name     TEXT COLLATE "C" PRIMARY KEY,
    seen     TIMESTAMPTZ NOT NULL, -- by the server's clock
    document TEXT NOT NULL         -- JSON
);
