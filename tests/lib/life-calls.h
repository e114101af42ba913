/* SPDX-License-Identifier: Apache-2.0
 *
 * Changes of a life (life-model.h), asked of the service layer in this process. Main thread.
 * Whatever is not as the model has it ends the process (life_fail).
 */
#ifndef TESTS_LIFE_CALLS_H
#define TESTS_LIFE_CALLS_H

#include "tests/lib/life-checks.h"

/* Asks for the change; nothing of the model is changed. 0, or -1 and *err. */
int life_ask(struct living *living, struct life_change *change, struct err *err);

/* After a kill: whether it was done. What was written to is as it was, or as it was to be, sector
 * by sector: the model takes over what there is. */
bool life_was_done(struct living *living, struct life_change *change);

/* The model follows a change that was done. */
void life_apply(struct living *living, const struct life_change *change);

#endif
