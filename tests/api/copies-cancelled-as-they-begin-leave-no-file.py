#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
#
# A copy that is cancelled when its thread has begun with it, and has not recorded yet that there
# will be a file, makes none. Nothing would remember that file: no later start removes it.
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "lib"))
from snapgroupd import Daemon, expect, main, wait_until

# In the transaction in which the job begins to run, as somebody else would right after it.
CANCEL = """CREATE TRIGGER cancel AFTER UPDATE OF state ON jobs WHEN NEW.state = 'running' BEGIN
UPDATE jobs SET state = 'cancelled', finished_at_us = NEW.created_at_us WHERE id = NEW.id; END"""


def test():
    with Daemon() as daemon:
        daemon.start()
        daemon.create_device("vda", "raw", 1 << 20)
        handle = daemon.nbd("vda")
        handle.pwrite(b"\x11" * 65536, 0)
        handle.shutdown()
        daemon.snapshot("frozen", ["vda"])
        files = daemon.image_names()
        with daemon.stopped_database() as database:
            database.execute(CANCEL)
        for image_format in ("raw", "qcow2"):
            answer = daemon.request("POST", "/snapshot-groups/frozen/copies",
                                    {"device": "vda", "image": "copy", "format": image_format})
            expect(answer.status == 202, "%s", answer)
            wait_until(lambda: daemon.get(answer.headers["Location"])["state"] == "cancelled", "the job to begin")
        daemon.stop()  # once the threads of jobs have ended
        expect(daemon.image_names() == files, "the files were %s, and are %s", files, daemon.image_names())


main(test)
