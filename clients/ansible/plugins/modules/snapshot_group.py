#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: the authors of snapgroupd
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt, or
# https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r'''
---
module: snapshot_group
short_description: Freeze disks of snapgroupd at one instant, or delete what was frozen
description:
  - Takes a group snapshot, all disks or none, while their users keep reading and writing; or deletes one.
  - A group of that name with the same members is left alone, whenever it was taken. Its labels and holds are changed
    in place. If anything else differs the task fails and lists the differences; nothing is done.
author: the authors of snapgroupd (@snapgroupd)
extends_documentation_fragment: [snapgroupd.storage.api, snapgroupd.storage.labels]
attributes:
  check_mode:
    description: The daemon makes every check, by its dry run, and refuses what it would refuse.
    support: full
  diff_mode:
    description: Shows the members, labels and holds before and after.
    support: full
options:
  name:
    description:
      - The name of the group. Of one that is there already, also its id.
      - A play that is to freeze the disks each time it is run gives each group a name of its own, such as one with a date.
    type: str
    required: true
  state:
    description:
      - C(present) makes the group be there, C(absent) not.
      - A group is deleted by a job, which merges its images into those that stand on them.
    type: str
    choices: [present, absent]
    default: present
  devices:
    description:
      - The disks to freeze. Their order does not matter.
      - Needed, or I(selector), if there is no such group.
    type: list
    elements: dict
    suboptions:
      device:
        description: The name of the disk.
        type: str
        required: true
      snapshot_file:
        description:
          - The overlay to create, relative to the daemon's image directory, or absolute beneath it.
          - The daemon has a default that is unique.
        type: str
      format:
        description: The format of the overlay.
        type: str
        choices: [qcow2]
  selector:
    description:
      - In place of I(devices), the labels of the disks to freeze. A disk has to have all of them.
      - A group that is there is equal if its members are the disks that have these labels now.
    type: dict
  holds:
    description: Names of holds that are to keep the group from being deleted. Others stay.
    type: list
    elements: str
  release:
    description: Names of holds that the group is not to have; with C(absent), that are released first.
    type: list
    elements: str
  deadline_ms:
    description: How long the group may take until its point of no return.
    type: int
  settle_ms:
    description: How long the daemon waits, after the cut, until all members are settled, before it answers.
    type: int
  wait:
    description: Whether to wait until the group is committed, or with C(absent) deleted.
    type: bool
    default: true
  wait_timeout:
    description: For how many seconds to wait. When they are over the task fails; the group, or job, goes on.
    type: int
    default: 600
seealso:
  - module: snapgroupd.storage.snapshot_group_info
  - module: snapgroupd.storage.snapshot_group_rollback
  - module: snapgroupd.storage.job_info
'''

EXAMPLES = r'''
- name: Freeze two disks
  snapgroupd.storage.snapshot_group:
    name: before-upgrade
    devices:
      - device: vda
      - device: vdb
    labels:
      reason: upgrade

- name: Freeze all disks of the database, and keep that for a backup
  snapgroupd.storage.snapshot_group:
    name: nightly-7
    selector:
      app: db
    holds:
      - backup

- name: The backup is done
  snapgroupd.storage.snapshot_group:
    name: nightly-7
    release:
      - backup
    state: absent

- name: Delete it in the background
  snapgroupd.storage.snapshot_group:
    name: before-upgrade
    state: absent
    wait: false
  register: deletion
