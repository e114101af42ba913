/* SPDX-License-Identifier: Apache-2.0
 *
 * See values.h. Only digits begin a number here: the C library would take spaces, signs and "inf".
 */
#include "clients/cli/values.h"

#include "base/cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

int value_number(const char *what, const char *text, int64_t least, int64_t most, int64_t *number,
                 struct failure *failure)
{
    char *end = NULL;
    errno = 0;
    long long value = isdigit((unsigned char)*text) ? strtoll(text, &end, 10) : 0;
    if (!end || *end || errno || value < least || value > most)
        return fail(failure, EXIT_USAGE, "%s: '%s' is no whole number from %lld to %lld", what,
                    text, (long long)least, (long long)most);
    *number = value;
    return 0;
}

int value_size(const char *what, const char *text, int64_t *size, struct failure *failure)
{
    static const char units[] = "KMGT";
    char *end = NULL;
    errno = 0;
    long long value = isdigit((unsigned char)*text) ? strtoll(text, &end, 10) : -1;
    const char *unit = end && *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    int shift = unit ? (int)(unit - units + 1) * 10 : 0;
    if (unit)
        end += strcasecmp(end + 1, "iB") == 0 ? 3 : 1;
    if (!end || *end || errno || value < 0 || value > VALUE_MAX >> shift)
        return fail(failure, EXIT_USAGE, "%s: '%s' is no size, such as 512, 64K, 10G or 1T", what,
                    text);
    *size = (int64_t)value << shift;
    return 0;
}

int value_time(const char *what, const char *text, int64_t *time_ms, struct failure *failure)
{
    static const struct {
        const char *name;
        double ms;
    } units[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    char *end = NULL;
    double value = isdigit((unsigned char)*text) ? strtod(text, &end) : -1;
    for (size_t i = 0; end && i < sizeof(units) / sizeof(*units); i++) {
        double ms = value * units[i].ms;
        if (strcmp(end, units[i].name) == 0 && value >= 0 && ms <= 1e12 &&
            strcspn(text, "xXpPeE") == strlen(text)) {
            *time_ms = (int64_t)(ms + 0.5);
            return 0;
        }
    }
    return fail(failure, EXIT_USAGE, "%s: '%s' is no time, such as 30, 1.5s, 200ms, 5m or 1h", what,
                text);
}

int value_label(const char *what, const char *text, cJSON *labels, struct failure *failure)
{
    const char *equals = strchr(text, '=');
    if (!equals || equals == text)
        return fail(failure, EXIT_USAGE, "%s: '%s' is no KEY=VALUE", what, text);
    CLEANUP_FREE char *key = strndup(text, (size_t)(equals - text));
    if (!key)
        return fail_memory(failure);
    if (cJSON_GetObjectItemCaseSensitive(labels, key))
        return fail(failure, EXIT_USAGE, "%s: '%s' comes twice", what, key);
    return cJSON_AddStringToObject(labels, key, equals + 1) ? 0 : fail_memory(failure);
}
