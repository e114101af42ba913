/* SPDX-License-Identifier: Apache-2.0
 *
 * Changes of a life (life-model.h), drawn at random from those that its state allows, or that it
 * forbids: then the model says with what they are refused.
 */
#ifndef TESTS_LIFE_DRAWS_H
#define TESTS_LIFE_DRAWS_H

#include "tests/lib/life-calls.h"

/* False: what was drawn is not possible now. */
bool life_draw(struct living *living, struct life_change *change);

/* The same of certain ones. */
void life_draw_create(struct life *life, struct life_change *change);
void life_draw_attach(struct living *living, size_t left, struct life_change *change);
void life_draw_detach(struct living *living, size_t disk, bool deletes_file,
                      struct life_change *change);

/* "create" and so on. */
const char *life_kind_name(enum life_kind kind);

#endif
