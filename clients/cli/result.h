/* SPDX-License-Identifier: Apache-2.0
 *
 * What a command shows of a reply, in the form that --output names.
 */
#ifndef CLI_RESULT_H
#define CLI_RESULT_H

#include "clients/cli/cell.h"
#include "clients/cli/client.h"

enum output { OUTPUT_TABLE, OUTPUT_WIDE, OUTPUT_JSON, OUTPUT_NAME };

/* EXIT_USAGE, if there is no such form. */
int result_output(struct call *call, enum output *output);

/* A reply's body as it came; for a terminal, what it would obey is escaped. */
void result_write_json(const char *body, size_t bytes);

/* One line: the name of an object. */
void result_write_name(const cJSON *object, const struct resource *resource);

/* One object: as a row, or with all that it has. Nothing of a reply without a body. */
int result_row(struct call *call, const struct reply *reply, const struct resource *resource);
int result_whole(struct call *call, const struct reply *reply, const struct resource *resource);

#endif
