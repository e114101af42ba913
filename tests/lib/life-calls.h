/* SPDX-License-Identifier: Apache-2.0
 *
 * Changes of a life (life-model.h), asked of the service layer in this process, and what must hold
 * at any time. Main thread. Whatever is not as the model has it ends the process (life_fail).
 */
#ifndef TESTS_LIFE_CALLS_H
#define TESTS_LIFE_CALLS_H

#include "tests/lib/life-model.h"
#include "tests/lib/service-fixture.h"

struct living {
    struct life *life;
    struct service service;
    const char *directory; /* of service_begin() */
};

/* Asks for the change; nothing of the model is changed. 0, or -1 and *err. */
int life_ask(struct living *living, struct life_change *change, struct err *err);

/* After a kill: whether it was done. What was written to is as it was, or as it was to be, sector
 * by sector: the model takes over what there is. */
bool life_was_done(struct living *living, struct life_change *change);

/* The model follows a change that was done. */
void life_apply(struct living *living, const struct life_change *change);

/* Waits for the jobs of the model, all of which are to be done, and follows them. */
void life_await_jobs(struct living *living);

/* Waits until no job is left, without the model. False: one is, after so long. */
bool life_await_idle(struct living *living, unsigned timeout_ms);

/* None has failed, of those that nobody asked for either. */
void life_check_jobs(struct living *living);

/* Compares a few, or all, devices and frozen members with the model. */
void life_check_some(struct living *living);
void life_check(struct living *living);

/* The name in the image directory of an absolute path. */
const char *life_file_of(const struct living *living, const char *path);

#endif
