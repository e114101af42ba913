# -*- coding: utf-8 -*-
# Copyright: the authors of snapgroupd
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt, or
# https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to snapgroupd, as api/openapi.yaml has them.

    run(module, work) --> work(module, Client(module)) --> Client.request, as often as needed
                      <-- a result, or Refused, Unreachable, Different --> exit_json, fail_json

Invariants:
  I1  In check mode nothing but GET and dry_run=true is sent.
  I2  All attempts at one POST have one Idempotency-Key; another POST has another one.
  I3  An attempt is repeated only if its answer says retryable, or if there was no answer.
"""

import errno
import hashlib
import http.client
import json
import socket
import ssl
import time
import uuid
from urllib.error import HTTPError
from urllib.parse import quote, urlencode

from ansible.module_utils.common.text.converters import to_bytes, to_text
from ansible.module_utils.urls import open_url

DEFAULT_SOCKET = '/run/snapgroupd/api.sock'
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
# What another attempt cannot mend.
HOPELESS_ERRNOS = (errno.EACCES, errno.EPERM, errno.ENOTSOCK, errno.EPROTOTYPE, errno.ENAMETOOLONG)
# How TLS reports that the peer has died.
CUT_OFF = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


def argument_spec(**more):
    """The options of every module, and its own."""
    spec = dict(
        socket=dict(type='path'),
        url=dict(type='str'),
        token=dict(type='str', no_log=True),
        ca_path=dict(type='path'),
        validate_certs=dict(type='bool', default=True),
        client_cert=dict(type='path'),
        client_key=dict(type='path', no_log=False),
        timeout=dict(type='int', default=120),
        retry_for=dict(type='int', default=30),
        idempotency_key=dict(type='str', no_log=False),
    )
    spec.update(more)
    return spec


CONSTRAINTS = dict(
    mutually_exclusive=[('socket', 'url')],
    required_by={'client_cert': 'url', 'ca_path': 'url', 'client_key': 'client_cert'},
)


class Refused(Exception):
    """The daemon's answer is a problem (RFC 9457)."""

    def __init__(self, status, problem):
        super().__init__('%s: %s' % (problem['code'], problem['detail']))
        self.status, self.problem = status, problem

    @property
    def code(self):
        return self.problem['code']


class Unreachable(Exception):
    """There is no answer."""

    def __init__(self, message, retryable):
        super().__init__(message)
        self.retryable = retryable


class Different(Exception):
    """What has the name is not what the task describes, and cannot be made so."""

    def __init__(self, what, differences, **more):
        told = '; '.join('%(field)s is %(is)s, wanted %(wanted)s' % dict(
            one, **dict((key, json.dumps(one[key], sort_keys=True)) for key in ('is', 'wanted'))) for one in differences)
        super().__init__('%s exists and is different: %s' % (what, told))
        self.result = dict(more, differences=differences)


class Failed(Exception):
    """What was begun has failed."""

    def __init__(self, message, **more):
        super().__init__(message)
        self.result = more


class Reply:
    def __init__(self, status, headers, body, attempts):
        self.status, self.headers, self.body, self.attempts = status, headers, body, attempts

    @property
    def is_replayed(self):
        return self.headers.get('Idempotency-Replayed') == 'true'


def path_of(*parts):
    return ''.join('/' + quote(to_bytes(part), safe='') for part in parts)


def decoded(text):
    """The JSON object; None: it is none."""
    try:
        body = json.loads(text)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def problem_of(status, text):
    """The problem in a reply; what is between us and the daemon may have sent something else."""
    problem = decoded(text)
    if problem and 'code' in problem:
        return dict(dict(detail='', retryable=False, status=status), **problem)
    return dict(status=status, code='NotAProblem', retryable=status in (502, 503, 504),
                detail='the answer %d is not of snapgroupd: %s' % (status, text[:200]))


def seconds_of(header):
    try:
        return max(float(header or 0), 0)
    except ValueError:
        return 0


