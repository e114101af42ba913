# -*- coding: utf-8 -*-
# Copyright: the authors of snapgroupd
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt, or
# https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of snapshot groups share: to find a group, and to wait for it and for a job."""
import time

from ansible_collections.snapgroupd.storage.plugins.module_utils.api import FIRST_PAUSE_S, LONGEST_PAUSE_S, Failed

UNDER_WAY = ('preparing', 'committing', 'cut')
GONE = ('aborting', 'aborted', 'deleted')


def find(client, id_or_name):
    """The group that is there, or is going; None: there is none, or only a trace of one."""
    group = client.get('snapshot-groups', id_or_name)[0]
    return None if group is None or group['state'] in GONE else group


def shown(group):
    """Of a group, or of the plan of one, what a diff shows."""
    if group is None:
        return {}
    return dict(name=group['name'], kind=group['kind'], labels=group['labels'], holds=sorted(group.get('holds', [])),
                members=[{key: member[key] for key in ('device', 'backing_file', 'base_file', 'snapshot_file', 'format')
                          if member[key] is not None} for member in group['members']])


def diff(before, after):
    return dict(before=shown(before), after=shown(after))


def poll(look, is_done, seconds):
    """What look() returned last: it is done, or that was the time."""
    pause, end = FIRST_PAUSE_S, time.time() + seconds
    while True:
        found = look()
        if is_done(found) or time.time() + pause > end:
            return found
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)


def await_group(client, group, seconds):
    """The group once it is committed."""
    if group['state'] in UNDER_WAY:
        group = poll(lambda: client.request('GET', '/snapshot-groups/' + group['id']).body,
                     lambda now: now['state'] not in UNDER_WAY, seconds)
    if group['state'] in UNDER_WAY:
        raise Failed("snapshot group '%s' is '%s' after %d s; it goes on" % (group['name'], group['state'], seconds),
                     snapshot_group=group)
    if group['state'] in GONE:
        error = group['error'] or {}
        raise Failed("snapshot group '%s' was aborted: %s: %s" % (group['name'], error.get('code'), error.get('detail')),
                     snapshot_group=group, problem=error)
    return group


def await_job(client, job, seconds):
    """The job once it is done."""
    job = poll(lambda: client.request('GET', '/jobs/' + job['id']).body,
               lambda now: now['state'] in ('done', 'failed', 'cancelled'), seconds)
    if job['state'] == 'done':
        return job
    if job['state'] in ('failed', 'cancelled'):
        error = job['error'] or {}
        raise Failed("job %s %s%s" % (job['id'], 'has failed: ' if error else 'was cancelled',
                                      '%s: %s' % (error.get('code'), error.get('detail')) if error else ''),
                     job=job, problem=error)
    raise Failed("job %s is '%s' after %d s; it goes on" % (job['id'], job['state'], seconds), job=job)
