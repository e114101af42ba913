#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: the authors of snapgroupd
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt, or
# https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r'''
---
module: snapshot_group_extents_info
short_description: List what has changed in a disk of snapgroupd between two groups
description:
  - Lists the extents of a frozen disk that have changed since another group, or, without I(since), all that are
    allocated. Every byte that differs is in one; an extent may have bytes that do not differ.
author: the authors of snapgroupd (@snapgroupd)
extends_documentation_fragment: [snapgroupd.storage.api, snapgroupd.storage.info]
options:
  group:
    description: The name or the id of the group.
    type: str
    required: true
  device:
    description: The name of the member.
    type: str
    required: true
  since:
    description: The name or the id of the other group.
    type: str
  limit:
    description: At most so many extents; C(next) is where the next task goes on. The default is all.
    type: int
  cursor:
    description: C(next) of an earlier task.
    type: str
seealso:
  - module: snapgroupd.storage.snapshot_group
'''

EXAMPLES = r'''
- name: What a backup of today has to fetch
  snapgroupd.storage.snapshot_group_extents_info:
    group: tuesday
    device: vda
    since: monday
  register: changed
'''

RETURN = r'''
extents:
  description:
    - The extents, ascending.
  returned: success
  type: list
  elements: dict
  contains:
    offset_bytes:
      description:
        - Where it begins.
      returned: always
      type: int
    length_bytes:
      description:
        - How long it is.
      returned: always
      type: int
    zero:
      description:
        - The extent reads as zeros in the group that was asked for, so there is no need to fetch it.
      returned: always
      type: bool
size_bytes:
  description:
    - The size of the disk in the group.
  returned: success
  type: int
granularity_bytes:
  description:
    - What all offsets and lengths are a multiple of, but for those at the end of a disk.
  returned: success
  type: int
data_bytes:
  description:
    - The sum of the extents that do not read as zeros, which is what a backup has to fetch.
  returned: success
  type: int
next:
  description:
    - With I(limit), the I(cursor) of the next task. Null if that was all.
  returned: success
  type: str
'''

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.snapgroupd.storage.plugins.module_utils import api

PAGE = 10000


def joined(extents, more):
    """A page may end within an extent, which goes on in the next one."""
    for one in more:
        last = extents[-1] if extents else None
        if last and last['zero'] == one['zero'] and last['offset_bytes'] + last['length_bytes'] == one['offset_bytes']:
            last['length_bytes'] += one['length_bytes']
        else:
            extents.append(one)


def work(module, client):
    params = module.params
    path = api.path_of('snapshot-groups', params['group'], 'members', params['device'], 'extents')
    fixed = [('since', params['since'])] if params['since'] is not None else []
    extents, cursor = [], params['cursor']
    while True:
        left = PAGE if params['limit'] is None else min(PAGE, params['limit'] - len(extents))
        page = client.request('GET', path, query=fixed + [('limit', '%d' % left)] +
                              ([('cursor', cursor)] if cursor is not None else [])).body
        joined(extents, page['items'])
        cursor = page['next']
        if cursor is None or (params['limit'] is not None and len(extents) >= params['limit']):
            break
    return dict(changed=False, extents=extents, size_bytes=page['size_bytes'], granularity_bytes=page['granularity_bytes'],
                data_bytes=sum(one['length_bytes'] for one in extents if not one['zero']), next=cursor)


def main():
    module = AnsibleModule(
        argument_spec=api.argument_spec(
            group=dict(type='str', required=True),
            device=dict(type='str', required=True),
            since=dict(type='str'),
            limit=dict(type='int'),
            cursor=dict(type='str'),
        ),
        supports_check_mode=True, **api.CONSTRAINTS)
    api.run(module, work)


if __name__ == '__main__':
    main()
