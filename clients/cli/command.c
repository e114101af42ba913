/* SPDX-License-Identifier: Apache-2.0
 *
 * See command.h.
 */
#include "clients/cli/command.h"

const char *call_next(const struct call *call, enum option option, size_t *at)
{
    while (*at < call->use_count) {
        const struct option_use *use = &call->uses[(*at)++];
        if (use->option == option)
            return use->value;
    }
    return NULL;
}

const char *call_option(const struct call *call, enum option option)
{
    size_t at = 0;
    return call_next(call, option, &at);
}

bool call_has(const struct call *call, enum option option)
{
    return call_option(call, option) != NULL;
}

const char *call_argument(const struct call *call, size_t i)
{
    return i < call->argument_count ? call->arguments[i] : NULL;
}
