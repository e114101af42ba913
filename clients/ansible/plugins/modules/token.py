#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: the authors of snapgroupd
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt, or
# https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

DOCUMENTATION = r'''
---
module: token
short_description: Make or revoke a token of snapgroupd
description:
  - Makes a token be there as described, or not there.
  - The secret is returned when the token is made, and never again; the daemon has only a hash of it. Use C(no_log), and
    store it where it is needed in the next task.
  - A token of that name with another scope or another end is different. The task fails and lists the differences, unless
    I(regenerate) allows to make a new one in its place.
author: the authors of snapgroupd (@snapgroupd)
extends_documentation_fragment: [snapgroupd.storage.api]
attributes:
  check_mode:
    description: What the daemon would refuse is not known then, since it has no dry run of tokens.
    support: full
  diff_mode:
    description: Shows the token before and after, without its secret.
    support: full
options:
  name:
    description: The name of the token.
    type: str
    required: true
  state:
    description: C(present) makes the token be there, C(absent) revokes it.
    type: str
    choices: [present, absent]
    default: present
  scope:
    description:
      - What the token is for. C(read) looks, C(snapshot) also takes group snapshots, C(admin) may do everything.
      - Needed with C(present).
    type: str
    choices: [read, snapshot, admin]
  expires_at:
    description:
      - When the token ends by itself, RFC 3339. C(never) is never.
      - By default a new token never ends, and one that is there is not looked at.
    type: str
  regenerate:
    description:
      - C(never) leaves a token that is there alone. C(different) revokes one that is different and makes a new one, and
        C(always) any one, as after a loss of the secret.
    type: str
    choices: [never, different, always]
    default: never
'''

EXAMPLES = r'''
- name: A token for the dashboard
  snapgroupd.storage.token:
    name: dashboard
    scope: read
  register: dashboard
  no_log: true

- name: Store it, if it is new
  ansible.builtin.copy:
    content: "{{ dashboard.secret }}"
    dest: ~/dashboard.token
    mode: '0600'
  when: dashboard.secret is not none
  no_log: true

- name: Revoke it
  snapgroupd.storage.token:
    name: dashboard
    state: absent
'''

RETURN = r'''
token_info:
  description:
    - The token as it is now, with C(absent) as it was. Null if there is none, or would be none before a task in check
      mode.
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
        - Unique among tokens. Never a UUID.
      returned: always
      type: str
    scope:
      description:
        - >-
          What a caller may do: C(read) looks, C(snapshot) also takes group snapshots, C(admin) may do everything.
      returned: always
      type: str
    created_at:
      description:
        - When it was made, RFC 3339, UTC.
      returned: always
      type: str
    expires_at:
      description:
        - Null if it does not expire.
      returned: always
      type: str
secret:
  description:
    - What a caller sends. Null if no token was made.
  returned: success
  type: str
'''

import datetime
import re

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.snapgroupd.storage.plugins.module_utils import api

TIME = re.compile(r'^(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))$')


def instant(text):
    """A time that can be compared; the text itself if it is none, which the daemon then refuses."""
    match = TIME.match(text)
    if not match:
        return text
    day, time, fraction, sign, hours, minutes = match.groups()
    try:
        at = datetime.datetime.strptime('%s %s %s' % (day, time, (fraction or '0')[:6]), '%Y-%m-%d %H:%M:%S %f')
    except ValueError:
        return text
    away = datetime.timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    return at + away if sign == '-' else at - away


def differences(token, params):
    found = []
    if token['scope'] != params['scope']:
        found.append(dict(field='scope', wanted=params['scope'], **{'is': token['scope']}))
    if params['expires_at'] is not None:
        wanted = None if params['expires_at'] == 'never' else params['expires_at']
        if (wanted and instant(wanted)) != (token['expires_at'] and instant(token['expires_at'])):
            found.append(dict(field='expires_at', wanted=wanted, **{'is': token['expires_at']}))
    return found


def request(params):
    body = dict(name=params['name'], scope=params['scope'])
    if params['expires_at'] not in (None, 'never'):
        body['expires_at'] = params['expires_at']
    return body


def result(changed, before, after, secret=None):
    return dict(changed=changed, token_info=after, secret=secret, diff=dict(before=before or {}, after=after or {}))


def revoke(client, token):
    """A replayed answer has no secret: only a new token has one that can be known."""
    client.delete(('tokens', token['id']))
    return False


def make(module, client, before):
    body = request(module.params)
    if module.check_mode:
        return dict(result(True, before, None), diff=dict(before=before or {}, after=body))
    token = client.make('/tokens', body, lambda made: revoke(client, made))
    secret = token.pop('secret')
    return result(True, before, token, secret)


def absent(module, client):
    token = client.get('tokens', module.params['name'])[0]
    changed = token is not None
    if token and not module.check_mode:
        changed = client.delete(('tokens', token['id']))[1]
    return dict(result(changed, token, token), diff=dict(before=token or {}, after={}))


def present(module, client):
    params = module.params
    token = client.get('tokens', params['name'])[0]
    if token is None:
        try:
            return make(module, client, None)
        except api.Refused as refused:
            # Somebody else was faster: is it the same?
            token = client.get('tokens', params['name'])[0] if refused.code == 'TokenExists' else None
            if token is None:
                raise
    found = differences(token, params)
    if found and params['regenerate'] == 'never':
        raise api.Different("token '%s'" % params['name'], found, token_info=token)
    if not found and params['regenerate'] != 'always':
        return result(False, token, token)
    if not module.check_mode:
        client.delete(('tokens', token['id']))
    return make(module, client, token)


def work(module, client):
    return absent(module, client) if module.params['state'] == 'absent' else present(module, client)


def main():
    module = AnsibleModule(
        argument_spec=api.argument_spec(
            name=dict(type='str', required=True),
            state=dict(type='str', choices=['present', 'absent'], default='present'),
            scope=dict(type='str', choices=['read', 'snapshot', 'admin']),
            expires_at=dict(type='str'),
            regenerate=dict(type='str', choices=['never', 'different', 'always'], default='never'),
        ),
        supports_check_mode=True,
        required_if=[('state', 'present', ('scope',))], **api.CONSTRAINTS)
    api.run(module, work)


if __name__ == '__main__':
    main()
