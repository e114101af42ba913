# -*- coding: utf-8 -*-
# Copyright: the authors of snapgroupd
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt, or
# https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules device and clone share: to compare, change, detach a device and to make one."""
import os

from ansible_collections.snapgroupd.storage.plugins.module_utils.api import Different, Refused, labels_patch, texts

SHOWN = ('name', 'image', 'format', 'size_bytes', 'read_only', 'origin', 'labels', 'allowed_clients')
L1_TABLE_BYTES = 32 << 20  # qcow2: of one entry of 8 bytes for each L2 table


def shown(device):
    """Of a device, or of a request for one, what a diff shows."""
    return {key: device[key] for key in SHOWN if device.get(key) is not None}


def diff(before, after):
    return dict(before=shown(before or {}), after=shown(after or {}))


def rounded(size_bytes):
    return -(-size_bytes // 512) * 512


def is_same_file(wanted, path):
    """`wanted` is relative to an image directory that only the daemon knows, or absolute."""
    if os.path.isabs(wanted):
        return os.path.realpath(wanted) == os.path.realpath(path)
    return path.endswith('/' + os.path.normpath(wanted))


def clusters_fit(device, wanted):
    """Disks that are too large for the clusters that were asked for have larger ones."""
    table_bytes = wanted // (16 if device['extended_l2'] else 8) * wanted
    return L1_TABLE_BYTES // 8 * table_bytes >= device['size_bytes']


def shape_differences(device, params):
    """Of the overlays to come."""
    found = []
    clusters = params['cluster_size_bytes']
    if clusters and device['cluster_size_bytes'] != clusters and clusters_fit(device, clusters):
        found.append(('cluster_size_bytes', device['cluster_size_bytes'], clusters))
    if params['extended_l2'] is not None and device['extended_l2'] != params['extended_l2']:
        found.append(('extended_l2', device['extended_l2'], params['extended_l2']))
    return found


def image_format(device):
    """Of the image that was attached; None: it is not in the chain any more."""
    return next((image['format'] for image in device['chain'] if image['image'] == device['image']), None)


def refuse_differences(device, found):
    """`found`: triples of a field, what it is, and what was wanted."""
    if found:
        raise Different("device '%s'" % device['name'],
                        [dict(zip(('field', 'is', 'wanted'), one)) for one in found], device=device)


def changes_of(params):
    """What Client.patch needs: the merge patch that a device lacks."""
    def changes(device):
        patch = labels_patch(device['labels'], texts(params['labels']))
        clients = params['allowed_clients']
        if clients is not None and sorted(clients) != sorted(device['allowed_clients'] or []):
            patch['allowed_clients'] = clients or None
        size = params.get('size_bytes')
        if size and device['state'] == 'online' and rounded(size) > device['size_bytes']:
            patch['size_bytes'] = rounded(size)
        return patch
    return changes


def patched(device, patch):
    """What a device would be: RFC 7396."""
    after = dict(device, **{key: value for key, value in patch.items() if key != 'labels'})
    labels = dict(device['labels'], **patch.get('labels', {}))
    after['labels'] = {name: value for name, value in labels.items() if value is not None}
    return after


def update(module, client, device):
    changes = changes_of(module.params)
    if module.check_mode:
        patch = changes(device)
        return dict(changed=bool(patch), device=device, diff=diff(device, patched(device, patch)))
    after, changed = client.patch(('devices', device['name']), changes)
    if after['state'] == 'failed':
        module.warn("device '%s' has failed: %s" % (after['name'], after['reason']))
    return dict(changed=changed, device=after, diff=diff(device, after))


def present(module, client, check, request):
    """`check` raises Different for an existing device that cannot become what is wanted, `request`
    gives the body of a POST that makes one."""
    name = module.params['name']
    device = client.get('devices', name)[0]
    if device is None:
        body = request()
        if module.check_mode:
            return dict(changed=True, device=None, diff=diff(None, body))
        try:
            made = client.make('/devices', body, lambda device: client.get('devices', name)[0])
            return dict(changed=True, device=made, diff=diff(None, made))
        except Refused as refused:
            # Somebody else was faster: is it the same?
            device = client.get('devices', name)[0] if refused.code == 'DeviceExists' else None
            if device is None:
                raise
    check(device)
    return update(module, client, device)


def absent(module, client):
    params = module.params
    device = client.get('devices', params['name'])[0]
    if device is None:
        return dict(changed=False, device=None, diff=diff(None, None))
    changed = True
    if not module.check_mode:
        changed = client.delete(('devices', params['name']), query=[('files', params['files'])],
                                body={'discard_unflushed': True} if params.get('discard_unflushed') else None)[1]
    return dict(changed=changed, device=device, diff=diff(device, None))