'''

RETURN = r'''
snapshot_group:
  description:
    - The group as it is now. Null if there is none, or would be none before a task in check mode.
  returned: success
  type: dict
  contains:
    id:
      description:
        - The id.
      returned: always
      type: str
    name:
      description:
        - The name.
      returned: always
      type: str
    kind: &kind
      description:
        - >-
          A C(rollback) keeps what devices had when they were rolled back to another group. A C(cut) was made by a
          job, or by a new size of a device; it has no name, keeps nothing, and is in no list: it is what C(holder)
          names meanwhile.
      returned: always
      type: str
    rolled_back_to:
      description:
        - Of a C(rollback), the id of the group whose content the devices got; else null.
      returned: always
      type: str
    state:
      description:
        - >-
          C(preparing) and C(committing) are seen while a call runs. C(cut): the cut stands, and a member is not
          settled yet; it is seen once that has taken 100 ms, or C(settle_ms) if that is less. A list filtered by
          C(committing) has no groups that are C(cut). C(aborting) stays only while an overlay cannot be removed, for
          example because its storage is away; the daemon retries. C(deleting): a job merges its images, and it cannot
          be used any more; C(deleted): that is done, and the name is free.
      returned: always
      type: str
    created_at:
      description:
        - When it was made, RFC 3339, UTC.
      returned: always
      type: str
    cut_at:
      description:
        - The time of the cut. Null if there was none, or if a restart finished the group before it was C(cut).
      returned: always
      type: str
    pause_us:
      description:
        - The longest time for which the cut held back any request. A cut holds none, so it is 0.
      returned: always
      type: int
    sealed_us:
      description:
        - From the cut until the last write that was in flight had ended, and all frozen images were durable.
      returned: always
      type: int
    duration_us:
      description:
        - From the request until the frozen images were durable.
      returned: always
      type: int
    consistency:
      description:
        - >-
          C(crash): each member is as after a power loss at the instant of the cut, the same instant for all.
          C(achieved) is null unless the group is cut or committed.
      returned: always
      type: dict
      contains:
        requested:
          description:
            - Requested.
          returned: always
          type: str
        achieved:
          description:
            - Achieved.
          returned: always
          type: str
    members:
      description:
        - Members.
      returned: always
      type: list
      elements: dict
      contains:
        device:
          description:
            - The name of the device.
          returned: always
          type: str
        backing_file:
          description:
            - The frozen image; null if the attempt failed before it was resolved.
          returned: always
          type: str
        base_file:
          description:
            - >-
              Of a C(rollback), the image that the overlay is on: the one that the other group froze. Null:
              C(backing_file).
          returned: always
          type: str
        snapshot_file:
          description:
            - The overlay; absolute if it could be resolved, else as in the request.
          returned: always
          type: str
        format:
          description:
            - The format.
          returned: always
          type: str
        size_bytes:
          description:
            - The size of the frozen disk. Null if the attempt failed before it was known, and for groups of a daemon
              that did not record it.
          returned: always
          type: int
        ready_to_use:
          description:
            - Whether the frozen image exists and is the file that was frozen, so that C(DEVICE@NAME) can be read.
              Null if the storage of the image does not answer within a second.
          returned: always
          type: bool
        pause_us:
          description:
            - The longest time for which the cut held back a request of this device, as of the group.
          returned: always
          type: int
        copy_wait_us:
          description:
            - The longest time for which a write that had to copy from the frozen image waited for one that was in
              flight there at the cut. Nothing else waits.
          returned: always
          type: int
        state:
          description:
            - >-
              C(cut): the cut is made, and the frozen image is not durable yet; the device is held by the group.
              C(committed): it is durable, exported, and the device is free, also while the group is C(cut) because of
              others. Null before the cut, and if there was none.
          returned: always
          type: str
        waiting_for:
          description:
            - >-
              Of a member that is C(cut): what it waits for now. Null if it is not C(cut), if it waits for nothing but
              its record, or if that is not known.
          returned: always
          type: dict
          contains:
            changes:
              description:
                - The writes, zeroes and discards of before the cut that are in flight in the frozen image.
              returned: always
              type: int
            oldest_ms:
              description:
                - How long the oldest of them has been in flight since the cut; null if there are none. It began
                  before.
              returned: always
              type: int
            flush:
              description:
                - There are none any more, and the frozen image is being made durable. If that fails, as without
                  space, it is tried again until it succeeds, also by each flush of the device.
              returned: always
              type: bool
        clones:
          description:
            - The names of the devices that were cloned from this member and are attached, in order.
          returned: always
          type: list
          elements: str
    holds:
      description:
        - The names of the holds that keep the group.
      returned: always
      type: list
      elements: str
    labels: &labels
      description:
        - Free text for the caller. Names and values have at most 256 bytes.
      returned: always
      type: dict
    error:
      description:
        - Why the attempt was aborted; C(InternalError) if the daemon was stopped before the point of no return.
          C(pointer) refers to the body of the request.
      returned: always
      type: dict
      contains: &problem
        type:
          description:
            - Always C(about:blank).
          returned: always
          type: str
        title:
          description:
            - The status in words.
          returned: always
          type: str
        status:
          description:
            - The status of the reply.
          returned: always
          type: int
        detail:
          description:
            - The fault and, behind "; ", the remedy; for people.
          returned: always
          type: str
        instance:
          description:
            - The path of the failed request, without its query; C(/) if none could be received. For an attempt at a
              group that is kept, the path of that group.
          returned: always
          type: str
        code:
          description:
            - The code, for programs.
          returned: always
          type: str
        retryable:
          description:
            - Whether the same request may succeed later, unchanged.
          returned: always
          type: bool
        request_id:
          description:
            - C(X-Request-Id) of the reply, under which the daemon logged the call. Not in the C(error) of a group.
          returned: sometimes
          type: str
        device:
          description:
            - The device that caused the failure.
          returned: sometimes
          type: str
        snapshot_file:
          description:
            - The overlay that caused the failure.
          returned: sometimes
          type: str
        holder:
          description:
            - >-
              Of C(DeviceInUse), where it is known: who has the device. C(group): the snapshot group with that id.
              C(export): clients of the NBD export of that name. C(detach): a running DELETE of that device. C(job): a
              job that has not finished.
          returned: sometimes
          type: dict
          contains:
            kind:
              description:
                - The kind.
              returned: always
              type: str
            id:
              description:
                - The id.
              returned: always
              type: str
            client:
              description:
                - >-
                  Of an C(export): the client that is connected for longest. C(address) of one over TCP, C(pid) and
                  C(uid) of the process that connected to a Unix socket; C(tls_name) if it has proven a name with TLS.
              returned: sometimes
              type: dict
              contains:
                address:
                  description:
                    - The address.
                  returned: sometimes
                  type: str
                pid:
                  description:
                    - The process.
                  returned: sometimes
                  type: int
                uid:
                  description:
                    - The user.
                  returned: sometimes
                  type: int
                tls_name:
                  description:
                    - The name that it has proven.
                  returned: sometimes
                  type: str
        existing:
          description:
            - >-
              Of C(GroupExists) and C(DeviceExists): who has the name, and whether a request with the same path, query
              and body made it. If so, it is the answer: a client is idempotent by name even without a key. C(id) is a
              group's id or a device's name.
          returned: sometimes
          type: dict
          contains:
            id:
              description:
                - The id.
              returned: always
              type: str
            same_request:
              description:
                - Same request.
              returned: always
              type: bool
        pointer:
          description:
            - RFC 6901; the place in the body of the request.
          returned: sometimes
          type: str
