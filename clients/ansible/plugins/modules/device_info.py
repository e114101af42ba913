#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: the authors of snapgroupd
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt, or
# https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r'''
---
module: device_info
short_description: List disks of snapgroupd
description:
  - Lists the disks that have all that is given, by name. Without any of it, lists all.
author: the authors of snapgroupd (@snapgroupd)
extends_documentation_fragment: [snapgroupd.storage.api, snapgroupd.storage.info]
options:
  name:
    description: The disk of this name. There is no error if there is none; the list is empty then.
    type: str
  state:
    description: Disks in this state.
    type: str
    choices: [online, failed]
  labels:
    description: Disks that have all these labels, at most 8.
    type: dict
seealso:
  - module: snapgroupd.storage.device
'''

EXAMPLES = r'''
- name: The disks of the database
  snapgroupd.storage.device_info:
    labels:
      app: db
  register: disks

- name: None of them has failed
  ansible.builtin.assert:
    that: disks.devices | rejectattr('state', 'eq', 'online') | length == 0
'''

RETURN = r'''
devices:
  description:
    - The disks.
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
    labels:
      description:
        - Free text for the caller. Names and values have at most 256 bytes.
      returned: always
      type: dict
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
from ansible_collections.snapgroupd.storage.plugins.module_utils import api


def work(module, client):
    params = module.params
    query = [(field, params[field]) for field in ('name', 'state') if params[field] is not None]
    query += api.label_filters(params['labels'])
    return dict(changed=False, devices=client.list(('devices',), query))


def main():
    module = AnsibleModule(
        argument_spec=api.argument_spec(
            name=dict(type='str'),
            state=dict(type='str', choices=['online', 'failed']),
            labels=dict(type='dict'),
        ),
        supports_check_mode=True, **api.CONSTRAINTS)
    api.run(module, work)


if __name__ == '__main__':
    main()
