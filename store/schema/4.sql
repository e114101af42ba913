-- SPDX-License-Identifier: Apache-2.0
--
-- devices, members   the identity of the directory in which the image, or the overlay, is created: it tells storage
--                    that is away from a file that was removed. NULL: not known, as in rows from before
-- groups             a name is free once its group is sure to be aborted, also while overlays are left to remove
ALTER TABLE devices ADD COLUMN directory_identity TEXT;
ALTER TABLE members ADD COLUMN directory_identity TEXT;
DROP INDEX groups_name;
CREATE UNIQUE INDEX groups_name ON groups (name) WHERE state NOT IN ('aborting', 'aborted');