plan:
  description:
    - In check mode, the group as it would be taken.
  returned: in check mode, if a group would be taken
  type: dict
  contains:
    name:
      description:
        - Null if the request has none; the group's is its id.
      returned: always
      type: str
    kind: *kind
    rolled_back_to:
      description:
        - Rolled back to.
      returned: always
      type: str
    members:
      description:
        - Members.
      returned: always
      type: list
      elements: dict
      contains:
        device:
          description:
            - The name of the device.
          returned: always
          type: str
        backing_file:
          description:
            - The image that would be frozen.
          returned: always
          type: str
        base_file:
          description:
            - As of a group.
          returned: always
          type: str
        snapshot_file:
          description:
            - The overlay that would be created; null if its name has the group's id.
          returned: always
          type: str
        format:
          description:
            - The format.
          returned: always
          type: str
        size_bytes:
          description:
            - The size of the disk.
          returned: always
          type: int
    labels: *labels
delete_plan:
  description:
    - In check mode, what deleting the group would do. Null if holds are to be released first.
  returned: in check mode, if a group would be deleted
  type: dict
  contains:
    copy_bytes:
      description:
        - What would be copied.
      returned: always
      type: int
    freed_bytes:
      description:
        - The space of the files that would go.
      returned: always
      type: int
    free_bytes:
      description:
        - The free space where it would be written; null if nothing would.
      returned: always
      type: int
    kept: &kept
      description:
        - The frozen images that stay, and why.
      returned: always
      type: list
      elements: dict
      contains:
        device:
          description:
            - The name of the device.
          returned: always
          type: str
        image:
          description:
            - The path of the image.
          returned: always
          type: str
        because:
          description:
            - Why it stays.
          returned: always
          type: str
