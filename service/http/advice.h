/* SPDX-License-Identifier: Apache-2.0
 *
 * What a caller can do about an error, by its code: the second half of a problem's `detail`.
 */
#ifndef SERVICE_HTTP_ADVICE_H
#define SERVICE_HTTP_ADVICE_H

#include "base/err.h"

#define ADVICE_TEXT_BYTES (ERR_MESSAGE_BYTES + 256)

/* Writes the message and, behind "; ", the advice of its code. A message that has a "; " itself
 * says more exactly what to do, and stays as it is. */
void advice_format(const struct err *err, char text[ADVICE_TEXT_BYTES]);

#endif
