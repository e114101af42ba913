-- SPDX-License-Identifier: Apache-2.0
--
-- devices, members   the identity of the directory in which the image, or the overlay, is created: it tells storage
--                    that is away from a file that was removed. NULL: not known, as in rows from before
ALTER TABLE devices ADD COLUMN directory_identity TEXT;
ALTER TABLE members ADD COLUMN directory_identity TEXT;
