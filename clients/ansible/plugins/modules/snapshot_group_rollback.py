#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: the authors of snapgroupd
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt, or
# https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r'''
---
module: snapshot_group_rollback
short_description: Give disks of snapgroupd the content that a group froze
description:
  - Rolls all disks of a group back, or none. What they have now is frozen in a new group of kind C(rollback), so nothing
    is lost, and a rollback to that group undoes this one.
  - Stop the guests first, and start them again afterwards.
  - Whether there is anything to do is decided by C(origin) of the disks. If each of them was rolled back to this group
    last, and still has the size that it had there, nothing is done.
  - The daemon does not record whether anything was written since. A task that has to discard that, as in a
    C(rescue) that may run several times, needs I(force). If a disk has clients, or was snapshotted since, a warning
    says so.
author: the authors of snapgroupd (@snapgroupd)
extends_documentation_fragment: [snapgroupd.storage.api]
attributes:
  check_mode:
    description: The daemon makes every check, by its dry run, and refuses what it would refuse.
    support: full
  diff_mode:
    description: Shows the image that each disk writes to, before and after.
    support: full
options:
  group:
    description: The name or the id of the group.
    type: str
    required: true
  name:
    description:
      - The name of the group that keeps what the disks have now. The default is its id.
      - It has to be a new one. If nothing is to be done, it is not looked at.
    type: str
  labels:
    description: The labels of that group.
    type: dict
  force:
    description: Whether to roll back also when C(origin) says that it was done.
    type: bool
    default: false
  disconnect:
    description: Whether clients are disconnected. By default they are a reason to refuse.
    type: bool
    default: false
  deadline_ms:
    description: How long the rollback may take until its point of no return.
    type: int
  settle_ms:
    description: How long the daemon waits until all members are settled, before it answers.
    type: int
  wait_timeout:
    description: For how many seconds to wait for a rollback that goes on after the answer.
    type: int
    default: 600
seealso:
  - module: snapgroupd.storage.snapshot_group
'''

EXAMPLES = r'''
- name: Back to what was before the upgrade
  snapgroupd.storage.snapshot_group_rollback:
    group: before-upgrade
    name: after-upgrade-failed

- name: Upgrade, or leave everything as it was
  block:
    - name: Freeze the disks
      snapgroupd.storage.snapshot_group:
        name: before-change
        selector:
          app: db
    - name: Migrate
      ansible.builtin.command: /bin/true
      changed_when: true
  rescue:
    - name: Roll back, however often this is run
      snapgroupd.storage.snapshot_group_rollback:
        group: before-change
        disconnect: true
        force: true
'''

RETURN = r'''
snapshot_group:
  description:
    - The group that keeps what the disks had, of kind C(rollback). If nothing was done, that of the rollback that has
      been done, unless it was deleted; null in check mode.
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
      contains:
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
  returned: in check mode, if there is something to do
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
devices:
  description:
    - The disks of the group, as they are now.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description:
        - The name.
      returned: always
      type: str
    engine:
      description:
        - The engine that provides the device.
      returned: always
      type: str
    image:
      description:
        - The image as it was attached.
      returned: always
      type: str
    top:
      description:
        - The image that receives writes now.
      returned: always
      type: str
    format:
      description:
        - The format of the top image.
      returned: always
      type: str
    size_bytes:
      description:
        - The size that clients see, a multiple of 512; the rest of an incomplete last sector reads as zeros. 0 for a
          device that could not be opened. Clients that were connected when it grew see the size of before.
      returned: always
      type: int
    read_only:
      description:
        - Whether clients may not write.
      returned: always
      type: bool
    cluster_size_bytes:
      description:
        - The cluster size of future overlays.
      returned: always
      type: int
    extended_l2:
      description:
        - Whether future overlays have subclusters.
      returned: always
      type: bool
    state:
      description:
        - The state.
      returned: always
      type: str
    reason:
      description:
        - >-
          Why the device failed. A device that could not be opened is retried, periodically and when a client connects
          or a group names it, and becomes online, unless its image is damaged. A failed sync is never retried, not by
          a restart either: detach the device with C(discard_unflushed) and attach its image to continue with the
          content that is left.
      returned: always
      type: str
    chain:
      description:
        - The images from top to base. Empty if the device could not be opened.
      returned: always
      type: list
      elements: dict
      contains:
        image:
          description:
            - The path of the image.
          returned: always
          type: str
        format:
          description:
            - An image's format. C(raw) cannot be an overlay.
          returned: always
          type: str
        size_bytes:
          description:
            - The size.
          returned: always
          type: int
        allocated_bytes:
          description:
            - The space that the file occupies on its file system.
          returned: always
          type: int
        kept_for:
          description:
            - >-
              Who needs the image as it is, apart from this device: C(group NAME) that froze it, C(device NAME) that
              is on top of it too, a clone as a rule, and C(image PATH), which a detached device left on top of it. Of
              those on top of one image 16 are named, then C(others). An image beneath the top that is kept for nobody
              is only part of this chain.
          returned: always
          type: list
          elements: str
    export:
      description:
        - How NBD clients reach it.
      returned: always
      type: dict
      contains:
        uri:
          description:
            - >-
              The export for clients on this machine: on the first Unix socket, else at the first address that is no
              wildcard, else on loopback. The scheme is nbds where clients must use TLS, and if there are
              C(allowed_clients).
          returned: always
          type: str
    clients:
      description:
        - NBD connections that use the device now.
      returned: always
      type: int
    origin:
      description:
        - The frozen member that the device was cloned from, or rolled back to; null if it was attached or created.
      returned: always
      type: dict
      contains:
        group:
          description:
            - The id of the group.
          returned: always
          type: str
        device:
          description:
            - The name of the member.
          returned: always
          type: str
        at:
          description:
            - When the device was cloned, or rolled back. The content is that of the group's C(cut_at).
          returned: always
          type: str
        how:
          description:
            - Which of the two.
          returned: always
          type: str
    labels: *labels
    allowed_clients:
      description:
        - >-
          The NBD clients that may open the export of this device, and those of its frozen members (C(DEVICE@GROUP));
          null: everybody who can connect. A client has one of these names by its certificate or pre-shared key;
          others, and clients without TLS, are refused with C(NBD_REP_ERR_POLICY), and their lists of exports leave it
          out. Frozen members keep the last list of a device that is detached.
      returned: always
      type: list
      elements: str
    created_at:
      description:
        - When it was made, RFC 3339, UTC.
      returned: always
      type: str
