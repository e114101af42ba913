-- SPDX-License-Identifier: Apache-2.0
--
-- devices   the catalogue: which disks there are and which image is each one's top now
-- groups    the history: every attempt at a group snapshot, also the aborted ones
-- members   the devices of each group, in list order; history outlives the device, so no foreign key to it
--
-- Times are microseconds since the epoch, UTC. Labels are JSON objects, opaque here.
CREATE TABLE devices (
    name TEXT PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL CHECK (state IN ('creating', 'attached')),
    image TEXT NOT NULL,
    format TEXT NOT NULL,
    top TEXT NOT NULL,
    top_format TEXT NOT NULL,
    read_only INTEGER NOT NULL CHECK (read_only IN (0, 1)),
    labels TEXT NOT NULL,
    created_at_us INTEGER NOT NULL
) STRICT;

CREATE TABLE groups (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL
        CHECK (state IN ('preparing', 'committing', 'committed', 'aborting', 'aborted')),
    name TEXT NOT NULL,
    labels TEXT NOT NULL,
    created_at_us INTEGER NOT NULL,
    cut_at_us INTEGER,
    pause_us INTEGER,
    duration_us INTEGER,
    error_code TEXT,
    error_errnum INTEGER,
    error_message TEXT,
    error_member INTEGER
) STRICT;

-- A name is taken by at most one group that is not aborted.
CREATE UNIQUE INDEX groups_name ON groups (name) WHERE state <> 'aborted';
CREATE INDEX groups_created ON groups (created_at_us, id);
CREATE INDEX groups_state ON groups (state, created_at_us, id);

CREATE TABLE members (
    group_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    device TEXT NOT NULL,
    backing_file TEXT,
    backing_format TEXT,
    snapshot_file TEXT NOT NULL,
    format TEXT NOT NULL,
    pause_us INTEGER,
    PRIMARY KEY (group_id, position)
) STRICT, WITHOUT ROWID;
