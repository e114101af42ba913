# -*- coding: utf-8 -*-
# Copyright: the authors of snapgroupd
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt, or
# https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


class ModuleDocFragment:
    # The options of every module: module_utils/api.py.
    DOCUMENTATION = r'''
options:
  socket:
    description:
      - The Unix socket of the daemon, on the host where the module runs.
      - The default, without I(url), is C(/run/snapgroupd/api.sock). Root and the daemon's own user need no token there.
    type: path
  url:
    description:
      - The address of the daemon over TCP, such as C(https://host:7420). Needs I(token), or a client certificate.
      - Nothing is sent through a proxy.
    type: str
  token:
    description:
      - The secret of a token, as M(snapgroupd.storage.token) makes it. White space around it is ignored.
    type: str
  ca_path:
    description:
      - A file of PEM certificates of the CA that the daemon's certificate is checked with.
      - By default, those that the system trusts.
    type: path
  validate_certs:
    description:
      - Whether the daemon's certificate is checked. Without that, whoever answers gets the token.
    type: bool
    default: true
  client_cert:
    description:
      - A PEM file with a client certificate, and its key unless I(client_key) is given.
    type: path
  client_key:
    description:
      - A PEM file with the key of I(client_cert).
    type: path
  timeout:
    description:
      - For how many seconds a request waits for its answer.
    type: int
    default: 120
  retry_for:
    description:
      - For how many seconds, from the first failure on, a request is repeated that the daemon calls C(retryable), or
        that got no answer. C(Retry-After) is obeyed. With C(0) nothing is repeated.
      - All attempts have one C(Idempotency-Key), so what they ask for is done once.
    type: int
    default: 30
  idempotency_key:
    description:
      - Any text that the C(Idempotency-Key) of each request of the task is made of, together with the request. Equal
        requests with equal texts are carried out once within 24 hours, also by several runs.
      - By default each execution of a task has a key of its own.
    type: str
requirements:
  - python >= 3.6
'''
