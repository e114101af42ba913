-- SPDX-License-Identifier: Apache-2.0
--
-- Each device says how its overlays are cut up. Devices from before get what new ones get by default.
ALTER TABLE devices ADD COLUMN cluster_size_bytes INTEGER NOT NULL DEFAULT 65536
    CHECK (cluster_size_bytes BETWEEN 512 AND 2097152);
ALTER TABLE devices ADD COLUMN extended_l2 INTEGER NOT NULL DEFAULT 1 CHECK (extended_l2 IN (0, 1));
