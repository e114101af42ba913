# -*- coding: utf-8 -*-
# Copyright: the authors of snapgroupd
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt, or
# https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


class ModuleDocFragment:
    # The option of every module whose disk, or group, has labels.
    DOCUMENTATION = r'''
options:
  labels:
    description:
      - The labels that the disk, or the group, is to have, and no others.
      - By default they stay as they are.
    type: dict
'''
