-- Each replica keeps what it knows of a proxy in a row of its own. `mark` rises
-- with every record, so that others read only what is new.
ALTER TABLE store ADD COLUMN evidence INTEGER NOT NULL DEFAULT 1;

CREATE TABLE evidence_of (
    mesh     TEXT NOT NULL,
    kind     TEXT NOT NULL DEFAULT 'Dataplane' CHECK (kind = 'Dataplane'),
    name     TEXT NOT NULL,
    replica  TEXT NOT NULL,
    mark     INTEGER NOT NULL,
    document TEXT NOT NULL, -- JSON
    PRIMARY KEY (mesh, kind, name, replica),
    FOREIGN KEY (mesh, kind, name) REFERENCES resource (mesh, kind, name) ON DELETE CASCADE
) STRICT;
INSERT INTO evidence_of (mesh, kind, name, replica, mark, document)
SELECT mesh, kind, name, coalesce(json_extract(document, '$.replica'), ''), 1, document FROM evidence;
DROP TABLE evidence;
ALTER TABLE evidence_of RENAME TO evidence;
CREATE INDEX evidence_by_mark ON evidence (mark);

CREATE TABLE replica (
    name     TEXT PRIMARY KEY,
    seen     INTEGER NOT NULL, -- Unix time in milliseconds
    document TEXT NOT NULL     -- JSON
) STRICT;