'''

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.snapgroupd.storage.plugins.module_utils import api, groups


def stands_there(device, target, member):
    origin = device['origin'] or {}
    return (origin.get('group'), origin.get('device'), origin.get('how')) == (target['id'], member['device'], 'rollback') and \
        member['size_bytes'] in (None, device['size_bytes'])


def all_stand_there(devices, target):
    return bool(devices) and all(device and stands_there(device, target, member)
                                 for device, member in zip(devices, target['members']))


def devices_of(client, target):
    """In the order of the members; None for one that is not attached."""
    return [client.get('devices', member['device'])[0] for member in target['members']]


def shown(devices):
    return [dict(device=device['name'], top=device['top'], size_bytes=device['size_bytes']) for device in devices if device]


def planned(members, sizes):
    return [dict(device=member['device'], top=member['snapshot_file'], size_bytes=sizes[member['device']]) for member in members]


def request(params):
    body = {field: params[field] for field in ('name', 'deadline_ms', 'settle_ms') if params[field] is not None}
    if params['labels']:
        body['labels'] = api.texts(params['labels'])
    if params['disconnect']:
        body['disconnect'] = True
    return body


def done_before(module, client, target, devices):
    """The result if nothing is to be done."""
    at = min(device['origin']['at'] for device in devices)
    name = target['members'][0]['device']
    since = client.list(('snapshot-groups',), [('created_after', at)])
    busy = sorted(device['name'] for device in devices if device['clients']) + \
        sorted(set(member['device'] for group in since for member in group['members'] if group['cut_at']) &
               set(device['name'] for device in devices))
    if busy:
        module.warn("nothing is done: the disks were rolled back to '%s' at %s; but clients are connected, or groups were taken "
                    "since, of: %s; to discard what was written, use force" % (target['name'], at, ', '.join(sorted(set(busy)))))
    kept = [group for group in client.list(('snapshot-groups',), [('kind', 'rollback'), ('device', name), ('state', 'committed')])
            if group['rolled_back_to'] == target['id']]
    return dict(changed=False, snapshot_group=kept[0] if kept else None, devices=devices,
                diff=dict(before=dict(members=shown(devices)), after=dict(members=shown(devices))))


def done_beside(module, client, target, refused):
    """The devices, once somebody else who was faster has done the same; or None."""
    existing = refused.problem.get('existing') if refused.code == 'GroupExists' else None
    group = client.get('snapshot-groups', existing['id'])[0] if existing and existing['same_request'] else None
    if group is None:
        return None
    groups.await_group(client, group, module.params['wait_timeout'])
    devices = devices_of(client, target)
    return devices if all_stand_there(devices, target) else None


def work(module, client):
    params = module.params
    target = groups.find(client, params['group']) or dict(id=params['group'], members=[])
    devices = devices_of(client, target)
    if not params['force'] and all_stand_there(devices, target):
        return done_before(module, client, target, devices)
    path = api.path_of('snapshot-groups', target['id'], 'rollbacks')
    before = dict(members=shown(devices))
    if module.check_mode:
        plan = client.request('POST', path, body=request(params), query=[('dry_run', 'true')]).body
        sizes = dict((member['device'], member['size_bytes']) for member in target['members'])
        return dict(changed=True, snapshot_group=None, plan=plan, devices=devices,
                    diff=dict(before=before, after=dict(members=planned(plan['members'], sizes))))
    try:
        group = client.make(path, request(params), lambda made: params['force'] or all_stand_there(devices_of(client, target), target))
    except api.Refused as refused:
        devices = None if params['force'] else done_beside(module, client, target, refused)
        if devices is None:
            raise
        return done_before(module, client, target, devices)
    group = groups.await_group(client, group, params['wait_timeout'])
    after = devices_of(client, target)
    return dict(changed=True, snapshot_group=group, devices=after, diff=dict(before=before, after=dict(members=shown(after))))


def main():
    module = AnsibleModule(
        argument_spec=api.argument_spec(
            group=dict(type='str', required=True),
            name=dict(type='str'),
            labels=dict(type='dict'),
            force=dict(type='bool', default=False),
            disconnect=dict(type='bool', default=False),
            deadline_ms=dict(type='int'),
            settle_ms=dict(type='int'),
            wait_timeout=dict(type='int', default=600),
        ),
        supports_check_mode=True, **api.CONSTRAINTS)
    api.run(module, work)


if __name__ == '__main__':
    main()
