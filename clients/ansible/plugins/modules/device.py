#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: the authors of snapgroupd
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt, or
# https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r'''
---
module: device
short_description: Create, attach, change, grow or detach a disk of snapgroupd
description:
  - Makes a disk be there as described, or not there.
  - A disk that is there as described is left alone. Labels, allowed clients and a larger size are changed in place. If
    anything else differs the task fails and lists the differences; nothing is done.
author: the authors of snapgroupd (@snapgroupd)
extends_documentation_fragment: [snapgroupd.storage.api, snapgroupd.storage.labels]
attributes:
  check_mode:
    description: What the daemon would refuse is not known then, since it has no dry run of devices.
    support: full
  diff_mode:
    description: Shows the disk before and after.
    support: full
options:
  name:
    description: The name of the disk.
    type: str
    required: true
  state:
    description:
      - C(present) makes the disk be attached, C(absent) detached.
      - With C(absent) the other options of the disk are not looked at.
    type: str
    choices: [present, absent]
    default: present
  image:
    description:
      - The file, relative to the daemon's image directory, or absolute beneath it.
      - Needed if the disk is not attached.
    type: str
  format:
    description:
      - The format of I(image). It is never guessed.
      - Needed if the disk is not attached.
    type: str
    choices: [raw, qcow2]
  size_bytes:
    description:
      - With a disk that is not attached, the file is created, with this size, and must not exist. Without it the file
        must exist.
      - A disk that is smaller grows. One that is larger is different.
    type: int
  read_only:
    description: Whether nobody may write. Not together with I(size_bytes).
    type: bool
  cluster_size_bytes:
    description: The cluster size of overlays, and of a qcow2 file that is created.
    type: int
  extended_l2:
    description: Whether overlays, and a qcow2 file that is created, have subclusters.
    type: bool
  allowed_clients:
    description:
      - The NBD clients that may connect, by names that they prove with TLS. An empty list admits everybody.
      - By default the list stays as it is.
    type: list
    elements: str
  discard_unflushed:
    description:
      - Accepts that acknowledged data are lost, which the daemon refuses else. See C(UnflushedData) in its contract.
    type: bool
    default: false
  files:
    description:
      - With C(absent), C(delete) removes the file of the disk's top as well, if the daemon has made it as a clone or
        overlay and nothing needs it. All other files stay.
    type: str
    choices: [keep, delete]
    default: keep
seealso:
  - module: snapgroupd.storage.device_info
  - module: snapgroupd.storage.clone
'''

EXAMPLES = r'''
- name: A new disk of 1 GiB
  snapgroupd.storage.device:
    name: vda
    image: vda.qcow2
    format: qcow2
    size_bytes: "{{ '1G' | human_to_bytes }}"
    labels:
      app: db

- name: The same disk, for production
  snapgroupd.storage.device:
    name: vda
    labels:
      app: db
      stage: production

- name: Detach it; its file stays
  snapgroupd.storage.device:
    name: vda
    state: absent

- name: Attach a file that exists
  snapgroupd.storage.device:
    name: vda
    image: vda.qcow2
    format: qcow2
'''

RETURN = r'''
device:
  description:
    - The disk as it is now, with C(absent) as it was. Null if there is none, or would be none before a task in check
      mode.
  returned: success
  type: dict
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
from ansible_collections.snapgroupd.storage.plugins.module_utils import api, devices

FIELDS = ('name', 'image', 'format', 'size_bytes', 'read_only', 'cluster_size_bytes', 'extended_l2')


def request(params):
    if not params['image'] or not params['format']:
        raise api.Failed("there is no device '%s'; to make it, give image and format" % params['name'])
    body = {name: params[name] for name in FIELDS if params[name] is not None}
    if params['labels']:
        body['labels'] = api.texts(params['labels'])
    if params['allowed_clients']:
        body['allowed_clients'] = params['allowed_clients']
    if params['discard_unflushed']:
        body['discard_unflushed'] = True
    return body


def check(device, params):
    found = []
    if params['image'] and not devices.is_same_file(params['image'], device['image']):
        found.append(('image', device['image'], params['image']))
    has = devices.image_format(device)
    if params['format'] and has and has != params['format']:
        found.append(('format', has, params['format']))
    if params['read_only'] is not None and params['read_only'] != device['read_only']:
        found.append(('read_only', device['read_only'], params['read_only']))
    size = params['size_bytes']
    if size and device['state'] == 'online' and devices.rounded(size) < device['size_bytes']:
        found.append(('size_bytes', device['size_bytes'], size))
    devices.refuse_differences(device, found + devices.shape_differences(device, params))


def work(module, client):
    params = module.params
    if params['state'] == 'absent':
        return devices.absent(module, client)
    return devices.present(module, client, lambda device: check(device, params), lambda: request(params))


def main():
    module = AnsibleModule(
        argument_spec=api.argument_spec(
            name=dict(type='str', required=True),
            state=dict(type='str', choices=['present', 'absent'], default='present'),
            image=dict(type='str'),
            format=dict(type='str', choices=['raw', 'qcow2']),
            size_bytes=dict(type='int'),
            read_only=dict(type='bool'),
            cluster_size_bytes=dict(type='int'),
            extended_l2=dict(type='bool'),
            labels=dict(type='dict'),
            allowed_clients=dict(type='list', elements='str'),
            discard_unflushed=dict(type='bool', default=False),
            files=dict(type='str', choices=['keep', 'delete'], default='keep'),
        ),
        supports_check_mode=True, **api.CONSTRAINTS)
    api.run(module, work)


if __name__ == '__main__':
    main()
