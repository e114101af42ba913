-- SPDX-License-Identifier: Apache-2.0
--
-- images    the image files of all chains, as trees: `backing` is the image under it (NULL: none). `path` is canonical,
--           every link resolved; `identity` tells the file from a later one of that path (block/image/identity.h; NULL:
--           not known). Whether an image may be written or removed follows from this table alone:
--             role       given: lay under an image that was attached, or was attached read-only: never written or removed
--                        attached: was attached or created by name: may be written, never removed
--                        made: by this daemon, as an overlay: may be written and removed
--             made_by    the id that the header of a `made` image has
--             is_kept    1: the top of a device that was detached
--             is_complete  0: what is under it is not known, as in rows from before; `backing` is NULL then, and nothing in
--                        its tree may be merged
-- devices   `top_image` is the row of `top`, which may be a link; NULL while the device is being created
-- devices   `origin_...`: what the content came from, and how and when: a clone of that member of that group, or a rollback to
--           it; NULL: neither. `origin_group` is the group's id
-- devices   `removed_by`: of a device that is detached together with its top, the id in the header of that
-- members   `backing_image` is the row of `backing_file`, likewise; NULL once that image is gone. `base_file` is what the
--           overlay was put on, if that is not `backing_file`. `grown_bytes` is the size of an overlay with which the disk
--           grew; NULL: it did not
-- groups    `kind` says why the group was taken; only a `snapshot` or a `rollback` has a name. A `cut` is for a job, or lets a
--           disk grow: nothing needs its frozen images, so it is `deleted` in the commit in which another one is `committed`.
--           `rolled_back_to` is the id of the group to which a `rollback` went back
--
-- holds     names that keep a group from being deleted
--
-- A table with a new CHECK is made anew: foreign keys are off while schema files run, so that its rows' members stay.
CREATE TABLE images (
    path TEXT PRIMARY KEY,
    identity TEXT,
    format TEXT NOT NULL,
    backing TEXT REFERENCES images (path) DEFERRABLE INITIALLY DEFERRED,
    role TEXT NOT NULL CHECK (role IN ('given', 'attached', 'made')),
    made_by TEXT,
    is_kept INTEGER NOT NULL DEFAULT 0 CHECK (is_kept IN (0, 1)),
    is_complete INTEGER NOT NULL DEFAULT 1 CHECK (is_complete = 1 OR (is_complete = 0 AND backing IS NULL)),
    CHECK ((role = 'made') = (made_by IS NOT NULL))
) STRICT;
CREATE INDEX images_backing ON images (backing) WHERE backing IS NOT NULL;
CREATE INDEX images_identity ON images (identity) WHERE identity IS NOT NULL;
CREATE INDEX images_incomplete ON images (path) WHERE is_complete = 0;

ALTER TABLE devices ADD COLUMN top_image TEXT REFERENCES images (path) DEFERRABLE INITIALLY DEFERRED;
CREATE INDEX devices_top_image ON devices (top_image);
ALTER TABLE devices ADD COLUMN origin_how TEXT CHECK (origin_how IN ('clone', 'rollback'));
ALTER TABLE devices ADD COLUMN origin_group TEXT;
ALTER TABLE devices ADD COLUMN origin_device TEXT;
ALTER TABLE devices ADD COLUMN origin_at_us INTEGER;
ALTER TABLE devices ADD COLUMN removed_by TEXT;
CREATE INDEX devices_origin ON devices (origin_group) WHERE origin_group IS NOT NULL;
CREATE INDEX devices_clones ON devices (origin_group, origin_device, name) WHERE origin_how = 'clone';
ALTER TABLE members ADD COLUMN backing_image TEXT REFERENCES images (path) ON DELETE SET NULL
    DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE members ADD COLUMN base_file TEXT;
ALTER TABLE members ADD COLUMN grown_bytes INTEGER;
CREATE INDEX members_backing_image ON members (backing_image) WHERE backing_image IS NOT NULL;

