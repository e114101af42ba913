#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: the authors of snapgroupd
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt, or
# https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r'''
---
module: snapshot_group_info
short_description: List snapshot groups of snapgroupd
description:
  - Shows one group, or lists the groups that have all that is given, newest first. Failed attempts are among them, in
    state C(aborted), with the reason in C(error).
author: the authors of snapgroupd (@snapgroupd)
extends_documentation_fragment: [snapgroupd.storage.api, snapgroupd.storage.info]
options:
  id:
    description:
      - The id of the group, or the name of one that is neither C(aborting) nor C(aborted). There is no error if there
        is none; the list is empty then.
      - Not together with other options but those of the connection.
    type: str
  name:
    description: Groups of this name, failed attempts among them.
    type: str
  state:
    description: Groups in this state.
    type: str
    choices: [preparing, committing, cut, committed, aborting, aborted, deleting, deleted]
  kind:
    description: Groups of this kind. A C(rollback) keeps what disks had when they were rolled back.
    type: str
    choices: [snapshot, rollback]
  device:
    description: Groups that have a disk of this name as a member.
    type: str
  labels:
    description: Groups that have all these labels, at most 8.
    type: dict
  created_after:
    description: Groups that were created after this time, RFC 3339.
    type: str
  created_before:
    description: Groups that were created before this time, RFC 3339.
    type: str
  limit:
    description: At most so many groups, the newest. The default is all.
    type: int
seealso:
  - module: snapgroupd.storage.snapshot_group
'''

EXAMPLES = r'''
- name: The newest group of a disk
  snapgroupd.storage.snapshot_group_info:
    device: vda
    state: committed
    limit: 1
  register: newest

- name: What rollbacks have kept
  snapgroupd.storage.snapshot_group_info:
    kind: rollback
  register: kept
'''

RETURN = r'''
snapshot_groups:
  description:
    - The groups.
  returned: success
  type: list
  elements: dict
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
    kind:
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
    labels:
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
'''

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.snapgroupd.storage.plugins.module_utils import api

FILTERS = ('name', 'state', 'kind', 'device', 'created_after', 'created_before')


def work(module, client):
    params = module.params
    if params['id'] is not None:
        group = client.get('snapshot-groups', params['id'])[0]
        return dict(changed=False, snapshot_groups=[group] if group else [])
    query = [(field, params[field]) for field in FILTERS if params[field] is not None]
    query += api.label_filters(params['labels'])
    return dict(changed=False, snapshot_groups=client.list(('snapshot-groups',), query, params['limit']))


def main():
    module = AnsibleModule(
        argument_spec=api.argument_spec(
            id=dict(type='str'),
            name=dict(type='str'),
            state=dict(type='str', choices=['preparing', 'committing', 'cut', 'committed', 'aborting', 'aborted', 'deleting',
                                            'deleted']),
            kind=dict(type='str', choices=['snapshot', 'rollback']),
            device=dict(type='str'),
            labels=dict(type='dict'),
            created_after=dict(type='str'),
            created_before=dict(type='str'),
            limit=dict(type='int'),
        ),
        supports_check_mode=True,
        mutually_exclusive=api.CONSTRAINTS['mutually_exclusive'] + [('id', field) for field in FILTERS + ('labels', 'limit')],
        required_by=api.CONSTRAINTS['required_by'])
    api.run(module, work)


if __name__ == '__main__':
    main()
