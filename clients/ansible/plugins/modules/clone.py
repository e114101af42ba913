#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: the authors of snapgroupd
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt, or
# https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r'''
---
module: clone
short_description: Make a disk of snapgroupd with the content that a group froze
description:
  - Makes a writable disk on top of a frozen member, in milliseconds, whatever its size.
  - A disk of that name that was cloned from this member is left alone. Its labels and allowed clients are changed in
    place. If anything else differs the task fails and lists the differences; nothing is done.
author: the authors of snapgroupd (@snapgroupd)
extends_documentation_fragment: [snapgroupd.storage.api, snapgroupd.storage.labels]
attributes:
  check_mode:
    description: What the daemon would refuse is not known then, since it has no dry run of clones.
    support: full
  diff_mode:
    description: Shows the disk before and after.
    support: full
options:
  name:
    description: The name of the new disk.
    type: str
    required: true
  state:
    description:
      - C(present) makes the clone be there, C(absent) detaches it.
      - With C(absent) the other options of the clone are not looked at.
    type: str
    choices: [present, absent]
    default: present
  group:
    description: The name or the id of the group. Needed with C(present).
    type: str
  device:
    description: The name that the disk had in the group. Needed with C(present).
    type: str
  image:
    description:
      - The file to create. The default is C(NAME.qcow2) in the image directory, or the first of C(NAME++2.qcow2) and so
        on that is free.
    type: str
  cluster_size_bytes:
    description: The cluster size of the file, and of later overlays.
    type: int
  extended_l2:
    description: Whether the file and later overlays have subclusters.
    type: bool
  allowed_clients:
    description:
      - The NBD clients that may connect, by names that they prove with TLS. An empty list admits everybody.
      - By default those of the frozen disk, and later the list stays as it is.
    type: list
    elements: str
  files:
    description: With C(absent), C(delete) removes the file of the clone as well, unless something needs it.
    type: str
    choices: [keep, delete]
    default: keep
seealso:
  - module: snapgroupd.storage.device
  - module: snapgroupd.storage.snapshot_group
'''

EXAMPLES = r'''
- name: A copy of the database to test the upgrade with
  snapgroupd.storage.clone:
    name: vda-test
    group: before-upgrade
    device: vda
    labels:
      app: test

- name: Test done
  snapgroupd.storage.clone:
    name: vda-test
    state: absent
    files: delete
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

FIELDS = ('name', 'image', 'cluster_size_bytes', 'extended_l2')


def request(client, params):
    """What the daemon would say to it, so that check mode fails too."""
    if client.check_mode:
        group = client.request('GET', api.path_of('snapshot-groups', params['group'])).body
        if params['device'] not in [member['device'] for member in group['members']]:
            raise api.Failed("device '%s' is no member of snapshot group '%s'" % (params['device'], params['group']))
    body = {name: params[name] for name in FIELDS if params[name] is not None}
    body['from'] = {'group': params['group'], 'device': params['device']}
    if params['labels']:
        body['labels'] = api.texts(params['labels'])
    if params['allowed_clients']:
        body['allowed_clients'] = params['allowed_clients']
    return body


def groups_of(client, name):
    """All that have had this name, or this id: a group may be deleted after it was cloned."""
    group = client.get('snapshot-groups', name)[0]
    return ([group] if group else []) + client.list(('snapshot-groups',), [('name', name)])


def is_clone_of(client, device, params):
    """A clone that was rolled back to a group of its own has another origin, but its image still
    stands on the frozen one."""
    origin = device['origin']
    images = [image['image'] for image in device['chain']]
    under = images[images.index(device['image']) + 1:] if device['image'] in images else []
    for group in groups_of(client, params['group']):
        if origin and (origin['group'], origin['device'], origin['how']) == (group['id'], params['device'], 'clone'):
            return True
        if origin and origin['how'] == 'rollback' and any(
                member['device'] == params['device'] and member['backing_file'] in under for member in group['members']):
            return True
    return False


def check(client, device, params):
    found = []
    if not is_clone_of(client, device, params):
        found.append(('origin', device['origin'], dict(group=params['group'], device=params['device'], how='clone')))
    if params['image'] and not devices.is_same_file(params['image'], device['image']):
        found.append(('image', device['image'], params['image']))
    devices.refuse_differences(device, found + devices.shape_differences(device, params))


def work(module, client):
    params = module.params
    if params['state'] == 'absent':
        return devices.absent(module, client)
    return devices.present(module, client, lambda device: check(client, device, params), lambda: request(client, params))


def main():
    module = AnsibleModule(
        argument_spec=api.argument_spec(
            name=dict(type='str', required=True),
            state=dict(type='str', choices=['present', 'absent'], default='present'),
            group=dict(type='str'),
            device=dict(type='str'),
            image=dict(type='str'),
            cluster_size_bytes=dict(type='int'),
            extended_l2=dict(type='bool'),
            labels=dict(type='dict'),
            allowed_clients=dict(type='list', elements='str'),
            files=dict(type='str', choices=['keep', 'delete'], default='keep'),
        ),
        supports_check_mode=True,
        required_if=[('state', 'present', ('group', 'device'))], **api.CONSTRAINTS)
    api.run(module, work)


if __name__ == '__main__':
    main()
