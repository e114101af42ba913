/* SPDX-License-Identifier: Apache-2.0
 *
 * What must hold in a life (life-model.h) of the service layer in this process. Main thread.
 * Whatever is not as the model has it ends the process (life_fail).
 */
#ifndef TESTS_LIFE_CHECKS_H
#define TESTS_LIFE_CHECKS_H

#include "tests/lib/life-model.h"
#include "tests/lib/service-fixture.h"

struct living {
    struct life *life;
    struct service service;
    const char *directory; /* of service_begin() */
};

/* A client of the export; end with export_unuse(). */
struct device *life_use(struct living *living, const char *name);

/* The content of the export, which has that size; static. */
const unsigned char *life_read(struct living *living, const char *name, uint64_t size_bytes);

/* DEVICE@GROUP. */
void life_member_export(const struct life_group *group, size_t member,
                        char name[LIFE_EXPORT_BYTES]);

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
