/* SPDX-License-Identifier: Apache-2.0
 *
 * The forms of the log.
 *
 *   form      a record is                                        with fields and request id
 *   text      a line "<priority>message" on standard error       no
 *   json      a JSON object in a line on standard error          as members
 *   journal   an entry of journald                               as SNAPGROUPD_NAME=
 *   auto      journal if standard error leads there, else text
 */
#ifndef SERVICE_LOG_SINK_H
#define SERVICE_LOG_SINK_H

enum log_form {
    LOG_FORM_AUTO,
    LOG_FORM_TEXT,
    LOG_FORM_JSON,
    LOG_FORM_JOURNAL,
};

/* All further records have this form. */
void log_set_form(enum log_form form);

#endif
