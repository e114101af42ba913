-- SPDX-License-Identifier: Apache-2.0
--
-- store_meta     one row: the random id of this database, which also stands beside it
-- devices        may be `detaching`; the identities of their files (block/image/identity.h; NULL: not known, as in rows
--                from before)
-- groups         `sequence` orders them: it grows whatever the clock does
-- members        the id of the device, so that another one of the same name is never taken for it; the identities of
--                its files. NULL in rows from before, and where an attempt failed before they were known
-- frozen_files   every file that is, or is beneath, the frozen image of a member of a group past the point of no
--                return: none of them is ever written again. `path` is where it was then
CREATE TABLE store_meta (
    singleton INTEGER PRIMARY KEY CHECK (singleton = 1),
    id TEXT NOT NULL
) STRICT;
INSERT INTO store_meta (singleton, id) VALUES (1, lower(hex(randomblob(16))));

CREATE TABLE devices_3 (
    name TEXT PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL CHECK (state IN ('creating', 'attached', 'detaching')),
    image TEXT NOT NULL,
    image_identity TEXT,
    format TEXT NOT NULL,
    top TEXT NOT NULL,
    top_identity TEXT,
    top_format TEXT NOT NULL,
    read_only INTEGER NOT NULL CHECK (read_only IN (0, 1)),
    labels TEXT NOT NULL,
    created_at_us INTEGER NOT NULL,
    cluster_size_bytes INTEGER NOT NULL CHECK (cluster_size_bytes BETWEEN 512 AND 2097152),
    extended_l2 INTEGER NOT NULL CHECK (extended_l2 IN (0, 1))
) STRICT;
INSERT INTO devices_3 (name, id, state, image, format, top, top_format, read_only, labels, created_at_us,
        cluster_size_bytes, extended_l2)
    SELECT name, id, state, image, format, top, top_format, read_only, labels, created_at_us, cluster_size_bytes,
        extended_l2 FROM devices;
DROP TABLE devices;
ALTER TABLE devices_3 RENAME TO devices;

ALTER TABLE groups ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0;
UPDATE groups SET sequence = ordered.place
    FROM (SELECT id, row_number() OVER (ORDER BY created_at_us, id) AS place FROM groups) AS ordered
    WHERE ordered.id = groups.id;
DROP INDEX groups_created;
DROP INDEX groups_state;
CREATE UNIQUE INDEX groups_sequence ON groups (sequence);
CREATE INDEX groups_state ON groups (state, sequence);

ALTER TABLE members ADD COLUMN device_id TEXT;
ALTER TABLE members ADD COLUMN backing_identity TEXT;
ALTER TABLE members ADD COLUMN snapshot_identity TEXT;

CREATE TABLE frozen_files (
    identity TEXT PRIMARY KEY,
    path TEXT NOT NULL
) STRICT, WITHOUT ROWID;