DROP TRIGGER group_terms_insert;
DROP TRIGGER group_terms_insert_member;
DROP TRIGGER group_terms_update;
DROP TRIGGER group_terms_delete;
CREATE TABLE groups_6 (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN
        ('preparing', 'committing', 'cut', 'committed', 'aborting', 'aborted', 'deleting', 'deleted')),
    kind TEXT NOT NULL DEFAULT 'snapshot' CHECK (kind IN ('snapshot', 'rollback', 'cut')),
    rolled_back_to TEXT,
    name TEXT NOT NULL,
    labels TEXT NOT NULL,
    created_at_us INTEGER NOT NULL,
    cut_at_us INTEGER,
    pause_us INTEGER,
    sealed_us INTEGER,
    duration_us INTEGER,
    error_code TEXT,
    error_errnum INTEGER,
    error_message TEXT,
    error_member INTEGER,
    sequence INTEGER NOT NULL,
    revision INTEGER NOT NULL DEFAULT 1,
    request_hash TEXT,
    selector TEXT,
    is_late INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO groups_6 (id, state, name, labels, created_at_us, cut_at_us, pause_us, sealed_us, duration_us, error_code,
        error_errnum, error_message, error_member, sequence, revision, request_hash, selector, is_late)
    SELECT id, state, name, labels, created_at_us, cut_at_us, pause_us, sealed_us, duration_us, error_code,
        error_errnum, error_message, error_member, sequence, revision, request_hash, selector, is_late
    FROM groups ORDER BY sequence;
DROP TABLE groups;
ALTER TABLE groups_6 RENAME TO groups;

-- A name is taken by at most one group that is, or will be, there.
CREATE UNIQUE INDEX groups_name ON groups (name)
    WHERE state NOT IN ('aborting', 'aborted', 'deleted') AND kind <> 'cut';
CREATE UNIQUE INDEX groups_sequence ON groups (sequence);
CREATE INDEX groups_state ON groups (state, sequence);
CREATE INDEX groups_deleted ON groups (sequence) WHERE state = 'deleted' AND kind <> 'cut';
CREATE INDEX groups_deleted_cuts ON groups (sequence) WHERE state = 'deleted' AND kind = 'cut';
CREATE INDEX groups_rolled_back ON groups (rolled_back_to) WHERE rolled_back_to IS NOT NULL;
CREATE INDEX groups_created ON groups (created_at_us, sequence) WHERE is_late = 0;
CREATE INDEX groups_late ON groups (sequence) WHERE is_late = 1;
CREATE TRIGGER group_terms_insert AFTER INSERT ON groups BEGIN
    INSERT INTO group_terms VALUES ('name', '', NEW.name, NEW.sequence);
    INSERT INTO group_terms SELECT 'label', key, value, NEW.sequence FROM json_each(NEW.labels);
END;
CREATE TRIGGER group_terms_insert_member AFTER INSERT ON members BEGIN
    INSERT OR IGNORE INTO group_terms
        SELECT 'device', '', NEW.device, sequence FROM groups WHERE id = NEW.group_id;
END;
CREATE TRIGGER group_terms_update AFTER UPDATE OF labels ON groups BEGIN
    DELETE FROM group_terms WHERE kind = 'label' AND sequence = OLD.sequence
        AND (key, value) IN (SELECT key, value FROM json_each(OLD.labels));
    INSERT INTO group_terms SELECT 'label', key, value, NEW.sequence FROM json_each(NEW.labels);
END;
CREATE TRIGGER group_terms_delete BEFORE DELETE ON groups BEGIN
    DELETE FROM group_terms WHERE kind = 'name' AND key = '' AND value = OLD.name AND sequence = OLD.sequence;
    DELETE FROM group_terms WHERE kind = 'label' AND sequence = OLD.sequence
        AND (key, value) IN (SELECT key, value FROM json_each(OLD.labels));
    DELETE FROM group_terms WHERE kind = 'device' AND key = '' AND sequence = OLD.sequence
        AND value IN (SELECT device FROM members WHERE group_id = OLD.id);
END;

-- What members and devices tell of the trees: every overlay and its backing file. A path that was used again is the later
-- group's.
INSERT INTO images (path, identity, format, backing, role, made_by)
    SELECT snapshot_file, snapshot_identity, format, backing_file, 'made', groups.id
    FROM members JOIN groups ON groups.id = members.group_id
    WHERE state <> 'aborted' AND backing_file IS NOT NULL ORDER BY sequence
    ON CONFLICT (path) DO UPDATE SET identity = excluded.identity, format = excluded.format,
        backing = excluded.backing, made_by = excluded.made_by;
INSERT INTO images (path, identity, format, role, is_complete)
    SELECT backing_file, backing_identity, backing_format, 'attached', 0
    FROM members JOIN groups ON groups.id = members.group_id
    WHERE state <> 'aborted' AND backing_file IS NOT NULL ORDER BY sequence DESC
    ON CONFLICT (path) DO NOTHING;
INSERT INTO images (path, identity, format, role, is_complete)
    SELECT top, top_identity, top_format, iif(read_only, 'given', 'attached'), 0 FROM devices WHERE state <> 'creating'
    ON CONFLICT (path) DO NOTHING;
UPDATE devices SET top_image = top WHERE state <> 'creating';
UPDATE members SET backing_image = backing_file
    WHERE group_id IN (SELECT id FROM groups WHERE state <> 'aborted');
