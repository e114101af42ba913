/* SPDX-License-Identifier: Apache-2.0
 *
 * What to paste so that a program uses an export. Each text begins with comments in the language
 * that it is in, and goes to standard output.
 */
#ifndef CLI_RECIPES_H
#define CLI_RECIPES_H

#include "clients/cli/export.h"

struct recipe {
    const char *program;
    int (*print)(const struct export *export, struct failure *failure);
};

/* The last one has no program. */
extern const struct recipe recipes[];

#endif