job:
  description:
    - The job that deletes the group.
  returned: if a group is deleted
  type: dict
  contains:
    id:
      description:
        - The id.
      returned: always
      type: str
    kind:
      description:
        - The kind.
      returned: always
      type: str
    state:
      description:
        - The state.
      returned: always
      type: str
    group:
      description:
        - The id of the group.
      returned: always
      type: str
    device:
      description:
        - The only device that it is about.
      returned: always
      type: str
    image:
      description:
        - Of a copy, the absolute path of the image that it makes.
      returned: always
      type: str
    format:
      description:
        - Of a copy, the format of that image.
      returned: always
      type: str
    progress:
      description:
        - How far it is.
      returned: always
      type: dict
      contains:
        done_bytes:
          description:
            - What has been done.
          returned: always
          type: int
        total_bytes:
          description:
            - As far as it is planned.
          returned: always
          type: int
    rate_bytes_per_second:
      description:
        - >-
          At most so fast; 0: no limit.
      returned: always
      type: int
    created_at:
      description:
        - When it was made, RFC 3339, UTC.
      returned: always
      type: str
    finished_at:
      description:
        - When it ended, RFC 3339, UTC.
      returned: always
      type: str
    merges:
      description:
        - C(upper) is pushed into C(base), which takes its place; with C(base) null it only goes.
      returned: always
      type: list
      elements: dict
      contains:
        device:
          description:
            - The name of the device.
          returned: always
          type: str
        base:
          description:
            - The image that stays.
          returned: always
          type: str
        upper:
          description:
            - The image that goes.
          returned: always
          type: str
        stage:
          description:
            - How far it is.
          returned: always
          type: str
    kept: *kept
    error:
      description:
        - Why it failed.
      returned: always
      type: dict
      contains: *problem
