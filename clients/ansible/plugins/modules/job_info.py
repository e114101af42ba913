#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: the authors of snapgroupd
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt, or
# https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r'''
---
module: job_info
short_description: List jobs of snapgroupd
description:
  - Shows one job, or lists jobs, newest first. Those that have ended are kept for 30 days.
author: the authors of snapgroupd (@snapgroupd)
extends_documentation_fragment: [snapgroupd.storage.api, snapgroupd.storage.info]
options:
  id:
    description: The id of the job. There is no error if there is none; the list is empty then.
    type: str
  state:
    description: Jobs in this state.
    type: str
    choices: [queued, running, paused, done, failed, cancelled]
  limit:
    description: At most so many jobs, the newest. The default is all.
    type: int
seealso:
  - module: snapgroupd.storage.snapshot_group
'''

EXAMPLES = r'''
- name: What runs now
  snapgroupd.storage.job_info:
    state: running
  register: running

- name: Delete a group in the background
  snapgroupd.storage.snapshot_group:
    name: before-upgrade
    state: absent
    wait: false
  register: deletion

- name: Wait until it is gone
  snapgroupd.storage.job_info:
    id: "{{ deletion.job.id }}"
  register: found
  until: found.jobs[0].state in ['done', 'failed', 'cancelled']
  retries: 60
  delay: 1
  when: deletion.job is not none
'''

RETURN = r'''
jobs:
  description:
    - The jobs.
  returned: success
  type: list
  elements: dict
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
    kept:
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
    error:
      description:
        - Why it failed.
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


def work(module, client):
    params = module.params
    if params['id'] is not None:
        job = client.get('jobs', params['id'])[0]
        return dict(changed=False, jobs=[job] if job else [])
    query = [('state', params['state'])] if params['state'] else []
    return dict(changed=False, jobs=client.list(('jobs',), query, params['limit']))


def main():
    module = AnsibleModule(
        argument_spec=api.argument_spec(
            id=dict(type='str'),
            state=dict(type='str', choices=['queued', 'running', 'paused', 'done', 'failed', 'cancelled']),
            limit=dict(type='int'),
        ),
        supports_check_mode=True,
        mutually_exclusive=api.CONSTRAINTS['mutually_exclusive'] + [('id', 'state'), ('id', 'limit')],
        required_by=api.CONSTRAINTS['required_by'])
    api.run(module, work)


if __name__ == '__main__':
    main()