UPDATE images SET is_kept = 1
    WHERE made_by IN (SELECT id FROM groups WHERE state = 'committed')
    AND path NOT IN (SELECT top_image FROM devices WHERE top_image IS NOT NULL)
    AND NOT EXISTS (SELECT 1 FROM images AS child WHERE child.backing = images.path);

CREATE TABLE holds (
    group_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    created_at_us INTEGER NOT NULL,
    PRIMARY KEY (group_id, name)
) STRICT, WITHOUT ROWID;

-- jobs      `file_state` is of the file of a copy: `none`, there is none, or it is no more than any other image; `staged`: it
--           may be there, under its first name, and goes, unless the job goes on, from `offset_bytes` if that is not 0;
--           `whole`: all is durable, and it gets its name
-- jobs      long work: `spec` is a JSON object, what was asked; `kept` a JSON array, of the images that stay and why. `sequence`
--           orders them as that of groups does
-- merges    the parts of a job: a push of all from above `base` up to `upper` into `base`, or, with `base` NULL, a file that
--           only goes. Below `offset_bytes` all is pushed and durable. `files`: the images that go, from the lowest up, once
--           the merge is redirected: a JSON array of objects as service/deletes.c reads them. `group_id`: the group that is
--           deleted by it; a job may finish what one of another group has left. `copy_bytes` is how much there was to push
--           when it was planned, `pushed_bytes` what was, of that below `offset_bytes`
CREATE TABLE jobs (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('delete', 'copy')),
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'paused', 'done', 'failed', 'cancelled')),
    group_id TEXT,
    device TEXT,
    spec TEXT NOT NULL,
    kept TEXT NOT NULL DEFAULT '[]',
    total_bytes INTEGER NOT NULL DEFAULT 0,
    done_bytes INTEGER NOT NULL DEFAULT 0,
    file_state TEXT NOT NULL DEFAULT 'none' CHECK (file_state IN ('none', 'staged', 'whole')),
    offset_bytes INTEGER NOT NULL DEFAULT 0,
    rate_bytes_per_second INTEGER NOT NULL,
    created_at_us INTEGER NOT NULL,
    finished_at_us INTEGER,
    revision INTEGER NOT NULL DEFAULT 1,
    error_code TEXT,
    error_errnum INTEGER,
    error_message TEXT,
    CHECK ((state IN ('done', 'failed', 'cancelled')) = (finished_at_us IS NOT NULL))
) STRICT;
CREATE INDEX jobs_state ON jobs (state, sequence);
CREATE INDEX jobs_group ON jobs (group_id, sequence) WHERE group_id IS NOT NULL;
CREATE INDEX jobs_files ON jobs (sequence) WHERE file_state <> 'none';
CREATE INDEX jobs_finished ON jobs (sequence) WHERE finished_at_us IS NOT NULL;

CREATE TABLE merges (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    device TEXT NOT NULL,
    base TEXT,
    upper TEXT NOT NULL,
    stage TEXT NOT NULL CHECK (stage IN ('planned', 'copying', 'copied', 'redirected', 'done')),
    offset_bytes INTEGER NOT NULL DEFAULT 0,
    group_id TEXT,
    copy_bytes INTEGER NOT NULL DEFAULT 0,
    pushed_bytes INTEGER NOT NULL DEFAULT 0,
    files TEXT
) STRICT;
CREATE INDEX merges_job ON merges (job_id);
CREATE INDEX merges_group ON merges (group_id) WHERE group_id IS NOT NULL;
CREATE UNIQUE INDEX merges_base ON merges (base) WHERE stage <> 'done';

-- due_plans  images in whose trees something may be merged or removed since a device has gone or come; a row goes when such a
--           tree was planned again. A start plans those that are left
CREATE TABLE due_plans (image TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;

-- A key may have made a job, too.
CREATE TABLE idempotency_keys_6 (
    caller TEXT NOT NULL,
    key TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    request_id TEXT NOT NULL,
    created_at_us INTEGER NOT NULL,
    resource_kind TEXT CHECK (resource_kind IN ('device', 'group', 'token', 'job')),
    resource_id TEXT,
    status INTEGER,
    headers TEXT,
    body TEXT,
    PRIMARY KEY (caller, key)
) STRICT, WITHOUT ROWID;
INSERT INTO idempotency_keys_6 SELECT * FROM idempotency_keys;
DROP TABLE idempotency_keys;
ALTER TABLE idempotency_keys_6 RENAME TO idempotency_keys;
CREATE INDEX idempotency_keys_group ON idempotency_keys (resource_id) WHERE resource_kind = 'group';
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at_us);
CREATE INDEX idempotency_keys_caller ON idempotency_keys (caller, created_at_us);