'''

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.snapgroupd.storage.plugins.module_utils import api, groups
from ansible_collections.snapgroupd.storage.plugins.module_utils.devices import is_same_file

ENDED_EARLY = ('failed', 'cancelled')


# ---- present ----

def wanted_devices(client, params):
    """The names of the members; None: any."""
    if params['devices'] is not None:
        return sorted(member['device'] for member in params['devices'])
    if params['selector'] is not None:
        return sorted(device['name'] for device in client.list(('devices',), api.label_filters(params['selector'])))
    return None


def differences(client, group, params):
    found = []
    if group['kind'] != 'snapshot':
        found.append(dict(field='kind', wanted='snapshot', **{'is': group['kind']}))
    wanted, names = wanted_devices(client, params), sorted(member['device'] for member in group['members'])
    if wanted is not None and wanted != names:
        found.append(dict(field='members', wanted=wanted, **{'is': names}))
    members = dict((member['device'], member) for member in group['members'])
    for one in params['devices'] or []:
        member, field = members.get(one['device']), 'members.%s.' % one['device']
        if member and one['snapshot_file'] and not is_same_file(one['snapshot_file'], member['snapshot_file']):
            found.append(dict(field=field + 'snapshot_file', wanted=one['snapshot_file'], **{'is': member['snapshot_file']}))
        if member and one['format'] and one['format'] != member['format']:
            found.append(dict(field=field + 'format', wanted=one['format'], **{'is': member['format']}))
    return found


def request(params):
    if params['devices'] is None and params['selector'] is None:
        raise api.Failed("there is no snapshot group '%s'; to take it, give devices or selector" % params['name'])
    body = {field: params[field] for field in ('name', 'deadline_ms', 'settle_ms') if params[field] is not None}
    if params['devices'] is not None:
        body['devices'] = [{key: value for key, value in one.items() if value is not None} for one in params['devices']]
    else:
        body['selector'] = {'labels': api.texts(params['selector'])}
    if params['labels']:
        body['labels'] = api.texts(params['labels'])
    return body


def changed_holds(group, params):
    """Those to set, and those to release."""
    released = set(params['release'] or [])
    return ([name for name in params['holds'] or [] if name not in group['holds'] and name not in released],
            [name for name in group['holds'] if name in released])


def release(client, group, holds):
    """Of each, whether that was a change."""
    return [client.delete(('snapshot-groups', group['id'], 'holds', name))[1] for name in holds]


def update(module, client, group, before, changed):
    """Brings labels and holds of a group that is there to what is wanted."""
    params = module.params
    path = ('snapshot-groups', group['id'])
    added, released = changed_holds(group, params)
    if module.check_mode:
        patch = api.labels_patch(group['labels'], api.texts(params['labels'])).get('labels', {})
        labels = dict((name, value) for name, value in dict(group['labels'], **patch).items() if value is not None)
        after = dict(group, labels=labels, holds=[name for name in group['holds'] if name not in released] + added)
        return dict(changed=bool(patch or added or released), snapshot_group=group, diff=groups.diff(before, after))
    changes = [client.put(*path + ('holds', name)) for name in added] + release(client, group, released)
    after, patched = client.patch(path, lambda now: api.labels_patch(now['labels'], api.texts(params['labels'])))
    return dict(changed=changed or patched or any(changes), snapshot_group=after, diff=groups.diff(before, after))


def take(module, client):
    """The group; None: it is there already."""
    params = module.params
    headers = {} if params['wait'] else {'Prefer': 'respond-async'}
    try:
        group = client.make('/snapshot-groups', request(params), lambda made: groups.find(client, made['id']), **headers)
    except api.Refused as refused:
        if refused.code != 'GroupExists' or groups.find(client, params['name']) is None:
            raise
        return None
    return groups.await_group(client, group, params['wait_timeout']) if params['wait'] else group


def present(module, client):
    params = module.params
    group = groups.find(client, params['name'])
    if group is None and module.check_mode:
        plan = client.request('POST', '/snapshot-groups', body=request(params), query=[('dry_run', 'true')]).body
        after = dict(plan, holds=params['holds'] or [])
        return dict(changed=True, snapshot_group=None, plan=plan, diff=groups.diff(None, after))
    if group is None:
        group = take(module, client)
        if group is not None:
            return update(module, client, group, None, True)
        group = groups.find(client, params['name'])  # somebody else was faster: is it the same?
    if group is None:
        raise api.Failed("snapshot group '%s' has come and gone meanwhile" % params['name'])
    if group['state'] == 'deleting':
        raise api.Failed("snapshot group '%s' is being deleted; wait until it is gone" % params['name'], snapshot_group=group)
    found = differences(client, group, params)
    if found:
        raise api.Different("snapshot group '%s'" % params['name'], found, snapshot_group=group)
    if params['wait'] and not module.check_mode:
        group = groups.await_group(client, group, params['wait_timeout'])
    return update(module, client, group, group, False)


# ---- absent ----

def job_of(client, group):
    """The newest job that deletes the group; None: there is none, or it is forgotten."""
    return next((job for job in client.list(('jobs',)) if job['kind'] == 'delete' and job['group'] == group['id']), None)


def remove(module, client, group):
    """Begins the deletion, or goes on with one that has ended early. The job, and whether that was
    a change."""
    job = job_of(client, group) if group['state'] == 'deleting' else None
    if job is not None and job['state'] not in ENDED_EARLY:
        return job, False
    released = release(client, group, changed_holds(group, module.params)[1])
    begun, changed = client.delete(('snapshot-groups', group['id']))
    return begun or job_of(client, group), changed or any(released)


def check_removal(module, client, group):
    result = dict(changed=True, snapshot_group=group, diff=groups.diff(group, None), job=None, delete_plan=None)
    if group['state'] == 'deleting':
        job = job_of(client, group)
        return dict(result, job=job, changed=job is None or job['state'] in ENDED_EARLY)
    left = sorted(set(group['holds']) - set(module.params['release'] or []))
    if left:
        raise api.Failed("snapshot group '%s' is held: %s" % (group['name'], ', '.join(left)), snapshot_group=group)
    if not group['holds']:  # else the dry run is refused, as the call would be now
        plan, changed = client.delete(('snapshot-groups', group['id']), query=[('dry_run', 'true')])
        result.update(delete_plan=plan, changed=changed)
    return result


def absent(module, client):
    params = module.params
    group = groups.find(client, params['name'])
    if group is None:
        return dict(changed=False, snapshot_group=None, job=None, diff=groups.diff(None, None))
    if module.check_mode:
        return check_removal(module, client, group)
    job, changed = remove(module, client, group)
    if params['wait'] and job is not None:
        job = groups.await_job(client, job, params['wait_timeout'])
    after = client.get('snapshot-groups', group['id'])[0]
    return dict(changed=changed, snapshot_group=after, job=job, diff=groups.diff(group, None))


def work(module, client):
    return absent(module, client) if module.params['state'] == 'absent' else present(module, client)


def main():
    module = AnsibleModule(
        argument_spec=api.argument_spec(
            name=dict(type='str', required=True),
            state=dict(type='str', choices=['present', 'absent'], default='present'),
            devices=dict(type='list', elements='dict', options=dict(
                device=dict(type='str', required=True),
                snapshot_file=dict(type='str'),
                format=dict(type='str', choices=['qcow2']),
            )),
            selector=dict(type='dict'),
            labels=dict(type='dict'),
            holds=dict(type='list', elements='str'),
            release=dict(type='list', elements='str'),
            deadline_ms=dict(type='int'),
            settle_ms=dict(type='int'),
            wait=dict(type='bool', default=True),
            wait_timeout=dict(type='int', default=600),
        ),
        supports_check_mode=True,
        mutually_exclusive=api.CONSTRAINTS['mutually_exclusive'] + [('devices', 'selector')],
        required_by=api.CONSTRAINTS['required_by'])
    api.run(module, work)


if __name__ == '__main__':
    main()