class Client:
    def __init__(self, module):
        params = module.params
        self.check_mode = module.check_mode
        self.socket = None if params['url'] else params['socket'] or DEFAULT_SOCKET
        self.base = (params['url'] or 'http://localhost').rstrip('/')
        self.address = 'unix:' + self.socket if self.socket else self.base
        self.timeout, self.retry_for = params['timeout'], params['retry_for']
        self.token = (params['token'] or '').strip()
        self.seed = params['idempotency_key']
        self.options = dict(use_proxy=False, use_netrc=False, follow_redirects='none', http_agent='snapgroupd.storage',
                            unix_socket=self.socket, timeout=self.timeout)
        if not self.socket:
            self.options.update(validate_certs=params['validate_certs'], ca_path=params['ca_path'],
                                client_cert=params['client_cert'], client_key=params['client_key'])

    # ---- one attempt ----

    def attempt(self, method, url, data, headers):
        """Status, header and text of the answer, whatever its status."""
        try:
            answer = open_url(url, data=data, headers=headers, method=method, **self.options)
        except HTTPError as answered:
            answer = answered  # a reply too
        return answer.getcode(), answer.headers, to_text(answer.read())

    def unreachable(self, error):
        """open_url wraps what happens before the request is sent, and hides the errno of a Unix
        socket's connect()."""
        cause = getattr(error, 'reason', error)
        hidden = getattr(cause, '__context__', None)
        number = getattr(cause, 'errno', None) or getattr(hidden, 'errno', None)
        hopeless = number in HOPELESS_ERRNOS or isinstance(error, FileNotFoundError) or \
            isinstance(cause, (str, ValueError, http.client.InvalidURL, socket.gaierror)) or \
            isinstance(cause, ssl.SSLError) and not isinstance(cause, CUT_OFF)
        return Unreachable('snapgroupd at %s does not answer: %s' % (self.address, to_text(cause) or type(cause).__name__),
                           not hopeless)

    # ---- a request, as often as needed ----

    def key(self, method, path, body):
        """I2: with a seed, equal requests of several runs share a key."""
        if self.seed is None:
            return str(uuid.uuid4())
        text = json.dumps([self.seed, method, path, body], sort_keys=True)
        return hashlib.sha256(to_bytes(text)).hexdigest()

    def request(self, method, path, body=None, query=None, key=None, **headers):
        """Raises Refused and Unreachable. `query`: a list of pairs. Headers are given with _ for -.
        """
        is_dry = ('dry_run', 'true') in (query or [])
        if self.check_mode and method != 'GET' and not is_dry:
            raise AssertionError('%s %s in check mode' % (method, path))  # I1
        fields = dict((name.replace('_', '-'), value) for name, value in headers.items())
        if body is not None:
            fields['Content-Type'] = 'application/merge-patch+json' if method == 'PATCH' else 'application/json'
        if method == 'POST' and not is_dry:
            fields['Idempotency-Key'] = '"%s"' % (key or self.key(method, path, body))
        if self.token:
            fields['Authorization'] = 'Bearer ' + self.token
        url = self.base + path
        if query:
            url += '?' + urlencode([(name, to_bytes(value)) for name, value in query])
        return self.repeat(method, url, None if body is None else json.dumps(body), fields)

    def repeat(self, method, url, data, fields):
        pause, end, attempts = FIRST_PAUSE_S, None, 0
        while True:
            attempts += 1
            wait = pause
            try:
                status, headers, text = self.attempt(method, url, data, fields)
                body = decoded(text)
                if status == 204 or 200 <= status < 300 and body is not None:
                    return Reply(status, headers, body, attempts)
                problem = problem_of(status, text)
                failure, retryable = Refused(status, problem), problem['retryable']
                wait = max(pause, seconds_of(headers.get('Retry-After')))
            except (OSError, http.client.HTTPException, ValueError) as error:
                failure = self.unreachable(error)
                retryable = failure.retryable
            end = end or time.time() + self.retry_for
            if not retryable or time.time() + wait > end:
                failure.attempts = attempts
                raise failure
            time.sleep(wait)  # I3
            pause = min(2 * pause, LONGEST_PAUSE_S)

    # ---- shapes of requests ----

    def get(self, *parts):
        """The body and the ETag; None, None: there is none."""
        try:
            reply = self.request('GET', path_of(*parts))
        except Refused as refused:
            if refused.status == 404:
                return None, None
            raise
        return reply.body, reply.headers.get('ETag')

    def list(self, parts, query=(), limit=None):
        """All items of a list, page by page, or the first `limit`."""
        items, cursor = [], None
        while True:
            left = 1000 if limit is None else min(1000, limit - len(items))
            page = self.request('GET', path_of(*parts), query=list(query) + [('limit', '%d' % left)] +
                                ([('cursor', cursor)] if cursor else [])).body
            items += page['items']
            cursor = page['next']
            if cursor is None or (limit is not None and len(items) >= limit):
                return items

    def make(self, path, body, is_there, **headers):
        """The reply to a POST. One that is replayed, to an earlier run with the same seed, may tell
        of what has gone since: unless is_there(body of the reply), the request is carried out anew.
        """
        reply = self.request('POST', path, body=body, **headers)
        if reply.is_replayed and not is_there(reply.body):
            reply = self.request('POST', path, body=body, key=str(uuid.uuid4()), **headers)
        return reply.body

    def put(self, *parts):
        """Whether this was a change: what is there before the first attempt is somebody else's,
        before a later one it may be of an attempt whose answer was lost.
        """
        reply = self.request('PUT', path_of(*parts))
        return reply.status == 201 or reply.attempts > 1

    def delete(self, parts, **more):
        """The body of the reply, and whether this was a change; as put() for what has gone."""
        try:
            return self.request('DELETE', path_of(*parts), **more).body, True
        except Refused as refused:
            if refused.status == 404:
                return None, refused.attempts > 1
            raise

    def patch(self, parts, changes_of):
        """Brings a resource to what changes_of(resource) lacks nothing of. The resource, and
        whether it was changed. A change by somebody else in between is looked at, not overwritten.
        """
        changed = False
        while True:
            resource, tag = self.get(*parts)
            if resource is None:
                raise Failed('%s has gone meanwhile' % path_of(*parts))
            changes = changes_of(resource)
            if not changes:
                return resource, changed
            try:
                reply = self.request('PATCH', path_of(*parts), body=changes, If_Match=tag)
                return reply.body, True
            except Refused as refused:
                if refused.code != 'PreconditionFailed':
                    raise
                changed = changed or getattr(refused, 'attempts', 1) > 1


def labels_patch(now, wanted):
    """The merge patch that makes labels what is wanted; None as wanted: they may be anything."""
    if wanted is None:
        return {}
    patch = dict((name, value) for name, value in wanted.items() if now.get(name) != value)
    patch.update((name, None) for name in now if name not in wanted)
    return {'labels': patch} if patch else {}


def texts(labels):
    """Labels as they are sent: YAML may have numbers and booleans."""
    if labels is None:
        return None
    return dict((to_text(name), to_text(value) if not isinstance(value, bool) else to_text(value).lower())
                for name, value in labels.items())


def label_filters(labels):
    """The query of a list."""
    return [('label', '%s=%s' % pair) for pair in (texts(labels) or {}).items()]


def run(module, work):
    try:
        result = work(module, Client(module))
    except Refused as refused:
        module.fail_json(msg=to_text(refused), status=refused.status, problem=refused.problem)
    except Unreachable as error:
        module.fail_json(msg=to_text(error))
    except (Different, Failed) as error:
        module.fail_json(msg=to_text(error), **error.result)
    module.exit_json(**result)
