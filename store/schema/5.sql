-- SPDX-License-Identifier: Apache-2.0
--
-- events             what happened and who caused it: the feed and the audit log. `id` never comes
--                    twice, also after rows were pruned. `detail` is a JSON object
-- event_devices      which devices an event concerns: its `device`, or the members of its group, which `detail` has
--                    in `devices`. Triggers keep it
-- idempotency_keys   a caller's key, the request that it came with and, once there is one, the answer
--                    (`headers` as they are sent). `status` is NULL until the answer is known; it
--                    then follows from the row that the request made (`resource_kind`, `resource_id`)
-- tokens             bearer tokens. `hash` is SHA-256 of the secret, in hexadecimal digits; the secret
--                    itself is stored nowhere
-- devices, groups    `revision` grows with every change of what a GET shows; it is behind the ETag
-- devices            `last_snapshot_at_us` is when a group cut it last; NULL: never
-- devices            `allowed_clients` is a JSON array: the NBD clients that may open its exports; NULL: all.
--                    Members have it once their device is detached; a trigger keeps it
-- members            `size_bytes` is the size of the frozen disk; NULL in rows from before, and if the
--                    attempt failed before it was known
-- members            `is_settled`: the member's frozen image is durable and its overlay is its device's top,
--                    also while the group is `committing` because of others
-- devices, groups    `request_hash` tells a repeated request from another one of the same name;
--                    NULL in rows from before
-- groups             `selector` is a JSON object, the labels that chose the members; NULL: they were named
-- groups             `is_late`: the clock was set back, so an earlier group has a later created_at_us
-- group_terms        what groups can be found by, newest first: their name, labels and members' devices.
--                    Triggers keep it
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_us INTEGER NOT NULL,
    kind TEXT NOT NULL,
    device TEXT,
    group_id TEXT,
    job TEXT,
    actor TEXT NOT NULL,
    request_id TEXT,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX events_kind ON events (kind);
CREATE INDEX events_group ON events (group_id) WHERE group_id IS NOT NULL;
CREATE INDEX events_group_kind ON events (group_id, kind) WHERE group_id IS NOT NULL;

CREATE TABLE event_devices (
    member TEXT NOT NULL,
    event_id INTEGER NOT NULL,
    event_kind TEXT NOT NULL,
    PRIMARY KEY (member, event_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX event_devices_kind ON event_devices (member, event_kind, event_id);
CREATE TRIGGER event_devices_insert AFTER INSERT ON events BEGIN
    INSERT OR IGNORE INTO event_devices SELECT NEW.device, NEW.id, NEW.kind WHERE NEW.device IS NOT NULL;
    INSERT OR IGNORE INTO event_devices
        SELECT value, NEW.id, NEW.kind FROM json_each(NEW.detail, '$.devices') WHERE type = 'text';
END;
CREATE TRIGGER event_devices_delete AFTER DELETE ON events BEGIN
    DELETE FROM event_devices WHERE event_id = OLD.id AND member IN
        (SELECT OLD.device UNION ALL SELECT value FROM json_each(OLD.detail, '$.devices'));
END;

CREATE TABLE idempotency_keys (
    caller TEXT NOT NULL,
    key TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    request_id TEXT NOT NULL,
    created_at_us INTEGER NOT NULL,
    resource_kind TEXT CHECK (resource_kind IN ('device', 'group', 'token')),
    resource_id TEXT,
    status INTEGER,
    headers TEXT,
    body TEXT,
    PRIMARY KEY (caller, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at_us);
CREATE INDEX idempotency_keys_caller ON idempotency_keys (caller, created_at_us);

CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    scope TEXT NOT NULL CHECK (scope IN ('read', 'snapshot', 'admin')),
    hash TEXT NOT NULL UNIQUE,
    created_at_us INTEGER NOT NULL,
    expires_at_us INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX tokens_expiry ON tokens (expires_at_us) WHERE expires_at_us IS NOT NULL;

ALTER TABLE devices ADD COLUMN revision INTEGER NOT NULL DEFAULT 1;
ALTER TABLE devices ADD COLUMN last_snapshot_at_us INTEGER;
ALTER TABLE devices ADD COLUMN request_hash TEXT;
UPDATE devices SET last_snapshot_at_us =
    (SELECT max(coalesce(g.cut_at_us, g.created_at_us)) FROM members AS m JOIN groups AS g ON g.id = m.group_id
        WHERE m.device = devices.name AND coalesce(m.device_id, devices.id) = devices.id
        AND g.state = 'committed');
ALTER TABLE groups ADD COLUMN revision INTEGER NOT NULL DEFAULT 1;
ALTER TABLE groups ADD COLUMN request_hash TEXT;
ALTER TABLE groups ADD COLUMN selector TEXT;
ALTER TABLE groups ADD COLUMN sealed_us INTEGER;
ALTER TABLE members ADD COLUMN size_bytes INTEGER;
ALTER TABLE members ADD COLUMN copy_wait_us INTEGER;
ALTER TABLE members ADD COLUMN is_settled INTEGER NOT NULL DEFAULT 0;
UPDATE members SET is_settled = 1 WHERE group_id IN (SELECT id FROM groups WHERE state = 'committed');
ALTER TABLE devices ADD COLUMN allowed_clients TEXT;
ALTER TABLE members ADD COLUMN allowed_clients TEXT;
CREATE TRIGGER members_keep_clients BEFORE DELETE ON devices WHEN OLD.allowed_clients IS NOT NULL BEGIN
    UPDATE members SET allowed_clients = OLD.allowed_clients
        WHERE device = OLD.name AND coalesce(device_id, OLD.id) = OLD.id;
END;
CREATE INDEX members_device ON members (device, group_id);

ALTER TABLE groups ADD COLUMN is_late INTEGER NOT NULL DEFAULT 0;
UPDATE groups SET is_late = 1 FROM
    (SELECT id, created_at_us < max(created_at_us) OVER (ORDER BY sequence) AS late FROM groups) AS ordered
    WHERE ordered.id = groups.id AND ordered.late;
CREATE INDEX groups_created ON groups (created_at_us, sequence) WHERE is_late = 0;
CREATE INDEX groups_late ON groups (sequence) WHERE is_late = 1;

CREATE TABLE group_terms (
    kind TEXT NOT NULL CHECK (kind IN ('name', 'label', 'device')),
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (kind, key, value, sequence)
) STRICT, WITHOUT ROWID;
INSERT INTO group_terms SELECT 'name', '', name, sequence FROM groups;
INSERT INTO group_terms SELECT 'label', label.key, label.value, sequence FROM groups, json_each(labels) AS label;
INSERT OR IGNORE INTO group_terms SELECT 'device', '', device, sequence
    FROM members JOIN groups ON groups.id = members.group_id;

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
